//! Packed matrices as f32: any block of rows and columns.
//!
//! A weight is `(value(code) - zero) * scale`, computed in f32. Codes and zero points are small whole numbers or floats of
//! few bits, so the difference is exact and the product is rounded once, to f32. Readers that compute in the type of the
//! scales (transformers, vLLM) round it once more: to BF16 or F16.

use std::ops::Range;

use half::{bf16, f16};
use planish_formats::packing::{unpack_awq, unpack_columns, unpack_padded, unpack_row};
use planish_formats::{Dtype, Source};
use planish_kernels::fp8::{decode_e2m1, decode_e4m3, decode_e8m0};

use super::packed::{Order, Packed, Zeros, plain};
use super::stored::Element;
use super::{Error, Result};

/// Buffers that one thread reuses.
#[derive(Default)]
pub(crate) struct Buffers {
    codes: Vec<u8>,
    line: Vec<u8>,
    words: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<f32>,
    turned: Vec<f32>,
}

/// Codes that are unpacked at once where a matrix is read across its rows.
const TILE: usize = 1 << 16;

/// A packed tensor, opened.
#[derive(Clone, Debug)]
pub(crate) struct Unpacker<'a> {
    packed: &'a Packed,
    codes: &'a [u8],
    /// Bytes of a row of codes, in the orders that have rows.
    row: usize,
    /// Codes are whole numbers in two's complement.
    signed: bool,
    scales: &'a [u8],
    scale: Dtype,
    divisor: f32,
    zeros: &'a [u8],
    /// The group of each column, where a tensor says so.
    groups: Option<Vec<u32>>,
}

