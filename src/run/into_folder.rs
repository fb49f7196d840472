//! Where rounded weights go in a quantized safetensors folder.

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
    written: Mutex<BTreeSet<usize>>,
}

impl<'a> IntoFolder<'a> {
    /// Writes the tensors of `plan` to `sink`.
    pub fn new(isa: Isa, plan: &'a Quantization, sink: &'a dyn Sink) -> IntoFolder<'a> {
        let places = plan.tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.as_str(), at)).collect();
        let (tensors, shares) = (&plan.tensors[..], plan.target.shares());
        IntoFolder { tensors, places, sink, isa, shares, written: Mutex::default() }
    }

    /// The places in the plan of the tensors that were written.
    pub fn written(self) -> BTreeSet<usize> {
        self.written.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn converted(&self, param: &Param) -> Option<(usize, &'a Converted)> {
        let Gather::Whole(name) = &param.from else { return None };
        let at = *self.places.get(name.as_str())?;
        Some((at, &self.tensors[at]))
    }

    fn linear(&self, param: &Param) -> Option<(usize, &'a Converted, &'a Linear)> {
        match self.converted(param)? {
            (at, tensor @ Converted { becomes: Becomes::Packed { linear, .. }, .. }) => Some((at, tensor, linear)),
            _ => None,
        }
    }

    /// The codec of a vector, which keeps its type.
    fn kept(&self, param: &Param) -> Option<(usize, &'a Converted, &'static dyn Codec)> {
        match self.converted(param)? {
            (at, tensor @ Converted { becomes: Becomes::Kept(storage @ Storage::Plain(_)), .. }) => {
                Some((at, tensor, block::codec(storage.name())?))
            }
            _ => None,
        }
    }

    fn global(&self, largest: f32) -> f32 {
        if self.shares { nvfp4_global_scale(largest) } else { 1.0 }
    }

    fn write(&self, at: usize, tensor: &Converted, parts: &[Vec<u8>]) -> Result<()> {
        for (place, bytes) in tensor.places.iter().zip(parts) {
            self.sink.write_at(*place, 0, bytes)?;
        }
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(at);
        Ok(())
    }
}

impl Destination for IntoFolder<'_> {
    fn codec(&self, weight: &Param, largest: f32) -> Option<Box<dyn Codec + Send + '_>> {
        let (_, _, linear) = self.linear(weight)?;
        Some(linear.codec(self.global(largest)))
    }

    fn stored(&self, vector: &Param, values: &[f32]) -> Vec<f32> {
        let Some((_, _, codec)) = self.kept(vector) else { return values.to_vec() };
        let (mut bytes, mut stored) = (vec![0; values.len() * codec.block_bytes()], vec![0.0; values.len()]);
        codec.encode(self.isa, values, values.len(), None, &mut bytes);
        codec.decode(self.isa, &bytes, &mut stored);
        stored
    }

    fn put(&self, weight: &Param, largest: f32, blocks: &[u8]) -> Result<()> {
        let missing = || Error::NotWeights { tensor: weight.name.clone(), found: "nothing".into() };
        let (at, tensor, linear) = self.linear(weight).ok_or_else(missing)?;
        if blocks.len() != linear.record_bytes() {
            return Err(missing());
        }
        self.write(at, tensor, &linear.pack(self.global(largest), blocks))
    }

    fn put_vector(&self, vector: &Param, values: &[f32]) -> Result<()> {
        let missing = || Error::NotWeights { tensor: vector.name.clone(), found: "nothing".into() };
        let (at, tensor, codec) = self.kept(vector).ok_or_else(missing)?;
        let mut bytes = vec![0; values.len() * codec.block_bytes()];
        codec.encode(self.isa, values, values.len(), None, &mut bytes);
        self.write(at, tensor, &[bytes])
    }
}
