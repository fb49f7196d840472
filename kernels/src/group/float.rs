//! Groups of eight- and four-bit floats with a scale, as compressed-tensors and its kin hold them.

use super::ScaleType;
use crate::Isa;
use crate::block::rounder::{Columns, Grid, Points, Step, Steps};
use crate::block::{Codec, Rounder};
use crate::fp8::{E2M1_MAX, E4M3_MAX, decode_e4m3, decode_e8m0, encode_e4m3};
use crate::lanes::{Job, LANES, Lanes, Vector, dispatch};

/// Elements of an MX group.
const MX: usize = 32;
/// Elements of an NVFP4 group.
const NV: usize = 16;

/// A group of small floats: `weight = scale * number`.
///
/// A record is the codes, a byte each (E2M1 in the lower four bits), then the scale in as many bytes as [`Floats`] says.
/// Numbers are rounded to nearest even and saturate. Importance is not looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatGroup {
    floats: Floats,
    len: usize,
}

/// What the floats and their scales are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Floats {
    /// E4M3; the scale is `largest magnitude / 448` as it is stored, in the record as little-endian f32.
    Fp8(ScaleType),
    /// E4M3 with this scale, which more than one row shares; in the record as above.
    Fp8Scaled(f32),
    /// E4M3, 32 a group; the scale is a power of two, in the record as a byte of E8M0.
    Mxfp8,
    /// E2M1, 32 a group; the scale as above.
    Mxfp4,
    /// E2M1, 16 a group; the scale is a number of E4M3, a byte in the record, divided by this global scale of the tensor
    /// (see [`nvfp4_global_scale`]).
    Nvfp4(f32),
}

/// The global scale that makes full use of the local ones: `448 * 6 / largest magnitude` of the whole tensor, or of all
/// tensors that must share it. 1 where that is not finite.
pub fn nvfp4_global_scale(largest: f32) -> f32 {
    let scale = E4M3_MAX * E2M1_MAX / largest.max(f32::MIN_POSITIVE);
    if scale.is_finite() { scale } else { 1.0 }
}

impl FloatGroup {
    /// `len` elements a group (a row's length for scales a channel); the MX and NV kinds take theirs alone. Panics on
    /// other lengths, and on a given scale that is not a positive number.
    pub fn new(floats: Floats, len: usize) -> Self {
        let (fits, given) = match floats {
            Floats::Fp8(_) => (len > 0, 1.0),
            Floats::Fp8Scaled(scale) => (len > 0, scale),
            Floats::Mxfp8 | Floats::Mxfp4 => (len == MX, 1.0),
            Floats::Nvfp4(global) => (len == NV, global),
        };
        assert!(fits && given > 0.0 && given.is_finite(), "groups of {len} of {floats:?}");
        FloatGroup { floats, len }
    }

    /// Splits a record into codes and scale bytes. Panics on shorter ones.
    pub fn parts<'a>(&self, record: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        record.split_at(self.len)
    }

    fn scale_bytes(&self) -> usize {
        match self.floats {
            Floats::Fp8(_) | Floats::Fp8Scaled(_) => 4,
            Floats::Mxfp8 | Floats::Mxfp4 | Floats::Nvfp4(_) => 1,
        }
    }

    /// The bytes of the scale for groups of this largest magnitude.
    #[inline(always)]
    fn scale(&self, largest: f32, out: &mut [u8]) {
        match self.floats {
            Floats::Fp8(stored) => {
                let scale = if largest > 0.0 { largest / E4M3_MAX } else { stored.epsilon() };
                out.copy_from_slice(&stored.stored(scale).to_le_bytes());
            }
            Floats::Fp8Scaled(scale) => out.copy_from_slice(&scale.to_le_bytes()),
            // The offsets are the exponents of 448 and 6.
            Floats::Mxfp8 => out[0] = exponent(largest, 8),
            Floats::Mxfp4 => out[0] = exponent(largest, 2),
            Floats::Nvfp4(global) => {
                let code = encode_e4m3(global * (largest / E2M1_MAX));
                // Zero gives way to the epsilon of E4M3.
                out[0] = if code == 0 { encode_e4m3(0.125) } else { code };
            }
        }
    }

    fn encode_groups(&self, isa: Isa, x: &[f32], out: &mut [u8]) {
        dispatch(isa, Encode { group: self, x, out });
    }
}

/// compressed-tensors' E8M0: the exponent of the magnitude, a quarter of its power added so that 1.75 and more count as
/// the next power, less the exponent of the largest number.
#[inline(always)]
fn exponent(largest: f32, offset: u8) -> u8 {
    let raised = (largest.to_bits() + (1 << 21)) >> 23;
    raised.min(254).saturating_sub(u32::from(offset)) as u8
}

struct Encode<'a> {
    group: &'a FloatGroup,
    x: &'a [f32],
    out: &'a mut [u8],
}

