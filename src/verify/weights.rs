//! Every weight of the candidate against the reference's, before anything is run: what is quantized and how far it
//! moved, and which tensor is not the same weights at all.

use std::collections::BTreeSet;

use planish_kernels::{Isa, first_non_finite};
use rayon::prelude::*;

use super::party::Party;
use super::report::{Coverage, StorageShare, Tensor};
use super::{Error, Result, Which};
use crate::model::{Gather, Layer, Param};
use crate::run::{self, Scratch, Weight};

/// A relative error from which on a tensor is not a rounding of the reference's. Zeros have 1, unrelated weights the
/// root of 2; a type of one bit stays below 0.8.
pub(super) const ALIEN: f64 = 0.9;
/// Elements that a thread holds of each side.
const BAND: usize = 1 << 16;
/// Rows that are looked at to say where alien weights come from.
const SAMPLE: usize = 64;

/// Compares all weights; `done` is told the tensors done and how many there are, and may stop it.
pub(super) fn compare(
    isa: Isa,
    reference: &Party<'_>,
    candidate: &Party<'_>,
    done: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Tensor>> {
    let params = pairs(reference, candidate);
    let (total, mut tensors) = (params.len(), Vec::with_capacity(params.len()));
    for (at, pair) in params.iter().enumerate() {
        let [a, b] = pair.weights(reference, candidate)?;
        let (rows, cols) = (a.rows, a.cols);
        let error = relative(isa, [&a, &b], [&pair.reference.name, &pair.candidate.name], 0..rows)?;
        let (elements, bits) = ((rows * cols) as u64, b.bits());
        let mut tensor = Tensor {
            name: pair.candidate.name.clone(),
            block: pair.block,
            role: pair.candidate.role.gguf().to_owned(),
            storage: b.storage().name().into_owned(),
            reference_type: a.storage().name().into_owned(),
            weights: elements,
            bits,
            relative_error: error.relative(),
            problem: None,
        };
        if error.relative().is_none_or(|error| error >= ALIEN) {
            tensor.problem = Some(explain(isa, &params, pair, &error, reference, candidate)?);
        }
        tensors.push(tensor);
        done(at + 1, total)?;
    }
    Ok(tensors)
}

/// How much of the candidate is quantized.
pub(super) fn coverage(tensors: &[Tensor]) -> Coverage {
    let mut types: Vec<StorageShare> = vec![];
    for tensor in tensors {
        let bytes = (tensor.weights as f64 * tensor.bits / 8.0) as u64;
        match types.iter_mut().find(|share| share.storage == tensor.storage) {
            Some(share) => {
                share.tensors += 1;
                share.weights += tensor.weights;
                share.bytes += bytes;
            }
            None => types.push(StorageShare {
                storage: tensor.storage.clone(),
                tensors: 1,
                weights: tensor.weights,
                bytes,
                bits: tensor.bits,
            }),
        }
    }
    types.sort_by_key(|share| std::cmp::Reverse(share.weights));
    let weights: u64 = types.iter().map(|share| share.weights).sum();
    let quantized: u64 = types.iter().filter(|share| share.bits < 16.0).map(|share| share.weights).sum();
    let bytes: u64 = types.iter().map(|share| share.bytes).sum();
    let whole = weights.max(1) as f64;
    Coverage { weights, quantized, share: quantized as f64 / whole, bits_per_weight: bytes as f64 * 8.0 / whole, types }
}

/// A weight in both.
struct Pair<'a> {
    block: Option<usize>,
    reference: &'a Param,
    candidate: &'a Param,
    /// Both in the order that a GGUF has.
    gathers: [Gather; 2],
}

impl Pair<'_> {
    fn weights<'b>(&'b self, reference: &'b Party<'_>, candidate: &'b Party<'_>) -> Result<[Weight<'b>; 2]> {
        let open = |party: &'b Party<'_>, gather: &'b Gather, param: &Param| {
            let weight = Weight::new(&party.checkpoint.source, gather, &param.shape);
            weight.map_err(|source| Error::Weights { which: party.which, source })
        };
        let a = open(reference, &self.gathers[0], self.reference)?;
        let b = open(candidate, &self.gathers[1], self.candidate)?;
        Ok([a, b])
    }
}

/// The weights of both in the order of execution. Their programs have the same shape: that was checked before.
fn pairs<'a>(reference: &'a Party<'_>, candidate: &'a Party<'_>) -> Vec<Pair<'a>> {
    let mut seen = BTreeSet::new();
    let both = reference.subject.model.params().zip(candidate.subject.model.params());
    both.filter(|((_, a), (_, b))| a.shape == b.shape)
        .filter(|(_, (_, b))| seen.insert(b.name.as_str()))
        .map(|((layer, a), (_, b)): ((&Layer, &Param), (&Layer, &Param))| Pair {
            block: layer.block,
            reference: a,
            candidate: b,
            gathers: [a.in_gguf(), b.in_gguf()],
        })
        .collect()
}

/// Squares of the reference, of the candidate, and of the difference.
#[derive(Clone, Copy, Default)]
struct Squares {
    reference: f64,
    candidate: f64,
    difference: f64,
}

impl Squares {
    fn relative(&self) -> Option<f64> {
        let error = if self.difference == 0.0 { 0.0 } else { (self.difference / self.reference).sqrt() };
        error.is_finite().then_some(error)
    }
}

