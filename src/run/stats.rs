//! What calibration keeps of the values that flow through a model: sums of squares by channel.
//!
//! Statistics belong to values: weights that read one value share them. The sum over one sequence is made in f64, in the
//! order of its tokens; then it is rounded to a multiple of 2^-72, and from there on addition is exact. So the result
//! does not depend on how sequences are grouped, or on which run they were part of.

use std::collections::BTreeMap;

use planish_kernels::Isa;
use planish_kernels::cpu::sum_squares;

use super::executor::{Error, ExpertRows, Result, Tap};
use crate::imatrix::{EXACT_BITS, Entry};
use crate::model::{Layer, Op, Param, Role, Value};

/// Sums of squares of everything that linear layers read.
pub struct Squares {
    isa: Isa,
    /// Tokens of a sequence.
    tokens: usize,
    /// By layer and value.
    values: BTreeMap<(String, Value), Sums>,
    /// The same of what experts read.
    experts: BTreeMap<(String, Value), Sums>,
    /// Whether every expert is measured on every token.
    every: bool,
}

struct Sums {
    /// GGUF names of the weights that read the value.
    weights: Vec<String>,
    /// In multiples of 2^-72, one a channel of each matrix.
    exact: Vec<i128>,
    /// Tokens seen by each matrix.
    counts: Vec<u64>,
    /// Tokens that went to each matrix: fewer, where all are measured on all.
    routed: Vec<u64>,
}

impl Squares {
    /// Nothing yet, of sequences of `tokens` tokens.
    pub fn new(isa: Isa, tokens: usize) -> Squares {
        Squares { isa, tokens, values: BTreeMap::new(), experts: BTreeMap::new(), every: false }
    }

    /// Every expert is measured on every token, whoever it goes to.
    pub fn every_expert(self) -> Squares {
        Squares { every: true, ..self }
    }

    /// For each stack of experts, by the name of one of its weights, how many tokens went to each.
    pub fn coverage(&self) -> BTreeMap<&str, &[u64]> {
        let stacks = self.experts.values().flat_map(|sums| sums.weights.iter().map(move |w| (w.as_str(), sums)));
        stacks.map(|(name, sums)| (name, sums.routed.as_slice())).collect()
    }

    /// What was seen, by the names of the weights.
    pub fn entries(&self) -> BTreeMap<String, Entry> {
        let all = self.values.values().chain(self.experts.values());
        let seen = all.filter(|sums| sums.counts.iter().any(|&count| count > 0));
        let entries = seen.flat_map(|sums| {
            // Sums of squares are never negative and never NaN, and there is one for each channel.
            let entry = Entry::exact(sums.exact.clone(), sums.counts.clone()).ok();
            sums.weights.iter().filter_map(move |name| Some((name.clone(), entry.clone()?)))
        });
        entries.collect()
    }
}

impl Sums {
    /// Adds the sums of a sequence of so many tokens. `first` is a weight that reads the value, for the message.
    fn add(&mut self, first: &Param, sums: &[f64], tokens: usize) -> Result<()> {
        for (channel, (exact, &sum)) in self.exact.iter_mut().zip(sums).enumerate() {
            let added = multiple(sum).and_then(|sum| exact.checked_add(sum));
            *exact = added.ok_or_else(|| Error::Activation { tensor: first.name.clone(), channel })?;
        }
        self.counts[0] += tokens as u64;
        Ok(())
    }
}

impl Squares {
    /// The sums of a value, and the first weight that reads it; `None` where nobody wants them.
    fn sums<'l>(&mut self, layer: &'l Layer, value: Value) -> Option<(&'l Param, &mut Sums)> {
        // A tied head multiplies by the embedding, which llama-imatrix leaves out.
        let reads = layer.ops.iter().filter(|op| !op.apart()).filter_map(Op::reads);
        let mut readers = reads.filter(|(v, w)| *v == value && w.role != Role::TokenEmbd).map(|(_, w)| w);
        let first = readers.next()?;
        let width = first.shape.last().copied().unwrap_or(1);
        let sums = self.values.entry((layer.name.clone(), value)).or_insert_with(|| Sums {
            weights: std::iter::once(first).chain(readers).map(|w| w.name.clone()).collect(),
            exact: vec![0; width],
            counts: vec![0],
            routed: vec![0],
        });
        Some((first, sums))
    }
}

