//! One linear as a target has it: its tensors, the codec that a method rounds onto, and the refusals.

use planish_formats::packing::words;
use planish_formats::{Dtype, Info, Storage};
use planish_kernels::block::Codec;
use planish_kernels::group::{FloatGroup, Floats, IntGroup, ScaleType, Tool, Zero};

use super::fp8_blocks::Fp8Blocks;
use super::{Form, Target};
use crate::dialect::{Element, Scheme};

/// A linear `[rows, cols]` that becomes quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    pub(super) form: Form,
    /// Columns that share a scale.
    pub(super) group: usize,
    pub(super) scale: ScaleType,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl Linear {
    /// The linear `[out, in]` in `target`, or why it cannot be. `scale` is how compressed-tensors' scales are stored; the
    /// other dialects have types of their own.
    pub fn new(target: &Target, scale: ScaleType, [rows, cols]: [usize; 2]) -> Result<Linear, String> {
        let group = if target.group == 0 { cols } else { target.group };
        let scale = match target.form {
            Form::Gptq(_) | Form::Awq => ScaleType::F16,
            Form::Fp8Block => ScaleType::F32,
            Form::Words { .. } | Form::Int8 | Form::Fp8 | Form::Nvfp4 | Form::Mxfp4 => scale,
        };
        if rows == 0 || group == 0 || cols % group != 0 {
            return Err(format!("its {cols} columns are no multiple of the group of {group}"));
        }
        match target.form {
            Form::Gptq(_) if rows % 32 != 0 || cols % 32 != 0 => {
                Err(format!("GPTQ packs whole words of 32 rows and columns, and it has {rows} and {cols}"))
            }
            Form::Awq if rows % 8 != 0 => Err(format!("AutoAWQ packs eight rows in a word, and it has {rows}")),
            form => Ok(Linear { form, group, scale, rows, cols }),
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// What a method rounds onto: a record for each group, row after row. `global` is the divisor of NVFP4's scales. With
    /// blocks of rows that share a scale the codec takes all rows at once.
    pub fn codec(&self, global: f32) -> Box<dyn Codec + Send> {
        let int = |bits, zero, tool| Box::new(IntGroup::new(bits, zero, self.group, self.scale, tool));
        let float = |floats| Box::new(FloatGroup::new(floats, self.group));
        match self.form {
            Form::Gptq(bits) => int(bits, Zero::Middle, Tool::Gptq),
            Form::Awq => int(4, Zero::Anywhere, Tool::Awq),
            Form::Words { bits, asymmetric: false } => int(bits, Zero::Middle, Tool::CompressedTensors),
            Form::Words { bits, asymmetric: true } => int(bits, Zero::Anywhere, Tool::CompressedTensors),
            Form::Int8 => int(8, Zero::Middle, Tool::CompressedTensors),
            Form::Fp8 => float(Floats::Fp8(self.scale)),
            Form::Fp8Block => Box::new(Fp8Blocks),
            Form::Nvfp4 => float(Floats::Nvfp4(global)),
            Form::Mxfp4 => float(Floats::Mxfp4),
        }
    }

    /// Whether a weight can be too large for its scale.
    pub fn scales_in_f16(&self) -> bool {
        self.scale == ScaleType::F16
    }

    /// Bytes of the records of the whole matrix.
    pub fn record_bytes(&self) -> usize {
        let codec = self.codec(1.0);
        self.rows * (self.cols / codec.block_len()) * codec.block_bytes()
    }

    /// What reports call it.
    pub fn scheme(&self) -> Scheme {
        let scale_bits = match self.form {
            Form::Nvfp4 | Form::Mxfp4 => 8,
            _ if self.scale == ScaleType::F32 => 32,
            _ => 16,
        };
        let (element, zero_bits) = match self.form {
            // Zero points are stored, though all are the same.
            Form::Gptq(bits) => (Element::Int(bits), bits as usize),
            Form::Awq => (Element::Int(4), 4),
            Form::Words { bits, asymmetric } => (Element::Int(bits), if asymmetric { bits as usize } else { 0 }),
            Form::Int8 => (Element::Int(8), 0),
            Form::Fp8 | Form::Fp8Block => (Element::Fp8, 0),
            Form::Nvfp4 | Form::Mxfp4 => (Element::Fp4, 0),
        };
        let rows = if self.form == Form::Fp8Block { 128 } else { 1 };
        let cols = if self.group == self.cols && element != Element::Fp4 && rows == 1 { 0 } else { self.group };
        let symmetric = !matches!(self.form, Form::Awq | Form::Words { asymmetric: true, .. });
        Scheme { element, block: [rows, cols], scale_bits, powers: self.form == Form::Mxfp4, zero_bits, symmetric }
    }

    /// The tensors that the module becomes, without its bias.
    pub fn infos(&self, module: &str) -> Vec<Info> {
        let (rows, cols, groups) = (self.rows, self.cols, self.cols / self.group);
        let info = |part: &str, dtype, shape: &[usize]| Info {
            name: if module.is_empty() { part.to_owned() } else { format!("{module}.{part}") },
            storage: Storage::Plain(dtype),
            shape: shape.to_vec(),
        };
        // Sizes of a tensor that is in memory: none overflows.
        let words = |bits: u8, count| words(usize::from(bits), count).unwrap_or(usize::MAX);
        let scale = match self.scale {
            ScaleType::F16 => Dtype::F16,
            ScaleType::Bf16 => Dtype::BF16,
            ScaleType::F32 => Dtype::F32,
        };
        match self.form {
            Form::Gptq(bits) => vec![
                info("qweight", Dtype::I32, &[words(bits, cols), rows]),
                info("qzeros", Dtype::I32, &[groups, words(bits, rows)]),
                info("scales", Dtype::F16, &[groups, rows]),
                info("g_idx", Dtype::I32, &[cols]),
            ],
            Form::Awq => vec![
                info("qweight", Dtype::I32, &[cols, rows / 8]),
                info("qzeros", Dtype::I32, &[groups, rows / 8]),
                info("scales", Dtype::F16, &[groups, rows]),
            ],
            Form::Words { bits, asymmetric } => {
                let mut infos = vec![
                    info("weight_packed", Dtype::I32, &[rows, words(bits, cols)]),
                    info("weight_scale", scale, &[rows, groups]),
                    info("weight_shape", Dtype::I64, &[2]),
                ];
                if asymmetric {
                    infos.push(info("weight_zero_point", Dtype::I32, &[words(bits, rows), groups]));
                }
                infos
            }
            Form::Int8 => vec![info("weight", Dtype::I8, &[rows, cols]), info("weight_scale", scale, &[rows, 1])],
            Form::Fp8 => vec![info("weight", Dtype::F8_E4M3, &[rows, cols]), info("weight_scale", scale, &[rows, 1])],
            Form::Fp8Block => vec![
                info("weight", Dtype::F8_E4M3, &[rows, cols]),
                info("weight_scale_inv", Dtype::F32, &[rows.div_ceil(128), groups]),
            ],
            Form::Nvfp4 => vec![
                info("weight_packed", Dtype::U8, &[rows, cols / 2]),
                info("weight_scale", Dtype::F8_E4M3, &[rows, groups]),
                info("weight_global_scale", Dtype::F32, &[1]),
            ],
            Form::Mxfp4 => vec![
                info("weight_packed", Dtype::U8, &[rows, cols / 2]),
                info("weight_scale", Dtype::U8, &[rows, groups]),
            ],
        }
    }
}
