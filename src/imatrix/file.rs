//! The GGUF form: for each weight `NAME.in_sum2`, `[matrices, in]`, and `NAME.counts`, `[matrices, 1]`, both F32, and
//! keys that say what it was made of.
//!
//! planish adds `NAME.in_sum2_exact`, I64 `[matrices, 1 + 2 in]`: the count and the sums as 128-bit multiples of 2^-72,
//! low half first. llama.cpp skips it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use planish_formats::gguf::{self, Array, Kv, Value};
use planish_formats::{Dtype, Info, Meta, Source, Storage};

use super::{EXACT_BITS, Entry, Error, Imatrix, Problem, Result, legacy};

const DATASETS: &str = "imatrix.datasets";
const CHUNKS: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";
/// How fine the exact sums are.
const EXACT_KEY: &str = "planish.imatrix.exact_bits";

const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";
const EXACT: &str = ".in_sum2_exact";

impl Imatrix {
    /// Reads a file of either form.
    pub fn read(path: &Path) -> Result<Imatrix> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let mut magic = vec![];
        file.by_ref().take(4).read_to_end(&mut magic).map_err(failed)?;
        let read = if magic == b"GGUF" {
            from_gguf(gguf::open(path)?.as_ref())
        } else {
            file.read_to_end(&mut magic).map_err(failed)?;
            legacy::parse(&magic)
        };
        read.map_err(|problem| Error::Bad { path: path.to_owned(), problem })
    }

    /// Writes the GGUF form. The same sums give the same bytes.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut kv = Kv::new();
        kv.set("general.type", "imatrix");
        kv.set(DATASETS, self.datasets.clone());
        kv.set(CHUNKS, self.chunks);
        kv.set(CHUNK_SIZE, self.chunk_size);
        if self.entries.values().any(|entry| entry.exact_sums().is_some()) {
            kv.set(EXACT_KEY, EXACT_BITS);
        }
        let (mut infos, mut data) = (vec![], vec![]);
        for (name, entry) in &self.entries {
            let (matrices, cols) = (entry.counts().len(), entry.cols());
            let mut add = |suffix: &str, dtype, cols, bytes: Vec<u8>| {
                let (name, storage) = (format!("{name}{suffix}"), Storage::Plain(dtype));
                infos.push(Info { name, storage, shape: vec![matrices, cols] });
                data.push(bytes);
            };
            let sums = entry.sums().iter().flat_map(|sum| sum.to_le_bytes()).collect();
            add(SUMS, Dtype::F32, cols, sums);
            let counts = entry.counts().iter().flat_map(|&count| (count as f32).to_le_bytes()).collect();
            add(COUNTS, Dtype::F32, 1, counts);
            if let Some(exact) = entry.exact_sums() {
                let rows = exact.chunks(cols).zip(entry.counts());
                let row = |(sums, count): (&[i128], &u64)| -> Vec<u8> {
                    count.to_le_bytes().into_iter().chain(sums.iter().flat_map(|sum| sum.to_le_bytes())).collect()
                };
                add(EXACT, Dtype::I64, 1 + 2 * cols, rows.flat_map(row).collect());
            }
        }
        let sink = gguf::create(path, &kv, &infos, None)?;
        for (i, bytes) in data.iter().enumerate() {
            sink.write_at(i, 0, bytes)?;
        }
        sink.finish()?;
        Ok(())
    }
}

fn from_gguf(source: &dyn Source) -> Result<Imatrix, Problem> {
    let not_one = |why: &str| Problem::NotOne { why: why.to_owned() };
    let Meta::Gguf(kv) = source.meta() else { return Err(not_one("no keys")) };
    if let Some(ty) = kv.str("general.type").filter(|ty| *ty != "imatrix") {
        return Err(Problem::NotOne { why: format!("general.type is {ty}") });
    }
    let datasets = match required(kv, DATASETS)? {
        Value::Array(Array::String(names)) => names.clone(),
        // gguf-py cannot write an array of strings that has none.
        Value::Array(array) if array.is_empty() => vec![],
        other => return Err(Problem::Key { key: DATASETS, found: other.type_name(), expected: "an array of strings" }),
    };
    let (chunks, chunk_size) = (number(kv, CHUNKS)?, number(kv, CHUNK_SIZE)?);
    let weights: BTreeSet<&str> = source.infos().iter().filter_map(|info| weight(&info.name)).collect();
    if weights.is_empty() {
        return Err(not_one("no tensor ends in .in_sum2"));
    }
    let mut entries = BTreeMap::new();
    for name in weights {
        let entry = entry(source, name).map_err(|problem| problem.at(name))?;
        entries.insert(name.to_owned(), entry);
    }
    // A size of 0 stands for the legacy form; no run has chunks of no tokens.
    Ok(Imatrix { datasets, chunks, chunk_size: chunk_size.max(1), entries })
}

