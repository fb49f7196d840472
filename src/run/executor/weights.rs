//! The weights of a layer, in memory while it runs.

use std::collections::BTreeMap;

use planish_formats::{Dtype, Storage};
use planish_kernels::{Isa, cpu, first_non_finite};
use rayon::prelude::*;

use super::Result;
use crate::dialect::{Stored, Tensors};
use crate::model::{Op, Param};
use crate::run::{Error, Scratch, Weight};

/// What an op needs of the checkpoint.
pub(super) enum Loaded<'a> {
    /// Nothing.
    None,
    /// A table whose rows are read when a token asks for them.
    Table(Weight<'a>),
    /// A weight and perhaps a bias.
    Weight(Matrix<'a>, Option<Vec<f32>>),
    /// The same of a product, and how the checkpoint stores the weight.
    Linear(Matrix<'a>, Option<Vec<f32>>, Stored),
    /// Matrices of which each is read when a token goes to its expert, and a bias for each.
    Experts(Stack<'a>, Option<Vec<f32>>),
    /// A vector beside an op that multiplies nothing.
    Vector(Option<Vec<f32>>),
    /// What attention's scores are changed by: sinks and the table of a bias.
    Scores(Option<Vec<f32>>, Option<Vec<f32>>),
}

/// The matrices of experts.
pub(super) enum Stack<'a> {
    /// Read when they are needed.
    Stored(Weight<'a>),
    /// In the place of those.
    Given(Vec<f32>),
}

/// A weight's elements.
pub(super) enum Matrix<'a> {
    /// Decoded.
    F32(Vec<f32>),
    /// Where they lie in the file.
    Bf16(&'a [u8]),
}

impl Matrix<'_> {
    /// The elements of a part of it.
    pub(super) fn part(&self, elements: std::ops::Range<usize>) -> cpu::Weight<'_> {
        match self {
            Matrix::F32(values) => cpu::Weight::F32(&values[elements]),
            Matrix::Bf16(bytes) => cpu::Weight::Bf16(&bytes[2 * elements.start..2 * elements.end]),
        }
    }

    pub(super) fn view(&self) -> cpu::Weight<'_> {
        match self {
            Matrix::F32(values) => cpu::Weight::F32(values),
            Matrix::Bf16(bytes) => cpu::Weight::Bf16(bytes),
        }
    }
}

/// Elements that a thread decodes at a time.
const BAND: usize = 1 << 16;

impl<'a> Loaded<'a> {
    /// What each of these ops needs.
    pub(super) fn layer(isa: Isa, source: &'a Tensors, ops: &'a [Op]) -> Result<Vec<Loaded<'a>>> {
        Loaded::replaced(isa, source, ops, &mut BTreeMap::new())
    }

    /// What each of these ops needs; what `given` has by name is taken from there.
    pub(super) fn replaced(
        isa: Isa,
        source: &'a Tensors,
        ops: &'a [Op],
        given: &mut BTreeMap<String, Vec<f32>>,
    ) -> Result<Vec<Loaded<'a>>> {
        ops.iter().map(|op| Loaded::op(isa, source, op, given)).collect()
    }

    fn op(isa: Isa, source: &'a Tensors, op: &'a Op, given: &mut BTreeMap<String, Vec<f32>>) -> Result<Loaded<'a>> {
        let mut bias_of = |param: Option<&Param>| match param.and_then(|param| given.remove(&param.name)) {
            Some(values) => Ok(Some(values)),
            None => vector(isa, source, param),
        };
        Ok(match op {
            Op::Embed { table, .. } => Loaded::Table(Weight::new(source, &table.from, &table.shape)?),
            Op::Linear { w, bias, .. } => {
                let bias = bias_of(bias.as_ref())?;
                let storage = Weight::new(source, &w.from, &w.shape)?.storage();
                let matrix = given.remove(&w.name).map_or_else(|| matrix(isa, source, w), |w| Ok(Matrix::F32(w)))?;
                Loaded::Linear(matrix, bias, storage)
            }
            Op::Heads { w, .. } => {
                let storage = Weight::new(source, &w.from, &w.shape)?.storage();
                let matrix = given.remove(&w.name).map_or_else(|| matrix(isa, source, w), |w| Ok(Matrix::F32(w)))?;
                Loaded::Linear(matrix, None, storage)
            }
            Op::Norm { w, bias, .. } => {
                let bias = bias_of(bias.as_ref())?;
                let w = given.remove(&w.name).map_or_else(|| decoded(isa, source, w), Ok)?;
                Loaded::Weight(Matrix::F32(w), bias)
            }
            Op::Experts { w, bias, .. } => {
                let bias = bias_of(bias.as_ref())?;
                let stack = match given.remove(&w.name) {
                    Some(values) => Stack::Given(values),
                    None => Stack::Stored(Weight::new(source, &w.from, &w.shape)?),
                };
                Loaded::Experts(stack, bias)
            }
            Op::Attend { scores, .. } => {
                let table = scores.bias.as_ref().map(|bias| &bias.table);
                Loaded::Scores(bias_of(scores.sinks.as_ref())?, bias_of(table)?)
            }
            Op::Route { bias, .. } => Loaded::Vector(bias_of(bias.as_ref())?),
            Op::Carried(_)
            | Op::Rope { .. }
            | Op::Slice { .. }
            | Op::Join { .. }
            | Op::Add(..)
            | Op::Mul(..)
            | Op::Act(..)
            | Op::Affine { .. }
            | Op::Clamp { .. }
            | Op::Softcap { .. }
            | Op::Mix { .. } => Loaded::None,
        })
    }
}

