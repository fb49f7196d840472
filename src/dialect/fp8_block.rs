//! FP8 as DeepSeek-V3 has it: E4M3 weights, and a scale that multiplies each block of 128 rows and columns.
//!
//! Readers agree on the arithmetic and not on names: `weight_scale_inv` (DeepSeek-V3, Qwen), `scale` (DeepSeek-V4),
//! `qscale_weight` (Mistral), `weight_scale` where a row or the tensor has one scale (FBGEMM). Blocks at the lower and right
//! edge may be cut. Sources: `README_WEIGHTS.md` and `inference/fp8_cast_bf16.py` of DeepSeek-V3.

use std::collections::HashMap;

use planish_formats::{Dtype, Info, Source, Storage};

use super::packed::{Packed, find, matrix, of_type, shape};
use super::{Dialect, Element, Error, Reading, Result, only, pass_over};
use crate::model::ConfigReader;

/// The dialect of this file.
pub(super) struct Fp8Block;

/// Keys that say nothing of the weights.
const INERT: &[&str] = &[
    "quant_method",
    "activation_scheme",
    "modules_to_not_convert",
    "ignored_layers",
    "dequantize",
    "activation_scale_ub",
    "is_checkpoint_fp8_serialized",
    "expert_dtype",
];

/// What follows the name of a weight (`P.weight`, `P.gate_up_proj`) in the name of its scales.
const AFTER: &[&str] = &["_scale_inv", "_scale"];
/// What stands in place of `weight` in the name of its scales.
const INSTEAD: &[&str] = &["scale", "qscale_weight"];
/// Scales of activations.
const BESIDE: &[&str] = &["input_scale", "qscale_act", "activation_scale", "k_scale", "v_scale"];

impl Dialect for Fp8Block {
    fn name(&self) -> &'static str {
        "fp8-block"
    }

    fn methods(&self) -> &'static [&'static str] {
        &["fp8", "fbgemm_fp8"]
    }

    fn read(&self, config: &mut ConfigReader<'_>, source: &dyn Source) -> Result<Reading> {
        pass_over(config, INERT);
        only(config, "fmt", &["e4m3"])?;
        only(config, "scale_fmt", &["ue8m0", "float"])?;
        let block = match config.get("weight_block_size") {
            None => None,
            Some(sizes) => {
                match sizes.as_array().map(|list| list.iter().map(serde_json::Value::as_u64).collect::<Vec<_>>()) {
                    Some(list) => match list[..] {
                        [Some(rows @ 1..), Some(cols @ 1..)] => Some([rows as usize, cols as usize]),
                        _ => return Err(config.bad("weight_block_size", "two sizes").into()),
                    },
                    None => return Err(config.bad("weight_block_size", "two sizes").into()),
                }
            }
        };
        let mut reading = Reading::default();
        // Most names that are looked for are not there.
        let by_name: HashMap<&str, &Info> = source.infos().iter().map(|info| (info.name.as_str(), info)).collect();
        for info in source.infos() {
            if let Some(scales) = scales(&by_name, &info.name)
                && let Some(packed) = packed(info, scales, block)?
            {
                reading.packed.push((info.name.clone(), packed));
            } else if info.storage == Storage::Plain(Dtype::F8_E4M3) {
                let tensor = format!("{}_scale_inv", info.name);
                return Err(Error::Missing { tensor, beside: info.name.clone() });
            }
        }
        let part = |name: &str| name.rsplit('.').next().is_some_and(|part| BESIDE.contains(&part));
        reading.beside = source.infos().iter().map(|info| &info.name).filter(|name| part(name)).cloned().collect();
        // Scales whose weight is not there.
        for info in source.infos() {
            if let Some(weight) = info.name.strip_suffix("_scale_inv") {
                find(source, weight, &info.name)?;
            }
        }
        Ok(reading)
    }
}

/// The scales of the weight of this name.
fn scales<'a>(by_name: &HashMap<&str, &'a Info>, weight: &str) -> Option<&'a Info> {
    let after = AFTER.iter().map(|end| format!("{weight}{end}"));
    let instead =
        weight.strip_suffix("weight").into_iter().flat_map(|of| INSTEAD.iter().map(move |part| format!("{of}{part}")));
    after.chain(instead).find_map(|name| by_name.get(name.as_str()).copied())
}

fn packed(weight: &Info, scales: &Info, block: Option<[usize; 2]>) -> Result<Option<Packed>> {
    let (matrices, [rows, cols]) = match weight.shape[..] {
        [matrices, rows, cols] => (Some(matrices), [rows, cols]),
        _ => (None, matrix(weight)?),
    };
    match weight.storage {
        Storage::Plain(Dtype::F8_E4M3) => {}
        // Experts of DeepSeek-V4: two codes a byte, an exponent for 32 of them.
        Storage::Plain(Dtype::I8 | Dtype::U8 | Dtype::F4) => {
            let whole = if weight.storage == Storage::Plain(Dtype::F4) { Some(cols) } else { cols.checked_mul(2) };
            let Some(cols) = whole else { return Err(shape(weight, "two codes a byte".to_owned())) };
            of_type(scales, &[Dtype::U8, Dtype::F8_E8M0], "exponents in F8_E8M0")?;
            let usual = Packed::new(Element::Fp4, [rows, cols], &weight.name, &scales.name);
            return Ok(Some(Packed { block: [1, 32], matrices, ..usual }));
        }
        // A part called `scale` may be something else, but these only scale FP8.
        Storage::Plain(_) if scales.name.ends_with("_scale_inv") => of_type(weight, &[], "F8_E4M3")?,
        Storage::Plain(_) => return Ok(None),
        Storage::Blocks(_) => of_type(weight, &[], "F8_E4M3")?,
    }
    let usual = Packed::new(Element::Fp8, [rows, cols], &weight.name, &scales.name);
    let block = match block {
        // One for all, or one a row.
        None if scales.elements() == matrices.unwrap_or(1) => [0, 0],
        None => [1, 0],
        Some(block) => block,
    };
    Ok(Some(Packed { block, matrices, ..usual }))
}