impl Tap for Squares {
    fn value(&mut self, layer: &Layer, value: Value, x: &[f32]) -> Result<()> {
        let (isa, tokens) = (self.isa, self.tokens);
        let Some((first, sums)) = self.sums(layer, value) else { return Ok(()) };
        let width = sums.exact.len();
        let mut sequence_sums = vec![0.0; width];
        for sequence in x.chunks(tokens * width) {
            sequence_sums.fill(0.0);
            sum_squares(isa, sequence, width, &mut sequence_sums);
            sums.add(first, &sequence_sums, sequence.len() / width)?;
        }
        Ok(())
    }

    fn wants_squares(&self) -> bool {
        true
    }

    fn squares(&mut self, layer: &Layer, value: Value, sequence_sums: &[f64], tokens: usize) -> Result<()> {
        let Some((first, sums)) = self.sums(layer, value) else { return Ok(()) };
        let width = sums.exact.len();
        sequence_sums.chunks_exact(width.max(1)).try_for_each(|sequence| sums.add(first, sequence, tokens))
    }

    fn expert(&mut self, layer: &Layer, value: Value, rows: &ExpertRows<'_>) -> Result<()> {
        let reads = layer.ops.iter().filter(|op| op.apart()).filter_map(Op::reads);
        let mut readers = reads.filter(|(v, _)| *v == value).map(|(_, w)| w);
        let Some(first) = readers.next() else { return Ok(()) };
        let (experts, width) = (first.shape[0], first.shape[2]);
        let sums = self.experts.entry((layer.name.clone(), value)).or_insert_with(|| Sums {
            weights: std::iter::once(first).chain(readers).map(|w| w.name.clone()).collect(),
            exact: vec![0; experts * width],
            counts: vec![0; experts],
            routed: vec![0; experts],
        });
        let exact = &mut sums.exact[rows.expert * width..][..width];
        let (mut sequence_sums, mut x) = (vec![0.0; width], rows.x);
        for sequence in rows.tokens.chunk_by(|a, b| a / self.tokens == b / self.tokens) {
            let (part, rest) = x.split_at(sequence.len() * width);
            x = rest;
            sequence_sums.fill(0.0);
            sum_squares(self.isa, part, width, &mut sequence_sums);
            for (channel, (exact, &sum)) in exact.iter_mut().zip(&sequence_sums).enumerate() {
                let added = multiple(sum).and_then(|sum| exact.checked_add(sum));
                *exact = added.ok_or_else(|| Error::Activation { tensor: first.name.clone(), channel })?;
            }
        }
        sums.counts[rows.expert] += rows.tokens.len() as u64;
        sums.routed[rows.expert] += rows.routed as u64;
        Ok(())
    }

    fn every_expert(&self) -> bool {
        self.every
    }
}

/// The nearest multiple of 2^-72; `None` for what is not finite or past 2^54.
fn multiple(sum: f64) -> Option<i128> {
    // Powers of two only shift, so the product is exact.
    let scaled = sum * (1u128 << EXACT_BITS) as f64;
    (scaled < (1u128 << 126) as f64).then(|| scaled.round_ties_even() as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_sum_is_none() {
        assert_eq!(multiple(1.0), Some(1 << EXACT_BITS));
        assert_eq!(multiple(0.0), Some(0));
        assert_eq!(multiple(1e-30), Some(0));
        assert_eq!(multiple(f64::NAN), None);
        assert_eq!(multiple(f64::INFINITY), None);
        assert_eq!(multiple(2e16), None);
    }
}
