//! The header of one file. Everything is checked here, once; views of the tensors cannot fail afterwards.

use std::collections::HashSet;
use std::ops::Range;

use super::problem::{Problem, What};
use super::wire::Cursor;
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Kv, MAGIC, MAX_DIMS, NAME_BYTES, VERSION, Value};
use crate::mapped::Contents;
use crate::{GgmlType, Info, Meta, Storage};

/// The format's limit on keys, in bytes.
const MAX_KEY: u64 = 65535;
/// More than any page size; a larger alignment is a mistake.
const MAX_ALIGNMENT: u64 = 1 << 20;
/// Bytes of the smallest key with its value: length, one letter, type, a byte.
const MIN_KV: u64 = 8 + 1 + 4 + 1;
/// Bytes of the smallest tensor record: length, one letter, dimensions, type, offset.
const MIN_TENSOR: u64 = 8 + 1 + 4 + 4 + 8;
/// Names for the ids of types that GGML once had.
const REMOVED: [(u32, &str); 8] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

/// Reads the header of the file whose bytes these are, and finds every tensor inside it.
pub fn parse(bytes: &[u8]) -> Result<Contents, Problem> {
    let mut cursor = Cursor::new(bytes);
    contents(&mut cursor, bytes.len() as u64).map_err(|what| Problem { at: cursor.at(), what })
}

fn contents(cursor: &mut Cursor<'_>, length: u64) -> Result<Contents, What> {
    version(cursor)?;
    let tensors = cursor.count("tensors", MIN_TENSOR)?;
    let keys = cursor.count("keys", MIN_KV)?;
    let kv = kv(cursor, keys)?;
    let alignment = alignment(&kv)?;
    let records = records(cursor, tensors)?;

    let mut at = cursor.at().checked_next_multiple_of(alignment).ok_or(What::Overflow { shape: Vec::new() })?;
    let data = at;
    let mut infos = Vec::with_capacity(records.len());
    let mut ranges = Vec::with_capacity(records.len());
    for (info, offset) in records {
        let range = place(&info, offset, at, data, alignment, length)
            .map_err(|what| What::InTensor { tensor: info.name.clone(), what: Box::new(what) })?;
        // The last tensor's padding may be missing; nothing can follow it then.
        at = (range.end as u64).next_multiple_of(alignment);
        infos.push(info);
        ranges.push(range);
    }
    Ok(Contents { infos, ranges, meta: Meta::Gguf(kv) })
}

fn version(cursor: &mut Cursor<'_>) -> Result<(), What> {
    let found = cursor.fixed("the magic")?;
    if found != MAGIC {
        return Err(What::Magic { found });
    }
    match cursor.u32("the version")? {
        2 | VERSION => Ok(()),
        1 => Err(What::Version1),
        found if found.trailing_zeros() >= 16 && found != 0 => Err(What::BigEndian),
        0 => Err(What::Version { found: 0 }),
        found => Err(What::Future { found }),
    }
}

fn kv(cursor: &mut Cursor<'_>, n: u64) -> Result<Kv, What> {
    let mut kv = Kv::new();
    let mut seen = HashSet::new();
    for _ in 0..n {
        let key = cursor.name("a key", MAX_KEY)?;
        if !seen.insert(key) {
            return Err(What::DuplicateKey { key: key.to_owned() });
        }
        let value = cursor.value().map_err(|what| What::InKey { key: key.to_owned(), what: Box::new(what) })?;
        kv.push(key.to_owned(), value);
    }
    Ok(kv)
}

fn alignment(kv: &Kv) -> Result<u64, What> {
    match kv.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(&Value::U32(v)) if v.is_power_of_two() && u64::from(v) <= MAX_ALIGNMENT => Ok(v.into()),
        Some(&Value::U32(v)) => Err(What::Alignment { found: v.into(), limit: MAX_ALIGNMENT }),
        Some(other) => Err(What::AlignmentType { found: other.type_name() }),
    }
}

/// The tensor records, each with its offset from the start of the data.
fn records(cursor: &mut Cursor<'_>, n: u64) -> Result<Vec<(Info, u64)>, What> {
    let mut records = Vec::new();
    let mut seen = HashSet::new();
    for _ in 0..n {
        let name = cursor.name("a tensor's name", MAX_KEY)?;
        let in_tensor = |what| What::InTensor { tensor: name.to_owned(), what: Box::new(what) };
        if name.len() > NAME_BYTES {
            return Err(in_tensor(What::NameLength { found: name.len() }));
        }
        if !seen.insert(name) {
            return Err(in_tensor(What::DuplicateName));
        }
        let (storage, shape) = form(cursor).map_err(in_tensor)?;
        let offset = cursor.u64("a tensor's offset").map_err(in_tensor)?;
        records.push((Info { name: name.to_owned(), storage, shape }, offset));
    }
    Ok(records)
}

/// Type and shape of one tensor. The file's dimensions are innermost first.
fn form(cursor: &mut Cursor<'_>) -> Result<(Storage, Vec<usize>), What> {
    let dims = cursor.u32("a tensor's dimensions")?;
    if dims as usize > MAX_DIMS {
        return Err(What::Dims { found: dims });
    }
    let mut shape = Vec::with_capacity(dims as usize);
    for _ in 0..dims {
        let found = cursor.u64("a tensor's shape")?;
        // llama.cpp reads dimensions as signed.
        shape.push(i64::try_from(found).ok().and_then(|d| usize::try_from(d).ok()).ok_or(What::Dim { found })?);
    }
    shape.reverse();
    let id = cursor.u32("a tensor's type")?;
    let ty = GgmlType::with_id(id).ok_or_else(|| match REMOVED.iter().find(|(removed, _)| *removed == id) {
        Some(&(found, name)) => What::RemovedType { found, name },
        None => What::UnknownType { found: id },
    })?;
    Ok((ty.storage(), shape))
}

/// Where the data of a tensor lies in the file: exactly behind the one before, as llama.cpp demands.
fn place(info: &Info, offset: u64, at: u64, data: u64, alignment: u64, length: u64) -> Result<Range<usize>, What> {
    let bytes = match (info.bytes(), info.storage) {
        (Some(bytes), _) => bytes as u64,
        (None, Storage::Blocks(ty)) if !info.cols().is_multiple_of(ty.block_len()) => {
            return Err(What::Row { cols: info.cols(), ty: ty.name(), block: ty.block_len() });
        }
        (None, _) => return Err(What::Overflow { shape: info.shape.clone() }),
    };
    let expected = at - data;
    if offset != expected {
        return Err(What::Offset { found: offset, expected, alignment });
    }
    let end = at.checked_add(bytes).filter(|&end| end <= length).ok_or(What::TensorEnd { start: at, bytes, length })?;
    // Both fit: they are within the file, which is mapped.
    Ok(at as usize..end as usize)
}
