//! Rows of a table by token id.

use super::{ROWS, Weight};
use rayon::prelude::*;

/// `out[i] = table[ids[i]]`, rows of `width`. Ids are below the table's rows.
pub fn embed(table: Weight<'_>, width: usize, ids: &[u32], out: &mut [f32]) {
    assert_eq!(out.len(), ids.len() * width, "embed: out of {} x {width}", ids.len());
    if out.is_empty() {
        return;
    }
    out.par_chunks_mut(ROWS * width).zip(ids.par_chunks(ROWS)).for_each(|(out, ids)| {
        for (out, &id) in out.chunks_exact_mut(width).zip(ids) {
            let row = id as usize * width..(id as usize + 1) * width;
            match table {
                Weight::F32(table) => out.copy_from_slice(&table[row]),
                Weight::Bf16(bytes) => {
                    for (out, bytes) in out.iter_mut().zip(bytes[2 * row.start..2 * row.end].as_chunks::<2>().0) {
                        *out = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_gathered() {
        let table = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let bytes: Vec<u8> = table.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect();
        for table in [Weight::F32(&table), Weight::Bf16(&bytes)] {
            let mut out = [0.0; 6];
            embed(table, 2, &[2, 0, 2], &mut out);
            assert_eq!(out, [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
        }
    }
}
