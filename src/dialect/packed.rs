//! One logical tensor as several stored ones: which they are, how they are laid out, and that they fit.

use planish_formats::packing::{padded_words, words};
use planish_formats::{Dtype, Info, Source, Storage};

use super::stored::{Element, Scheme};
use super::{Error, Result};

/// Where codes are in the words (or bytes) of their tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Row after row, each dense, lowest bits first.
    Rows,
    /// The same with `32 / bits` codes a word, as compressed-tensors up to 0.17 had them.
    Padded,
    /// `[in, out]`, dense down the columns.
    Columns,
    /// `[in, out]`, eight outputs a word, interleaved.
    Awq,
}

/// What is subtracted from a code before it is scaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Zeros {
    /// The same everywhere.
    All(u8),
    /// Codes of the elements' bits, `[groups, out]`, dense along the output.
    Rows {
        tensor: String,
        /// What is stored is one less.
        less_one: bool,
    },
    /// The same in AutoAWQ's order.
    Awq { tensor: String },
    /// Codes of the elements' bits, `[out, groups]`, dense down the columns.
    Columns { tensor: String },
    /// I8 in the shape of the scales, counted from the middle of the codes.
    Signed { tensor: String },
}

/// The scales of the codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scales {
    pub tensor: String,
    /// `[groups, out]`, not `[out, groups]`.
    pub by_group: bool,
    /// A number that divides all of them.
    pub divisor: Option<String>,
}

/// A logical tensor of one or many matrices `[rows, cols]`, outputs and inputs of a linear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub codes: String,
    pub order: Order,
    pub element: Element,
    pub scales: Scales,
    pub zeros: Zeros,
    /// Rows and columns that share a scale; 0 for all of them.
    pub block: [usize; 2],
    /// The group of each column, where it is not the column divided by the size of a group.
    pub groups: Option<String>,
    /// Matrices one after another; `None` of a tensor that is a single matrix.
    pub matrices: Option<usize>,
    pub rows: usize,
    pub cols: usize,
    /// The logical tensor has each matrix as `[cols, rows]`.
    pub transposed: bool,
    /// All zero points are the middle code, stored or not.
    pub symmetric: bool,
}

impl Packed {
    /// A matrix of which all but sizes, codes and scales is usual.
    pub(super) fn new(element: Element, [rows, cols]: [usize; 2], codes: &str, scales: &str) -> Packed {
        Packed {
            codes: codes.to_owned(),
            order: Order::Rows,
            element,
            scales: Scales { tensor: scales.to_owned(), by_group: false, divisor: None },
            zeros: Zeros::All(0),
            block: [1, 0],
            groups: None,
            matrices: None,
            rows,
            cols,
            transposed: false,
            symmetric: true,
        }
    }

    /// The shape of the logical tensor.
    pub(super) fn shape(&self) -> Vec<usize> {
        let matrix = if self.transposed { [self.cols, self.rows] } else { [self.rows, self.cols] };
        self.matrices.into_iter().chain(matrix).collect()
    }

    /// Groups of columns in a row.
    pub(super) fn groups(&self) -> usize {
        if self.block[1] == 0 { 1 } else { self.cols.div_ceil(self.block[1]) }
    }

    /// Blocks of rows in a matrix.
    pub(super) fn bands(&self) -> usize {
        if self.block[0] == 0 { 1 } else { self.rows.div_ceil(self.block[0]) }
    }

