//! AutoAWQ's GEMM layout: everything packed along the output, four bits, eight outputs a word in an order of its own.
//!
//! Sources: `awq/modules/linear/gemm.py` and `awq/utils/packing_utils.py` of AutoAWQ.

use planish_formats::{Dtype, Source};

use super::modules::{group_size, modules};
use super::packed::{Order, Packed, Scales, Zeros, matrix, of_type, shape};
use super::{Dialect, Element, Reading, Result, only, pass_over};
use crate::model::ConfigReader;

/// The dialect of this file.
pub(super) struct Awq;

/// Keys of how it was made, and of how runtimes run it. Which modules are left alone is seen from the tensors.
const INERT: &[&str] = &[
    "quant_method",
    "method",
    "modules_to_not_convert",
    "lm_head",
    "desc_act",
    "sym",
    "meta",
    "quantizer",
    "backend",
    "do_fuse",
    "modules_to_fuse",
    "fuse_max_seq_len",
    "exllama_config",
    "packing_format",
    "data_type",
    "provider",
    "autoround_version",
    "iters",
    "block_name_to_quantize",
    "static_attention_granularity",
    "static_kv_granularity",
];

impl Dialect for Awq {
    fn name(&self) -> &'static str {
        "awq"
    }

    fn methods(&self) -> &'static [&'static str] {
        &["awq"]
    }

    fn read(&self, config: &mut ConfigReader<'_>, source: &dyn Source) -> Result<Reading> {
        read(config, source)
    }
}

/// Also of what auto-round packs like this.
pub(super) fn read(config: &mut ConfigReader<'_>, source: &dyn Source) -> Result<Reading> {
    pass_over(config, INERT);
    let bits = config.optional_size("bits")?.or(config.optional_size("w_bit")?);
    if bits != Some(4) {
        return Err(config.bad("bits", "4: the words have no other").into());
    }
    let group = group_size(config, "group_size")?.or(group_size(config, "q_group_size")?);
    let Some(group) = group else { return Err(config.bad("group_size", "a number of columns, or -1").into()) };
    for key in ["version", "format", "checkpoint_format"] {
        only(config, key, &["gemm"])?;
    }
    only(config, "pack_dtype", &["int32"])?;
    // Zero points are in the file all the same.
    config.get("zero_point");
    let mut reading = Reading::default();
    for module in modules(source) {
        let part = ["qweight", "qzeros", "scales"].into_iter().find(|part| module.part(part).is_some());
        let Some(part) = part else { continue };
        let codes = module.require("qweight", part)?;
        of_type(codes, &[Dtype::I32], "I32")?;
        let [cols, words] = matrix(codes)?;
        let Some(rows) = words.checked_mul(8) else { return Err(shape(codes, "eight outputs a word".to_owned())) };
        if group > 0 && cols % group != 0 {
            return Err(shape(codes, format!("rows in whole groups of {group}")));
        }
        let (scales, zeros) = (module.require("scales", "qweight")?, module.require("qzeros", "qweight")?);
        let usual = Packed::new(Element::Int(4), [rows, cols], &codes.name, &scales.name);
        let packed = Packed {
            order: Order::Awq,
            scales: Scales { by_group: true, ..usual.scales },
            zeros: Zeros::Awq { tensor: zeros.name.clone() },
            block: [1, group],
            symmetric: false,
            ..usual
        };
        reading.packed.push((module.tensor("weight"), packed));
    }
    Ok(reading)
}
