//! Block codecs: `f32` rows to the bytes of a GGML type and back. One file a type; [`CODECS`] lists them.

mod codec;
mod fp4;
mod grid;
pub(crate) mod half;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod iq4_nl;
mod iq4_xs;
mod k_scales;
mod mxfp4;
mod nvfp4;
mod plain;
mod q1_0;
mod q2_0;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
pub(crate) mod rounder;
mod search;
mod signs;
mod small;
mod super_block;
mod ternary;
mod tq1_0;
mod tq2_0;
mod units;
mod weights;

use crate::Isa;
use codec::Of;
pub use rounder::Rounder;
pub use weights::mean_squares;

/// One type's encoder and decoder.
///
/// Laws, tested for every entry of [`CODECS`]: every [`Isa`] gives the same bytes; the bytes are llama.cpp's (its
/// x86-64 baseline build, which does not contract `a * b + c`); decoding is exact.
pub trait Codec: Sync {
    /// llama.cpp's name of the type: `Q4_K`.
    fn name(&self) -> &'static str;
    /// Elements a block.
    fn block_len(&self) -> usize;
    /// Bytes a block.
    fn block_bytes(&self) -> usize;
    /// The type to take for rows that are not a whole number of blocks; `None` where blocks of one element always fit
    /// and where llama.cpp has none (Q1_0, NVFP4).
    fn fallback(&self) -> Option<&'static str>;
    /// Whether `encode` looks at importance.
    fn weighs(&self) -> bool;
    /// Whether it refuses to encode without importance.
    fn needs_importance(&self) -> bool {
        false
    }
    /// The relative root-mean-square error that Gaussian rows never exceed.
    fn tolerance(&self) -> f32;

    /// Encodes whole rows of `cols` elements.
    ///
    /// `importance` holds one weight a column (`cols` of them), shared by all rows. `out` takes exactly the bytes of
    /// `rows`. Values must be finite: callers check (see [`crate::first_non_finite`]), since only they can name the
    /// tensor. Panics if the lengths do not fit together, or without importance where it is needed.
    fn encode(&self, isa: Isa, rows: &[f32], cols: usize, importance: Option<&[f32]>, out: &mut [u8]);

    /// Decodes whole blocks into `out.len()` elements. Panics if the lengths do not fit together.
    fn decode(&self, isa: Isa, bytes: &[u8], out: &mut [f32]);

    /// What rounds single columns of `rows` rows onto this type's grid. `None` where columns do not round alone: the
    /// types with codebooks of vectors (IQ1, IQ2, IQ3).
    fn rounder(&self, isa: Isa, rows: usize) -> Option<Box<dyn Rounder>>;
}

impl<C: Codec + ?Sized> Codec for &C {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn block_len(&self) -> usize {
        (**self).block_len()
    }

    fn block_bytes(&self) -> usize {
        (**self).block_bytes()
    }

    fn fallback(&self) -> Option<&'static str> {
        (**self).fallback()
    }

    fn weighs(&self) -> bool {
        (**self).weighs()
    }

    fn needs_importance(&self) -> bool {
        (**self).needs_importance()
    }

    fn tolerance(&self) -> f32 {
        (**self).tolerance()
    }

    fn encode(&self, isa: Isa, rows: &[f32], cols: usize, importance: Option<&[f32]>, out: &mut [u8]) {
        (**self).encode(isa, rows, cols, importance, out);
    }

    fn decode(&self, isa: Isa, bytes: &[u8], out: &mut [f32]) {
        (**self).decode(isa, bytes, out);
    }

    fn rounder(&self, isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        (**self).rounder(isa, rows)
    }
}

/// All codecs.
pub static CODECS: &[&dyn Codec] = &[
    &Of::<plain::F32>::CODEC,
    &Of::<plain::F16>::CODEC,
    &Of::<plain::BF16>::CODEC,
    &Of::<q4_0::Q4_0>::CODEC,
    &Of::<q4_1::Q4_1>::CODEC,
    &Of::<q5_0::Q5_0>::CODEC,
    &Of::<q5_1::Q5_1>::CODEC,
    &Of::<q8_0::Q8_0>::CODEC,
    &Of::<q2_k::Q2K>::CODEC,
    &Of::<q3_k::Q3K>::CODEC,
    &Of::<q4_k::Q4K>::CODEC,
    &Of::<q5_k::Q5K>::CODEC,
    &Of::<q6_k::Q6K>::CODEC,
    &Of::<iq4_nl::Iq4Nl>::CODEC,
    &Of::<iq4_xs::Iq4Xs>::CODEC,
    &Of::<iq3_xxs::Iq3Xxs>::CODEC,
    &Of::<iq3_s::Iq3S>::CODEC,
    &Of::<iq2_xxs::Iq2Xxs>::CODEC,
    &Of::<iq2_xs::Iq2Xs>::CODEC,
    &Of::<iq2_s::Iq2S>::CODEC,
    &Of::<iq1_s::Iq1S>::CODEC,
    &Of::<iq1_m::Iq1M>::CODEC,
    &Of::<tq1_0::Tq1_0>::CODEC,
    &Of::<tq2_0::Tq2_0>::CODEC,
    &Of::<mxfp4::Mxfp4>::CODEC,
    &Of::<nvfp4::Nvfp4>::CODEC,
    &Of::<q1_0::Q1_0>::CODEC,
    &Of::<q2_0::Q2_0>::CODEC,
];

/// The codec of this name, in any case.
pub fn codec(name: &str) -> Option<&'static dyn Codec> {
    CODECS.iter().copied().find(|c| c.name().eq_ignore_ascii_case(name))
}
