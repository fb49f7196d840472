//! compressed-tensors, what llm-compressor writes: groups of modules, each with a scheme and a format.
//!
//! Sources: `quantization/quant_config.py`, `quant_args.py` and `compressors/` of compressed-tensors 0.19.

mod config;
mod formats;

use planish_formats::Source;

use self::config::Settings;
use super::modules::modules;
use super::{Dialect, Reading, Result};
use crate::model::ConfigReader;

/// The dialect of this folder.
pub(super) struct CompressedTensors;

/// Parts of a module that runtimes quantize activations and the key-value cache with.
const BESIDE: &[&str] = &[
    "input_scale",
    "input_zero_point",
    "input_global_scale",
    "output_scale",
    "output_zero_point",
    "q_scale",
    "k_scale",
    "v_scale",
    "k_zero_point",
    "v_zero_point",
];

impl Dialect for CompressedTensors {
    fn name(&self) -> &'static str {
        "compressed-tensors"
    }

    fn methods(&self) -> &'static [&'static str] {
        &["compressed-tensors"]
    }

    fn read(&self, config: &mut ConfigReader<'_>, source: &dyn Source) -> Result<Reading> {
        let settings = Settings::read(config)?;
        let mut reading = Reading { notes: settings.notes.clone(), ..Reading::default() };
        for module in modules(source) {
            reading.beside.extend(module.those(BESIDE));
            let Some(part) = formats::part(&module) else { continue };
            let group = settings.group(&module.tensor(part), module.name)?;
            let (packed, beside) = formats::packed(&module, group)?;
            reading.packed.push((module.tensor("weight"), packed));
            reading.beside.extend(beside);
        }
        Ok(reading)
    }
}
