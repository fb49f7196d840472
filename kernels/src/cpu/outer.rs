//! A column's share of the columns after it.

use super::each_isa;

each_isa! {
    /// `rows[i] -= factors[i] * x`, for rows as long as `x`.
    pub fn subtract_outer(rows: &mut [f32], factors: &[f32], x: &[f32]) {
        for (row, factor) in rows.chunks_exact_mut(x.len().max(1)).zip(factors) {
            for (out, x) in row.iter_mut().zip(x) {
                *out -= factor * x;
            }
        }
    }
}