    /// All tensors that it is made of.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &String> {
        let zeros = match &self.zeros {
            Zeros::All(_) => None,
            Zeros::Rows { tensor, .. }
            | Zeros::Awq { tensor }
            | Zeros::Columns { tensor }
            | Zeros::Signed { tensor } => Some(tensor),
        };
        let always = [&self.codes, &self.scales.tensor];
        always.into_iter().chain(zeros).chain(&self.scales.divisor).chain(&self.groups)
    }

    /// What reports call it.
    pub(super) fn scheme(&self, source: &dyn Source) -> Result<Scheme> {
        let scale = plain(find(source, &self.scales.tensor, &self.codes)?)?;
        let zero_bits = match self.zeros {
            Zeros::All(_) => 0,
            Zeros::Rows { .. } | Zeros::Awq { .. } | Zeros::Columns { .. } => self.element.bits(),
            Zeros::Signed { .. } => 8,
        };
        // One group is the whole row, however it is written.
        let cols = if self.block[1] >= self.cols && self.element != Element::Fp4 { 0 } else { self.block[1] };
        let block = [self.block[0], if self.block[0] == 1 && self.groups.is_none() { cols } else { self.block[1] }];
        let powers = matches!(scale, Dtype::U8 | Dtype::F8_E8M0);
        let (element, symmetric) = (self.element, self.symmetric);
        Ok(Scheme { element, block, scale_bits: scale.bits(), powers, zero_bits, symmetric })
    }

    /// That every tensor is there, of a type that is understood, and as large as the others make it.
    pub(super) fn check(&self, source: &dyn Source) -> Result<()> {
        let outer = self.matrices.unwrap_or(1);
        let size = [outer, self.rows, self.cols].iter().try_fold(1usize, |size, &n| size.checked_mul(n));
        let codes = find(source, &self.codes, &self.codes)?;
        let nothing = || shape(codes, "a matrix with elements".to_owned());
        if size.is_none_or(|size| size == 0) {
            return Err(nothing());
        }
        let bits = self.element.bits();
        let lines = match self.order {
            Order::Rows => row_bytes(codes, bits, self.cols).and_then(|row| row.checked_mul(self.rows)),
            Order::Padded => padded_words(bits, self.cols).checked_mul(4 * self.rows),
            Order::Columns => words(bits, self.cols).and_then(|words| words.checked_mul(4 * self.rows)),
            Order::Awq => self.rows.is_multiple_of(8).then(|| self.cols.checked_mul(self.rows / 2)).flatten(),
        };
        let needed = lines.and_then(|bytes| bytes.checked_mul(outer));
        if needed.is_none() || codes.bytes() != needed {
            return Err(shape(codes, format!("{} codes of {bits} bits for each of {} rows", self.cols, self.rows)));
        }
        self.check_scales(source, outer)?;
        self.check_zeros(source)?;
        let Some(groups) = &self.groups else { return Ok(()) };
        let info = find(source, groups, &self.codes)?;
        of_type(info, &[Dtype::I32], "I32")?;
        if info.shape == [self.cols] { Ok(()) } else { Err(shape(info, format!("[{}], one a column", self.cols))) }
    }

    fn check_scales(&self, source: &dyn Source, outer: usize) -> Result<()> {
        let info = find(source, &self.scales.tensor, &self.codes)?;
        let floats = &[Dtype::F32, Dtype::F16, Dtype::BF16];
        match self.element {
            Element::Int(_) => of_type(info, floats, "F32, F16 or BF16")?,
            Element::Fp8 => {
                let dtypes = [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::U8, Dtype::F8_E8M0];
                of_type(info, &dtypes, "F32, F16, BF16 or exponents in U8")?;
            }
            Element::Fp4 => {
                of_type(info, &[Dtype::F8_E4M3, Dtype::U8, Dtype::F8_E8M0], "F8_E4M3, or exponents in U8")?;
            }
        }
        let (bands, groups) = (self.bands(), self.groups());
        // A scale for all, or one a row, is written with and without the dimensions of 1.
        let by_group = self.scales.by_group;
        let right = if by_group { info.shape == [groups, self.rows] } else { same(info, &[outer, bands, groups]) };
        if !right {
            let expected = if self.scales.by_group { [groups, self.rows] } else { [bands, groups] };
            let of = format!("{expected:?} for weights {:?}", [self.rows, self.cols]);
            return Err(shape(info, of));
        }
        let Some(divisor) = &self.scales.divisor else { return Ok(()) };
        let info = find(source, divisor, &self.codes)?;
        of_type(info, &[Dtype::F32], "F32")?;
        if same(info, &[]) { Ok(()) } else { Err(shape(info, "[1]".to_owned())) }
    }

    fn check_zeros(&self, source: &dyn Source) -> Result<()> {
        let bits = self.element.bits();
        let (tensor, dtype, name, expected) = match &self.zeros {
            Zeros::All(_) => return Ok(()),
            Zeros::Rows { tensor, .. } => (tensor, Dtype::I32, "I32", [Some(self.groups()), words(bits, self.rows)]),
            Zeros::Awq { tensor } => (tensor, Dtype::I32, "I32", [Some(self.groups()), Some(self.rows / 8)]),
            Zeros::Columns { tensor } => (tensor, Dtype::I32, "I32", [words(bits, self.rows), Some(self.groups())]),
            Zeros::Signed { tensor } => (tensor, Dtype::I8, "I8", [Some(self.bands()), Some(self.groups())]),
        };
        let info = find(source, tensor, &self.codes)?;
        of_type(info, &[dtype], name)?;
        let expected = expected.map(|n| n.unwrap_or(usize::MAX));
        let right = match self.zeros {
            Zeros::Signed { .. } => same(info, &expected),
            _ => info.shape == expected,
        };
        if right { Ok(()) } else { Err(shape(info, format!("{expected:?} for weights {:?}", [self.rows, self.cols]))) }
    }
}

/// Bytes of a row of codes, in whole words or whole bytes as the tensor has them.
fn row_bytes(codes: &Info, bits: usize, cols: usize) -> Option<usize> {
    match codes.storage {
        Storage::Plain(Dtype::I32) => words(bits, cols)?.checked_mul(4),
        Storage::Plain(_) => cols.checked_mul(bits).filter(|bits| bits % 8 == 0).map(|bits| bits / 8),
        Storage::Blocks(_) => None,
    }
}

/// Whether these are the dimensions, but for those of 1.
fn same(info: &Info, expected: &[usize]) -> bool {
    let more = |n: &&usize| **n != 1;
    info.shape.iter().filter(more).eq(expected.iter().filter(more))
}

/// The tensor of this name, which `beside` needs.
pub(super) fn find<'a>(source: &'a dyn Source, name: &str, beside: &str) -> Result<&'a Info> {
    let missing = || Error::Missing { tensor: name.to_owned(), beside: beside.to_owned() };
    Ok(source.view(name).map_err(|_| missing())?.info)
}

/// Its element type.
pub(super) fn plain(info: &Info) -> Result<Dtype> {
    match info.storage {
        Storage::Plain(dtype) => Ok(dtype),
        Storage::Blocks(_) => of_type(info, &[], "a plain one").map(|()| Dtype::U8),
    }
}

/// That its elements are of one of these types.
pub(super) fn of_type(info: &Info, dtypes: &[Dtype], expected: &'static str) -> Result<()> {
    if dtypes.iter().any(|dtype| info.storage == Storage::Plain(*dtype)) {
        return Ok(());
    }
    Err(Error::Dtype { tensor: info.name.clone(), found: info.storage.name(), expected })
}

/// The error for a tensor of another shape than `expected`.
pub(super) fn shape(info: &Info, expected: String) -> Error {
    Error::Shape { tensor: info.name.clone(), found: info.shape.clone(), expected }
}

/// Both dimensions of a matrix.
pub(super) fn matrix(info: &Info) -> Result<[usize; 2]> {
    match info.shape[..] {
        [rows, cols] => Ok([rows, cols]),
        _ => Err(shape(info, "a matrix".to_owned())),
    }
}
