//! What one logical weight is on disk: dialects of quantized checkpoints.
//!
//! A model's program asks for `model.layers.0.self_attn.q_proj.weight [out, in]`. In a quantized checkpoint there may be
//! `qweight`, `qzeros`, `scales` and `g_idx` instead, or `weight_packed` and `weight_scale`. A [`Dialect`] reads
//! `quantization_config` and the names of the tensors and says which logical tensors there are; [`Tensors`] is the checkpoint as
//! everything else sees it. Nothing outside this folder knows the name of a packed tensor.

mod awq;
mod compressed_tensors;
mod error;
mod fp8_block;
mod gptq;
mod merged;
mod modules;
mod mxfp4;
mod packed;
mod plain;
mod stored;
mod target;
mod tensors;
mod unpack;

pub use error::{Error, Result};
pub use merged::{Delta, Whole};
use planish_formats::Source;
pub use stored::{Element, Scheme, Stored};
pub use target::{Form, Linear, TARGETS, Target};
pub use tensors::{Tensor, Tensors, Unread};
pub(crate) use unpack::Buffers;

use crate::model::ConfigReader;

/// A way of having quantized weights in a checkpoint.
pub trait Dialect: Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;
    /// The values of `quant_method` that mean it.
    fn methods(&self) -> &'static [&'static str];
    /// Finds the packed weights among the tensors of `source`. Reads all keys of `config` that it knows; the caller refuses
    /// those that it left.
    fn read(&self, config: &mut ConfigReader<'_>, source: &dyn Source) -> Result<Reading>;
}

/// All dialects. The first is that of checkpoints without a `quantization_config`.
pub static DIALECTS: &[&dyn Dialect] = &[
    &plain::Plain,
    &gptq::Gptq,
    &awq::Awq,
    &compressed_tensors::CompressedTensors,
    &fp8_block::Fp8Block,
    &mxfp4::Mxfp4,
];

/// What a dialect found.
#[derive(Debug, Default)]
pub struct Reading {
    /// Packed tensors under their logical names.
    packed: Vec<(String, packed::Packed)>,
    /// Tensors that say nothing of the weights: the scales of activations, of the key-value cache.
    beside: Vec<String>,
    /// What a person should know.
    notes: Vec<String>,
}

/// The dialect that this `quant_method` means.
fn named(method: &str) -> Result<&'static dyn Dialect> {
    let found = DIALECTS.iter().find(|dialect| dialect.methods().contains(&method));
    found.copied().ok_or_else(|| {
        let known: Vec<&str> = DIALECTS.iter().flat_map(|dialect| dialect.methods()).copied().collect();
        Error::UnknownMethod { method: method.to_owned(), known: known.join(", ") }
    })
}

/// Marks keys as read that do not say how weights are stored.
fn pass_over(config: &mut ConfigReader<'_>, keys: &[&str]) {
    for key in keys {
        config.get(key);
    }
}

/// Refuses any other value of a key than these, in any case.
fn only(config: &mut ConfigReader<'_>, key: &str, values: &[&str]) -> Result<()> {
    match config.text(key)? {
        Some(found) if !values.iter().any(|value| value.eq_ignore_ascii_case(found)) => {
            Err(Error::Unsupported { what: format!("quantization_config.{key} = {found:?}") })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_is_registered() {
        let shared = ["mod", "error", "merged", "modules", "packed", "stored", "target", "tensors", "unpack"];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dialect");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .expect("the folder of dialects")
            .map(|e| e.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned())
            .filter(|name| !shared.contains(&name.as_str()))
            .collect();
        let registered: BTreeSet<String> = DIALECTS.iter().map(|dialect| dialect.name().replace('-', "_")).collect();
        assert_eq!(files, registered);
    }

    #[test]
    fn methods_are_unique() {
        let all: Vec<&str> = DIALECTS.iter().flat_map(|dialect| dialect.methods()).copied().collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(matches!(named("bitsandbytes"), Err(Error::UnknownMethod { .. })));
    }
}