impl<'a> Unpacker<'a> {
    /// Opens what [`Packed::check`] has found sound.
    pub(super) fn new(packed: &'a Packed, source: &'a dyn Source) -> Result<Unpacker<'a>> {
        let bytes = |name: &String| Ok::<_, Error>(source.view(name)?.bytes);
        let codes = source.view(&packed.codes)?;
        let scales = source.view(&packed.scales.tensor)?;
        let zeros = match &packed.zeros {
            Zeros::All(_) => &[][..],
            Zeros::Rows { tensor, .. }
            | Zeros::Awq { tensor }
            | Zeros::Columns { tensor }
            | Zeros::Signed { tensor } => bytes(tensor)?,
        };
        let rows = packed.matrices.unwrap_or(1) * packed.rows;
        Ok(Unpacker {
            packed,
            codes: codes.bytes,
            row: codes.bytes.len() / rows.max(1),
            signed: plain(codes.info)? == Dtype::I8 && matches!(packed.element, Element::Int(_)),
            scales: scales.bytes,
            scale: plain(scales.info)?,
            divisor: packed.scales.divisor.as_ref().map(|name| divisor(name, bytes(name)?)).transpose()?.unwrap_or(1.0),
            zeros,
            groups: packed.groups.as_ref().map(|name| groups(name, bytes(name)?, packed)).transpose()?.flatten(),
        })
    }

    /// Rows that are best read together: the stored words lie across them.
    pub(crate) fn step(&self) -> usize {
        match self.packed.order {
            Order::Rows | Order::Padded => 1,
            // A line of the processor's cache.
            Order::Columns => 16,
            Order::Awq => 128,
        }
    }

    /// Reads `rows` of the logical tensor, counted over all of its matrices, into `out`, which holds exactly them.
    pub(crate) fn logical(&self, rows: Range<usize>, buffers: &mut Buffers, out: &mut [f32]) {
        if !self.packed.transposed {
            return self.block(rows, 0..self.packed.cols, buffers, out);
        }
        let (height, width) = (self.packed.cols, self.packed.rows);
        let (mut start, mut out) = (rows.start, out);
        while start < rows.end {
            let (matrix, first) = (start / height, start % height);
            let last = height.min(first + rows.end - start);
            let (these, rest) = out.split_at_mut((last - first) * width);
            self.across(matrix * width, first..last, buffers, these);
            (start, out) = (start + last - first, rest);
        }
    }

    /// Reads `columns` of the logical tensor, a single matrix, each as a row of `out`.
    pub(crate) fn turned(&self, columns: Range<usize>, buffers: &mut Buffers, out: &mut [f32]) {
        if self.packed.transposed {
            self.block(columns, 0..self.packed.cols, buffers, out);
        } else {
            self.across(0, columns, buffers, out);
        }
    }

    /// Columns `cols` of the stored matrix whose first row is `first`, each as a row of `out`.
    fn across(&self, first: usize, cols: Range<usize>, buffers: &mut Buffers, out: &mut [f32]) {
        let (height, width) = (self.packed.rows, cols.len());
        let tile = (TILE / width.max(1)).max(1).next_multiple_of(self.step());
        let mut turned = std::mem::take(&mut buffers.turned);
        for start in (0..height).step_by(tile) {
            let rows = start..height.min(start + tile);
            turned.resize(rows.len() * width, 0.0);
            self.block(first + rows.start..first + rows.end, cols.clone(), buffers, &mut turned);
            for (row, values) in rows.zip(turned.chunks_exact(width)) {
                for (col, value) in values.iter().enumerate() {
                    out[col * height + row] = *value;
                }
            }
        }
        buffers.turned = turned;
    }

    /// Reads `rows`, counted over all matrices, and `cols` of what is stored.
    fn block(&self, rows: Range<usize>, cols: Range<usize>, buffers: &mut Buffers, out: &mut [f32]) {
        let (width, size) = (cols.len(), self.packed.block[1]);
        if width == 0 || rows.is_empty() {
            return;
        }
        let groups = match (&self.groups, size) {
            (Some(_), _) => 0..self.packed.groups(),
            (None, 0) => 0..1,
            (None, size) => cols.start / size..cols.end.div_ceil(size),
        };
        self.codes(rows.clone(), cols.clone(), buffers);
        self.scales(rows.clone(), groups.clone(), &mut buffers.scales);
        self.zeros(rows, groups.clone(), buffers);
        let scaled = buffers.scales.chunks_exact(groups.len()).zip(buffers.zeros.chunks_exact(groups.len()));
        let lines = buffers.codes.chunks_exact(width).zip(out.chunks_exact_mut(width));
        for ((codes, out), (scales, zeros)) in lines.zip(scaled) {
            if let Some(of) = &self.groups {
                for ((out, code), group) in out.iter_mut().zip(codes).zip(&of[cols.clone()]) {
                    let group = *group as usize;
                    *out = (self.value(*code) - zeros[group]) * scales[group];
                }
                continue;
            }
            let (mut codes, mut out, mut at) = (codes, out, cols.start);
            for (group, (scale, zero)) in groups.clone().zip(scales.iter().zip(zeros)) {
                let end = if size == 0 { cols.end } else { cols.end.min((group + 1) * size) };
                let (these, more) = codes.split_at(end - at);
                let (values, left) = out.split_at_mut(end - at);
                self.scaled(these, *scale, *zero, values);
                (codes, out, at) = (more, left, end);
            }
        }
    }

    fn scaled(&self, codes: &[u8], scale: f32, zero: f32, out: &mut [f32]) {
        let pairs = out.iter_mut().zip(codes);
        match self.packed.element {
            Element::Int(_) if self.signed => {
                pairs.for_each(|(out, code)| *out = (f32::from(code.cast_signed()) - zero) * scale);
            }
            Element::Int(_) => pairs.for_each(|(out, code)| *out = (f32::from(*code) - zero) * scale),
            Element::Fp8 => pairs.for_each(|(out, code)| *out = decode_e4m3(*code) * scale),
            Element::Fp4 => pairs.for_each(|(out, code)| *out = decode_e2m1(*code) * scale),
        }
    }

    fn value(&self, code: u8) -> f32 {
        match self.packed.element {
            Element::Int(_) if self.signed => f32::from(code.cast_signed()),
            Element::Int(_) => f32::from(code),
            Element::Fp8 => decode_e4m3(code),
            Element::Fp4 => decode_e2m1(code),
        }
    }

    /// The codes of a block, row after row.
    fn codes(&self, rows: Range<usize>, cols: Range<usize>, buffers: &mut Buffers) {
        let bits = self.packed.element.bits();
        buffers.codes.resize(rows.len() * cols.len(), 0);
        let lines = rows.clone().zip(buffers.codes.chunks_exact_mut(cols.len()));
        match self.packed.order {
            Order::Rows => {
                for (row, codes) in lines {
                    unpack_row(bits, &self.codes[row * self.row..(row + 1) * self.row], cols.start, codes);
                }
            }
            Order::Padded => {
                for (row, codes) in lines {
                    unpack_padded(bits, &self.codes[row * self.row..(row + 1) * self.row], cols.start, codes);
                }
            }
            Order::Columns => {
                unpack_columns(bits, self.codes, self.packed.rows, cols.start, rows, &mut buffers.codes);
            }
            Order::Awq => {
                let (line, width) = (self.packed.rows / 2, cols.len());
                buffers.line.resize(rows.len(), 0);
                for (at, col) in cols.enumerate() {
                    unpack_awq(&self.codes[col * line..(col + 1) * line], rows.start, &mut buffers.line);
                    for (codes, code) in buffers.codes.chunks_exact_mut(width).zip(&buffers.line) {
                        codes[at] = *code;
                    }
                }
            }
        }
    }

    /// The scales of `rows` and `groups`, row after row.
    fn scales(&self, rows: Range<usize>, groups: Range<usize>, out: &mut Vec<f32>) {
        out.clear();
        for row in rows {
            out.extend(groups.clone().map(|group| self.float(self.place(row, group)) / self.divisor));
        }
    }

    /// Where the scale of a row and a group is among the scales.
    fn place(&self, row: usize, group: usize) -> usize {
        if self.packed.scales.by_group {
            return group * self.packed.rows + row;
        }
        let (matrix, row) = (row / self.packed.rows, row % self.packed.rows);
        let band = row.checked_div(self.packed.block[0]).unwrap_or(0);
        (matrix * self.packed.bands() + band) * self.packed.groups() + group
    }

    fn float(&self, at: usize) -> f32 {
        let two = || u16::from_le_bytes([self.scales[2 * at], self.scales[2 * at + 1]]);
        match self.scale {
            Dtype::F16 => f16::from_bits(two()).to_f32(),
            Dtype::BF16 => bf16::from_bits(two()).to_f32(),
            Dtype::F8_E4M3 => decode_e4m3(self.scales[at]),
            Dtype::U8 | Dtype::F8_E8M0 => decode_e8m0(self.scales[at]),
            _ => self.scales[4 * at..].first_chunk().map_or(f32::NAN, |bytes| f32::from_le_bytes(*bytes)),
        }
    }

    /// The zero points of `rows` and `groups`, row after row.
    fn zeros(&self, rows: Range<usize>, groups: Range<usize>, buffers: &mut Buffers) {
        let (width, bits) = (groups.len(), self.packed.element.bits());
        let Buffers { zeros, line, words, .. } = buffers;
        zeros.clear();
        zeros.resize(rows.len() * width, 0.0);
        line.resize(rows.len(), 0);
        match &self.packed.zeros {
            Zeros::All(zero) => zeros.fill(f32::from(*zero)),
            Zeros::Signed { .. } => {
                let middle = if self.signed { 0.0 } else { f32::from(1u8 << (bits - 1)) };
                for (row, zeros) in rows.zip(zeros.chunks_exact_mut(width)) {
                    for (zero, group) in zeros.iter_mut().zip(groups.clone()) {
                        *zero = f32::from(self.zeros[self.place(row, group)].cast_signed()) + middle;
                    }
                }
            }
            Zeros::Columns { .. } => {
                for (at, group) in groups.enumerate() {
                    let all = self.packed.groups();
                    unpack_columns(bits, self.zeros, all, rows.start, group..group + 1, line);
                    spread(line, at, width, zeros);
                }
            }
            Zeros::Rows { less_one, .. } => {
                let size = self.zeros.len() / self.packed.groups();
                for (at, group) in groups.enumerate() {
                    let stored = &self.zeros[group * size..(group + 1) * size];
                    zero_line(bits, stored, *less_one, rows.start, line, words);
                    spread(line, at, width, zeros);
                }
            }
            Zeros::Awq { .. } => {
                let size = self.packed.rows / 2;
                for (at, group) in groups.enumerate() {
                    unpack_awq(&self.zeros[group * size..(group + 1) * size], rows.start, line);
                    spread(line, at, width, zeros);
                }
            }
        }
    }
}

