//! The check that must come before encoding.

use crate::Isa;
use crate::lanes::{Job, Lanes, dispatch};

/// Where the first NaN or infinity stands.
pub fn first_non_finite(isa: Isa, values: &[f32]) -> Option<usize> {
    first_beyond(isa, values, f32::INFINITY)
}

/// Where the first value stands that is NaN or whose magnitude is `limit` or more.
pub fn first_beyond(isa: Isa, values: &[f32], limit: f32) -> Option<usize> {
    dispatch(isa, Find(values, limit.to_bits()))
}

/// Magnitudes compare as their bits do, with NaN above infinity.
struct Find<'a>(&'a [f32], u32);

impl Job for Find<'_> {
    type Out = Option<usize>;

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) -> Option<usize> {
        const CHUNK: usize = 256;
        let Find(values, limit) = self;
        let magnitude = |v: &f32| v.to_bits() & 0x7fff_ffff;
        let bad = |chunk: &[f32]| chunk.iter().map(magnitude).fold(0, u32::max) >= limit;
        let start = values.chunks(CHUNK).position(bad)? * CHUNK;
        values[start..].iter().position(|v| magnitude(v) >= limit).map(|i| start + i)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_found_wherever_it_stands() {
        let mut values = vec![-3.0f32; 1000];
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            assert_eq!(first_beyond(isa, &values, 4.0), None);
            assert_eq!(first_beyond(isa, &values, 3.0), Some(0));
            for at in [0, 255, 256, 999] {
                for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    values[at] = bad;
                    assert_eq!(first_non_finite(isa, &values), Some(at));
                    assert_eq!(first_beyond(isa, &values, 4.0), Some(at));
                }
                values[at] = -5.0;
                assert_eq!((first_non_finite(isa, &values), first_beyond(isa, &values, 4.0)), (None, Some(at)));
                values[at] = -3.0;
            }
        }
    }
}