impl Job for Encode<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Encode { group, x, out } = self;
        let points = group.points();
        for (x, out) in x.chunks_exact(group.len).zip(out.chunks_exact_mut(group.len + group.scale_bytes())) {
            let (whole, rest) = x.as_chunks::<LANES>();
            let mut last = [0.0; LANES];
            last[..rest.len()].copy_from_slice(rest);
            let mut largest = lanes.load(&last).abs();
            for x in whole {
                largest = lanes.load(x).abs().max(largest);
            }
            group.scale(largest.reduce_max(), &mut out[group.len..]);
            let step = group.step(out, 0);
            let mut steps = Steps::default();
            for lane in 0..LANES {
                steps.set_lane(lane, step);
            }
            let (codes, codes_rest) = out[..group.len].as_chunks_mut::<LANES>();
            for (x, codes) in whole.iter().zip(codes) {
                *codes = points.nearest(lanes, lanes.load(x), &steps).0;
            }
            let last = points.nearest(lanes, lanes.load(&last), &steps).0;
            codes_rest.copy_from_slice(&last[..codes_rest.len()]);
        }
    }
}

impl Codec for FloatGroup {
    fn name(&self) -> &'static str {
        match self.floats {
            Floats::Fp8(_) | Floats::Fp8Scaled(_) => "FP8",
            Floats::Mxfp8 => "MXFP8",
            Floats::Mxfp4 => "MXFP4",
            Floats::Nvfp4(_) => "NVFP4",
        }
    }

    fn block_len(&self) -> usize {
        self.len
    }

    fn block_bytes(&self) -> usize {
        self.len + self.scale_bytes()
    }

    fn fallback(&self) -> Option<&'static str> {
        None
    }

    fn weighs(&self) -> bool {
        false
    }

    fn tolerance(&self) -> f32 {
        match self.floats {
            Floats::Fp8(_) | Floats::Fp8Scaled(_) | Floats::Mxfp8 => 0.03,
            Floats::Mxfp4 => 0.125,
            Floats::Nvfp4(_) => 0.1,
        }
    }

    fn encode(&self, isa: Isa, rows: &[f32], cols: usize, _: Option<&[f32]>, out: &mut [u8]) {
        if rows.is_empty() {
            assert!(out.is_empty(), "bytes for no rows");
            return;
        }
        assert!(cols > 0 && cols.is_multiple_of(self.len) && rows.len().is_multiple_of(cols), "rows of whole groups");
        assert_eq!(out.len(), rows.len() / self.len * self.block_bytes(), "records of the rows");
        self.encode_groups(isa, rows, out);
    }

    fn decode(&self, _: Isa, bytes: &[u8], out: &mut [f32]) {
        assert!(out.len().is_multiple_of(self.len), "whole groups");
        assert_eq!(bytes.len(), out.len() / self.len * self.block_bytes(), "records of the elements");
        for (record, out) in bytes.chunks_exact(self.block_bytes()).zip(out.chunks_exact_mut(self.len)) {
            let step = self.step(record, 0);
            for (out, code) in out.iter_mut().zip(record) {
                *out = self.points().value(*code, step);
            }
        }
    }

    fn rounder(&self, isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(Box::new(Columns::new(*self, isa, rows)))
    }
}

impl Grid for FloatGroup {
    #[inline(always)]
    fn points(&self) -> Points {
        match self.floats {
            Floats::Fp8(_) | Floats::Fp8Scaled(_) | Floats::Mxfp8 => Points::E4m3,
            Floats::Mxfp4 | Floats::Nvfp4(_) => Points::E2m1 { even: true, negative_zero: true },
        }
    }

    fn elements(&self) -> usize {
        self.len
    }

    fn bytes(&self) -> usize {
        self.len + self.scale_bytes()
    }

    fn sub_len(&self) -> usize {
        self.len
    }

    fn choose(&self, isa: Isa, x: &[f32], _: Option<&[f32]>, _: &[f32], out: &mut [u8]) {
        self.encode_groups(isa, x, out);
    }

    #[inline(always)]
    fn step(&self, block: &[u8], _: usize) -> Step {
        let scale = &block[self.len..];
        let step = match self.floats {
            Floats::Fp8(_) | Floats::Fp8Scaled(_) => f32::from_le_bytes([scale[0], scale[1], scale[2], scale[3]]),
            Floats::Mxfp8 => decode_e8m0(scale[0]),
            // Half the scale: levels are doubled.
            Floats::Mxfp4 => 0.5 * decode_e8m0(scale[0]),
            Floats::Nvfp4(global) => 0.5 * (decode_e4m3(scale[0]) / global),
        };
        Step { step, min: 0.0, low: 0.0 }
    }

    fn codes(&self, block: &[u8], out: &mut [u8]) {
        out.copy_from_slice(&block[..self.len]);
    }

    fn set_codes(&self, block: &mut [u8], codes: &[u8]) {
        block[..self.len].copy_from_slice(codes);
    }
}
