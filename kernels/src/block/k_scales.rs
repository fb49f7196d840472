//! Eight scales and eight minima of six bits in twelve bytes: what Q4_K and Q5_K share.

use super::half::f16_value;
use super::rounder::Parts;
use crate::lanes::each;

/// Bytes 0-3: scales 0-3 and the top bits of scales 4-7; bytes 4-7: the same of the minima; bytes 8-11: the low nibbles of
/// scales 4-7 and of minima 4-7.
#[inline(always)]
pub(super) fn pack(scales: &[u8], mins: &[u8]) -> [u8; 12] {
    let mut out = [0; 12];
    for j in 0..4 {
        let (scale, min) = (scales[j + 4].min(63), mins[j + 4].min(63));
        out[j] = scales[j].min(63) | scale >> 4 << 6;
        out[j + 4] = mins[j].min(63) | min >> 4 << 6;
        out[j + 8] = scale & 15 | min << 4;
    }
    out
}

/// Scale and minimum of sub-block `j`.
#[inline(always)]
pub(super) fn unpack(packed: &[u8; 12], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4)
    }
}

/// The steps of a super-block as they are stored.
pub(super) fn parts(d: u16, dmin: u16, packed: &[u8; 12]) -> Parts {
    let of = |j: usize| if j < 8 { unpack(packed, j) } else { (0, 0) };
    let (scales, mins) = (each(|j| i16::from(of(j).0)), each(|j| i16::from(of(j).1)));
    Parts { d: f16_value(d), dmin: f16_value(dmin), scales, mins, ranges: [(0, 63); 2] }
}