/// Writes codes down one column of values.
fn spread(codes: &[u8], column: usize, width: usize, values: &mut [f32]) {
    values[column..].iter_mut().step_by(width).zip(codes).for_each(|(value, code)| *value = f32::from(*code));
}

/// GPTQ's zero points from the `first` on of a line. Those that are stored less one were made so by subtracting one from
/// every code of a word at once, so that a zero borrowed from the next code: adding it the same way gives all back. Three
/// bits, which lie across words, are counted round one by one, as gptqmodel does.
fn zero_line(bits: usize, stored: &[u8], less_one: bool, first: usize, codes: &mut [u8], words: &mut Vec<u8>) {
    if !less_one || 32 % bits != 0 {
        unpack_row(bits, stored, first, codes);
        if less_one {
            let mask = (1u8 << bits) - 1;
            for code in codes {
                *code = code.wrapping_add(1) & mask;
            }
        }
        return;
    }
    let per = 32 / bits;
    let ones = (0..per).fold(0u32, |ones, at| ones | 1 << (at * bits));
    words.clear();
    for word in stored.as_chunks::<4>().0.iter().take((first + codes.len()).div_ceil(per)).skip(first / per) {
        words.extend(u32::from_le_bytes(*word).wrapping_add(ones).to_le_bytes());
    }
    unpack_row(bits, words, first % per, codes);
}

/// The one number that divides all scales.
fn divisor(tensor: &str, bytes: &[u8]) -> Result<f32> {
    let value = bytes.first_chunk().map_or(f32::NAN, |bytes| f32::from_le_bytes(*bytes));
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    let (tensor, found) = (tensor.to_owned(), value.to_string());
    Err(Error::Value { tensor, found, expected: "a number above 0, which divides the scales" })
}

/// The group of every column; `None` where columns are in the groups that they would be in without.
fn groups(tensor: &str, bytes: &[u8], packed: &Packed) -> Result<Option<Vec<u32>>> {
    let (count, size) = (packed.groups(), if packed.block[1] == 0 { packed.cols } else { packed.block[1] });
    let group = |(column, bytes): (usize, &[u8; 4])| {
        let found = i32::from_le_bytes(*bytes);
        let group = u32::try_from(found).ok().filter(|group| (*group as usize) < count);
        group.ok_or_else(|| Error::Group { tensor: tensor.to_owned(), column, found: found.into(), groups: count })
    };
    let groups = bytes.as_chunks::<4>().0.iter().enumerate().map(group).collect::<Result<Vec<u32>>>()?;
    let usual = groups.iter().enumerate().all(|(column, group)| *group as usize == column / size);
    Ok((!usual).then_some(groups))
}
