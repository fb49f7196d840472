//! Matrices in device memory, column by column as cuBLAS has them.

use crate::device;

/// A type of elements, by its number in `cudaDataType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Element {
    F32,
    F16,
    Bf16,
}

impl Element {
    pub(crate) fn numbered(n: i32) -> Option<Self> {
        match n {
            0 => Some(Self::F32),
            2 => Some(Self::F16),
            14 => Some(Self::Bf16),
            _ => None,
        }
    }

    fn size(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    fn get(self, b: &[u8]) -> f64 {
        match self {
            Self::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into(),
            Self::F16 => from_f16(u16::from_le_bytes([b[0], b[1]])),
            Self::Bf16 => f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16).into(),
        }
    }

    /// Products are summed in f64 and rounded to f32 and then to the type, as cuBLAS rounds its f32 sums.
    fn put(self, v: f64, b: &mut [u8]) {
        let v = v as f32;
        match self {
            Self::F32 => b.copy_from_slice(&v.to_le_bytes()),
            Self::F16 => b.copy_from_slice(&to_f16(v).to_le_bytes()),
            Self::Bf16 => {
                let u = v.to_bits();
                let h = if v.is_nan() { 0x7fff } else { (u.wrapping_add(0x7fff + (u >> 16 & 1)) >> 16) as u16 };
                b.copy_from_slice(&h.to_le_bytes());
            }
        }
    }
}

fn from_f16(h: u16) -> f64 {
    let (sign, exponent, fraction) = (h >> 15, i32::from(h >> 10 & 31), f64::from(h & 1023));
    let v = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if sign == 1 { -v } else { v }
}

fn to_f16(v: f32) -> u16 {
    let (sign, a) = ((v.to_bits() >> 16 & 0x8000) as u16, f64::from(v.abs()));
    if v.is_nan() {
        return 0x7fff;
    }
    if a >= 65520.0 {
        return sign | 0x7c00;
    }
    let exponent = ((v.to_bits() >> 23 & 255) as i32 - 127).max(-14);
    let integral = (a * 2f64.powi(10 - exponent)).round_ties_even() as i32;
    sign | (((exponent + 14) << 10) + integral) as u16
}

/// A matrix as a call describes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix {
    pub(crate) name: &'static str,
    pub(crate) address: u64,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) leading: usize,
    pub(crate) element: Element,
}

impl Matrix {
    /// Why the description cannot be right.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { name, address, rows, leading, element, .. } = *self;
        if leading < rows.max(1) {
            return Err(format!("the leading dimension of {name} is {leading}, it has {rows} rows"));
        }
        if address % element.size() as u64 != 0 {
            return Err(format!("{name} at {address:#x} is not aligned to its elements"));
        }
        Ok(())
    }

    fn column(&self, c: usize) -> u64 {
        self.address + (c * self.leading * self.element.size()) as u64
    }

    /// All values, column by column.
    pub(crate) fn read(&self) -> Result<Vec<f64>, String> {
        let size = self.element.size();
        let mut bytes = vec![0; self.rows * size];
        let mut values = Vec::with_capacity(self.rows * self.columns);
        for c in 0..self.columns {
            if !device::read(self.column(c), &mut bytes) {
                return Err(format!("column {c} of {} cannot be read", self.name));
            }
            values.extend(bytes.chunks_exact(size).map(|b| self.element.get(b)));
        }
        Ok(values)
    }

    /// Writes rows `rows` of column `c`.
    pub(crate) fn write(&self, c: usize, rows: std::ops::Range<usize>, values: &[f64]) -> Result<(), String> {
        let size = self.element.size();
        let mut bytes = vec![0; values.len() * size];
        for (v, b) in values.iter().zip(bytes.chunks_exact_mut(size)) {
            self.element.put(*v, b);
        }
        if device::write(self.column(c) + (rows.start * size) as u64, &bytes) {
            Ok(())
        } else {
            Err(format!("column {c} of {} cannot be written", self.name))
        }
    }
}