/// A matrix: bf16 stays where it is.
fn matrix<'a>(isa: Isa, source: &'a Tensors, param: &'a Param) -> Result<Matrix<'a>> {
    let weight = Weight::new(source, &param.from, &param.shape)?;
    match borrowed(&weight, 0..weight.rows) {
        Some(bytes) => {
            finite_bf16(&param.name, weight.cols, 0, bytes)?;
            Ok(Matrix::Bf16(bytes))
        }
        None => Ok(Matrix::F32(decoded(isa, source, param)?)),
    }
}

/// Rows that can be multiplied from the file as they are.
pub(super) fn borrowed<'a>(weight: &Weight<'a>, rows: std::ops::Range<usize>) -> Option<&'a [u8]> {
    let piece = weight.piece_rows.max(1);
    let whole = rows.start / piece == rows.end.saturating_sub(1) / piece;
    let plain = weight.storage() == Storage::Plain(Dtype::BF16) && whole;
    plain.then(|| weight.bytes(rows)).flatten()
}

pub(super) fn vector(isa: Isa, source: &Tensors, param: Option<&Param>) -> Result<Option<Vec<f32>>> {
    param.map(|param| decoded(isa, source, param)).transpose()
}

/// All elements of a weight, in the program's order.
pub(in crate::run) fn decoded(isa: Isa, source: &Tensors, param: &Param) -> Result<Vec<f32>> {
    let weight = Weight::new(source, &param.from, &param.shape)?;
    let mut values = vec![0.0; weight.rows * weight.cols];
    read(isa, &weight, &param.name, 0, &mut values)?;
    Ok(values)
}

/// Decodes the rows from `first` on that fill `out`, on all threads, and refuses what is not finite.
pub(super) fn read(isa: Isa, weight: &Weight<'_>, name: &str, first: usize, out: &mut [f32]) -> Result<()> {
    let cols = weight.cols.max(1);
    let rows = (BAND / cols).clamp(1, weight.piece_rows.max(1));
    out.par_chunks_mut(rows * cols)
        .enumerate()
        .map_init(Scratch::default, |scratch, (band, out)| {
            let start = first + band * rows;
            // A band that crosses into the next stacked tensor is read row by row.
            let crosses = start / weight.piece_rows != (start + out.len() / cols - 1) / weight.piece_rows;
            let step = if crosses { 1 } else { out.len() / cols };
            for (i, out) in out.chunks_mut(step * cols).enumerate() {
                let row = start + i * step;
                weight.read(isa, row..row + out.len() / cols, scratch, out)?;
            }
            match first_non_finite(isa, out) {
                Some(at) => Err(not_finite(name, cols, start * cols + at, out[at])),
                None => Ok(()),
            }
        })
        // Of several failures the first in the tensor is reported, whichever thread met it.
        .collect::<Vec<Result<(), Error>>>()
        .into_iter()
        .collect::<Result<(), Error>>()?;
    Ok(())
}

/// Refuses NaN and infinity: all bits of the exponent set. `first` is the row that `bytes` begin with.
pub(super) fn finite_bf16(name: &str, cols: usize, first: usize, bytes: &[u8]) -> Result<()> {
    const EXPONENT: u16 = 0x7f80;
    let bad = |pair: &[u8; 2]| u16::from_le_bytes(*pair) & EXPONENT == EXPONENT;
    let any = |chunk: &[[u8; 2]]| chunk.iter().fold(false, |any, pair| any | bad(pair));
    let pairs = bytes.as_chunks::<2>().0;
    let Some(chunk) = pairs.par_chunks(BAND).position_first(any) else { return Ok(()) };
    match pairs[chunk * BAND..].iter().position(bad) {
        Some(i) => {
            let at = chunk * BAND + i;
            let value = f32::from_bits(u32::from(u16::from_le_bytes(pairs[at])) << 16);
            Err(not_finite(name, cols, first * cols + at, value).into())
        }
        None => Ok(()),
    }
}

fn not_finite(name: &str, cols: usize, at: usize, value: f32) -> Error {
    Error::NotFinite { tensor: name.to_owned(), row: at / cols.max(1), column: at % cols.max(1), value }
}