/// How far the candidate's rows are from the reference's. A vector is compared whole: it may be one row in one and a
/// column in the other.
fn relative(isa: Isa, weights: [&Weight<'_>; 2], names: [&str; 2], rows: std::ops::Range<usize>) -> Result<Squares> {
    let cols = weights[0].cols.max(1);
    let vector = weights[0].cols != weights[1].cols;
    let step = weights.iter().map(|weight| weight.step).max().unwrap_or(1);
    let band = (BAND / cols).max(1).next_multiple_of(step);
    let starts: Vec<usize> = if vector { vec![0] } else { (rows.start..rows.end).step_by(band).collect() };
    let bands = starts.into_par_iter().map_init(
        || (Scratch::default(), vec![], vec![]),
        |(scratch, a, b), start| -> Result<Squares> {
            for (i, out) in [&mut *a, &mut *b].into_iter().enumerate() {
                let (which, cols) = ([Which::Reference, Which::Candidate][i], weights[i].cols.max(1));
                let part = if vector { 0..weights[i].rows } else { start..rows.end.min(start + band) };
                out.resize(part.len() * cols, 0.0);
                read(isa, weights[i], part.clone(), scratch, out).map_err(|source| Error::Weights { which, source })?;
                if let Some(at) = first_non_finite(isa, out) {
                    let (tensor, row, column) = (names[i].to_owned(), part.start + at / cols, at % cols);
                    let source = run::Error::NotFinite { tensor, row, column, value: out[at] };
                    return Err(Error::Weights { which, source });
                }
            }
            Ok(a.iter().zip(&*b).fold(Squares::default(), |sum, (&a, &b)| {
                let (a, b) = (f64::from(a), f64::from(b));
                Squares {
                    reference: sum.reference + a * a,
                    candidate: sum.candidate + b * b,
                    difference: sum.difference + (a - b) * (a - b),
                }
            }))
        },
    );
    // Bands in order, whatever the threads did.
    bands.collect::<Vec<_>>().into_iter().try_fold(Squares::default(), |sum, band| {
        let band = band?;
        Ok(Squares {
            reference: sum.reference + band.reference,
            candidate: sum.candidate + band.candidate,
            difference: sum.difference + band.difference,
        })
    })
}

/// Rows that may come from several stacked tensors.
fn read(
    isa: Isa,
    weight: &Weight<'_>,
    rows: std::ops::Range<usize>,
    scratch: &mut Scratch,
    out: &mut [f32],
) -> run::Result<()> {
    let (piece, cols) = (weight.piece_rows.max(1), weight.cols);
    let mut start = rows.start;
    while start < rows.end {
        let end = rows.end.min((start / piece + 1) * piece);
        let at = (start - rows.start) * cols..(end - rows.start) * cols;
        weight.read(isa, start..end, scratch, &mut out[at])?;
        start = end;
    }
    Ok(())
}

/// What became of a tensor that is nothing like the reference's.
fn explain(
    isa: Isa,
    all: &[Pair<'_>],
    pair: &Pair<'_>,
    error: &Squares,
    reference: &Party<'_>,
    candidate: &Party<'_>,
) -> Result<String> {
    if error.candidate == 0.0 {
        return Ok("all weights are zero".to_owned());
    }
    let Some(found) = error.relative() else {
        return Ok("the reference's weights are all zero, these are not".to_owned());
    };
    let near = |gather: &Gather, of: &Pair<'_>| -> Result<bool> {
        let name = [of.reference.name.as_str(), pair.candidate.name.as_str()];
        let fail = |which| move |source| Error::Weights { which, source };
        let a = Weight::new(&reference.checkpoint.source, gather, &of.reference.shape);
        let a = a.map_err(fail(Which::Reference))?;
        let b = Weight::new(&candidate.checkpoint.source, &pair.gathers[1], &pair.candidate.shape);
        let b = b.map_err(fail(Which::Candidate))?;
        let rows = 0..a.rows.min(SAMPLE.next_multiple_of(a.step.max(b.step)));
        Ok(relative(isa, [&a, &b], name, rows)?.relative().is_some_and(|error| error < ALIEN / 2.0))
    };
    // The commonest mistake of converters: the rows of query and key heads in the other rope's order.
    let other_order = match &pair.gathers[0] {
        Gather::Paired { name, .. } => Some(Gather::Whole(name.clone())),
        Gather::Whole(_)
        | Gather::Rows(..)
        | Gather::Transposed(_)
        | Gather::Stacked(_)
        | Gather::Unpaired { .. }
        | Gather::Picked { .. }
        | Gather::Woven(_)
        | Gather::Heads { .. }
        | Gather::OfHeads(_)
        | Gather::Ungrouped { .. }
        | Gather::Grouped { .. }
        | Gather::Shifted { .. }
        | Gather::Columns { .. }
        | Gather::Zipped { .. }
        | Gather::Every { .. }
        | Gather::Computed(_) => None,
    };
    if let Some(order) = other_order
        && near(&order, pair)?
    {
        return Ok("the rows of its heads are in the order of the other rope (halves, not pairs)".to_owned());
    }
    let twin = all.iter().filter(|other| {
        other.block != pair.block
            && other.reference.role == pair.reference.role
            && other.reference.shape == pair.reference.shape
    });
    for other in twin {
        if near(&other.gathers[0], other)? {
            return Ok(format!("holds the weights of {}", other.reference.name));
        }
    }
    Ok(format!("relative error {found:.2}: not the same weights"))
}
