//! GGUF version 3, one file or a split set as llama.cpp's gguf-split makes it.

use std::path::Path;

use super::wire::{put_string, put_u32, put_u64, put_value};
use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Kv, MAGIC, MAX_DIMS, NAME_BYTES, SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS, VERSION,
};
use crate::layout::{Layout, PlannedFile, Slot, fill, unique_names};
use crate::numbered;
use crate::{Error, GgmlType, Info, Result, Sink};

/// Lays out the tensors `infos`, in this order, and the metadata `kv`.
///
/// `split_max` bounds the tensor data of one file, in bytes; a tensor that is larger has a file for itself. If more than one
/// file is needed, `dir/NAME.gguf` becomes `dir/NAME-00001-of-00003.gguf` and so on, and the first file holds all of `kv`.
/// Keys that belong to the file rather than the model (`split.*`, `general.alignment`) are not taken over from `kv`.
pub fn layout(path: &Path, kv: &Kv, infos: &[Info], split_max: Option<u64>) -> Result<Layout> {
    unique_names(path, infos, "GGUF")?;
    let sizes = infos.iter().map(|info| size(path, info)).collect::<Result<Vec<u64>>>()?;
    let padded_sizes: Vec<u64> = sizes.iter().map(|&bytes| padded(bytes)).collect();
    let starts = fill(&padded_sizes, split_max);
    let count = starts.len();
    let too_many = || Error::TooManyFiles { path: path.to_owned(), files: count };
    let count16 = u16::try_from(count).map_err(|_| too_many())?;
    let total = i32::try_from(infos.len()).map_err(|_| too_many())?;

    let mut layout = Layout::default();
    for (no, &start) in starts.iter().enumerate() {
        let end = starts.get(no + 1).copied().unwrap_or(infos.len());
        let mut own = Kv::new();
        if no == 0 {
            for (key, value) in kv.iter().filter(|(key, _)| !belongs_to_file(key)) {
                own.push(key.to_owned(), value.clone());
            }
        }
        if count > 1 {
            own.set(SPLIT_NO, no as u16);
            own.set(SPLIT_COUNT, count16);
            own.set(SPLIT_TENSORS, total);
        }
        let head = head(&own, &infos[start..end], &sizes[start..end]);
        let mut at = head.len() as u64;
        for (info, &bytes) in infos[start..end].iter().zip(&sizes[start..end]) {
            layout.slots.push(Slot { tensor: info.name.clone(), file: no, offset: at, bytes });
            at += padded(bytes);
        }
        let path = if count > 1 { numbered::name(path, no, count) } else { path.to_owned() };
        layout.files.push(PlannedFile { path, head, bytes: at });
    }
    Ok(layout)
}

/// [`layout`], then the files under their temporary names.
pub fn create(path: &Path, kv: &Kv, infos: &[Info], split_max: Option<u64>) -> Result<Box<dyn Sink>> {
    layout(path, kv, infos, split_max)?.create()
}

fn belongs_to_file(key: &str) -> bool {
    [SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS, ALIGNMENT_KEY].contains(&key)
}

fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(DEFAULT_ALIGNMENT)
}

/// Bytes of one tensor, if GGUF can hold it.
fn size(path: &Path, info: &Info) -> Result<u64> {
    let refuse =
        |why: String| Err(Error::Unwritable { path: path.to_owned(), tensor: info.name.clone(), format: "GGUF", why });
    if info.name.is_empty() || info.name.len() > NAME_BYTES || info.name.contains('\0') {
        return refuse(format!("names have 1 to {NAME_BYTES} bytes and no NUL"));
    }
    if info.shape.len() > MAX_DIMS {
        return refuse(format!("{} dimensions, at most {MAX_DIMS} are possible", info.shape.len()));
    }
    if GgmlType::holding(info.storage).is_none() {
        return refuse(format!("no GGML type holds {}", info.storage.name()));
    }
    match info.bytes() {
        // Sums of these stay far from overflow: no disk holds a thousandth of it.
        Some(bytes) if (bytes as u64) < 1 << 53 => Ok(bytes as u64),
        _ => refuse(format!("{:?} elements of {} have no size in bytes", info.shape, info.storage.name())),
    }
}

/// Everything before the data of a file, padded.
fn head(kv: &Kv, infos: &[Info], sizes: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    put_u32(&mut out, VERSION);
    put_u64(&mut out, infos.len() as u64);
    put_u64(&mut out, kv.len() as u64);
    for (key, value) in kv.iter() {
        put_string(&mut out, key);
        put_value(&mut out, value);
    }
    let mut offset = 0;
    for (info, &bytes) in infos.iter().zip(sizes) {
        put_string(&mut out, &info.name);
        put_u32(&mut out, info.shape.len() as u32);
        info.shape.iter().rev().for_each(|&d| put_u64(&mut out, d as u64));
        if let Some(ty) = GgmlType::holding(info.storage) {
            put_u32(&mut out, ty.id());
        }
        put_u64(&mut out, offset);
        offset += padded(bytes);
    }
    out.resize(out.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
    out
}
