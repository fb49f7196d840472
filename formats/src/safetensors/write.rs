//! One file, or shards with their index, as transformers writes them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::METADATA;
use crate::index;
use crate::layout::{Layout, PlannedFile, Slot, fill, unique_names};
use crate::numbered;
use crate::{Error, Info, Result, Sink, Storage};

/// Lays out the tensors `infos`, in this order.
///
/// `shard_max` bounds the tensor data of one file, in bytes; a tensor that is larger has a file for itself. If more than one
/// file is needed, `dir/model.safetensors` becomes `dir/model-00001-of-00003.safetensors` and so on, with the index
/// `dir/model.safetensors.index.json`. Data starts at a multiple of 8 bytes; the format allows no gaps between tensors, so
/// order them by falling element size if each must be aligned.
pub fn layout(path: &Path, infos: &[Info], shard_max: Option<u64>) -> Result<Layout> {
    unique_names(path, infos, "safetensors")?;
    let sizes = infos.iter().map(|info| size(path, info)).collect::<Result<Vec<u64>>>()?;
    let starts = fill(&sizes, shard_max);
    let count = starts.len();
    let mut layout = Layout::default();
    let mut weight_map = BTreeMap::new();
    for (no, &start) in starts.iter().enumerate() {
        let end = starts.get(no + 1).copied().unwrap_or(infos.len());
        let path = if count > 1 { numbered::name(path, no, count) } else { path.to_owned() };
        let head = head(&infos[start..end], &sizes[start..end]);
        let mut at = head.len() as u64;
        for (info, &bytes) in infos[start..end].iter().zip(&sizes[start..end]) {
            layout.slots.push(Slot { tensor: info.name.clone(), file: no, offset: at, bytes });
            weight_map.insert(&info.name, path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            at += bytes;
        }
        layout.files.push(PlannedFile { path, head, bytes: at });
    }
    if count > 1 {
        let index = json!({"metadata": {"total_size": sizes.iter().sum::<u64>()}, "weight_map": weight_map});
        let head = format!("{index:#}\n").into_bytes();
        let mut path = path.as_os_str().to_owned();
        path.push(index::SUFFIX);
        layout.files.push(PlannedFile { path: path.into(), bytes: head.len() as u64, head });
    }
    Ok(layout)
}

/// [`layout`], then the files under their temporary names.
pub fn create(path: &Path, infos: &[Info], shard_max: Option<u64>) -> Result<Box<dyn Sink>> {
    layout(path, infos, shard_max)?.create()
}

/// Bytes of one tensor, if safetensors can hold it.
fn size(path: &Path, info: &Info) -> Result<u64> {
    let refuse = |why: String| {
        Err(Error::Unwritable { path: path.to_owned(), tensor: info.name.clone(), format: "safetensors", why })
    };
    if info.name == METADATA {
        return refuse("the name is taken by the header itself".to_owned());
    }
    match (info.storage, info.bytes()) {
        (Storage::Blocks(ty), _) => refuse(format!("it has no dtype for {}", ty.name())),
        // Sums of these stay far from overflow: no disk holds a thousandth of it.
        (Storage::Plain(_), Some(bytes)) if (bytes as u64) < 1 << 53 => Ok(bytes as u64),
        (Storage::Plain(dtype), _) => {
            refuse(format!("{:?} elements of {} have no size in bytes", info.shape, dtype.name()))
        }
    }
}

/// The length and the header of one file, padded with spaces to 8 bytes.
fn head(infos: &[Info], sizes: &[u64]) -> Vec<u8> {
    let mut header = Map::new();
    header.insert(METADATA.to_owned(), json!({"format": "pt"}));
    let mut at = 0;
    for (info, &bytes) in infos.iter().zip(sizes) {
        let entry = json!({"dtype": info.storage.name(), "shape": info.shape, "data_offsets": [at, at + bytes]});
        header.insert(info.name.clone(), entry);
        at += bytes;
    }
    let mut json = Value::Object(header).to_string();
    while !json.len().is_multiple_of(8) {
        json.push(' ');
    }
    let mut head = (json.len() as u64).to_le_bytes().to_vec();
    head.extend_from_slice(json.as_bytes());
    head
}
