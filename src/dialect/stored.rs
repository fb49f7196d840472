//! How the elements of a logical tensor are stored: alone, or in several tensors together.

use std::borrow::Cow;

use planish_formats::{Dtype, Storage};

use crate::model::Held;

/// How the elements of a logical tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stored {
    /// One tensor has them all.
    Whole(Storage),
    /// One tensor has them all but for what an adapter adds to them.
    Merged(Storage),
    /// Codes in one tensor, their scales and zero points in others.
    Packed(Scheme),
}

impl Stored {
    /// F32, one by one.
    pub const F32: Stored = Stored::Whole(Storage::Plain(Dtype::F32));

    /// The name that reports use: `BF16`, `Q4_K`, `INT4 g128`.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Stored::Whole(storage) => storage.name().into(),
            Stored::Merged(storage) => format!("{} + LoRA", storage.name()).into(),
            Stored::Packed(scheme) => scheme.name(),
        }
    }

    /// Bits an element, scales and zero points included; those of a packed one for a matrix `[rows, cols]`.
    pub fn bits(self, rows: usize, cols: usize) -> f64 {
        match self {
            Stored::Whole(Storage::Plain(dtype)) | Stored::Merged(Storage::Plain(dtype)) => dtype.bits() as f64,
            Stored::Whole(Storage::Blocks(ty)) | Stored::Merged(Storage::Blocks(ty)) => {
                ty.block_bytes() as f64 * 8.0 / ty.block_len() as f64
            }
            Stored::Packed(scheme) => scheme.bits(rows, cols),
        }
    }

    /// Bytes of a tensor of this shape, scales and zero points included; 0 where it has no size.
    pub fn bytes(self, shape: &[usize]) -> u64 {
        match self {
            Stored::Whole(storage) | Stored::Merged(storage) => storage.bytes(shape).unwrap_or(0) as u64,
            Stored::Packed(scheme) => {
                let (cols, rows) =
                    (shape.last().copied().unwrap_or(1), shape.iter().rev().nth(1).copied().unwrap_or(1));
                let elements: usize = shape.iter().product();
                (elements as f64 * scheme.bits(rows, cols) / 8.0).ceil() as u64
            }
        }
    }

    /// Whether something was lost on the way here.
    pub fn quantized(self) -> bool {
        matches!(self, Stored::Packed(_) | Stored::Whole(Storage::Blocks(_)))
    }

    /// What one tensor has, if it is one and nothing is added to it.
    pub fn whole(self) -> Option<Storage> {
        match self {
            Stored::Whole(storage) => Some(storage),
            Stored::Merged(_) | Stored::Packed(_) => None,
        }
    }

    /// The type of the one tensor that has them, whatever is added to it.
    pub fn of_one(self) -> Option<Storage> {
        match self {
            Stored::Whole(storage) | Stored::Merged(storage) => Some(storage),
            Stored::Packed(_) => None,
        }
    }
}

impl Held for Stored {
    fn as_linear(&self) -> bool {
        matches!(self, Stored::Packed(_))
    }
}

impl From<Storage> for Stored {
    fn from(storage: Storage) -> Stored {
        Stored::Whole(storage)
    }
}

impl PartialEq<Storage> for Stored {
    fn eq(&self, storage: &Storage) -> bool {
        self.whole() == Some(*storage)
    }
}

/// What a code stands for before it is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// A whole number of this many bits, 2 to 8.
    Int(u8),
    /// E4M3 without infinities: 4 bits of exponent, 3 of mantissa.
    Fp8,
    /// E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
    Fp4,
}

impl Element {
    /// Bits of a code.
    pub const fn bits(self) -> usize {
        match self {
            Element::Int(bits) => bits as usize,
            Element::Fp8 => 8,
            Element::Fp4 => 4,
        }
    }
}

/// How codes are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// What a code stands for.
    pub element: Element,
    /// Rows and columns that share a scale; 0 where it is all of them.
    pub block: [usize; 2],
    /// Bits of a scale.
    pub scale_bits: usize,
    /// Whether scales are powers of two.
    pub powers: bool,
    /// Bits of a zero point; 0 where there are none.
    pub zero_bits: usize,
    /// Whether zero is the middle code of every group, be it stored or not.
    pub symmetric: bool,
}

impl Scheme {
    /// `INT4 g128`, `INT4 g128 asym`, `INT8 channel`, `FP8 128x128`, `NVFP4`, `MXFP4`.
    pub fn name(self) -> Cow<'static, str> {
        let group = match self.block {
            [1, 0] => "channel".to_owned(),
            [0, 0] => "tensor".to_owned(),
            [1, cols] => format!("g{cols}"),
            [rows, cols] => format!("{rows}x{cols}"),
        };
        match (self.element, self.powers, self.block) {
            (Element::Fp4, false, [1, 16]) => "NVFP4".into(),
            (Element::Fp4, true, [1, 32]) => "MXFP4".into(),
            (Element::Fp8, true, [1, 32]) => "MXFP8".into(),
            (Element::Fp4, ..) => format!("FP4 {group}").into(),
            (Element::Fp8, ..) => format!("FP8 {group}").into(),
            (Element::Int(bits), ..) if !self.symmetric => format!("INT{bits} {group} asym").into(),
            (Element::Int(bits), ..) => format!("INT{bits} {group}").into(),
        }
    }

    /// Bits an element of a matrix `[rows, cols]`, scales and zero points included.
    pub fn bits(self, rows: usize, cols: usize) -> f64 {
        let blocks = |size: usize, block: usize| if block == 0 { 1 } else { size.div_ceil(block) };
        let scales = (blocks(rows, self.block[0]) as f64) * (blocks(cols, self.block[1]) as f64);
        let elements = (rows as f64 * cols as f64).max(1.0);
        self.element.bits() as f64 + scales * (self.scale_bits + self.zero_bits) as f64 / elements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits() {
        let int4 = Scheme {
            element: Element::Int(4),
            block: [1, 128],
            scale_bits: 16,
            powers: false,
            zero_bits: 0,
            symmetric: true,
        };
        assert_eq!((int4.name().as_ref(), int4.bits(256, 1024)), ("INT4 g128", 4.125));
        let asym = Scheme { zero_bits: 4, symmetric: false, ..int4 };
        assert_eq!((asym.name().as_ref(), asym.bits(256, 1024)), ("INT4 g128 asym", 4.15625));
        let channel = Scheme { element: Element::Int(8), block: [1, 0], ..int4 };
        assert_eq!((channel.name().as_ref(), channel.bits(256, 1024)), ("INT8 channel", 8.015625));
        let block = Scheme { element: Element::Fp8, block: [128, 128], ..int4 };
        assert_eq!((block.name().as_ref(), block.bits(130, 128)), ("FP8 128x128", 8.0 + 32.0 / (130.0 * 128.0)));
        let nvfp4 = Scheme { element: Element::Fp4, block: [1, 16], scale_bits: 8, ..int4 };
        assert_eq!((nvfp4.name().as_ref(), nvfp4.bits(2, 16)), ("NVFP4", 4.5));
    }
}
