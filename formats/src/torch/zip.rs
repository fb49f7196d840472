//! The zip's central directory: which bytes of the file each entry is. Format: PKWARE's APPNOTE, zip64 included.

use std::collections::HashMap;
use std::ops::Range;

use super::What;

/// How a zip begins: with its first entry.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";
const ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END64: &[u8] = b"PK\x06\x06";
const LOCATOR64: &[u8] = b"PK\x06\x07";
const END_BYTES: usize = 22;
const ENTRY_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
const LOCATOR_BYTES: usize = 20;
const MAX_COMMENT: usize = 65535;
/// The extra field that holds what does not fit into 32 bits.
const EXTRA64: u16 = 1;

/// The bytes of every entry, by name.
pub(super) type Entries<'a> = HashMap<&'a str, Range<usize>>;

/// A record's numbers, little-endian, at fixed places.
struct Record<'a> {
    bytes: &'a [u8],
    reading: &'static str,
}

impl<'a> Record<'a> {
    fn at(file: &'a [u8], start: u64, reading: &'static str) -> Result<Record<'a>, What> {
        let bytes = usize::try_from(start).ok().and_then(|start| file.get(start..)).ok_or(What::End { reading })?;
        Ok(Record { bytes, reading })
    }

    fn signed(self, signature: &[u8]) -> Result<Record<'a>, What> {
        if self.bytes.starts_with(signature) { Ok(self) } else { Err(What::Signature { reading: self.reading }) }
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], What> {
        let bytes = self.bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.copied().ok_or(What::End { reading: self.reading })
    }

    fn u16(&self, at: usize) -> Result<u16, What> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Result<u32, What> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Result<u64, What> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn bytes(&self, at: usize, n: u16) -> Result<&'a [u8], What> {
        self.bytes.get(at..at + usize::from(n)).ok_or(What::End { reading: self.reading })
    }
}

/// Reads the directory of a whole file.
pub(super) fn entries(file: &[u8]) -> Result<Entries<'_>, What> {
    let (count, bytes, start) = directory(file)?;
    if count > bytes / ENTRY_BYTES as u64 || bytes > file.len() as u64 {
        return Err(What::EntryCount { found: count, bytes });
    }
    let mut entries = HashMap::new();
    let mut at = start;
    for _ in 0..count {
        let record = Record::at(file, at, "a directory entry")?.signed(ENTRY)?;
        let (name_len, extra_len, comment_len) = (record.u16(28)?, record.u16(30)?, record.u16(32)?);
        let name = name(&record, name_len)?;
        if record.u16(8)? & 1 != 0 {
            return Err(What::Encrypted { name: name.to_owned() });
        }
        let method = record.u16(10)?;
        if method != 0 {
            return Err(What::Compressed { name: name.to_owned(), method });
        }
        let extra = record.bytes(ENTRY_BYTES + usize::from(name_len), extra_len)?;
        let (bytes, local) = wide(extra, [record.u32(24)?, record.u32(20)?, record.u32(42)?])?;
        let range = data(file, local, bytes, name)?;
        if entries.insert(name, range).is_some() {
            return Err(What::DuplicateEntry { name: name.to_owned() });
        }
        at += ENTRY_BYTES as u64 + u64::from(name_len) + u64::from(extra_len) + u64::from(comment_len);
    }
    Ok(entries)
}

/// Number of entries, bytes and start of the central directory.
fn directory(file: &[u8]) -> Result<(u64, u64, u64), What> {
    let earliest = file.len().saturating_sub(END_BYTES + MAX_COMMENT);
    let end = (earliest..=file.len().saturating_sub(END_BYTES))
        .rev()
        .find(|&at| is_end(&file[at..]))
        .ok_or(What::NoDirectory)?;
    let record = Record::at(file, end as u64, "the end of the directory")?;
    let narrow = (record.u16(10)?, record.u32(12)?, record.u32(16)?);
    if narrow.0 != u16::MAX && narrow.1 != u32::MAX && narrow.2 != u32::MAX {
        return Ok((narrow.0.into(), narrow.1.into(), narrow.2.into()));
    }
    let locator = end.checked_sub(LOCATOR_BYTES).ok_or(What::NoDirectory)?;
    let locator = Record::at(file, locator as u64, "the zip64 locator")?.signed(LOCATOR64)?;
    let record = Record::at(file, locator.u64(8)?, "the zip64 end of the directory")?.signed(END64)?;
    Ok((record.u64(32)?, record.u64(40)?, record.u64(48)?))
}

/// Whether an end record with its comment stands here and fills the file.
fn is_end(rest: &[u8]) -> bool {
    rest.starts_with(END)
        && rest
            .get(20..END_BYTES)
            .is_some_and(|n| usize::from(n[0]) + 256 * usize::from(n[1]) == rest.len() - END_BYTES)
}

fn name<'a>(record: &Record<'a>, len: u16) -> Result<&'a str, What> {
    let name =
        std::str::from_utf8(record.bytes(ENTRY_BYTES, len)?).map_err(|_| What::Utf8 { reading: "an entry's name" })?;
    // Nothing is unpacked here, but no honest tool writes such names.
    let unsafe_name = name.starts_with('/') || name.contains(['\\', '\0']) || name.split('/').any(|part| part == "..");
    if unsafe_name { Err(What::UnsafeName { name: name.to_owned() }) } else { Ok(name) }
}

/// Bytes of the data and place of the local header, from zip64's extra field where the 32-bit fields are full. A stored
/// entry's two sizes are the same, so `full` is size, packed size, place.
fn wide(extra: &[u8], full: [u32; 3]) -> Result<(u64, u64), What> {
    let mut values = full.map(u64::from);
    let mut rest = Record { bytes: extra, reading: "an entry's extra field" };
    while full.contains(&u32::MAX) && !rest.bytes.is_empty() {
        let (id, len) = (rest.u16(0)?, rest.u16(2)?);
        let field = Record { bytes: rest.bytes(4, len)?, reading: rest.reading };
        if id == EXTRA64 {
            let mut at = 0;
            for value in values.iter_mut().filter(|value| **value == u64::from(u32::MAX)) {
                *value = field.u64(at)?;
                at += 8;
            }
            break;
        }
        rest.bytes = &rest.bytes[4 + usize::from(len)..];
    }
    Ok((values[0], values[2]))
}

/// Where an entry's data is: behind its local header, which has a length of its own.
fn data(file: &[u8], local: u64, bytes: u64, name: &str) -> Result<Range<usize>, What> {
    let record = Record::at(file, local, "an entry's local header")?.signed(MAGIC)?;
    let (name_len, extra_len) = (record.u16(26)?, record.u16(28)?);
    if record.bytes(LOCAL_BYTES, name_len)? != name.as_bytes() {
        return Err(What::OtherName { name: name.to_owned() });
    }
    let skip = LOCAL_BYTES as u64 + u64::from(name_len) + u64::from(extra_len);
    let start = local.checked_add(skip);
    let end = start.and_then(|start| start.checked_add(bytes)).filter(|&end| end <= file.len() as u64);
    match (start, end) {
        // Both fit: they are within the file, which is mapped.
        (Some(start), Some(end)) => Ok(start as usize..end as usize),
        _ => Err(What::EntryEnd { name: name.to_owned(), bytes }),
    }
}
