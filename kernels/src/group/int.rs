//! Groups of integers with a scale and a zero point.

use super::ScaleType;
use super::search::{Batches, Search};
use crate::Isa;
use crate::block::rounder::{Columns, Grid, Parts, Points, Step, Ties};
use crate::block::{Codec, Rounder};
use crate::lanes::{LANES, Row, dispatch};

/// A group of `len` integers of `bits` bits: `weight = scale * (code - zero)`.
///
/// A record is `len` codes (unsigned, `0 .. 2^bits`), the scale as little-endian f32 (a number of [`ScaleType`]), the
/// zero point as a byte, three zero bytes.
///
/// Without importance the group's range decides, as in the tool that the dialect comes from. With importance the range is
/// shrunk (a little widened, too) in steps, each with the scale of least squares, and the grid with the least weighted
/// squared error is taken, never a worse one than the plain range's. In both cases codes are rounded with the scale as it
/// is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntGroup {
    pub(super) bits: u8,
    pub(super) zero: Zero,
    pub(super) len: usize,
    pub(super) scale: ScaleType,
    pub(super) tool: Tool,
}

/// Where zero may lie among the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// At `2^(bits - 1)`: symmetric. The scale is `2 * largest magnitude / (2^bits - 1)`.
    Middle,
    /// Anywhere: asymmetric. The scale is `(max - min) / (2^bits - 1)` of a range that includes zero, since otherwise
    /// no code could stand for it.
    Anywhere,
    /// Anywhere but at code 0, which stored zero points minus one (version 1 of GPTQ's format) cannot hold.
    AboveLowest,
}

/// The tool whose conventions hold: which way ties go, and what scale zeros get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// GPTQ: ties to the even multiple of the scale; zeros get the scale of the range -1 to 1.
    Gptq,
    /// AutoAWQ: the same ties; ranges below 1e-5 count as 1e-5.
    Awq,
    /// compressed-tensors: ties to the even code; zeros get the epsilon of the scale's type.
    CompressedTensors,
}

/// Bytes of a record beside the codes.
const TAIL: usize = 8;

impl IntGroup {
    /// Panics unless `bits` is in 2 to 8 and `len` positive. `len` is a row's length for scales a channel.
    pub fn new(bits: u8, zero: Zero, len: usize, scale: ScaleType, tool: Tool) -> Self {
        assert!((2..=8).contains(&bits) && len > 0, "groups of {len} integers of {bits} bits");
        IntGroup { bits, zero, len, scale, tool }
    }

    /// Bits of a code.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Elements of a group.
    pub fn group_len(&self) -> usize {
        self.len
    }

    /// Splits a record into codes, scale and zero point. Panics on other lengths than a record's.
    pub fn parts<'a>(&self, record: &'a [u8]) -> (&'a [u8], f32, u8) {
        let (codes, tail) = record.split_at(self.len);
        let [a, b, c, d, zero, ..] = *tail.first_chunk::<TAIL>().expect("a record's tail");
        (codes, f32::from_le_bytes([a, b, c, d]), zero)
    }

    /// The highest code.
    pub(super) fn high(&self) -> u8 {
        u8::MAX >> (8 - self.bits)
    }

    fn encode_groups(&self, isa: Isa, x: &[f32], cols: usize, importance: Option<&[f32]>, out: &mut [u8]) {
        let record = self.len + TAIL;
        let (mut columns, mut weights) = (vec![Row::default(); self.len], Vec::new());
        if importance.is_some() {
            weights.resize(self.len, Row::default());
        }
        let mut codes = vec![[0; LANES]; self.len];
        let batches = x.chunks(LANES * self.len).zip(out.chunks_mut(LANES * record));
        for (i, (x, out)) in batches.enumerate() {
            let start = i * LANES * self.len % cols;
            let batches = Batches { x, importance, start, columns: &mut columns, weights: &mut weights };
            let found = dispatch(isa, Search { group: self, batches, codes: &mut codes });
            for (lane, out) in out.chunks_exact_mut(record).enumerate() {
                for (out, codes) in out.iter_mut().zip(&codes) {
                    *out = codes[lane];
                }
                out[self.len..self.len + 4].copy_from_slice(&found.step.0[lane].to_le_bytes());
                // Exact: the lowest level is the negated zero point.
                out[self.len + 4..].copy_from_slice(&[-found.low.0[lane] as u8, 0, 0, 0]);
            }
        }
    }
}

