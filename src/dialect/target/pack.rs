//! From the records of a matrix to the bytes of its tensors.

use half::{bf16, f16};
use planish_formats::packing::{pack_awq, pack_columns, pack_row};
use planish_kernels::group::ScaleType;

use super::{Form, Linear};

/// Bytes behind the codes of a record: a scale in f32, a zero point and three that are free; or a scale of floats.
const INT_TAIL: usize = 8;

/// A matrix taken out of its records.
struct Matrix {
    /// `[rows, cols]`.
    codes: Vec<u8>,
    /// The bytes of each scale, `[rows, groups]`.
    scales: Vec<[u8; 4]>,
    /// `[rows, groups]`.
    zeros: Vec<u8>,
}

impl Linear {
    /// Spreads the records of a whole matrix over the tensors of [`Linear::infos`], in their order. `global` is what the
    /// codec was made with.
    ///
    /// # Panics
    /// Where there are not [`Linear::record_bytes`] of them.
    pub fn pack(&self, global: f32, records: &[u8]) -> Vec<Vec<u8>> {
        assert_eq!(records.len(), self.record_bytes(), "records of {:?}", self.shape());
        let (rows, cols, groups) = (self.rows, self.cols, self.cols / self.group);
        let matrix = self.matrix(records);
        match self.form {
            Form::Gptq(bits) => {
                let middle = 1u8 << (bits - 1);
                // What is stored is one less; so is gptqmodel's, which takes it from the word.
                let zeros = vec![middle - 1; rows * groups];
                let index = (0..cols).flat_map(|col| ((col / self.group) as u32).to_le_bytes()).collect();
                vec![
                    columns(bits, &turned(&matrix.codes, rows), rows),
                    lines(bits, &zeros, rows),
                    self.scales(&turned(&matrix.scales, rows)),
                    index,
                ]
            }
            Form::Awq => {
                let packed = |codes: &[u8]| {
                    let mut packed = vec![0; codes.len() / 2];
                    pack_awq(codes, &mut packed);
                    packed
                };
                let (codes, zeros) = (turned(&matrix.codes, rows), turned(&matrix.zeros, rows));
                vec![packed(&codes), packed(&zeros), self.scales(&turned(&matrix.scales, rows))]
            }
            Form::Words { bits, asymmetric } => {
                let shape = [rows as i64, cols as i64].iter().flat_map(|n| n.to_le_bytes()).collect();
                let mut packed = vec![lines(bits, &matrix.codes, cols), self.scales(&matrix.scales), shape];
                if asymmetric {
                    packed.push(columns(bits, &matrix.zeros, groups));
                }
                packed
            }
            Form::Int8 => {
                let codes = matrix.codes.iter().map(|code| code.wrapping_sub(128)).collect();
                vec![codes, self.scales(&matrix.scales)]
            }
            Form::Fp8 => vec![matrix.codes, self.scales(&matrix.scales)],
            Form::Fp8Block => {
                // The rows of a block have the same.
                let firsts: Vec<[u8; 4]> = matrix.scales.chunks(groups).step_by(128).flatten().copied().collect();
                vec![matrix.codes, self.scales(&firsts)]
            }
            Form::Nvfp4 => {
                let scales = matrix.scales.iter().map(|scale| scale[0]).collect();
                vec![halves(&matrix.codes, cols), scales, global.to_le_bytes().to_vec()]
            }
            Form::Mxfp4 => {
                let scales = matrix.scales.iter().map(|scale| scale[0]).collect();
                vec![halves(&matrix.codes, cols), scales]
            }
        }
    }

    fn matrix(&self, records: &[u8]) -> Matrix {
        let count = self.rows * (self.cols / self.group);
        let mut matrix = Matrix { codes: Vec::with_capacity(self.rows * self.cols), scales: vec![], zeros: vec![] };
        (matrix.scales, matrix.zeros) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for record in records.chunks_exact(records.len() / count) {
            let (codes, tail) = record.split_at(self.group);
            let mut scale = [0; 4];
            scale.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
            matrix.codes.extend_from_slice(codes);
            matrix.scales.push(scale);
            matrix.zeros.push(if tail.len() == INT_TAIL { tail[4] } else { 0 });
        }
        matrix
    }

    /// Scales as they are stored: the records have numbers of that type already.
    fn scales(&self, scales: &[[u8; 4]]) -> Vec<u8> {
        let values = scales.iter().map(|bytes| f32::from_le_bytes(*bytes));
        match self.scale {
            ScaleType::F16 => values.flat_map(|scale| f16::from_f32(scale).to_le_bytes()).collect(),
            ScaleType::Bf16 => values.flat_map(|scale| bf16::from_f32(scale).to_le_bytes()).collect(),
            ScaleType::F32 => values.flat_map(f32::to_le_bytes).collect(),
        }
    }
}

/// Rows as columns: of `rows` rows, the transpose.
fn turned<T: Copy + Default>(values: &[T], rows: usize) -> Vec<T> {
    /// Rows and columns of a tile that fits the nearest cache.
    const TILE: usize = 32;
    let cols = values.len() / rows.max(1);
    let mut out = vec![T::default(); values.len()];
    for first in (0..rows).step_by(TILE) {
        for start in (0..cols).step_by(TILE) {
            for row in first..rows.min(first + TILE) {
                for col in start..cols.min(start + TILE) {
                    out[col * rows + row] = values[row * cols + col];
                }
            }
        }
    }
    out
}

/// Each line of `width` codes packed for itself.
fn lines(bits: u8, codes: &[u8], width: usize) -> Vec<u8> {
    let bits = usize::from(bits);
    let size = (width * bits).div_ceil(32) * 4;
    let mut packed = vec![0; codes.len() / width * size];
    packed.chunks_exact_mut(size).zip(codes.chunks_exact(width)).for_each(|(out, codes)| pack_row(bits, codes, out));
    packed
}

/// Codes `[lines, width]` packed down the columns.
fn columns(bits: u8, codes: &[u8], width: usize) -> Vec<u8> {
    let bits = usize::from(bits);
    let mut packed = vec![0; (codes.len() / width * bits).div_ceil(32) * 4 * width];
    pack_columns(bits, codes, width, &mut packed);
    packed
}

/// Two codes a byte.
fn halves(codes: &[u8], cols: usize) -> Vec<u8> {
    debug_assert!(cols.is_multiple_of(2));
    codes.as_chunks::<2>().0.iter().map(|[low, high]| low & 15 | high << 4).collect()
}
