//! GPTQ: `qweight` packed along the input, `qzeros` along the output, `scales` and perhaps `g_idx`.
//!
//! Written by AutoGPTQ, gptqmodel (`gptq`, `gptq_v2`) and auto-round. Sources: `nn_modules/qlinear/__init__.py` and
//! `utils/model.py` of gptqmodel 7.7, `export_to_autoround` of auto-round 0.15.

use planish_formats::{Dtype, Source};
use regex::Regex;

use super::modules::{Module, group_size, modules, pattern};
use super::packed::{Order, Packed, Scales, Zeros, matrix, of_type, shape};
use super::{Dialect, Element, Error, Reading, Result, awq, only, pass_over};
use crate::model::ConfigReader;

/// The dialect of this file.
pub(super) struct Gptq;

/// Keys of how it was made, and of how runtimes run it.
const INERT: &[&str] = &[
    "quant_method",
    "method",
    "sym",
    "desc_act",
    "lm_head",
    "true_sequential",
    "static_groups",
    "damp_percent",
    "damp_auto_increment",
    "meta",
    "quantizer",
    "model_name_or_path",
    "model_file_base_name",
    "batch_size",
    "dataset",
    "tokenizer",
    "cache_block_outputs",
    "module_name_preceding_first_block",
    "modules_in_block_to_quantize",
    "block_name_to_quantize",
    "pad_token_id",
    "exllama_config",
    "use_exllama",
    "use_cuda_fp16",
    "max_input_length",
    "backend",
    "model_seqlen",
    "disable_exllama",
    "hyb_act",
    "mse",
    "v2",
    "autoround_version",
    "iters",
    "nsamples",
    "seqlen",
    "lr",
    "minmax_lr",
    "provider",
    "enable_quanted_input",
    "enable_minmax_tuning",
    "enable_norm_bias_tuning",
    "low_gpu_mem_usage",
    "scale_dtype",
    "static_attention_granularity",
    "static_kv_granularity",
    "amp",
    "gradient_accumulate_steps",
    "to_quant_block_names",
    "super_bits",
    "super_group_size",
];

/// Bits and group size of a module, or nothing where it is left alone.
type Sizes = Option<(usize, usize)>;

/// What the configuration says of all modules.
struct Settings {
    bits: usize,
    /// 0 for a whole row.
    group: usize,
    /// Zero points are stored less one.
    less_one: bool,
    symmetric: bool,
    /// The first pattern that matches a module decides.
    others: Vec<(Regex, Sizes)>,
}

impl Dialect for Gptq {
    fn name(&self) -> &'static str {
        "gptq"
    }

    fn methods(&self) -> &'static [&'static str] {
        &["gptq", "auto-round", "intel/auto-round"]
    }

    fn read(&self, config: &mut ConfigReader<'_>, source: &dyn Source) -> Result<Reading> {
        pass_over(config, INERT);
        let auto_round = config.text("packing_format")?;
        if auto_round.is_some_and(|format| format.ends_with("awq")) {
            return awq::read(config, source);
        }
        let settings = Settings::read(config, auto_round)?;
        let mut reading = Reading::default();
        for module in modules(source) {
            if let Some(packed) = settings.packed(&module)? {
                reading.packed.push((module.tensor("weight"), packed));
            }
        }
        Ok(reading)
    }
}

impl Settings {
    fn read(config: &mut ConfigReader<'_>, auto_round: Option<&str>) -> Result<Settings> {
        let bits = config.size("bits")?;
        if ![2, 3, 4, 8].contains(&bits) {
            return Err(config.bad("bits", "2, 3, 4 or 8").into());
        }
        let group = group_size(config, "group_size")?.unwrap_or(0);
        only(config, "data_type", &["int"])?;
        only(config, "pack_dtype", &["int32"])?;
        only(config, "packing_format", &["auto_round:auto_gptq", "auto_round", "auto_round:gptqmodel"])?;
        only(config, "checkpoint_format", &["gptq", "gptq_v2"])?;
        only(config, "format", &["gptq", "gptq_v2"])?;
        let format = config.text("checkpoint_format")?.or(config.text("format")?);
        let less_one = match auto_round {
            Some(packing) => packing == "auto_round:auto_gptq",
            None => format != Some("gptq_v2"),
        };
        let mut settings = Settings { bits, group, less_one, symmetric: config.flag("sym", true)?, others: vec![] };
        settings.dynamic(config)?;
        settings.extra(config)?;
        Ok(settings)
    }

