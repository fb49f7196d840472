//! Where rounded weights go in a GGUF.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use planish_formats::{Sink, Storage};
use planish_kernels::Isa;
use planish_kernels::block::{self, Codec};

use super::layerwise::Destination;
use super::{Error, Result};
use crate::model::{Param, paired_row};
use crate::plan::Planned;

/// The tensors of a planned GGUF, written by the names of the program's weights.
pub struct IntoGguf<'a> {
    tensors: &'a [Planned],
    places: BTreeMap<&'a str, usize>,
    sink: &'a dyn Sink,
    isa: Isa,
    written: Mutex<BTreeSet<usize>>,
}

impl<'a> IntoGguf<'a> {
    /// Writes `tensors` to `sink`, which has them in this order.
    pub fn new(isa: Isa, tensors: &'a [Planned], sink: &'a dyn Sink) -> IntoGguf<'a> {
        let places = tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.as_str(), at)).collect();
        IntoGguf { tensors, places, sink, isa, written: Mutex::default() }
    }

    /// The places of the tensors that were written.
    pub fn written(self) -> BTreeSet<usize> {
        self.written.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn planned(&self, param: &Param) -> Option<(usize, &Planned)> {
        let at = *self.places.get(param.name.as_str())?;
        Some((at, &self.tensors[at]))
    }

    fn write(&self, param: &Param, at: usize, bytes: &[u8]) -> Result<()> {
        let Some(heads) = param.pairs else {
            self.sink.write_at(at, 0, bytes)?;
            self.note(at);
            return Ok(());
        };
        let rows = param.shape.first().copied().unwrap_or(1).max(1);
        let (head_dim, row_bytes) = (rows / heads.max(1), bytes.len() / rows);
        let from = |row: usize| paired_row(row, head_dim) * row_bytes;
        let paired: Vec<u8> = (0..rows).flat_map(|row| &bytes[from(row)..from(row) + row_bytes]).copied().collect();
        self.sink.write_at(at, 0, &paired)?;
        self.note(at);
        Ok(())
    }

    fn note(&self, at: usize) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(at);
    }
}

impl Destination for IntoGguf<'_> {
    fn codec(&self, weight: &Param, _: f32) -> Option<Box<dyn Codec + Send + '_>> {
        let (_, planned) = self.planned(weight)?;
        match planned.choice.ty.storage() {
            Storage::Blocks(ty) if planned.source != Storage::Blocks(ty) => Some(Box::new(block::codec(ty.name())?)),
            Storage::Blocks(_) | Storage::Plain(_) => None,
        }
    }

    fn takes(&self, vector: &Param) -> bool {
        self.planned(vector).is_some_and(|(_, planned)| block::codec(planned.choice.ty.name()).is_some())
    }

    fn stored(&self, vector: &Param, values: &[f32]) -> Vec<f32> {
        let Some(codec) = self.planned(vector).and_then(|(_, planned)| block::codec(planned.choice.ty.name())) else {
            return values.to_vec();
        };
        let (mut bytes, mut stored) = (vec![0; values.len() * codec.block_bytes()], vec![0.0; values.len()]);
        codec.encode(self.isa, values, values.len(), None, &mut bytes);
        codec.decode(self.isa, &bytes, &mut stored);
        stored
    }

    fn put(&self, weight: &Param, _: f32, blocks: &[u8]) -> Result<()> {
        let missing = || Error::NotWeights { tensor: weight.name.clone(), found: "nothing".into() };
        let (at, _) = self.planned(weight).ok_or_else(missing)?;
        self.write(weight, at, blocks)
    }

    fn put_vector(&self, vector: &Param, values: &[f32]) -> Result<()> {
        let missing = || Error::NotWeights { tensor: vector.name.clone(), found: "nothing".into() };
        let (at, planned) = self.planned(vector).ok_or_else(missing)?;
        let codec = block::codec(planned.choice.ty.name()).ok_or_else(missing)?;
        let mut bytes = vec![0; values.len() * codec.block_bytes()];
        codec.encode(self.isa, values, values.len(), None, &mut bytes);
        self.write(vector, at, &bytes)
    }
}
