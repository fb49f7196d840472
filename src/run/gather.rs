//! One weight of the release, read row by row from wherever the checkpoint keeps it.

mod heads;

use std::ops::Range;

use planish_formats::{Dtype, Storage};
use planish_kernels::{Isa, block};

use super::{Error, Result};
use crate::dialect::{Buffers, Stored, Tensor, Tensors, Whole};
use crate::model::Gather;
use heads::{Heads, Strand};

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
    /// Rows in another order, or some of them only: row `i` of `rows` is the row that [`Gather::source_row`] says.
    Moved { tensor: Tensor<'a>, gather: &'a Gather, rows: usize },
    /// So many rows of each tensor in turn.
    Woven(Vec<(Tensor<'a>, usize)>),
    /// A matrix a head, or the rows of several.
    Heads(Heads<'a>),
    /// One tensor with a number added to each element.
    Shifted { tensor: Tensor<'a>, by: f32 },
    /// Matrices stored `[in, step * out]`, `out` rows of each.
    Columns { tensor: Tensor<'a>, step: usize, first: usize, out: usize },
    /// An element of each in turn, `inp` rows of each matrix; their own rows are these columns if transposed.
    Zipped { views: Vec<Whole<'a>>, transposed: bool, inp: usize },
    /// Every `step`-th element from `first` on.
    Every { view: Whole<'a>, step: usize, first: usize },
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
            Gather::Paired { name, .. }
            | Gather::Unpaired { name, .. }
            | Gather::Picked { name, .. }
            | Gather::Ungrouped { name, .. }
            | Gather::Grouped { name, .. } => {
                weight.turn_bias(shape);
                Parts::Moved { tensor: source.tensor(name)?, gather, rows: weight.rows }
            }
            Gather::Woven(parts) => {
                weight.turn_bias(shape);
                let parts = parts.iter().map(|(name, rows)| Ok((source.tensor(name)?, *rows)));
                Parts::Woven(parts.collect::<Result<Vec<_>>>()?)
            }
            Gather::Heads { name, per, from, turned, .. } => {
                let rows = shape.iter().rev().nth(1).copied().unwrap_or(1);
                let strand = Strand { tensor: source.tensor(name)?, per: *per, from: *from, rows, turned: *turned };
                Parts::Heads(Heads { strands: vec![strand] })
            }
            Gather::OfHeads(strands) => {
                let strands = strands.iter().map(|s| {
                    let per = if s.turned { cols } else { s.rows };
                    Ok(Strand { tensor: source.tensor(&s.name)?, per, from: 0, rows: s.rows, turned: s.turned })
                });
                Parts::Heads(Heads { strands: strands.collect::<Result<Vec<_>>>()? })
            }
            Gather::Shifted { name, by } => Parts::Shifted { tensor: source.tensor(name)?, by: *by },
            Gather::Columns { name, step, first } => {
                let tensor = source.tensor(name)?;
                if let Tensor::Whole(view) = &tensor
                    && let Storage::Blocks(ty) = view.info.storage
                {
                    return Err(Error::NotWeights { tensor: name.clone(), found: ty.name().into() });
                }
                let out = shape.iter().rev().nth(1).copied().unwrap_or(1);
                Parts::Columns { tensor, step: *step, first: *first, out }
            }
            Gather::Zipped { names, transposed } => {
                let views = names.iter().map(|name| match source.tensor(name)? {
                    Tensor::Whole(view) => Ok(view),
                    packed @ Tensor::Packed(_) => {
                        let found = packed.storage().name().into_owned().into();
                        Err(Error::NotWeights { tensor: name.clone(), found })
                    }
                });
                let views = views.collect::<Result<Vec<_>>>()?;
                let inp = if *transposed { shape.iter().rev().nth(1).copied().unwrap_or(1) } else { 1 };
                Parts::Zipped { views, transposed: *transposed, inp }
            }
            Gather::Every { name, step, first } => match source.tensor(name)? {
                Tensor::Whole(view) => Parts::Every { view, step: *step, first: *first },
                packed @ Tensor::Packed(_) => {
                    let found = packed.storage().name().into_owned().into();
                    return Err(Error::NotWeights { tensor: name.clone(), found });
                }
            },
            Gather::Computed(values) => Parts::Values(values),
        };
        weight.step = weight.parts.step();
        Ok(weight)
    }

    /// Of values in memory, in the order of `shape`.
    pub fn given(values: &'a [f32], shape: &[usize]) -> Weight<'a> {
        let cols = shape.last().copied().unwrap_or(1);
        let rows = values.len() / cols.max(1);
        Weight { cols, rows, piece_rows: rows, step: 1, parts: Parts::Values(values) }
    }

    /// A bias: its elements move as a matrix's rows do.
    fn turn_bias(&mut self, shape: &[usize]) {
        if shape.len() == 1 {
            (self.rows, self.cols, self.piece_rows) = (self.cols, 1, self.cols);
        }
    }

    /// How the elements are stored.
    pub fn storage(&self) -> Stored {
        match &self.parts {
            Parts::Run { tensor, .. }
            | Parts::Moved { tensor, .. }
            | Parts::Shifted { tensor, .. }
            | Parts::Columns { tensor, .. }
            | Parts::Transposed { tensor } => tensor.storage(),
            Parts::Every { view, .. } => view.info.storage.into(),
            Parts::Zipped { views, .. } => views.first().map_or(Stored::F32, |view| view.info.storage.into()),
            Parts::Woven(parts) => parts.first().map_or(Stored::F32, |(tensor, _)| tensor.storage()),
            Parts::Stack(tensors) => tensors.first().map_or(Stored::F32, Tensor::storage),
            Parts::Heads(heads) => heads.strands.first().map_or(Stored::F32, |strand| strand.tensor.storage()),
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
        if !view.deltas().is_empty() {
            return None;
        }
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
            Parts::Moved { tensor, gather, rows: all } => {
                let from: Vec<usize> = rows.map(|row| gather.source_row(row, *all)).collect();
                let (low, high) = from.iter().fold((usize::MAX, 0), |(low, high), row| (low.min(*row), high.max(*row)));
                if matches!(tensor, Tensor::Packed(_)) && high - low < 2 * from.len() {
                    // All that lies between at once: packed words may lie across rows.
                    moved.resize((high - low + 1) * self.cols, 0.0);
                    self.run(isa, tensor, low, unpacking, moved)?;
                    for (row, out) in from.iter().zip(out.chunks_exact_mut(self.cols)) {
                        out.copy_from_slice(&moved[(row - low) * self.cols..][..self.cols]);
                    }
                    return Ok(());
                }
                for (row, out) in from.iter().zip(out.chunks_exact_mut(self.cols)) {
                    self.run(isa, tensor, *row, unpacking, out)?;
                }
                Ok(())
            }
            Parts::Woven(parts) => {
                let per: usize = parts.iter().map(|(_, rows)| rows).sum::<usize>().max(1);
                for (row, out) in rows.zip(out.chunks_exact_mut(self.cols)) {
                    let mut at = row % per;
                    for (tensor, taken) in parts {
                        if at < *taken {
                            self.run(isa, tensor, row / per * taken + at, unpacking, out)?;
                            break;
                        }
                        at -= taken;
                    }
                }
                Ok(())
            }
            Parts::Heads(heads) => heads.read(isa, rows, self.cols, (moved, unpacking), out),
            Parts::Shifted { tensor, by } => {
                self.run(isa, tensor, rows.start, unpacking, out)?;
                for x in out.iter_mut() {
                    *x += by;
                }
                Ok(())
            }
            Parts::Columns { tensor: Tensor::Packed(packing), step, first, out: per } => {
                for (row, out) in rows.zip(out.chunks_exact_mut(self.cols)) {
                    let column = row / per * per * step + row % per * step + first;
                    packing.unpacker.turned(column..column + 1, unpacking, out);
                }
                Ok(())
            }
            Parts::Columns { tensor: Tensor::Whole(view), step, first, out: per } => {
                // A row of the source holds one element of each row of its matrix here.
                let width = per * step;
                moved.resize(width, 0.0);
                let mut row = rows.start;
                while row < rows.end {
                    let (matrix, column) = (row / per, row % per);
                    let taken = (per - column).min(rows.end - row);
                    for col in 0..self.cols {
                        decode(isa, view, width, (matrix * self.cols + col) * width, moved)?;
                        for i in 0..taken {
                            out[(row - rows.start + i) * self.cols + col] = moved[(column + i) * step + first];
                        }
                    }
                    row += taken;
                }
                Ok(())
            }
            Parts::Zipped { views, transposed, inp } => {
                let count = views.len().max(1);
                let width = self.cols / count;
                // Of a matrix `[width, inp]` all rows are needed for any column of it.
                let read = if *transposed { *inp } else { width };
                moved.resize(read, 0.0);
                for (j, view) in views.iter().enumerate() {
                    let mut row = rows.start;
                    while row < rows.end {
                        let (matrix, column) = (row / inp, row % inp);
                        let taken = (inp - column).min(rows.end - row);
                        for f in 0..if *transposed { width } else { 1 } {
                            let first = if *transposed { (matrix * width + f) * inp } else { row * width };
                            decode(isa, view, read, first, moved)?;
                            if *transposed {
                                for i in 0..taken {
                                    out[(row - rows.start + i) * self.cols + f * count + j] = moved[column + i];
                                }
                            } else {
                                let out = &mut out[(row - rows.start) * self.cols..][..self.cols];
                                for (out, x) in out.iter_mut().skip(j).step_by(count).zip(&*moved) {
                                    *out = *x;
                                }
                            }
                        }
                        row += taken;
                    }
                }
                Ok(())
            }
            Parts::Every { view, step, first } => {
                moved.resize(self.cols * step, 0.0);
                for (row, out) in rows.zip(out.chunks_exact_mut(self.cols)) {
                    decode(isa, view, self.cols * step, row * self.cols * step, moved)?;
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = moved[i * step + first];
                    }
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
        heads::run(isa, tensor, self.cols, first, unpacking, out)
    }
}

impl Parts<'_> {
    /// A band begins at a multiple of so many rows.
    fn step(&self) -> usize {
        let packed = |tensor: &Tensor<'_>| match tensor {
            Tensor::Packed(packing) => packing.unpacker.step(),
            Tensor::Whole(_) => 1,
        };
        match self {
            Parts::Transposed { tensor: Tensor::Whole(view) } => match view.info.storage {
                Storage::Blocks(ty) => ty.block_len(),
                Storage::Plain(_) => 1,
            },
            Parts::Moved { tensor: Tensor::Packed(_), gather, rows } => match gather {
                Gather::Paired { heads, .. } | Gather::Unpaired { heads, .. } => rows / heads.max(&1),
                _ => 1,
            },
            Parts::Run { tensor, .. } | Parts::Transposed { tensor } | Parts::Shifted { tensor, .. } => packed(tensor),
            Parts::Stack(tensors) => tensors.first().map_or(1, packed),
            // Whole heads, so that no matrix is decoded twice.
            Parts::Heads(heads) => heads.per(),
            Parts::Moved { .. }
            | Parts::Woven(_)
            | Parts::Columns { .. }
            | Parts::Zipped { .. }
            | Parts::Every { .. }
            | Parts::Values(_) => 1,
        }
    }
}

/// Decodes the elements from `first` on that fill `out`. `cols` is the tensor's own row length, along which blocks lie.
fn decode(isa: Isa, view: &Whole<'_>, cols: usize, first: usize, out: &mut [f32]) -> Result<()> {
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
        view.deltas().iter().for_each(|delta| delta.add(first, out));
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
