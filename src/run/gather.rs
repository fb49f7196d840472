//! One weight of the release, read row by row from wherever the checkpoint keeps it.

use std::ops::Range;

use planish_formats::{Dtype, Source, Storage, View};
use planish_kernels::{Isa, block};

use super::{Error, Result};
use crate::model::Gather;

/// Buffers that one thread reuses from band to band.
#[derive(Default)]
pub struct Scratch {
    /// Decoded source rows, where they have to be moved before they are in place.
    rows: Vec<f32>,
}

/// A weight as a matrix of rows that can be read in any band. A vector is one row.
pub struct Weight<'a> {
    /// Elements a row.
    pub cols: usize,
    /// Number of rows.
    pub rows: usize,
    /// Rows that come from one tensor; a band must not cross into the next.
    pub piece_rows: usize,
    /// A band begins at a multiple of so many rows: the stored blocks lie across them.
    pub step: usize,
    parts: Parts<'a>,
}

/// Where the rows are.
enum Parts<'a> {
    /// Row `i` is row `from + i` of one tensor.
    Run { view: View<'a>, from: usize },
    /// Equal tensors one after the other.
    Stack(Vec<View<'a>>),
    /// Rows in another order, or some of them only: row `i` of `rows` is the row that [`Gather::source_row`] says.
    Moved { view: View<'a>, gather: &'a Gather, rows: usize },
    /// So many rows of each tensor in turn.
    Woven(Vec<(View<'a>, usize)>),
    /// One tensor with a number added to each element.
    Shifted { view: View<'a>, by: f32 },
    /// Matrices stored `[in, step * out]`, `out` rows of each.
    Columns { view: View<'a>, step: usize, first: usize, out: usize },
    /// Every `step`-th element from `first` on.
    Every { view: View<'a>, step: usize, first: usize },
    /// The tensor is stored `[in, out]`.
    Transposed { view: View<'a> },
    /// Not in the checkpoint at all.
    Values(&'a [f32]),
}

impl<'a> Weight<'a> {
    /// Finds the tensors of `gather` in `source`. `shape` is the result's; the model's checks have compared it with
    /// the source's.
    pub fn new(source: &'a dyn Source, gather: &'a Gather, shape: &[usize]) -> Result<Weight<'a>> {
        let (cols, rows) = match shape.split_last() {
            Some((&cols, outer)) => (cols, outer.iter().product()),
            None => (1, 1),
        };
        let mut weight = Weight { cols, rows, piece_rows: rows, step: 1, parts: Parts::Values(&[]) };
        weight.parts = match gather {
            Gather::Whole(name) => Parts::Run { view: source.require(name)?, from: 0 },
            Gather::Rows(name, from, _) => Parts::Run { view: source.require(name)?, from: *from },
            Gather::Transposed(name) => {
                let view = source.require(name)?;
                if let Storage::Blocks(ty) = view.info.storage {
                    weight.step = ty.block_len();
                }
                Parts::Transposed { view }
            }
            Gather::Stacked(names) => {
                let views = names.iter().map(|name| source.require(name)).collect::<Result<Vec<_>, _>>()?;
                weight.piece_rows = rows / views.len().max(1);
                Parts::Stack(views)
            }
            Gather::Paired { name, .. }
            | Gather::Unpaired { name, .. }
            | Gather::Picked { name, .. }
            | Gather::Ungrouped { name, .. }
            | Gather::Grouped { name, .. } => {
                weight.turn_bias(shape);
                Parts::Moved { view: source.require(name)?, gather, rows: weight.rows }
            }
            Gather::Woven(parts) => {
                weight.turn_bias(shape);
                let parts = parts.iter().map(|(name, rows)| Ok((source.require(name)?, *rows)));
                Parts::Woven(parts.collect::<Result<Vec<_>>>()?)
            }
            Gather::Shifted { name, by } => Parts::Shifted { view: source.require(name)?, by: *by },
            Gather::Columns { name, step, first } => {
                let view = source.require(name)?;
                if let Storage::Blocks(ty) = view.info.storage {
                    return Err(Error::NotWeights { tensor: name.clone(), found: ty.name() });
                }
                let out = shape.iter().rev().nth(1).copied().unwrap_or(1);
                Parts::Columns { view, step: *step, first: *first, out }
            }
            Gather::Every { name, step, first } => {
                Parts::Every { view: source.require(name)?, step: *step, first: *first }
            }
            Gather::Computed(values) => Parts::Values(values),
        };
        Ok(weight)
    }

    /// A bias: its elements move as a matrix's rows do.
    fn turn_bias(&mut self, shape: &[usize]) {
        if shape.len() == 1 {
            (self.rows, self.cols, self.piece_rows) = (self.cols, 1, self.cols);
        }
    }

    /// How the elements are stored.
    pub fn storage(&self) -> Storage {
        match &self.parts {
            Parts::Run { view, .. }
            | Parts::Moved { view, .. }
            | Parts::Shifted { view, .. }
            | Parts::Columns { view, .. }
            | Parts::Every { view, .. }
            | Parts::Transposed { view } => view.info.storage,
            Parts::Woven(parts) => parts.first().map_or(Storage::Plain(Dtype::F32), |(view, _)| view.info.storage),
            Parts::Stack(views) => views.first().map_or(Storage::Plain(Dtype::F32), |view| view.info.storage),
            Parts::Values(_) => Storage::Plain(Dtype::F32),
        }
    }

    /// The stored bytes of `rows` of one piece, where they lie in order.
    pub fn bytes(&self, rows: Range<usize>) -> Option<&'a [u8]> {
        let (view, at) = match &self.parts {
            Parts::Run { view, from } => (view, from + rows.start),
            Parts::Stack(views) => (&views[rows.start / self.piece_rows], rows.start % self.piece_rows),
            _ => return None,
        };
        let row = view.info.storage.bytes(&[self.cols])?;
        view.bytes.get(at * row..(at + rows.len()) * row)
    }

    /// Reads `rows` of one piece as f32 into `out`, which holds exactly them.
    pub fn read(&self, isa: Isa, rows: Range<usize>, scratch: &mut Scratch, out: &mut [f32]) -> Result<()> {
        debug_assert_eq!(out.len(), rows.len() * self.cols);
        match &self.parts {
            Parts::Run { view, from } => decode(isa, view, self.cols, (from + rows.start) * self.cols, out),
            Parts::Stack(views) => {
                let view = &views[rows.start / self.piece_rows];
                decode(isa, view, self.cols, rows.start % self.piece_rows * self.cols, out)
            }
            Parts::Moved { view, gather, rows: all } => {
                for (row, out) in rows.zip(out.chunks_exact_mut(self.cols)) {
                    decode(isa, view, self.cols, gather.source_row(row, *all) * self.cols, out)?;
                }
                Ok(())
            }
            Parts::Woven(parts) => {
                let per: usize = parts.iter().map(|(_, rows)| rows).sum::<usize>().max(1);
                for (row, out) in rows.zip(out.chunks_exact_mut(self.cols)) {
                    let mut at = row % per;
                    for (view, taken) in parts {
                        if at < *taken {
                            decode(isa, view, self.cols, (row / per * taken + at) * self.cols, out)?;
                            break;
                        }
                        at -= taken;
                    }
                }
                Ok(())
            }
            Parts::Shifted { view, by } => {
                decode(isa, view, self.cols, rows.start * self.cols, out)?;
                out.iter_mut().for_each(|x| *x += by);
                Ok(())
            }
            Parts::Columns { view, step, first, out: per } => {
                // A row of the source holds one element of each row of its matrix here.
                let width = per * step;
                scratch.rows.resize(width, 0.0);
                let mut row = rows.start;
                while row < rows.end {
                    let (matrix, column) = (row / per, row % per);
                    let taken = (per - column).min(rows.end - row);
                    for col in 0..self.cols {
                        decode(isa, view, width, (matrix * self.cols + col) * width, &mut scratch.rows)?;
                        for i in 0..taken {
                            out[(row - rows.start + i) * self.cols + col] = scratch.rows[(column + i) * step + first];
                        }
                    }
                    row += taken;
                }
                Ok(())
            }
            Parts::Every { view, step, first } => {
                scratch.rows.resize(self.cols * step, 0.0);
                for (row, out) in rows.zip(out.chunks_exact_mut(self.cols)) {
                    decode(isa, view, self.cols * step, row * self.cols * step, &mut scratch.rows)?;
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = scratch.rows[i * step + first];
                    }
                }
                Ok(())
            }
            Parts::Transposed { view } => {
                scratch.rows.resize(rows.len(), 0.0);
                for col in 0..self.cols {
                    decode(isa, view, self.rows, col * self.rows + rows.start, &mut scratch.rows)?;
                    for (row, value) in scratch.rows.iter().enumerate() {
                        out[row * self.cols + col] = *value;
                    }
                }
                Ok(())
            }
            Parts::Values(values) => {
                out.copy_from_slice(&values[rows.start * self.cols..rows.end * self.cols]);
                Ok(())
            }
        }
    }
}

/// Decodes the elements from `first` on that fill `out`. `cols` is the tensor's own row length, along which blocks lie.
fn decode(isa: Isa, view: &View, cols: usize, first: usize, out: &mut [f32]) -> Result<()> {
    let storage = view.info.storage;
    let not_weights = || Error::NotWeights { tensor: view.info.name.clone(), found: storage.name() };
    let span = |elements: usize| match storage {
        Storage::Plain(dtype) => Some(elements * dtype.bits() / 8),
        Storage::Blocks(ty) => {
            cols.is_multiple_of(ty.block_len()).then(|| elements / ty.block_len() * ty.block_bytes())
        }
    };
    let (from, to) = span(first).zip(span(first + out.len())).ok_or_else(not_weights)?;
    let bytes = view.bytes.get(from..to).ok_or_else(not_weights)?;
    if let Some(codec) = block::codec(storage.name()) {
        codec.decode(isa, bytes, out);
        return Ok(());
    }
    match storage {
        Storage::Plain(Dtype::F64) => {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                *out = f64::from_le_bytes(*bytes) as f32;
            }
            Ok(())
        }
        _ => Err(not_weights()),
    }
}