    /// gptqmodel's exceptions: `-:PATTERN` leaves modules alone, `+:PATTERN` gives them other sizes.
    fn dynamic(&mut self, config: &mut ConfigReader<'_>) -> Result<()> {
        let Some(mut rules) = config.object("dynamic")? else { return Ok(()) };
        for key in rules.keys() {
            let sizes = match rules.object(&key)? {
                _ if key.starts_with("-:") => None,
                None => Some((self.bits, self.group)),
                Some(mut rule) => {
                    pass_over(&mut rule, INERT);
                    let sizes = self.sizes(&mut rule)?;
                    rule.finish("gptq")?;
                    Some(sizes)
                }
            };
            let text = key.strip_prefix("-:").or(key.strip_prefix("+:")).unwrap_or(&key);
            self.others.push((pattern("dynamic", text)?, sizes));
        }
        Ok(())
    }

    /// auto-round's: the name of a module and its own sizes. 16 bits and more are none.
    fn extra(&mut self, config: &mut ConfigReader<'_>) -> Result<()> {
        let Some(mut modules) = config.object("extra_config")? else { return Ok(()) };
        for name in modules.keys() {
            let Some(mut rule) = modules.object(&name)? else { continue };
            pass_over(&mut rule, INERT);
            pass_over(
                &mut rule,
                &["data_type", "act_bits", "act_data_type", "act_group_size", "act_sym", "act_dynamic"],
            );
            let sizes = self.sizes(&mut rule)?;
            rule.finish("gptq")?;
            let exact = format!("{}$", regex::escape(&name));
            self.others.push((pattern("extra_config", &exact)?, Some(sizes).filter(|(bits, _)| *bits < 16)));
        }
        Ok(())
    }

    fn sizes(&self, rule: &mut ConfigReader<'_>) -> Result<(usize, usize)> {
        let bits = rule.optional_size("bits")?.unwrap_or(self.bits);
        if ![2, 3, 4, 8, 16, 32].contains(&bits) {
            return Err(rule.bad("bits", "2, 3, 4 or 8").into());
        }
        Ok((bits, group_size(rule, "group_size")?.unwrap_or(self.group)))
    }

    fn of(&self, module: &str) -> Sizes {
        let other = self.others.iter().find(|(pattern, _)| pattern.is_match(module));
        other.map_or(Some((self.bits, self.group)), |(_, sizes)| *sizes)
    }

    fn packed(&self, module: &Module<'_>) -> Result<Option<Packed>> {
        let Some(part) = ["qweight", "qzeros", "scales"].into_iter().find(|part| module.part(part).is_some()) else {
            return Ok(None);
        };
        let codes = module.require("qweight", part)?;
        let Some((bits, group)) = self.of(module.name) else {
            let what = "packed, though quantization_config leaves its module alone".to_owned();
            return Err(Error::AtOdds { tensor: codes.name.clone(), what });
        };
        of_type(codes, &[Dtype::I32], "I32")?;
        let [lines, rows] = matrix(codes)?;
        let cols = lines.checked_mul(32).filter(|size| size % bits == 0).map(|size| size / bits);
        let Some(cols) = cols else { return Err(shape(codes, format!("rows that hold codes of {bits} bits"))) };
        let (scales, zeros) = (module.require("scales", "qweight")?, module.require("qzeros", "qweight")?);
        let groups = module.part("g_idx").map(|info| info.name.clone());
        let usual = Packed::new(Element::Int(bits as u8), [rows, cols], &codes.name, &scales.name);
        Ok(Some(Packed {
            order: Order::Columns,
            scales: Scales { by_group: true, ..usual.scales },
            zeros: Zeros::Rows { tensor: zeros.name.clone(), less_one: self.less_one },
            block: [1, group],
            groups,
            symmetric: self.symmetric,
            ..usual
        }))
    }
}
