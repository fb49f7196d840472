//! One weight of the release, read row by row from wherever the checkpoint keeps it.

use std::ops::Range;

use planish_formats::{Dtype, Storage, View};
use planish_kernels::{Isa, block};

use super::{Error, Result};
use crate::dialect::{Buffers, Stored, Tensor, Tensors};
use crate::model::{Gather, paired_row, unpaired_row};

/// Buffers that one thread reuses from band to band.
#[derive(Default)]
pub struct Scratch {
    /// Decoded source rows, where they have to be moved before they are in place.
    rows: Vec<f32>,
    /// What packed weights are taken apart in.
    unpacking: Buffers,
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
    Run { tensor: Tensor<'a>, from: usize },
    /// Equal tensors one after the other.
    Stack(Vec<Tensor<'a>>),
    /// The rows of each head in another order: row `i` is row `from(i, head_dim)`.
    Heads { tensor: Tensor<'a>, head_dim: usize, from: fn(usize, usize) -> usize },
    /// The tensor is stored `[in, out]`.
    Transposed { tensor: Tensor<'a> },
    /// Not in the checkpoint at all.
    Values(&'a [f32]),
}

impl<'a> Weight<'a> {
    /// Finds the tensors of `gather` in `source`. `shape` is the result's; the model's checks have compared it with
    /// the source's.
    pub fn new(source: &'a Tensors, gather: &'a Gather, shape: &[usize]) -> Result<Weight<'a>> {
        let (cols, rows) = match shape.split_last() {
            Some((&cols, outer)) => (cols, outer.iter().product()),
            None => (1, 1),
        };
        let mut weight = Weight { cols, rows, piece_rows: rows, step: 1, parts: Parts::Values(&[]) };
        weight.parts = match gather {
            Gather::Whole(name) => Parts::Run { tensor: source.tensor(name)?, from: 0 },
            Gather::Rows(name, from, _) => Parts::Run { tensor: source.tensor(name)?, from: *from },
            Gather::Transposed(name) => Parts::Transposed { tensor: source.tensor(name)? },
            Gather::Stacked(names) => {
                let tensors = names.iter().map(|name| source.tensor(name)).collect::<Result<Vec<_>, _>>()?;
                weight.piece_rows = rows / tensors.len().max(1);
                Parts::Stack(tensors)
            }
            Gather::Paired { name, heads } | Gather::Unpaired { name, heads } => {
                if shape.len() == 1 {
                    // A bias: its elements move as a matrix's rows do.
                    (weight.rows, weight.cols, weight.piece_rows) = (cols, 1, cols);
                }
                let from = if matches!(gather, Gather::Paired { .. }) { paired_row } else { unpaired_row };
                Parts::Heads { tensor: source.tensor(name)?, head_dim: weight.rows / heads.max(&1), from }
            }
            Gather::Computed(values) => Parts::Values(values),
        };
        weight.step = weight.parts.step();
        Ok(weight)
    }

    /// How the elements are stored.
    pub fn storage(&self) -> Stored {
        match &self.parts {
            Parts::Run { tensor, .. } | Parts::Heads { tensor, .. } | Parts::Transposed { tensor } => tensor.storage(),
            Parts::Stack(tensors) => tensors.first().map_or(Stored::F32, Tensor::storage),
            Parts::Values(_) => Stored::F32,
        }
    }

    /// Bits an element, scales and zero points included.
    pub fn bits(&self) -> f64 {
        // A stack is of matrices, each with scales of its own.
        self.storage().bits(self.piece_rows, self.cols)
    }

    /// The stored bytes of `rows` of one piece, where they lie in order.
    pub fn bytes(&self, rows: Range<usize>) -> Option<&'a [u8]> {
        let (tensor, at) = match &self.parts {
            Parts::Run { tensor, from } => (tensor, from + rows.start),
            Parts::Stack(tensors) => (&tensors[rows.start / self.piece_rows], rows.start % self.piece_rows),
            _ => return None,
        };
        let Tensor::Whole(view) = tensor else { return None };
        let row = view.info.storage.bytes(&[self.cols])?;
        view.bytes.get(at * row..(at + rows.len()) * row)
    }

    /// Reads `rows` of one piece as f32 into `out`, which holds exactly them.
    pub fn read(&self, isa: Isa, rows: Range<usize>, scratch: &mut Scratch, out: &mut [f32]) -> Result<()> {
        debug_assert_eq!(out.len(), rows.len() * self.cols);
        let Scratch { rows: moved, unpacking } = scratch;
        match &self.parts {
            Parts::Run { tensor, from } => self.run(isa, tensor, from + rows.start, unpacking, out),
            Parts::Stack(tensors) => {
                let tensor = &tensors[rows.start / self.piece_rows];
                self.run(isa, tensor, rows.start % self.piece_rows, unpacking, out)
            }
            Parts::Heads { tensor, head_dim, from } => {
                let whole = rows.start.is_multiple_of(*head_dim) && rows.len().is_multiple_of(*head_dim);
                if let (Tensor::Packed(_), true) = (tensor, whole) {
                    // Heads at once: packed words may lie across rows.
                    moved.resize(out.len(), 0.0);
                    self.run(isa, tensor, rows.start, unpacking, moved)?;
                    for (row, out) in rows.clone().zip(out.chunks_exact_mut(self.cols)) {
                        let at = from(row, *head_dim) - rows.start;
                        out.copy_from_slice(&moved[at * self.cols..(at + 1) * self.cols]);
                    }
                    return Ok(());
                }
                for (row, out) in rows.zip(out.chunks_exact_mut(self.cols)) {
                    self.run(isa, tensor, from(row, *head_dim), unpacking, out)?;
                }
                Ok(())
            }
            Parts::Transposed { tensor: Tensor::Packed(packing) } => {
                packing.unpacker.turned(rows, unpacking, out);
                Ok(())
            }
            Parts::Transposed { tensor: Tensor::Whole(view) } => {
                moved.resize(rows.len(), 0.0);
                for col in 0..self.cols {
                    decode(isa, view, self.rows, col * self.rows + rows.start, moved)?;
                    for (row, value) in moved.iter().enumerate() {
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

    /// Reads the rows from `first` on of a tensor that has them in order.
    fn run(&self, isa: Isa, tensor: &Tensor<'_>, first: usize, unpacking: &mut Buffers, out: &mut [f32]) -> Result<()> {
        match tensor {
            Tensor::Whole(view) => decode(isa, view, self.cols, first * self.cols, out),
            Tensor::Packed(packing) => {
                packing.unpacker.logical(first..first + out.len() / self.cols.max(1), unpacking, out);
                Ok(())
            }
        }
    }
}

impl Parts<'_> {
    /// A band begins at a multiple of so many rows.
    fn step(&self) -> usize {
        match self {
            Parts::Transposed { tensor: Tensor::Whole(view) } => match view.info.storage {
                Storage::Blocks(ty) => ty.block_len(),
                Storage::Plain(_) => 1,
            },
            Parts::Heads { tensor: Tensor::Packed(_), head_dim, .. } => *head_dim,
            Parts::Run { tensor: Tensor::Packed(packing), .. }
            | Parts::Transposed { tensor: Tensor::Packed(packing) } => packing.unpacker.step(),
            Parts::Stack(tensors) => match tensors.first() {
                Some(Tensor::Packed(packing)) => packing.unpacker.step(),
                _ => 1,
            },
            Parts::Run { .. } | Parts::Heads { .. } | Parts::Values(_) => 1,
        }
    }
}

/// Decodes the elements from `first` on that fill `out`. `cols` is the tensor's own row length, along which blocks lie.
fn decode(isa: Isa, view: &View, cols: usize, first: usize, out: &mut [f32]) -> Result<()> {
    let storage = view.info.storage;
    let not_weights = || Error::NotWeights { tensor: view.info.name.clone(), found: storage.name().into() };
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
