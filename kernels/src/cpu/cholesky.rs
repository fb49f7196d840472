//! GPTQ's factor of a Gram matrix.

use super::Precision;
use super::each_isa;
use super::gemm::{Data, Operand, Out, product, with_micro};
use crate::Isa;
use rayon::prelude::*;

/// Columns that are eliminated before the rest is updated. Within a block sums are in f64.
const BLOCK: usize = 128;
/// Columns of the inverse that a thread takes at a time.
const COLUMNS: usize = 384;
/// Rows and columns of a tile of the transposition.
const TILE: usize = 32;

/// The Gram matrix, damped, is not positive definite: raise the damping, or look for numbers that are not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pivot of column {column} is not positive")]
pub struct NotPositive {
    /// As `h` numbers it.
    pub column: usize,
}

/// Makes `v[n, n]`, upper triangular, with `H^-1 = V^T V`, zeros below the diagonal.
///
/// `H` is `h[n, n]`, given on and below the diagonal, with its rows and columns in `order` (all
/// of `0..n`, the column to round first coming first), and `damping` times the mean of its diagonal added to that. A
/// column that nothing ever used, with 0 on the diagonal, gets the mean. `H^-1` itself is never formed: with `H` in
/// reversed order as `L L^T`, `V` is `L^-1` in reversed order.
///
/// The same bits on every instruction set and any number of threads.
pub fn factor(isa: Isa, h: &[f32], n: usize, damping: f32, order: &[usize], v: &mut [f32]) -> Result<(), NotPositive> {
    assert_eq!((h.len(), v.len(), order.len()), (n * n, n * n, n), "factor: h, v and order of {n}");
    if n == 0 {
        return Ok(());
    }
    let diagonal: Vec<f32> = h.iter().step_by(n + 1).copied().collect();
    let mean = diagonal.iter().map(|d| f64::from(*d)).sum::<f64>() / n as f64;
    let (added, unused) = (f64::from(damping) * mean, if mean > 0.0 { mean } else { 1.0 });
    v.par_chunks_exact_mut(n).enumerate().for_each(|(i, row)| {
        let column = order[n - 1 - i];
        for (v, other) in row[..i].iter_mut().zip(order.iter().rev()) {
            *v = h[column.max(*other) * n + column.min(*other)];
        }
        let d = diagonal[column];
        row[i] = (if d == 0.0 { unused } else { f64::from(d) } + added) as f32;
        row[i + 1..].fill(0.0);
    });
    let mut inverses = vec![0.0; n.next_multiple_of(BLOCK) * BLOCK];
    cholesky(isa, v, n, &mut inverses).map_err(|pivot| NotPositive { column: order[n - 1 - pivot] })?;
    invert(isa, v, n, &inverses);
    // Turns both rows and columns round.
    v.reverse();
    Ok(())
}

/// Copies what is below the diagonal of `h[n, n]` to above it.
pub fn mirror(h: &mut [f32], n: usize) {
    for i in (0..n).step_by(TILE) {
        for j in (0..=i).step_by(TILE) {
            for row in i..n.min(i + TILE) {
                for column in j..row.min(j + TILE) {
                    h[column * n + row] = h[row * n + column];
                }
            }
        }
    }
}

/// `a = L L^T` in place, below the diagonal, and the inverses of the blocks on the diagonal. Fails with a pivot that is not
/// positive.
fn cholesky(isa: Isa, a: &mut [f32], n: usize, inverses: &mut [f32]) -> Result<(), usize> {
    let (mut panel, mut solved) = (Vec::new(), Vec::new());
    let mut wide = vec![0.0; 2 * BLOCK * BLOCK];
    for (start, inverse) in (0..n).step_by(BLOCK).zip(inverses.chunks_exact_mut(BLOCK * BLOCK)) {
        let size = BLOCK.min(n - start);
        let (upper, lower) = wide.split_at_mut(BLOCK * BLOCK);
        for i in 0..size {
            for j in 0..=i {
                upper[j * BLOCK + i] = f64::from(a[(start + i) * n + start + j]);
            }
        }
        if let Some(pivot) = small_factor(isa, upper, lower, size) {
            return Err(start + pivot);
        }
        for i in 0..size {
            for j in 0..=i {
                a[(start + i) * n + start + j] = upper[j * BLOCK + i] as f32;
                inverse[i * BLOCK + j] = lower[i * BLOCK + j] as f32;
            }
        }
        let end = start + size;
        if end == n {
            break;
        }
        // The rows below, times the transposed inverse.
        panel.clear();
        a[end * n..].chunks_exact(n).for_each(|row| panel.extend_from_slice(&row[start..end]));
        solved.resize(panel.len(), 0.0);
        let b = Operand { data: Data::F32(inverse), stride: BLOCK, k: size };
        let rows = n - end;
        with_micro!(isa, Precision::F32, micro => {
            let out = Out::new(&mut solved, size);
            product(micro, &[Operand::rows(&panel, size)], rows, b, size, None, out, false, false);
        });
        for (row, solved) in a[end * n..].chunks_exact_mut(n).zip(solved.chunks_exact(size)) {
            row[start..end].copy_from_slice(solved);
        }
        panel.iter_mut().zip(&solved).for_each(|(negated, solved)| *negated = -solved);
        with_micro!(isa, Precision::F32, micro => {
            let out = Out::new(a, n).at(end, end);
            let (a, b) = (Operand::rows(&panel, size), Operand::rows(&solved, size));
            product(micro, &[a], rows, b, rows, None, out, true, true);
        });
    }
    Ok(())
}

