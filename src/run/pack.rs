//! A quantized safetensors folder: one matrix after another is read, rounded, and spread over its tensors.
//!
//! A thread has one matrix in memory at a time. What it becomes depends on nothing but its weights and those that it shares a
//! scale with: any number of threads gives the same files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use planish_formats::{Dtype, Sink, Storage};
use planish_kernels::block;
use planish_kernels::group::nvfp4_global_scale;
use planish_kernels::{Isa, first_non_finite};

use super::folder::{Folder, write_folder};
use super::share::share;
use super::{Error, Outcome, PeakAnon, Result, Scratch, Weight};
use crate::dialect::Linear;
use crate::model::Gather;
use crate::plan::{Becomes, Converted, Quantization};

/// Weights that are read at once where a matrix is only looked at or copied.
const BAND: usize = 1 << 16;
/// The largest weight that scales in F16 are sure to hold.
const F16_MAX: f32 = 65504.0;

/// How a plan is carried out.
pub struct Pack<'a> {
    /// What is done.
    pub plan: &'a Quantization,
    /// Number of threads.
    pub threads: usize,
    /// Instruction set of the encoders.
    pub isa: Isa,
    /// Set by somebody who wants to stop.
    pub cancel: &'a AtomicBool,
    /// Told the weights done since the last call, from any thread.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// Writes the folder `output`, its weights in files of at most `shard_max` bytes of data; `beside` are files of one's own,
/// name and content.
///
/// # Errors
/// A folder that is there already, unless `force` is given and it is a model's; weights that are no numbers, or out of range
/// of the scales; a full disk. Whatever fails, nothing is left under the final name that was not there before.
pub fn pack_folder<E: From<Error>>(
    pack: &Pack<'_>,
    output: &Path,
    shard_max: Option<u64>,
    force: bool,
    beside: &[(String, Vec<u8>)],
    first: impl FnOnce(&dyn Sink) -> Result<BTreeSet<usize>, E>,
    earns_name: impl FnOnce(&Path) -> Result<bool, E>,
) -> Result<Outcome, E> {
    let plan = pack.plan;
    let config = format!("{:#}\n", serde_json::Value::Object(plan.config.clone()));
    let mut files = vec![("config.json".to_owned(), config.into_bytes())];
    for (path, name) in &plan.copied {
        let content = std::fs::read(path).map_err(planish_formats::Error::io(path, "cannot read"));
        let content = content.map_err(Error::from)?;
        files.push((name.clone(), content));
    }
    files.extend_from_slice(beside);
    let folder = Folder { source: &plan.checkpoint.source, output, force, files };
    write_folder(
        &folder,
        |partial| Ok(plan.layout(partial, shard_max)?),
        |sink| {
            let (start, peak) = (Instant::now(), PeakAnon::start());
            let written = first(sink.as_ref())?;
            pack_into(pack, sink.as_ref(), &written)?;
            Ok(Outcome::new(sink.finish().map_err(Error::from)?, start, &peak))
        },
        earns_name,
    )
}

/// Writes all tensors into `sink` but those at the places `written` of the plan.
fn pack_into(pack: &Pack<'_>, sink: &dyn Sink, written: &BTreeSet<usize>) -> Result<()> {
    let groups = pack.plan.tensors.iter().filter_map(|tensor| match tensor.becomes {
        Becomes::Packed { reads, .. } => Some(reads + 1),
        Becomes::Kept(_) => None,
    });
    let globals: Vec<OnceLock<f32>> = (0..groups.max().unwrap_or(0)).map(|_| OnceLock::new()).collect();
    let worker =
        || Worker { pack, sink, globals: &globals, scratch: Scratch::default(), values: vec![], records: vec![] };
    let tensors: Vec<&Converted> = (pack.plan.tensors.iter().enumerate())
        .filter_map(|(at, tensor)| (!written.contains(&at)).then_some(tensor))
        .collect();
    share(pack.threads, tensors.len(), pack.cancel, worker, |worker, at| worker.tensor(tensors[at]))
}

/// One thread's view of the run, and its buffers.
struct Worker<'a> {
    pack: &'a Pack<'a>,
    sink: &'a dyn Sink,
    /// The divisor of the scales of the linears that read each value.
    globals: &'a [OnceLock<f32>],
    scratch: Scratch,
    values: Vec<f32>,
    records: Vec<u8>,
}