/// The weight that a tensor of the file is about.
fn weight(tensor: &str) -> Option<&str> {
    tensor.strip_suffix(SUMS).or_else(|| tensor.strip_suffix(COUNTS))
}

fn required<'a>(kv: &'a Kv, key: &'static str) -> Result<&'a Value, Problem> {
    kv.get(key).ok_or_else(|| Problem::NotOne { why: format!("there is no key {key}") })
}

fn number(kv: &Kv, key: &'static str) -> Result<u32, Problem> {
    let found = required(kv, key)?;
    let number = kv.unsigned(key).and_then(|n| u32::try_from(n).ok());
    number.ok_or(Problem::Key { key, found: found.type_name(), expected: "u32" })
}

fn entry(source: &dyn Source, name: &str) -> Result<Entry, Problem> {
    let bytes = |suffix: &str, dtype: Dtype| {
        let tensor = format!("{name}{suffix}");
        let Some(view) = source.view(&tensor).ok() else { return Ok(None) };
        if view.info.storage == Storage::Plain(dtype) {
            return Ok(Some(view.bytes));
        }
        Err(Problem::Type { tensor, found: view.info.storage.name(), expected: dtype.name() })
    };
    let unpaired = |there: &str, missing: &str| Problem::Unpaired {
        there: format!("{name}{there}"),
        missing: format!("{name}{missing}"),
    };
    let sums = bytes(SUMS, Dtype::F32)?.ok_or_else(|| unpaired(COUNTS, SUMS))?;
    let counts = bytes(COUNTS, Dtype::F32)?.ok_or_else(|| unpaired(SUMS, COUNTS))?;
    let sums = sums.as_chunks().0.iter().map(|sum| f32::from_le_bytes(*sum)).collect();
    let counts = counts.as_chunks().0.iter().map(|count| f32::from_le_bytes(*count)).enumerate();
    let counts = counts.map(|(at, found)| count(found).ok_or(Problem::Count { at, found }));
    let rounded = Entry::rounded(sums, counts.collect::<Result<_, _>>()?)?;
    match bytes(EXACT, Dtype::I64)? {
        Some(bytes) => exact(bytes, &rounded),
        None => Ok(rounded),
    }
}

/// As llama-quantize rounds it.
fn count(found: f32) -> Option<u64> {
    const TOO_MANY: f32 = 9e18;
    (found.is_finite() && (0.0..TOO_MANY).contains(&found)).then(|| found.round() as u64)
}

/// The exact sums, if they are those that `rounded` says in F32.
fn exact(bytes: &[u8], rounded: &Entry) -> Result<Entry, Problem> {
    let (mut counts, mut sums) = (vec![], Vec::with_capacity(bytes.len() / 16));
    for row in bytes.chunks(8 + 16 * rounded.cols()) {
        let Some((count, row)) = row.split_first_chunk() else { return Err(Problem::NotTheSame) };
        counts.push(u64::from_le_bytes(*count));
        sums.extend(row.as_chunks().0.iter().map(|sum| i128::from_le_bytes(*sum)));
    }
    let exact = Entry::exact(sums, counts)?;
    let same = exact.sums() == rounded.sums()
        && exact.counts().len() == rounded.counts().len()
        && exact.counts().iter().zip(rounded.counts()).all(|(&exact, &rounded)| count(exact as f32) == Some(rounded));
    if same { Ok(exact) } else { Err(Problem::NotTheSame) }
}
