//! One number an element: F32, F16, BF16.

use super::codec::{Block, Input};
use super::half::{bf16_bits, f16_bits, f16_value};
use super::rounder::{Alone, Rounder};
use crate::Isa;
use crate::lanes::{LANES, Lanes, Vector};

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct BF16;

impl Block for F32 {
    const NAME: &'static str = "F32";
    const LEN: usize = 1;
    const BYTES: usize = 4;
    const FALLBACK: Option<&'static str> = None;
    const WEIGHS: bool = false;
    const TOLERANCE: f32 = 0.0;

    #[inline(always)]
    fn encode<L: Lanes>(_: L, input: &Input<'_>, out: &mut [u8]) {
        out.copy_from_slice(bytemuck::cast_slice(input.values));
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        bytemuck::cast_slice_mut(out).copy_from_slice(bytes);
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(Alone::<Self>::rounder(isa, rows))
    }
}

impl Block for F16 {
    const NAME: &'static str = "F16";
    const LEN: usize = 1;
    const BYTES: usize = 2;
    const FALLBACK: Option<&'static str> = None;
    const WEIGHS: bool = false;
    const TOLERANCE: f32 = 0.0003;

    #[inline(always)]
    fn encode<L: Lanes>(lanes: L, input: &Input<'_>, out: &mut [u8]) {
        let (values, rest) = input.values.as_chunks::<LANES>();
        let (whole, tail) = out.split_at_mut(values.len() * LANES * 2);
        for (values, out) in values.iter().zip(whole.as_chunks_mut::<{ LANES * 2 }>().0) {
            let mut halves = [0u16; LANES];
            lanes.load(values).store_f16(&mut halves);
            *out = bytemuck::cast(halves);
        }
        for (&value, out) in rest.iter().zip(tail.as_chunks_mut::<2>().0) {
            *out = f16_bits(value).to_le_bytes();
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(lanes: L, bytes: &[u8], out: &mut [f32]) {
        let (whole, rest) = out.as_chunks_mut::<LANES>();
        let (bytes, tail) = bytes.split_at(whole.len() * LANES * 2);
        for (bytes, out) in bytes.as_chunks::<{ LANES * 2 }>().0.iter().zip(whole) {
            lanes.load_f16(&bytemuck::cast(*bytes)).store(out);
        }
        for (bytes, out) in tail.as_chunks::<2>().0.iter().zip(rest) {
            *out = f16_value(u16::from_le_bytes(*bytes));
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(Alone::<Self>::rounder(isa, rows))
    }
}

impl Block for BF16 {
    const NAME: &'static str = "BF16";
    const LEN: usize = 1;
    const BYTES: usize = 2;
    const FALLBACK: Option<&'static str> = None;
    const WEIGHS: bool = false;
    const TOLERANCE: f32 = 0.0025;

    #[inline(always)]
    fn encode<L: Lanes>(_: L, input: &Input<'_>, out: &mut [u8]) {
        for (&value, out) in input.values.iter().zip(out.as_chunks_mut::<2>().0) {
            *out = bf16_bits(value).to_le_bytes();
        }
    }

    #[inline(always)]
    fn decode<L: Lanes>(_: L, bytes: &[u8], out: &mut [f32]) {
        for (bytes, out) in bytes.as_chunks::<2>().0.iter().zip(out) {
            *out = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }

    fn rounder(isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(Alone::<Self>::rounder(isa, rows))
    }
}
