//! The tensors of one module in each of compressed-tensors' formats.

use planish_formats::packing::{padded_words, words};
use planish_formats::{Dtype, Storage};

use super::config::{Format, Group};
use crate::dialect::modules::Module;
use crate::dialect::packed::{Order, Packed, Scales, Zeros, matrix, of_type, shape};
use crate::dialect::{Element, Error, Result};

/// Parts of which one tells that a module's weight is packed.
const PARTS: &[&str] = &["weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_global_scale"];

/// The part that tells that a module's weight is packed, if it is.
pub(super) fn part(module: &Module<'_>) -> Option<&'static str> {
    let coded = |storage| [Dtype::I8, Dtype::F8_E4M3].map(Storage::Plain).contains(&storage);
    let weight = module.part("weight").is_some_and(|info| coded(info.storage));
    PARTS.iter().copied().find(|part| module.part(part).is_some()).or(weight.then_some("weight"))
}

/// The packed weight of a module, and its tensors that say nothing more.
pub(super) fn packed(module: &Module<'_>, group: &Group) -> Result<(Packed, Vec<String>)> {
    match group.format {
        Format::Pack => words_of(module, group),
        Format::Naive => bytes_of(module, group),
        Format::NvFp4 => {
            let usual = halves(module)?;
            let global = module.require("weight_global_scale", "weight_packed")?;
            let scales = Scales { divisor: Some(global.name.clone()), ..usual.scales };
            Ok((Packed { scales, block: group.block, ..usual }, vec![]))
        }
        Format::MxFp4 => Ok((Packed { block: group.block, ..halves(module)? }, vec![])),
    }
}

/// Two codes of E2M1 a byte.
fn halves(module: &Module<'_>) -> Result<Packed> {
    let codes = module.require("weight_packed", "weight_scale")?;
    of_type(codes, &[Dtype::U8], "U8")?;
    let [rows, bytes] = matrix(codes)?;
    let Some(cols) = bytes.checked_mul(2) else { return Err(shape(codes, "two codes a byte".to_owned())) };
    let scales = module.require("weight_scale", "weight_packed")?;
    Ok(Packed::new(Element::Fp4, [rows, cols], &codes.name, &scales.name))
}

/// A tensor of codes in the shape of the weight.
fn bytes_of(module: &Module<'_>, group: &Group) -> Result<(Packed, Vec<String>)> {
    let codes = module.require("weight", "weight_scale")?;
    let (element, dtype, name) =
        if group.float { (Element::Fp8, Dtype::F8_E4M3, "F8_E4M3") } else { (Element::Int(8), Dtype::I8, "I8") };
    of_type(codes, &[dtype], name)?;
    let scales = module.require("weight_scale", "weight")?;
    let usual = Packed::new(element, matrix(codes)?, &codes.name, &scales.name);
    let zeros = match module.part("weight_zero_point") {
        Some(zeros) if !group.float => Zeros::Signed { tensor: zeros.name.clone() },
        Some(zeros) => {
            return Err(Error::AtOdds { tensor: zeros.name.clone(), what: "a zero point of floats".to_owned() });
        }
        None if group.symmetric => Zeros::All(0),
        None => Zeros::Signed { tensor: module.require("weight_zero_point", "weight")?.name.clone() },
    };
    Ok((Packed { block: group.block, zeros, symmetric: group.symmetric, ..usual }, vec![]))
}

/// Codes of few bits in words, dense along the input, counted from the middle.
fn words_of(module: &Module<'_>, group: &Group) -> Result<(Packed, Vec<String>)> {
    let codes = module.require("weight_packed", "weight_scale")?;
    of_type(codes, &[Dtype::I32], "I32")?;
    let [rows, width] = matrix(codes)?;
    let (cols, bits) = (columns(module, rows)?, group.bits);
    let order = if words(bits, cols) == Some(width) {
        Order::Rows
    } else if padded_words(bits, cols) == width {
        Order::Padded
    } else {
        return Err(shape(codes, format!("rows that hold {cols} codes of {bits} bits")));
    };
    let scales = module.require("weight_scale", "weight_packed")?;
    let zeros = match module.part("weight_zero_point") {
        Some(zeros) if zeros.storage == Storage::Plain(Dtype::I8) => Zeros::Signed { tensor: zeros.name.clone() },
        Some(zeros) if order == Order::Padded => {
            let what = format!("{}: zero points in the order of compressed-tensors up to 0.17", zeros.name);
            return Err(Error::Unsupported { what });
        }
        Some(zeros) => Zeros::Columns { tensor: zeros.name.clone() },
        None if group.symmetric => Zeros::All(1 << (bits - 1)),
        None => return Err(missing_zeros(module)),
    };
    let usual = Packed::new(Element::Int(bits as u8), [rows, cols], &codes.name, &scales.name);
    let groups = module.part("weight_g_idx").map(|info| info.name.clone());
    let packed = Packed { order, zeros, block: group.block, groups, symmetric: group.symmetric, ..usual };
    Ok((packed, vec![module.tensor("weight_shape")]))
}

fn missing_zeros(module: &Module<'_>) -> Error {
    Error::Missing { tensor: module.tensor("weight_zero_point"), beside: module.tensor("weight_packed") }
}

/// The number of columns that `weight_shape` gives; its number of rows is that of the codes.
fn columns(module: &Module<'_>, rows: usize) -> Result<usize> {
    let info = module.require("weight_shape", "weight_packed")?;
    of_type(info, &[Dtype::I64, Dtype::I32], "I64")?;
    if info.shape != [2] {
        return Err(shape(info, "[2]".to_owned()));
    }
    let bytes = module.bytes("weight_shape")?;
    let numbers: Vec<i64> = if info.storage == Storage::Plain(Dtype::I64) {
        bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
    } else {
        bytes.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect()
    };
    match numbers.iter().map(|n| usize::try_from(*n).ok()).collect::<Vec<_>>()[..] {
        [Some(found), Some(cols)] if found == rows && cols > 0 && cols < 1 << 40 => Ok(cols),
        _ => {
            let expected = "the rows of weight_packed and a number of columns";
            Err(Error::Value { tensor: info.name.clone(), found: format!("{numbers:?}"), expected })
        }
    }
}
