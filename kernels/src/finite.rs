//! The check that must come before encoding.

use crate::Isa;
use crate::lanes::{Job, Lanes, dispatch};

/// Where the first NaN or infinity stands.
pub fn first_non_finite(isa: Isa, values: &[f32]) -> Option<usize> {
    dispatch(isa, Find(values))
}

struct Find<'a>(&'a [f32]);

impl Job for Find<'_> {
    type Out = Option<usize>;

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) -> Option<usize> {
        const CHUNK: usize = 256;
        let magnitude = |v: &f32| v.to_bits() & 0x7fff_ffff;
        let bad = |chunk: &[f32]| chunk.iter().map(magnitude).fold(0, u32::max) >= f32::INFINITY.to_bits();
        let chunk = self.0.chunks(CHUNK).position(bad)?;
        let start = chunk * CHUNK;
        self.0[start..].iter().position(|v| !v.is_finite()).map(|i| start + i)
    }
}
