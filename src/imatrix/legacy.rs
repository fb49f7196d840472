//! The form that llama-imatrix wrote before GGUF (`.dat`), little-endian: i32 entries; for each entry i32 length and
//! name, i32 calls, i32 values, and the values as f32: mean squares times the calls. Then, if anything, i32 chunks, i32
//! length and the name of the text.

use std::collections::BTreeMap;

use super::{Entry, Imatrix, Problem};

/// Bytes of the smallest entry: length, a letter, calls, values, one value.
const MIN_ENTRY: usize = 4 + 1 + 4 + 4 + 4;

/// Reads the whole file.
pub(super) fn parse(bytes: &[u8]) -> Result<Imatrix, Problem> {
    let mut cursor = Cursor { bytes, at: 0 };
    let entries = cursor.number("the number of entries")?;
    let count = usize::try_from(entries).ok().filter(|&n| n > 0 && n <= cursor.left() / MIN_ENTRY);
    let no_room = || Problem::NotOne { why: format!("{entries} entries in {} bytes", bytes.len()) };
    let count = count.ok_or_else(no_room)?;
    let mut imatrix = Imatrix::default();
    for number in 0..count {
        let (name, entry) = cursor.entry(number, &imatrix.entries)?;
        imatrix.entries.insert(name, entry);
    }
    if cursor.left() > 0 {
        imatrix.chunks = u32::try_from(cursor.number("the number of chunks")?).unwrap_or(0);
    }
    if cursor.left() > 0 {
        let dataset = cursor.text("the name of the text")?;
        imatrix.datasets.extend(Some(String::from_utf8_lossy(dataset).into_owned()).filter(|name| !name.is_empty()));
    }
    match cursor.left() {
        0 => Ok(imatrix),
        left => Err(Problem::Trailing { left, at: cursor.at }),
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, n: u64, reading: &'static str) -> Result<&'a [u8], Problem> {
        let end = usize::try_from(n).ok().and_then(|n| self.at.checked_add(n));
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(Problem::End { reading, needed: n, left: self.left(), at: self.at })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn number(&mut self, reading: &'static str) -> Result<i32, Problem> {
        let bytes = self.take(4, reading)?;
        Ok(bytes.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes)))
    }

    /// A number that counts things.
    fn count(&mut self, reading: &'static str) -> Result<u64, Problem> {
        let found = self.number(reading)?;
        u64::try_from(found).map_err(|_| Problem::Number { reading, found, at: self.at })
    }

    fn text(&mut self, reading: &'static str) -> Result<&'a [u8], Problem> {
        let len = self.count(reading)?;
        self.take(len, reading)
    }

    fn entry(&mut self, number: usize, before: &BTreeMap<String, Entry>) -> Result<(String, Entry), Problem> {
        let name = self.text("the name of an entry")?;
        let name = str::from_utf8(name).ok().filter(|name| !name.is_empty());
        let name = name.ok_or(Problem::Name { entry: number, at: self.at })?;
        let calls = self.number("the calls of an entry")?;
        let values = self.count("the number of values of an entry")?;
        let values = self.take(values.saturating_mul(4), "the values of an entry")?;
        let sums = values.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        // Without a number of calls the values are what llama-quantize takes as they are.
        let entry = Entry::rounded(sums, vec![u64::try_from(calls).unwrap_or(0).max(1)]);
        let entry = entry.map_err(|problem| problem.at(name))?;
        if before.contains_key(name) { Err(Problem::Twice.at(name)) } else { Ok((name.to_owned(), entry)) }
    }
}
