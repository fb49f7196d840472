//! Where rounded weights go in a quantized safetensors folder.
//!
//! A weight of the program need not be a tensor of the checkpoint: experts are stacked, and query, key and value may lie in
//! one. Every row of it is a row of some tensor, though, and rows are rounded alone; a tensor is written when all of its rows
//! have come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use planish_formats::{Sink, Storage};
use planish_kernels::Isa;
use planish_kernels::block::{self, Codec};
use planish_kernels::group::nvfp4_global_scale;

use super::layerwise::Destination;
use super::{Error, Result};
use crate::dialect::Linear;
use crate::model::{Gather, Param};
use crate::plan::{Becomes, Converted, Quantization};

/// The tensors of a planned folder, written by the program's weights.
pub struct IntoFolder<'a> {
    tensors: &'a [Converted],
    places: BTreeMap<&'a str, usize>,
    sink: &'a dyn Sink,
    isa: Isa,
    /// Whether linears that read one value share a scale.
    shares: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    written: BTreeSet<usize>,
    /// The records of tensors some of whose rows have come, and how many.
    open: BTreeMap<usize, (Vec<u8>, usize)>,
}

impl<'a> IntoFolder<'a> {
    /// Writes the tensors of `plan` to `sink`.
    pub fn new(isa: Isa, plan: &'a Quantization, sink: &'a dyn Sink) -> IntoFolder<'a> {
        let places = plan.tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.as_str(), at)).collect();
        let (tensors, shares) = (&plan.tensors[..], plan.target.shares());
        IntoFolder { tensors, places, sink, isa, shares, state: Mutex::default() }
    }

    /// The places in the plan of the tensors that were written.
    pub fn written(self) -> BTreeSet<usize> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).written
    }

    fn linear(&self, name: &str) -> Option<(usize, &'a Linear)> {
        let at = *self.places.get(name)?;
        match &self.tensors[at].becomes {
            Becomes::Packed { linear, .. } => Some((at, linear)),
            Becomes::Kept(_) => None,
        }
    }

    /// The linears that a weight's rows are rows of, in the order of its matrices.
    fn linears(&self, weight: &Param) -> Option<Vec<(usize, &'a Linear)>> {
        weight.from.linears()?.into_iter().map(|name| self.linear(name)).collect()
    }

    /// A vector, which keeps its type; and by how much the program's values are larger than the checkpoint's.
    fn vector(&self, param: &Param) -> Option<(usize, &'static dyn Codec, f32)> {
        let (name, by) = match &param.from {
            Gather::Whole(name) => (name, 0.0),
            Gather::Shifted { name, by } => (name, *by),
            _ => return None,
        };
        let at = *self.places.get(name.as_str())?;
        match self.tensors[at].becomes {
            Becomes::Kept(storage @ Storage::Plain(_)) => Some((at, block::codec(storage.name())?, by)),
            Becomes::Kept(Storage::Blocks(_)) | Becomes::Packed { .. } => None,
        }
    }

    fn encoded(&self, codec: &dyn Codec, by: f32, values: &[f32]) -> Vec<u8> {
        let values: Vec<f32> = values.iter().map(|value| value - by).collect();
        let mut bytes = vec![0; values.len() * codec.block_bytes()];
        codec.encode(self.isa, &values, values.len(), None, &mut bytes);
        bytes
    }

    fn global(&self, largest: f32) -> f32 {
        if self.shares { nvfp4_global_scale(largest) } else { 1.0 }
    }

    fn write(&self, at: usize, parts: &[Vec<u8>]) -> Result<()> {
        for (place, bytes) in self.tensors[at].places.iter().zip(parts) {
            self.sink.write_at(*place, 0, bytes)?;
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).written.insert(at);
        Ok(())
    }

    /// Takes rows of a linear, each with its place there; gives back the records of all of them once they are complete.
    fn collect<'b>(
        &self,
        at: usize,
        linear: &Linear,
        rows: impl Iterator<Item = (usize, &'b [u8])>,
    ) -> Option<Vec<u8>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (records, come) = state.open.entry(at).or_insert_with(|| (vec![0; linear.record_bytes()], 0));
        for (row, bytes) in rows {
            records.get_mut(row * bytes.len()..(row + 1) * bytes.len())?.copy_from_slice(bytes);
            *come += 1;
        }
        if *come < linear.shape()[0] { None } else { state.open.remove(&at).map(|(records, _)| records) }
    }
}

fn missing(param: &Param) -> Error {
    Error::NotWeights { tensor: param.name.clone(), found: "nothing that can be packed".into() }
}

impl Destination for IntoFolder<'_> {
    fn codec(&self, weight: &Param, largest: f32) -> Option<Box<dyn Codec + Send + '_>> {
        let linears = self.linears(weight)?;
        Some(linears.first()?.1.codec(self.global(largest)))
    }

    fn takes(&self, vector: &Param) -> bool {
        self.vector(vector).is_some()
    }

    fn stored(&self, vector: &Param, values: &[f32]) -> Vec<f32> {
        let Some((_, codec, by)) = self.vector(vector) else { return values.to_vec() };
        let mut stored = vec![0.0; values.len()];
        codec.decode(self.isa, &self.encoded(codec, by, values), &mut stored);
        for value in &mut stored {
            *value += by;
        }
        stored
    }

    fn put(&self, weight: &Param, largest: f32, blocks: &[u8]) -> Result<()> {
        let linears = self.linears(weight).filter(|linears| !linears.is_empty()).ok_or_else(|| missing(weight))?;
        let cols = weight.shape.last().copied().unwrap_or(1).max(1);
        let rows = weight.shape.iter().product::<usize>() / cols;
        let (each, row_bytes) = (rows / linears.len(), blocks.len() / rows.max(1));
        for ((at, linear), blocks) in linears.iter().zip(blocks.chunks((each * row_bytes).max(1))) {
            let placed = blocks.chunks(row_bytes.max(1)).enumerate();
            let placed = placed.map(|(row, bytes)| (weight.from.source_row(row, each), bytes));
            if let Some(records) = self.collect(*at, linear, placed) {
                self.write(*at, &linear.pack(self.global(largest), &records))?;
            }
        }
        Ok(())
    }

    fn put_vector(&self, vector: &Param, values: &[f32]) -> Result<()> {
        let (at, codec, by) = self.vector(vector).ok_or_else(|| missing(vector))?;
        self.write(at, &[self.encoded(codec, by, values)])
    }
}
