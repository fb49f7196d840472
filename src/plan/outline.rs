//! What there is to tell of a plan, whatever it ends in.

use planish_formats::GgmlType;

use super::{Coverage, Planned};
use crate::checkpoint::Checkpoint;

/// A plan as reports see it.
#[derive(Clone, Copy)]
pub struct Outline<'a> {
    /// What is read.
    pub checkpoint: &'a Checkpoint,
    /// GGUF's name of the architecture.
    pub architecture: &'a str,
    /// The mix, or `hf`.
    pub target: &'a str,
    /// `general.file_type` of the result, if it has one.
    pub file_type: Option<u32>,
    /// The result's tensors, in file order.
    pub tensors: &'a [Planned],
    /// What an importance matrix said of them, if there is one.
    pub coverage: Option<&'a Coverage>,
    /// What a person should know before starting.
    pub warnings: &'a [String],
}

impl Outline<'_> {
    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.tensors.iter().map(Planned::weights).sum()
    }

    /// Bytes of all tensors of the result.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes).sum()
    }

    /// Bits a weight, over all tensors of the result.
    pub fn bits_per_weight(&self) -> f64 {
        self.tensor_bytes() as f64 * 8.0 / self.weights().max(1) as f64
    }

    /// How many tensors have each type, largest share first.
    pub fn histogram(&self) -> Vec<(GgmlType, usize, u64)> {
        let mut counts: Vec<(GgmlType, usize, u64)> = Vec::new();
        for tensor in self.tensors {
            match counts.iter_mut().find(|(ty, ..)| *ty == tensor.choice.ty) {
                Some((_, count, bytes)) => (*count, *bytes) = (*count + 1, *bytes + tensor.bytes),
                None => counts.push((tensor.choice.ty, 1, tensor.bytes)),
            }
        }
        counts.sort_by_key(|(_, _, bytes)| std::cmp::Reverse(*bytes));
        counts
    }
}
