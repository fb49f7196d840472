//! The weights of a layer, in memory while it runs.

use planish_formats::{Dtype, Source, Storage};
use planish_kernels::{Isa, cpu, first_non_finite};
use rayon::prelude::*;

use super::Result;
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
    Linear(Matrix<'a>, Option<Vec<f32>>, Storage),
    /// Matrices of which each is read when a token goes to its expert, and a bias for each.
    Experts(Weight<'a>, Option<Vec<f32>>),
    /// A vector beside an op that multiplies nothing.
    Vector(Option<Vec<f32>>),
}

/// A weight's elements.
pub(super) enum Matrix<'a> {
    /// Decoded.
    F32(Vec<f32>),
    /// Where they lie in the file.
    Bf16(&'a [u8]),
}

impl Matrix<'_> {
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
    pub(super) fn layer(isa: Isa, source: &'a dyn Source, ops: &'a [Op]) -> Result<Vec<Loaded<'a>>> {
        ops.iter().map(|op| Loaded::op(isa, source, op)).collect()
    }

    fn op(isa: Isa, source: &'a dyn Source, op: &'a Op) -> Result<Loaded<'a>> {
        Ok(match op {
            Op::Embed { table, .. } => Loaded::Table(Weight::new(source, &table.from, &table.shape)?),
            Op::Linear { w, bias, .. } => {
                let storage = Weight::new(source, &w.from, &w.shape)?.storage();
                Loaded::Linear(matrix(isa, source, w)?, vector(isa, source, bias.as_ref())?, storage)
            }
            Op::Norm { w, bias, .. } => {
                Loaded::Weight(Matrix::F32(decoded(isa, source, w)?), vector(isa, source, bias.as_ref())?)
            }
            Op::Experts { w, bias, .. } => {
                let weight = Weight::new(source, &w.from, &w.shape)?;
                Loaded::Experts(weight, vector(isa, source, bias.as_ref())?)
            }
            Op::Attend { scores, .. } => Loaded::Vector(vector(isa, source, scores.sinks.as_ref())?),
            Op::Route { bias, .. } => Loaded::Vector(vector(isa, source, bias.as_ref())?),
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
fn matrix<'a>(isa: Isa, source: &'a dyn Source, param: &'a Param) -> Result<Matrix<'a>> {
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

pub(super) fn vector(isa: Isa, source: &dyn Source, param: Option<&Param>) -> Result<Option<Vec<f32>>> {
    param.map(|param| decoded(isa, source, param)).transpose()
}

fn decoded(isa: Isa, source: &dyn Source, param: &Param) -> Result<Vec<f32>> {
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
