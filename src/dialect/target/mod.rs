//! Quantized checkpoints to be written: which linears become which tensors, and how a finished matrix is packed.
//!
//! A method rounds a matrix onto the codec of [`Linear::codec`]; the records that it leaves are what [`Linear::pack`] spreads
//! over the tensors of the dialect. Nothing here rounds.

mod config;
mod fp8_blocks;
mod linear;
mod pack;

pub use linear::Linear;

/// A quantized checkpoint that `--to` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// As it is typed.
    pub name: &'static str,
    /// For people, in a few words.
    pub about: &'static str,
    /// What becomes of a linear.
    pub form: Form,
    /// Columns that share a scale; 0 for all of a row.
    pub group: usize,
}

/// What becomes of a linear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// GPTQ's version 1, symmetric, of 2, 3, 4 or 8 bits.
    Gptq(u8),
    /// AutoAWQ's GEMM.
    Awq,
    /// compressed-tensors' pack-quantized.
    Words {
        /// Bits of a code.
        bits: u8,
        /// Whether groups have zero points.
        asymmetric: bool,
    },
    /// compressed-tensors' int-quantized, a scale a row, activations in 8 bits too.
    Int8,
    /// compressed-tensors' float-quantized, a scale a row, activations in FP8 too.
    Fp8,
    /// DeepSeek's blocks of FP8.
    Fp8Block,
    /// compressed-tensors' nvfp4-pack-quantized, weights alone.
    Nvfp4,
    /// compressed-tensors' mxfp4-pack-quantized, weights alone.
    Mxfp4,
}

/// All targets.
pub static TARGETS: &[Target] = &[
    target("gptq-int4", "GPTQ, 4 bits, symmetric", Form::Gptq(4), 128),
    target("gptq-int8", "GPTQ, 8 bits, symmetric", Form::Gptq(8), 128),
    target("gptq-int3", "GPTQ, 3 bits, symmetric", Form::Gptq(3), 128),
    target("gptq-int2", "GPTQ, 2 bits, symmetric", Form::Gptq(2), 64),
    target("awq-int4", "AutoAWQ GEMM, 4 bits with zero points", Form::Awq, 128),
    target("w4a16", "compressed-tensors, 4 bits, symmetric", words(4, false), 128),
    target("w4a16-asym", "compressed-tensors, 4 bits with zero points", words(4, true), 128),
    target("w8a16", "compressed-tensors, 8 bits, symmetric", words(8, false), 128),
    target("w8a8", "compressed-tensors, INT8 weights and activations", Form::Int8, 0),
    target("fp8", "compressed-tensors, FP8 weights and activations", Form::Fp8, 0),
    target("fp8-block", "FP8 in blocks of 128 x 128, as DeepSeek-V3", Form::Fp8Block, 128),
    target("nvfp4a16", "compressed-tensors, NVFP4 weights", Form::Nvfp4, 16),
    target("mxfp4a16", "compressed-tensors, MXFP4 weights", Form::Mxfp4, 32),
];

const fn target(name: &'static str, about: &'static str, form: Form, group: usize) -> Target {
    Target { name, about, form, group }
}

const fn words(bits: u8, asymmetric: bool) -> Form {
    Form::Words { bits, asymmetric }
}

/// Sizes of a group that runtimes have kernels for; -1 is a whole row.
const GROUPS: [i64; 4] = [-1, 32, 64, 128];

impl Target {
    /// The target of this name, in any case.
    pub fn named(name: &str) -> Option<Target> {
        TARGETS.iter().copied().find(|target| target.name.eq_ignore_ascii_case(name))
    }

    /// The same with groups of this many columns, or of a whole row for -1; why not, where that cannot be.
    pub fn grouped(self, size: i64) -> Result<Target, String> {
        match self.form {
            Form::Gptq(_) | Form::Awq | Form::Words { .. } if GROUPS.contains(&size) => {
                Ok(Target { group: usize::try_from(size).unwrap_or(0), ..self })
            }
            Form::Gptq(_) | Form::Awq | Form::Words { .. } => {
                Err(format!("groups of {size} columns: runtimes have kernels for 32, 64, 128, and -1 for a whole row"))
            }
            Form::Int8 | Form::Fp8 | Form::Fp8Block | Form::Nvfp4 | Form::Mxfp4 => {
                Err(format!("{} has no choice of a group size", self.name))
            }
        }
    }

    /// Whether rows can be rounded by themselves, as methods that look at activations do.
    pub fn calibrates(&self) -> bool {
        self.form != Form::Fp8Block
    }

    /// Whether what loads it takes a `Conv1D` for a linear: GPTQ's loaders replace modules of both classes, others those
    /// of `Linear` alone.
    pub fn packs_conv1d(&self) -> bool {
        matches!(self.form, Form::Gptq(_))
    }

    /// Whether weights that read the same value must share a scale.
    pub fn shares(&self) -> bool {
        self.form == Form::Nvfp4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_no_mix_has_them() {
        for (i, target) in TARGETS.iter().enumerate() {
            assert_eq!(Target::named(&target.name.to_uppercase()).as_ref(), Some(target));
            assert!(TARGETS[..i].iter().all(|other| other.name != target.name));
            assert!(crate::plan::recipe(target.name).is_none(), "{}", target.name);
        }
    }

    #[test]
    fn groups_are_those_that_runtimes_have() {
        let group = |name: &str, size| Target::named(name).unwrap().grouped(size).map(|target| target.group);
        assert_eq!((group("w4a16", 32), group("gptq-int4", -1)), (Ok(32), Ok(0)));
        assert!(group("w4a16", 48).is_err() && group("w4a16", 0).is_err() && group("fp8", 128).is_err());
    }
}