impl Worker<'_> {
    fn tensor(&mut self, tensor: &Converted) -> Result<()> {
        match &tensor.becomes {
            Becomes::Kept(storage) => self.keep(tensor, *storage),
            Becomes::Packed { linear, reads, from } => self.pack(tensor, linear, *reads, from),
        }
    }

    fn pack(&mut self, tensor: &Converted, linear: &Linear, reads: usize, from: &Gather) -> Result<()> {
        let global = if self.pack.plan.target.shares() { self.global(reads)? } else { 1.0 };
        let weight = Weight::new(&self.pack.plan.checkpoint.source, from, &linear.shape())?;
        self.values.resize(weight.rows * weight.cols, 0.0);
        let band = (BAND / weight.cols.max(1)).max(1).next_multiple_of(weight.step);
        for (i, out) in self.values.chunks_mut(band * weight.cols).enumerate() {
            let rows = i * band..i * band + out.len() / weight.cols;
            weight.read(self.pack.isa, rows, &mut self.scratch, out)?;
        }
        self.check(tensor, linear, weight.cols)?;
        self.records.resize(linear.record_bytes(), 0);
        linear.codec(global).encode(self.pack.isa, &self.values, weight.cols, None, &mut self.records);
        for (place, bytes) in tensor.places.iter().zip(linear.pack(global, &self.records)) {
            self.sink.write_at(*place, 0, &bytes)?;
        }
        (self.pack.progress)(self.values.len() as u64);
        Ok(())
    }

    fn check(&self, tensor: &Converted, linear: &Linear, cols: usize) -> Result<()> {
        let name = || tensor.name.clone();
        if let Some(at) = first_non_finite(self.pack.isa, &self.values) {
            return Err(Error::NotFinite { tensor: name(), row: at / cols, column: at % cols, value: self.values[at] });
        }
        let large = if linear.scales_in_f16() {
            planish_kernels::first_beyond(self.pack.isa, &self.values, F16_MAX)
        } else {
            None
        };
        match large {
            Some(at) => {
                let (row, column, value) = (at / cols, at % cols, self.values[at]);
                Err(Error::Overflow { tensor: name(), row, column, value, ty: "F16, the type of the scales" })
            }
            None => Ok(()),
        }
    }

    /// The divisor of all linears that read this value, made of the largest of their weights.
    fn global(&mut self, reads: usize) -> Result<f32> {
        if let Some(global) = self.globals[reads].get() {
            return Ok(*global);
        }
        let mut largest = 0f32;
        for tensor in &self.pack.plan.tensors {
            if matches!(tensor.becomes, Becomes::Packed { reads: other, .. } if other == reads) {
                largest = largest.max(self.largest(tensor)?);
            }
        }
        // Another thread may have been faster, with the same number.
        Ok(*self.globals[reads].get_or_init(|| nvfp4_global_scale(largest)))
    }

    fn largest(&mut self, tensor: &Converted) -> Result<f32> {
        let gather = Gather::Whole(tensor.name.clone());
        let weight = Weight::new(&self.pack.plan.checkpoint.source, &gather, &tensor.shape)?;
        let band = (BAND / weight.cols.max(1)).max(1).next_multiple_of(weight.step);
        let mut largest = 0f32;
        for first in (0..weight.rows).step_by(band) {
            let rows = first..weight.rows.min(first + band);
            self.values.resize(rows.len() * weight.cols, 0.0);
            weight.read(self.pack.isa, rows, &mut self.scratch, &mut self.values)?;
            largest = self.values.iter().fold(largest, |largest, x| largest.max(x.abs()));
        }
        Ok(largest)
    }

    /// Copies a tensor, or decodes it where it was packed.
    fn keep(&mut self, tensor: &Converted, storage: Storage) -> Result<()> {
        let gather = Gather::Whole(tensor.name.clone());
        let weight = Weight::new(&self.pack.plan.checkpoint.source, &gather, &tensor.shape)?;
        let place = tensor.places.first().copied().unwrap_or(0);
        if weight.cols == 0 {
            return Ok(());
        }
        let not_weights = || Error::NotWeights { tensor: tensor.name.clone(), found: storage.name().into() };
        let row_bytes = storage.bytes(&[weight.cols]).ok_or_else(not_weights)?;
        let band = (BAND / weight.cols).max(1).next_multiple_of(weight.step);
        let float = matches!(storage, Storage::Plain(Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16));
        for first in (0..weight.rows).step_by(band) {
            let rows = first..weight.rows.min(first + band);
            let stored = weight.bytes(rows.clone());
            if float || stored.is_none() {
                self.values.resize(rows.len() * weight.cols, 0.0);
                weight.read(self.pack.isa, rows.clone(), &mut self.scratch, &mut self.values)?;
                if let Some(at) = first_non_finite(self.pack.isa, &self.values) {
                    let (row, column) = (first + at / weight.cols, at % weight.cols);
                    return Err(Error::NotFinite { tensor: tensor.name.clone(), row, column, value: self.values[at] });
                }
            }
            if let Some(bytes) = stored.filter(|_| weight.storage() == storage) {
                self.sink.write_at(place, first * row_bytes, bytes)?;
            } else {
                self.records.resize(rows.len() * row_bytes, 0);
                let codec = block::codec(storage.name()).ok_or_else(not_weights)?;
                codec.encode(self.pack.isa, &self.values, weight.cols, None, &mut self.records);
                self.sink.write_at(place, first * row_bytes, &self.records)?;
            }
            (self.pack.progress)((rows.len() * weight.cols) as u64);
        }
        Ok(())
    }
}
