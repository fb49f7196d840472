//! Codecs whose parameters a run chooses: groups of integers or small floats with a scale, as safetensors dialects hold
//! them.
//!
//! A dialect spreads codes, scales and zero points over tensors of its own. Here a group is one *record*: its codes, a
//! byte each, then what they share. A dialect repacks records; methods see a [`crate::block::Codec`] like any other.

mod float;
mod int;
mod search;

pub use float::{FloatGroup, Floats, nvfp4_global_scale};
pub use int::{IntGroup, Tool, Zero};

use crate::block::half::{bf16_bits, f16_bits, f16_value};

/// How a dialect stores a group's scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleType {
    /// As half precision.
    F16,
    /// As bfloat16.
    Bf16,
    /// As single precision.
    F32,
}

impl ScaleType {
    /// The stored number nearest to a scale, cut to what is finite, and never zero.
    #[inline(always)]
    fn stored(self, scale: f32) -> f32 {
        let (value, least, most) = match self {
            // 2^-24, the least subnormal, and the largest number.
            ScaleType::F16 => (f16_value(f16_bits(scale)), f32::from_bits(103 << 23), 65504.0),
            ScaleType::Bf16 => {
                let most = f32::from_bits(0x7f7f_0000);
                (f32::from_bits(u32::from(bf16_bits(scale)) << 16), f32::MIN_POSITIVE, most)
            }
            ScaleType::F32 => (scale, f32::MIN_POSITIVE, f32::MAX),
        };
        value.clamp(least, most)
    }

    /// The distance between 1 and the next number: what compressed-tensors gives groups of zeros.
    fn epsilon(self) -> f32 {
        match self {
            ScaleType::F16 => 1.0 / 1024.0,
            ScaleType::Bf16 => 1.0 / 128.0,
            ScaleType::F32 => f32::EPSILON,
        }
    }
}
