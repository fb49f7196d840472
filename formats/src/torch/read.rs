//! One file: zip, pickle, and the tensors between them.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::node::{Node, Tensor};
use super::pickle::{Machine, PROTO};
use super::zip::{self, Entries};
use super::{Problem, What};
use crate::index::{self, is_index};
use crate::mapped::{Contents, Mapped};
use crate::{Error, Info, Meta, Result, Source, Storage};

/// The pickle's place in the zip, under a folder of any name.
const PICKLE: &str = "data.pkl";

/// Opens one file, or all shards of an index.
pub fn open(path: &Path) -> Result<Box<dyn Source>> {
    if is_index(path) { index::open(path, open_one) } else { Ok(Box::new(open_one(path)?)) }
}

/// Opens parts that have no index.
pub(super) fn open_parts(parts: &[PathBuf]) -> Result<Box<dyn Source>> {
    index::open_parts(parts, open_one)
}

fn open_one(path: &Path) -> Result<Mapped> {
    Mapped::open(path, parse, |path, problem| Error::Torch { path, problem })
}

/// Reads the file whose bytes these are, and finds every tensor inside it.
pub fn parse(bytes: &[u8]) -> Result<Contents, Problem> {
    let outside = |what| Problem { at: 0, what };
    if bytes.first() == Some(&PROTO) {
        return Err(outside(What::Legacy));
    }
    if !bytes.starts_with(zip::MAGIC) {
        return Err(outside(What::NotAZip));
    }
    let entries = zip::entries(bytes).map_err(|what| Problem { at: bytes.len() as u64, what })?;
    let (folder, pickle) = pickle(&entries).map_err(outside)?;
    if let Some(order) = entries.get(format!("{folder}byteorder").as_str())
        && bytes[order.clone()].trim_ascii() == b"big"
    {
        return Err(Problem { at: order.start as u64, what: What::BigEndian });
    }
    let mut machine = Machine::new(&bytes[pickle.clone()]);
    tensors(&mut machine, &entries, folder).map_err(|what| Problem { at: (pickle.start + machine.at()) as u64, what })
}

/// The folder of the pickle (with its slash) and the pickle.
fn pickle<'a>(entries: &Entries<'a>) -> Result<(&'a str, Range<usize>), What> {
    let mut found = entries.iter().filter_map(|(name, range)| Some((name.strip_suffix(PICKLE)?, range.clone())));
    let is_folder = |folder: &str| folder.is_empty() || folder.find('/') == Some(folder.len() - 1);
    let all: Vec<_> = found.by_ref().filter(|(folder, _)| is_folder(folder)).collect();
    match &all[..] {
        [one] => Ok(one.clone()),
        _ => Err(What::Pickles { found: all.len() }),
    }
}

fn tensors(machine: &mut Machine<'_>, entries: &Entries<'_>, folder: &str) -> Result<Contents, What> {
    let result = machine.run()?;
    let Node::Dict(dict) = machine.node(result) else {
        return Err(What::NotADict { found: machine.node(result).name() });
    };
    let mut seen = HashSet::new();
    let (mut infos, mut ranges) = (Vec::new(), Vec::new());
    for &(key, value) in dict {
        let Node::Str(name) = machine.node(key) else { return Err(What::NotADict { found: "a dict of other keys" }) };
        if !seen.insert(name) {
            return Err(What::DuplicateTensor { tensor: (*name).to_owned() });
        }
        let Node::Tensor(tensor) = machine.node(value) else {
            return Err(What::NotATensor { name: (*name).to_owned(), found: machine.node(value).name() });
        };
        ranges.push(place(name, tensor, entries, folder)?);
        let storage = Storage::Plain(tensor.dtype);
        infos.push(Info { name: (*name).to_owned(), storage, shape: tensor.shape.clone() });
    }
    Ok(Contents { infos, ranges, meta: Meta::Strings(BTreeMap::new()) })
}

/// The bytes of a tensor in the file.
fn place(name: &str, tensor: &Tensor<'_>, entries: &Entries<'_>, folder: &str) -> Result<Range<usize>, What> {
    let named = || name.to_owned();
    let Tensor { key, dtype, offset, shape, strides } = tensor;
    let overflow = || What::Overflow { tensor: named(), shape: shape.clone() };
    let bytes = Storage::Plain(*dtype).bytes(shape).ok_or_else(overflow)?;
    if !contiguous(shape, strides) {
        return Err(What::Strided { tensor: named(), shape: shape.clone(), strides: strides.clone() });
    }
    let entry = format!("{folder}data/{key}");
    let storage = entries.get(entry.as_str()).ok_or_else(|| What::NoStorage { tensor: named(), entry })?;
    let start = usize::try_from(*offset).ok().and_then(|offset| Storage::Plain(*dtype).bytes(&[offset]));
    let start = start.ok_or_else(overflow)?;
    match start.checked_add(bytes) {
        Some(end) if end <= storage.len() => Ok(storage.start + start..storage.start + end),
        _ => {
            let (start, bytes, found) = (start as u64, bytes as u64, storage.len() as u64);
            Err(What::StorageEnd { tensor: named(), start, bytes, found })
        }
    }
}

/// Whether elements lie in row-major order. The stride of a dimension of one element does not matter.
fn contiguous(shape: &[usize], strides: &[i64]) -> bool {
    let mut expected = 1usize;
    shape.len() == strides.len()
        && (shape.contains(&0)
            || shape.iter().zip(strides).rev().all(|(&d, &stride)| {
                let fits = d == 1 || usize::try_from(stride) == Ok(expected);
                // The product is known not to overflow: the tensor has a size.
                expected = expected.saturating_mul(d);
                fits
            }))
}