/// `L` becomes its inverse, block row by block row.
fn invert(isa: Isa, l: &mut [f32], n: usize, inverses: &[f32]) {
    let mut sums = Vec::new();
    for (start, inverse) in (0..n).step_by(BLOCK).zip(inverses.chunks_exact(BLOCK * BLOCK)) {
        let size = BLOCK.min(n - start);
        let (done, rows) = l.split_at_mut(start * n);
        let rows = &mut rows[..size * n];
        if start > 0 {
            sums.resize(size * start, 0.0);
            with_micro!(isa, Precision::F32, micro => {
                let out = Out::new(&mut sums, start);
                let columns: Vec<usize> = (0..start).step_by(COLUMNS).collect();
                columns.into_par_iter().for_each(|first| {
                    // Above the diagonal of what is done there are zeros.
                    let k = start - first;
                    let a = Operand { data: Data::F32(&rows[first..]), stride: n, k };
                    let b = Operand { data: Data::Columns(&done[first * n + first..]), stride: n, k };
                    product(micro, &[a], size, b, COLUMNS.min(k), None, out.at(0, first), false, false);
                });
                let negated: Vec<f32> = inverse.iter().map(|v| -v).collect();
                let a = Operand { data: Data::F32(&negated), stride: BLOCK, k: size };
                let b = Operand { data: Data::Columns(&sums), stride: start, k: size };
                product(micro, &[a], size, b, start, None, Out::new(rows, n), false, false);
            });
        }
        for (row, inverse) in rows.chunks_exact_mut(n).zip(inverse.chunks_exact(BLOCK)) {
            row[start..start + size].copy_from_slice(&inverse[..size]);
        }
    }
}

each_isa! {
    /// A block's factor in `u`, transposed: `U^T U`. Its inverse in `inverse`, below the diagonal. Gives back a pivot that
    /// is not positive.
    fn small_factor(u: &mut [f64], inverse: &mut [f64], size: usize) -> Option<usize> {
        for j in 0..size {
            let (above, below) = u.split_at_mut((j + 1) * BLOCK);
            let row = &mut above[j * BLOCK..][..size];
            if !(row[j] > 0.0 && row[j].is_finite()) {
                return Some(j);
            }
            let root = row[j].sqrt();
            row[j] = root;
            for v in &mut row[j + 1..] {
                *v /= root;
            }
            for i in j + 1..size {
                let factor = row[i];
                let other = &mut below[(i - j - 1) * BLOCK..][..size];
                for (other, v) in other[i..].iter_mut().zip(&row[i..]) {
                    *other -= factor * v;
                }
            }
        }
        for i in 0..size {
            let (done, row) = inverse.split_at_mut(i * BLOCK);
            let row = &mut row[..BLOCK];
            row.fill(0.0);
            for (j, done) in done.chunks_exact(BLOCK).enumerate() {
                let factor = u[j * BLOCK + i];
                for (v, done) in row[..=j].iter_mut().zip(done) {
                    *v -= factor * done;
                }
            }
            let root = u[i * BLOCK + i];
            for v in &mut row[..i] {
                *v /= root;
            }
            row[i] = 1.0 / root;
        }
        None
    }
}

#[cfg(test)]
#[path = "cholesky_tests.rs"]
mod tests;
