//! What becomes of activations before they meet a quantized weight.
//!
//! llama.cpp's CPU engine multiplies integers with integers: it rounds the activations of every product to the type that
//! its dot product with the weight's type takes. Types of blocks of 32 take Q8_0 or Q8_1 (a byte each and a scale in f16),
//! k-quants and their kin Q8_K (blocks of 256, a scale in f32), F16 and BF16 their own kind, and F32 exact values.

use half::{bf16, f16};
use planish_formats::{Dtype, GgmlType, Storage};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dialect::Stored;

/// What becomes of activations before they meet a quantized weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activations {
    /// Nothing: the drift is that of the weights.
    #[default]
    #[serde(rename = "weights-only")]
    Exact,
    /// Rounded in blocks as llama.cpp's CPU engine does: the drift is what its users get.
    #[serde(rename = "q8")]
    Q8,
}

impl Activations {
    /// The word that reports have too.
    pub const fn name(self) -> &'static str {
        match self {
            Activations::Exact => "weights-only",
            Activations::Q8 => "q8",
        }
    }
}

/// How the activations of one product are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    F16,
    Bf16,
    /// Blocks of 32, scale in f16.
    Q8_0,
    /// Blocks of 256, scale in f32.
    Q8K,
}

impl Activations {
    /// What happens before a product with a weight stored like this. No type of llama.cpp is packed in several tensors.
    pub(super) fn rounding(self, storage: Stored) -> Option<Rounding> {
        match (self, storage.whole()?) {
            (Activations::Q8, Storage::Plain(Dtype::F16)) => Some(Rounding::F16),
            (Activations::Q8, Storage::Plain(Dtype::BF16)) => Some(Rounding::Bf16),
            (Activations::Q8, Storage::Blocks(ty)) => Some(Rounding::of(ty)),
            (Activations::Q8, Storage::Plain(_)) | (Activations::Exact, _) => None,
        }
    }
}

impl Rounding {
    fn of(ty: GgmlType) -> Rounding {
        // Q8_1 is Q8_0 with the sum of a block beside it, rounded once more: too little to be seen.
        if ty.block_len() == 256 { Rounding::Q8K } else { Rounding::Q8_0 }
    }

    /// Rounds rows of `cols` elements in place.
    pub(super) fn round(self, x: &mut [f32], cols: usize) {
        x.par_chunks_mut(cols.max(1)).for_each(|row| match self {
            Rounding::F16 => row.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
            Rounding::Bf16 => row.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32()),
            Rounding::Q8_0 => row.chunks_mut(32).for_each(q8_0),
            Rounding::Q8K => row.chunks_mut(256).for_each(q8_k),
        });
    }
}

/// The largest number below 0.5: adding it before cutting rounds half away from zero.
const BELOW_HALF: f32 = 0.499_999_97;

fn q8_0(block: &mut [f32]) {
    let largest = block.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let kept = f16::from_f32(scale).to_f32();
    for x in block {
        let scaled = *x * inverse;
        *x = (scaled + BELOW_HALF.copysign(scaled)).trunc() * kept;
    }
}

fn q8_k(block: &mut [f32]) {
    // The first of the largest: its sign is the scale's.
    let largest = block.iter().fold(0f32, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
    if largest == 0.0 {
        return;
    }
    let inverse = -127.0 / largest;
    let scale = 1.0 / inverse;
    for x in block {
        *x = (*x * inverse).round_ties_even().min(127.0) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_takes_the_activations_that_its_dot_product_does() {
        let of = |storage: Storage| Activations::Q8.rounding(storage.into());
        for ty in [GgmlType::Q4_0, GgmlType::Q5_1, GgmlType::Q8_0, GgmlType::IQ4_NL, GgmlType::MXFP4, GgmlType::Q1_0] {
            assert_eq!(of(Storage::Blocks(ty)), Some(Rounding::Q8_0), "{ty:?}");
        }
        for ty in [GgmlType::Q2_K, GgmlType::Q6_K, GgmlType::IQ1_S, GgmlType::IQ4_XS, GgmlType::TQ2_0] {
            assert_eq!(of(Storage::Blocks(ty)), Some(Rounding::Q8K), "{ty:?}");
        }
        assert_eq!(of(Storage::Plain(Dtype::BF16)), Some(Rounding::Bf16));
        assert_eq!(of(Storage::Plain(Dtype::F32)), None);
        assert_eq!(Activations::Exact.rounding(Storage::Blocks(GgmlType::Q4_0).into()), None);
    }

    #[test]
    fn values_land_on_their_grids() {
        let mut x: Vec<f32> = (0..512).map(|i| (i as f32 - 200.0) * 0.37).collect();
        let exact = x.clone();
        Rounding::Q8_0.round(&mut x, 256);
        for (block, exact) in x.chunks(32).zip(exact.chunks(32)) {
            let largest = exact.iter().fold(0f32, |m, x| m.max(x.abs()));
            let scale = f16::from_f32(largest / 127.0).to_f32();
            for (x, exact) in block.iter().zip(exact) {
                let code = x / scale;
                assert!((code - code.round()).abs() < 1e-3 && code.abs() < 127.5, "{x} of {scale}");
                assert!((x - exact).abs() <= 0.51 * scale + largest * 1e-3, "{x} {exact}");
            }
        }
        let mut x = exact.clone();
        Rounding::Q8K.round(&mut x, 512);
        for (block, exact) in x.chunks(256).zip(exact.chunks(256)) {
            let largest = exact.iter().fold(0f32, |m, x| m.max(x.abs()));
            // The largest is kept, and nothing is further than half a step away.
            assert!(block.iter().any(|x| (x.abs() - largest).abs() < 1e-4));
            assert!(block.iter().zip(exact).all(|(x, exact)| (x - exact).abs() <= 0.501 * largest / 127.0));
        }
        let mut zero = [0.0; 32];
        Rounding::Q8_0.round(&mut zero, 32);
        assert_eq!(zero, [0.0; 32]);
    }
}
