//! Heads: each has a matrix of its own, which multiplies its piece of every row.

use planish_kernels::cpu::matmul;

use super::layer::{Group, Values};
use super::weights::Matrix;
use super::{ExpertRows, Result, Settings, Tap};
use crate::dialect::Stored;
use crate::model::{Layer, Op, Param, Value};

/// The pieces number `head`, `inp` wide, of rows of `width`.
fn pieces(x: &[f32], width: usize, head: usize, inp: usize, out: &mut Vec<f32>) {
    out.clear();
    for row in x.chunks_exact(width.max(1)) {
        out.extend_from_slice(&row[head * inp..][..inp]);
    }
}

/// `[rows, count * out]`: each piece of `x` times the matrix of its head.
pub(super) fn multiply(
    settings: &Settings,
    values: &mut Values<'_>,
    x: Value,
    w: &Param,
    matrix: &Matrix<'_>,
    storage: Stored,
    rows: usize,
) -> Vec<f32> {
    let (count, n, k) = (w.shape[0], w.shape[1], w.shape[2]);
    let mut out = values.buffers.take(rows * count * n);
    let (mut piece, mut product) = (values.buffers.take(0), values.buffers.take(rows * n));
    for head in 0..count {
        pieces(values.get(x), count * k, head, k, &mut piece);
        if let Some(rounding) = settings.activations.rounding(storage) {
            rounding.round(&mut piece, k);
        }
        let matrix = matrix.part(head * n * k..(head + 1) * n * k);
        matmul(settings.isa, &piece, rows, k, matrix, n, None, &mut product, settings.precision);
        for (out, product) in out.chunks_exact_mut((count * n).max(1)).zip(product.chunks_exact(n.max(1))) {
            out[head * n..][..n].copy_from_slice(product);
        }
    }
    for buffer in [piece, product] {
        values.buffers.give(buffer);
    }
    out
}

/// Shows `tap` what the heads of op `at` read, where it is the first op that reads this of them.
pub(super) fn tap(
    values: &mut Values<'_>,
    at: usize,
    ops: &[Op],
    layer: &Layer,
    group: &Group<'_>,
    tap: &mut dyn Tap,
) -> Result<()> {
    let Some(Op::Heads { x, w }) = ops.get(at) else { return Ok(()) };
    if ops[..at].iter().any(|op| matches!(op, Op::Heads { x: other, .. } if other == x)) {
        return Ok(());
    }
    let (count, k) = (w.shape[0], w.shape[2]);
    let tokens: Vec<usize> = (0..group.rows).collect();
    let mut piece = vec![];
    for head in 0..count {
        pieces(values.get(*x), count * k, head, k, &mut piece);
        tap.expert(layer, *x, &ExpertRows { expert: head, x: &piece, tokens: &tokens, routed: tokens.len() })?;
    }
    Ok(())
}
