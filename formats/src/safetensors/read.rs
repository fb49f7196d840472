//! One file. Everything is checked here, once; views of the tensors cannot fail afterwards.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::MapAccess;

use super::{METADATA, Problem};
use crate::index;
use crate::index::is_index;
use crate::mapped::{Contents, Mapped};
use crate::unique::{Keyed, Unique};
use crate::{Dtype, Error, Info, Meta, Result, Source, Storage};

/// The format's own limit, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// What the header says of one tensor.
#[derive(Deserialize)]
struct Record {
    dtype: String,
    shape: Vec<usize>,
    /// From the start of the data.
    data_offsets: (usize, usize),
}

/// One value of the header.
enum Entry {
    Metadata(BTreeMap<String, String>),
    Tensor(Record),
}

impl<'de> Keyed<'de> for Entry {
    fn read<A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<Entry, A::Error> {
        if key == METADATA { map.next_value().map(Entry::Metadata) } else { map.next_value().map(Entry::Tensor) }
    }
}

/// Opens one file, or all shards of an index.
pub fn open(path: &Path) -> Result<Box<dyn Source>> {
    if is_index(path) { index::open(path, open_one) } else { Ok(Box::new(open_one(path)?)) }
}

/// Opens parts that have no index.
pub(super) fn open_parts(parts: &[PathBuf]) -> Result<Box<dyn Source>> {
    index::open_parts(parts, open_one)
}

fn open_one(path: &Path) -> Result<Mapped> {
    Mapped::open(path, parse, |path, problem| Error::Safetensors { path, problem })
}

/// Reads the header of the file whose bytes these are, and finds every tensor inside it.
pub fn parse(bytes: &[u8]) -> Result<Contents, Problem> {
    let (&length, rest) = bytes.split_first_chunk().ok_or(Problem::Short { found: bytes.len() })?;
    let length = u64::from_le_bytes(length);
    let left = rest.len() as u64;
    if length > left {
        return Err(Problem::HeaderLength { found: length, left });
    }
    if length > MAX_HEADER {
        return Err(Problem::HeaderLimit { found: length, limit: MAX_HEADER });
    }
    let (header, data) = rest.split_at(length as usize);
    let text = std::str::from_utf8(header).map_err(|e| Problem::Utf8 { at: 8 + e.valid_up_to() })?;
    let Unique(entries) = serde_json::from_str(text).map_err(Problem::Json)?;

    let mut meta = BTreeMap::new();
    let mut placed = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let Record { dtype, shape, data_offsets: (start, end) } = match entry {
            Entry::Tensor(record) => record,
            Entry::Metadata(strings) => {
                meta = strings;
                continue;
            }
        };
        let Some(known) = Dtype::named(&dtype) else { return Err(Problem::Dtype { tensor: name, dtype }) };
        let info = Info { name, storage: Storage::Plain(known), shape };
        check(&info, start, end, data.len())?;
        placed.push((info, start..end));
    }
    // Stable: empty tensors at one offset stay in the header's order.
    placed.sort_by_key(|(_, range)| (range.start, range.end));
    no_gaps(&placed, data.len())?;

    let base = bytes.len() - data.len();
    let (infos, ranges) = placed.into_iter().map(|(info, r)| (info, base + r.start..base + r.end)).unzip();
    Ok(Contents { infos, ranges, meta: Meta::Strings(meta) })
}

fn check(info: &Info, start: usize, end: usize, data: usize) -> Result<(), Problem> {
    let (tensor, dtype, shape) = (|| info.name.clone(), info.storage.name(), || info.shape.clone());
    let found = end.checked_sub(start).ok_or_else(|| Problem::Backwards { tensor: tensor(), start, end })?;
    if end > data {
        return Err(Problem::Beyond { tensor: tensor(), start, end, data });
    }
    let needed = info.bytes().ok_or_else(|| Problem::NoSize { tensor: tensor(), dtype, shape: shape() })?;
    if needed != found {
        return Err(Problem::Size { tensor: tensor(), dtype, shape: shape(), needed, found });
    }
    Ok(())
}

/// Tensors in order of their place must fill the data exactly: nothing can hide between them.
fn no_gaps(placed: &[(Info, Range<usize>)], data: usize) -> Result<(), Problem> {
    let mut filled = 0;
    let mut last = "";
    for (info, range) in placed {
        if range.start < filled {
            let (tensor, other) = (info.name.clone(), last.to_owned());
            return Err(Problem::Overlap { tensor, start: range.start, other, end: filled });
        }
        if range.start > filled {
            return Err(Problem::Hole { at: filled, bytes: range.start - filled });
        }
        (filled, last) = (range.end, &info.name);
    }
    if filled < data { Err(Problem::Hole { at: filled, bytes: data - filled }) } else { Ok(()) }
}
