//! The file of a vision tower and its projector beside the language model's GGUF, as llama.cpp's converter writes it
//! with `--mmproj`.

use std::path::Path;

use planish_formats::gguf::Kv;
use planish_formats::{Dtype, GgmlType, Storage};

use super::{Choice, Error, Job, Planned, Recipe, Result, Why};
use crate::checkpoint::{About, Card, Checkpoint, Json, optional_json};
use crate::model::{self, Preprocessor, Tensor};
use crate::run::Weight;

/// The types that its weights may have.
const TYPES: &[GgmlType] = &[GgmlType::F32, GgmlType::F16, GgmlType::BF16, GgmlType::Q8_0];
/// The kernel that makes rows of patches, of each frame.
const KERNEL: &str = "v.patch_embd.weight";
/// Gemma 3's projection, which runs in F16 alone.
const PROJECTION: &str = "mm.input_projection.weight";

impl Job {
    /// Decides everything about the towers of `checkpoint`; `recipe` is one of a single type.
    ///
    /// # Errors
    /// A source that is no Hugging Face folder, or has no tower; a tower that llama.cpp cannot run; another recipe.
    pub fn mmproj(checkpoint: Checkpoint, recipe: Recipe) -> Result<Job> {
        let About::HuggingFace { config, .. } = &checkpoint.about else { return Err(Error::NotAFolder) };
        let named = |ty: &&GgmlType| ty.name().eq_ignore_ascii_case(&recipe.name);
        let to = *TYPES.iter().find(named).ok_or_else(|| Error::NotForTowers { recipe: recipe.name.clone() })?;
        // Says why of classes that are refused.
        model::architecture(config)?;
        let class = model::multimodal(config).ok_or(Error::NoTower)?;
        let source = &checkpoint.source;
        let tower = class.tower(config, |name| source.infos().iter().any(|info| info.name == name))?;
        let belongs = |name: &str| class.towers.iter().any(|start| name.starts_with(start));
        let released = tower.release(source.infos(), belongs)?;

        let mut tensors = Vec::with_capacity(released.len());
        for tensor in released {
            let source = Weight::new(source, &tensor.gather, &tensor.shape)?.storage();
            let choice = choice(&tensor, to);
            let Tensor { name, shape, gather, .. } = tensor;
            let bytes = choice.ty.storage().bytes(&shape).ok_or_else(|| Error::DoesNotFit {
                tensor: name.clone(),
                shape: shape.clone(),
                ty: choice.ty.name(),
            })?;
            tensors.push(Planned { name, shape, gather, source, choice, bytes: bytes as u64, importance: None });
        }

        let weights = tensors.iter().map(Planned::weights).sum();
        let mut kv = Kv::new();
        kv.set("general.architecture", "clip");
        kv.set("general.type", "mmproj");
        let (card, warning) = Card::read(checkpoint.dir());
        kv.extend(card.keys(&checkpoint.name(), weights));
        kv.set("general.file_type", recipe.file_type);
        kv.extend(tower.keys(&preprocessor(checkpoint.dir())?)?);
        if tensors.iter().any(|t| matches!(t.choice.ty.storage(), Storage::Blocks(_))) {
            kv.set("general.quantization_version", 2u32);
        }
        let quantized = tensors.iter().filter(|t| t.source.quantized()).count();
        let lost = format!("{quantized} of {} tensors are quantized already; what that lost stays lost", tensors.len());
        let warnings = (source.notes().iter().cloned()).chain(warning).chain((quantized > 0).then_some(lost)).collect();
        let architecture = "clip".to_owned();
        Ok(Job { architecture, recipe, kv, tensors, stop: vec![], coverage: None, warnings, checkpoint })
    }
}

/// The type of a tensor where the others get `to`.
fn choice(tensor: &Tensor, to: GgmlType) -> Choice {
    let plain = |ty, why| Choice { ty, wanted: ty, why };
    if tensor.keep_f32 {
        return plain(GgmlType::F32, Why::Kept);
    }
    if tensor.name.starts_with(KERNEL) {
        let ty = if to == GgmlType::F16 { to } else { GgmlType::F32 };
        return plain(ty, Why::Rule("convolutions run in F16 or F32".to_owned()));
    }
    if tensor.name == PROJECTION {
        return plain(GgmlType::F16, Why::Rule("this projection runs in F16".to_owned()));
    }
    let cols = tensor.shape.last().copied().unwrap_or(1);
    match to.storage() {
        Storage::Blocks(_) if to.storage().bytes(&[cols]).is_none() => {
            Choice { ty: GgmlType::F16, wanted: to, why: Why::Fallback { cols, wanted: Box::new(Why::Default) } }
        }
        Storage::Blocks(_) | Storage::Plain(Dtype::F32 | Dtype::F16 | Dtype::BF16) => plain(to, Why::Default),
        Storage::Plain(_) => plain(GgmlType::F32, Why::Kept),
    }
}

/// What the folder says of how images are prepared; of two files the later counts.
fn preprocessor(dir: &Path) -> Result<Preprocessor> {
    let mut found = Preprocessor::default();
    for file in ["preprocessor_config.json", "processor_config.json"] {
        let json = optional_json(&dir.join(file))?;
        let inner = json.get("image_processor").and_then(serde_json::Value::as_object);
        for json in [Some(&json), inner].into_iter().flatten() {
            let numbers = |json: &Json, key: &str| -> Option<Vec<f32>> {
                json.get(key)?.as_array()?.iter().map(|x| x.as_f64().map(|x| x as f32)).collect()
            };
            found.mean = numbers(json, "image_mean").unwrap_or(found.mean);
            found.std = numbers(json, "image_std").unwrap_or(found.std);
        }
    }
    Ok(found)
}
