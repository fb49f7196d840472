//! E4M3 with a scale for each block of 128 rows and columns, as a codec that takes whole matrices.

use planish_kernels::Isa;
use planish_kernels::block::{Codec, Rounder};
use planish_kernels::fp8::E4M3_MAX;
use planish_kernels::group::{FloatGroup, Floats};

/// Rows and columns of a block.
const SIZE: usize = 128;

/// The codec. A record is 128 codes and their block's scale as little-endian f32. `encode` takes blocks from the first row
/// that it is given on; at the lower edge they may be cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fp8Blocks;

fn group(scale: f32) -> FloatGroup {
    FloatGroup::new(Floats::Fp8Scaled(scale), SIZE)
}

impl Codec for Fp8Blocks {
    fn name(&self) -> &'static str {
        "FP8"
    }

    fn block_len(&self) -> usize {
        SIZE
    }

    fn block_bytes(&self) -> usize {
        group(1.0).block_bytes()
    }

    fn fallback(&self) -> Option<&'static str> {
        None
    }

    fn weighs(&self) -> bool {
        false
    }

    fn tolerance(&self) -> f32 {
        group(1.0).tolerance()
    }

    fn encode(&self, isa: Isa, rows: &[f32], cols: usize, _: Option<&[f32]>, out: &mut [u8]) {
        let (line, record) = (cols / SIZE * self.block_bytes(), self.block_bytes());
        for (band, out) in rows.chunks(SIZE * cols).zip(out.chunks_mut(SIZE * line)) {
            for block in 0..cols / SIZE {
                let part = |row: &[f32]| -> f32 {
                    row[block * SIZE..(block + 1) * SIZE].iter().fold(0f32, |largest, x| largest.max(x.abs()))
                };
                let largest = band.chunks_exact(cols).map(part).fold(0f32, f32::max);
                // A block of zeros has a scale of 1, as DeepSeek's own have.
                let scale = if largest > 0.0 { (largest / E4M3_MAX).max(f32::MIN_POSITIVE) } else { 1.0 };
                let codec = group(scale);
                for (row, out) in band.chunks_exact(cols).zip(out.chunks_exact_mut(line)) {
                    let row = &row[block * SIZE..(block + 1) * SIZE];
                    codec.encode(isa, row, SIZE, None, &mut out[block * record..(block + 1) * record]);
                }
            }
        }
    }

    fn decode(&self, isa: Isa, bytes: &[u8], out: &mut [f32]) {
        // Records carry their scale.
        group(1.0).decode(isa, bytes, out);
    }

    fn rounder(&self, _: Isa, _: usize) -> Option<Box<dyn Rounder>> {
        None
    }
}