impl Codec for IntGroup {
    fn name(&self) -> &'static str {
        ["INT2", "INT3", "INT4", "INT5", "INT6", "INT7", "INT8"][usize::from(self.bits - 2)]
    }

    fn block_len(&self) -> usize {
        self.len
    }

    fn block_bytes(&self) -> usize {
        self.len + TAIL
    }

    fn fallback(&self) -> Option<&'static str> {
        None
    }

    fn weighs(&self) -> bool {
        true
    }

    fn tolerance(&self) -> f32 {
        // A uniform error over one step of a range of about as many deviations as `len` draws reach.
        let reach = (2.0 * (2.0 * self.len as f32).ln()).sqrt();
        2.0 * reach / f32::from(self.high()) / 12f32.sqrt()
    }

    fn encode(&self, isa: Isa, rows: &[f32], cols: usize, importance: Option<&[f32]>, out: &mut [u8]) {
        if rows.is_empty() {
            assert!(out.is_empty(), "bytes for no rows");
            return;
        }
        assert!(cols > 0 && cols.is_multiple_of(self.len) && rows.len().is_multiple_of(cols), "rows of whole groups");
        assert_eq!(out.len(), rows.len() / self.len * self.block_bytes(), "records of the rows");
        assert!(importance.is_none_or(|w| w.len() == cols), "one weight a column");
        self.encode_groups(isa, rows, cols, importance, out);
    }

    fn decode(&self, _: Isa, bytes: &[u8], out: &mut [f32]) {
        assert!(out.len().is_multiple_of(self.len), "whole groups");
        assert_eq!(bytes.len(), out.len() / self.len * self.block_bytes(), "records of the elements");
        for (record, out) in bytes.chunks_exact(self.block_bytes()).zip(out.chunks_exact_mut(self.len)) {
            let (codes, scale, zero) = self.parts(record);
            for (out, code) in out.iter_mut().zip(codes) {
                *out = scale * (f32::from(*code) - f32::from(zero));
            }
        }
    }

    fn rounder(&self, isa: Isa, rows: usize) -> Option<Box<dyn Rounder>> {
        Some(Box::new(Columns::new(*self, isa, rows)))
    }
}

impl Grid for IntGroup {
    fn points(&self) -> Points {
        let ties = match self.tool {
            Tool::Gptq | Tool::Awq => Ties::Even,
            Tool::CompressedTensors => Ties::EvenCode,
        };
        Points::Uniform { span: self.high(), ties }
    }

    fn elements(&self) -> usize {
        self.len
    }

    fn bytes(&self) -> usize {
        self.len + TAIL
    }

    fn sub_len(&self) -> usize {
        self.len
    }

    fn choose(&self, isa: Isa, x: &[f32], importance: Option<&[f32]>, _: &[f32], out: &mut [u8]) {
        self.encode_groups(isa, x, self.len, importance, out);
    }

    fn step(&self, block: &[u8], _: usize) -> Step {
        let (_, scale, zero) = self.parts(block);
        Step { step: scale, min: 0.0, low: 0.0 - f32::from(zero) }
    }

    fn codes(&self, block: &[u8], out: &mut [u8]) {
        out.copy_from_slice(&block[..self.len]);
    }

    fn set_codes(&self, block: &mut [u8], codes: &[u8]) {
        block[..self.len].copy_from_slice(codes);
    }

    fn parts(&self, block: &[u8]) -> Option<Parts> {
        Some(Parts::scale(IntGroup::parts(self, block).1))
    }

    fn set_parts(&self, block: &mut [u8], parts: &Parts) {
        block[self.len..self.len + 4].copy_from_slice(&parts.d.to_le_bytes());
    }

    fn stored(&self, scale: f32) -> f32 {
        self.scale.stored(scale)
    }
}
