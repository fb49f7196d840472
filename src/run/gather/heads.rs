//! Rows that are divided among heads, each head's a matrix of its own which one of both sides may have transposed.

use std::ops::Range;

use planish_kernels::Isa;

use super::decode;
use crate::dialect::{Buffers, Tensor};
use crate::run::Result;

/// Of each head the rows of each strand in turn.
pub(super) struct Heads<'a> {
    pub strands: Vec<Strand<'a>>,
}

/// Some rows of each head, and where they come from.
pub(super) struct Strand<'a> {
    pub tensor: Tensor<'a>,
    /// Rows of the tensor a head.
    pub per: usize,
    /// The first of them.
    pub from: usize,
    /// Rows a head.
    pub rows: usize,
    /// Whether they are columns of the tensor's rows.
    pub turned: bool,
}

impl Heads<'_> {
    /// Rows a head.
    pub(super) fn per(&self) -> usize {
        self.strands.iter().map(|strand| strand.rows).sum::<usize>().max(1)
    }

    /// Reads `rows`, each of `cols` elements.
    pub(super) fn read(
        &self,
        isa: Isa,
        rows: Range<usize>,
        cols: usize,
        (matrix, unpacking): (&mut Vec<f32>, &mut Buffers),
        out: &mut [f32],
    ) -> Result<()> {
        let per = self.per();
        let mut row = rows.start;
        while row < rows.end {
            let (head, mut at) = (row / per, row % per);
            for strand in &self.strands {
                if at >= strand.rows {
                    at -= strand.rows;
                    continue;
                }
                let taken = (strand.rows - at).min(rows.end - row);
                let out = &mut out[(row - rows.start) * cols..][..taken * cols];
                let first = head * strand.per + strand.from;
                if strand.turned {
                    // All of the matrix, of which these are columns.
                    matrix.resize(cols * strand.rows, 0.0);
                    run(isa, &strand.tensor, strand.rows, first, unpacking, matrix)?;
                    for (j, out) in out.chunks_exact_mut(cols.max(1)).enumerate() {
                        for (out, row) in out.iter_mut().zip(matrix.chunks_exact(strand.rows)) {
                            *out = row[at + j];
                        }
                    }
                } else {
                    run(isa, &strand.tensor, cols, first + at, unpacking, out)?;
                }
                row += taken;
                break;
            }
        }
        Ok(())
    }
}

/// Reads the rows from `first` on, of `cols` elements, of a tensor that has them in order.
pub(super) fn run(
    isa: Isa,
    tensor: &Tensor<'_>,
    cols: usize,
    first: usize,
    unpacking: &mut Buffers,
    out: &mut [f32],
) -> Result<()> {
    match tensor {
        Tensor::Whole(view) => decode(isa, view, cols, first * cols, out),
        Tensor::Packed(packing) => {
            packing.unpacker.logical(first..first + out.len() / cols.max(1), unpacking, out);
            Ok(())
        }
    }
}
