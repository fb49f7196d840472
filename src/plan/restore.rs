//! From a GGUF back to the folder that it was made of: configuration, tokenizer, and a plan of safetensors tensors.
//!
//! Plain weights keep their type, quantized ones become BF16. llama.cpp wants vectors and a few small matrices in F32, so that
//! a GGUF has them in it whatever the checkpoint had: they get the type of the others where that holds every weight.

use std::path::{Path, PathBuf};

use planish_formats::gguf::Kv;
use planish_formats::{Dtype, GgmlType, Info, Layout, Storage, safetensors};
use planish_kernels::{Isa, block};
use serde_json::Value;

use super::{Choice, Error, Outline, Planned, Result, Why};
use crate::checkpoint::{About, Checkpoint, Json, Pooling, sampling_settings};
use crate::dialect::{Stored, Tensors};
use crate::model::{self, Gather};
use crate::run::{self, Scratch, Weight};
use crate::text;

/// The name of the one file of weights, or of the parts and their index.
const WEIGHTS: &str = "model.safetensors";
/// Weights that are looked at together.
const BAND: usize = 1 << 16;
/// Plain types that a checkpoint has, the preferred first.
const PLAIN: [(GgmlType, &str); 3] =
    [(GgmlType::BF16, "bfloat16"), (GgmlType::F16, "float16"), (GgmlType::F32, "float32")];

/// All that will be done to a GGUF to have its checkpoint back.
pub struct Restoration {
    /// What is read.
    pub checkpoint: Checkpoint,
    /// GGUF's name of the architecture.
    pub architecture: String,
    /// `config.json`.
    pub config: Json,
    /// `generation_config.json`; empty if there is nothing to say.
    pub generation: Json,
    /// How hidden states become the vector of a text, if the GGUF says so.
    pub pooling: Option<Pooling>,
    /// The tokenizer's files.
    pub tokenizer: text::Restored,
    /// The checkpoint's tensors under their own names, in file order.
    pub tensors: Vec<Planned>,
    /// What a person should know before starting.
    pub warnings: Vec<String>,
}

impl Restoration {
    /// Decides everything. Of the weights only those in F32 among narrower ones are read.
    ///
    /// # Errors
    /// A source that is no GGUF; an architecture, a configuration or a tokenizer that cannot be brought back; tensors that
    /// are missing or not the model's.
    pub fn new(checkpoint: Checkpoint) -> Result<Restoration> {
        let About::Gguf(kv) = &checkpoint.about else { return Err(Error::NotAGguf) };
        let source = &checkpoint.source;
        let tables = run::rope_tables(&checkpoint)?;
        let header = model::config_json(kv, source.infos(), &tables).map_err(model::Error::Header)?;
        let architecture = model::architecture(&header)?;
        let restored = model::restore(architecture, &architecture.config(&header)?, source.infos())?;
        let tokenizer = text::restore(&checkpoint.path, kv)?;
        let pooling = Pooling::of(&checkpoint)?;

        let main = main_type(source, &restored)?;
        let mut tensors = Vec::with_capacity(restored.len());
        for tensor in restored {
            tensors.push(planned(source, tensor, main)?);
        }
        // As safetensors writes them: every element at a multiple of its size, without gaps.
        tensors.sort_by(|a, b| element(b).cmp(&element(a)).then_with(|| a.name.cmp(&b.name)));

        let mut config = model::alone(header);
        let dtype = PLAIN.iter().find(|(ty, _)| *ty == main).map_or("float32", |(_, name)| name);
        config.insert("torch_dtype".to_owned(), dtype.into());
        let generation = generation(kv, &config);
        let quantized = tensors.iter().filter(|tensor| tensor.source.quantized()).count();
        let lost = (quantized > 0).then(|| {
            format!("{quantized} of {} tensors are quantized and become BF16; what that lost stays lost", tensors.len())
        });
        let warnings = lost.into_iter().chain(tokenizer.warnings.iter().cloned()).collect();
        let architecture = kv.str("general.architecture").ok_or(Error::NoArchitecture)?.to_owned();
        Ok(Restoration { checkpoint, architecture, config, generation, pooling, tokenizer, tensors, warnings })
    }

    /// What there is to tell of it.
    pub fn outline(&self) -> Outline<'_> {
        Outline {
            checkpoint: &self.checkpoint,
            architecture: &self.architecture,
            target: "hf",
            file_type: None,
            tensors: &self.tensors,
            coverage: None,
            warnings: &self.warnings,
        }
    }

    /// The files of weights in `folder`, of at most `shard_max` bytes of data each.
    ///
    /// # Errors
    /// Tensors that safetensors cannot hold.
    pub fn layout(&self, folder: &Path, shard_max: Option<u64>) -> Result<Layout, planish_formats::Error> {
        let infos: Vec<Info> = self.tensors.iter().map(Planned::info).collect();
        safetensors::layout(&folder.join(WEIGHTS), &infos, shard_max)
    }

    /// The files beside the weights: name and content.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let text = |value: &Value| format!("{value:#}\n").into_bytes();
        let object = |object: &Json| text(&Value::Object(object.clone()));
        let mut files = vec![
            ("config.json", object(&self.config)),
            ("tokenizer.json", text(&self.tokenizer.json)),
            ("tokenizer_config.json", object(&self.tokenizer.config)),
        ];
        if !self.generation.is_empty() {
            files.push(("generation_config.json", object(&self.generation)));
        }
        files.extend(self.tokenizer.pieces.iter().map(|pieces| ("tokenizer.model", pieces.clone())));
        let mut files: Vec<(String, Vec<u8>)> =
            files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
        let width = self.config.get("hidden_size").or_else(|| self.config.get("dim")).and_then(Value::as_u64);
        if let Some((pooling, width)) = self.pooling.zip(width) {
            let said = pooling.files(width as usize).into_iter();
            files.extend(said.map(|(name, content)| (name, text(&content))));
        }
        files
    }
}

/// The type that most weights of matrices will have.
fn main_type(source: &Tensors, tensors: &[model::Tensor]) -> Result<GgmlType> {
    let mut counts = PLAIN.map(|(ty, _)| (ty, 0usize));
    for tensor in tensors.iter().filter(|tensor| tensor.shape.len() > 1) {
        let (ty, _) = kept(Weight::new(source, &tensor.gather, &tensor.shape)?.storage());
        for (counted, weights) in &mut counts {
            *weights += if *counted == ty { tensor.shape.iter().product() } else { 0 };
        }
    }
    // Of equals the last of a list is the largest: the preferred comes first.
    Ok(counts.iter().rev().max_by_key(|(_, weights)| *weights).map_or(GgmlType::BF16, |(ty, _)| *ty))
}

/// What becomes of weights stored so, and why.
fn kept(stored: Stored) -> (GgmlType, String) {
    let Stored::Whole(storage) = stored else { return (GgmlType::BF16, format!("{} decoded", stored.name())) };
    match storage {
        Storage::Plain(Dtype::BF16) => (GgmlType::BF16, "as it is stored".to_owned()),
        Storage::Plain(Dtype::F16) => (GgmlType::F16, "as it is stored".to_owned()),
        Storage::Plain(Dtype::F32) => (GgmlType::F32, "as it is stored".to_owned()),
        Storage::Plain(_) => (GgmlType::F32, "the type holds it".to_owned()),
        Storage::Blocks(ty) => (GgmlType::BF16, format!("{} decoded", ty.name())),
    }
}

fn planned(source: &Tensors, tensor: model::Tensor, main: GgmlType) -> Result<Planned> {
    let model::Tensor { name, shape, gather, .. } = tensor;
    let stored = Weight::new(source, &gather, &shape)?.storage();
    if let Stored::Whole(Storage::Blocks(ty)) = stored
        && block::codec(ty.name()).is_none()
    {
        return Err(run::Error::NotWeights { tensor: name, found: ty.name().into() }.into());
    }
    let (mut ty, mut why) = kept(stored);
    if main != GgmlType::F32 && stored == Storage::Plain(Dtype::F32) && holds_all(source, &gather, &shape, main)? {
        (ty, why) = (main, format!("{} holds every value", main.name()));
    }
    let unfit = || Error::DoesNotFit { tensor: name.clone(), shape: shape.clone(), ty: ty.name() };
    let bytes = ty.storage().bytes(&shape).ok_or_else(unfit)? as u64;
    let choice = Choice { ty, wanted: ty, why: Why::Rule(why) };
    Ok(Planned { name, shape, gather, source: stored, choice, bytes, importance: None })
}

/// Whether every weight is one of the type `ty`. Most tensors that are not show it in their first row.
fn holds_all(source: &Tensors, gather: &Gather, shape: &[usize], ty: GgmlType) -> Result<bool> {
    let Some(codec) = block::codec(ty.name()) else { return Ok(false) };
    let weight = Weight::new(source, gather, shape)?;
    let (isa, band) = (Isa::detected(), (BAND / weight.cols.max(1)).max(1));
    let (mut scratch, mut values, mut narrow, mut again) = (Scratch::default(), vec![], vec![], vec![]);
    for start in (0..weight.rows).step_by(band) {
        let rows = start..weight.rows.min(start + band);
        let count = rows.len() * weight.cols;
        values.resize(count, 0f32);
        again.resize(count, 0f32);
        narrow.resize(count * codec.block_bytes(), 0);
        weight.read(isa, rows, &mut scratch, &mut values)?;
        codec.encode(isa, &values, weight.cols, None, &mut narrow);
        codec.decode(isa, &narrow, &mut again);
        if values.iter().zip(&again).any(|(a, b)| a.to_bits() != b.to_bits()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Bits of an element.
fn element(tensor: &Planned) -> usize {
    match tensor.choice.ty.storage() {
        Storage::Plain(dtype) => dtype.bits(),
        Storage::Blocks(_) => 0,
    }
}

/// Ids and sampling settings. A generation ends with the text, with a turn or with a message to a tool.
fn generation(kv: &Kv, config: &Json) -> Json {
    let mut generation = Json::new();
    for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        if let Some(id) = config.get(key) {
            generation.insert(key.to_owned(), id.clone());
        }
    }
    let keys = ["eos", "eot", "eom"].map(|role| format!("tokenizer.ggml.{role}_token_id"));
    let mut ends: Vec<u64> = vec![];
    for id in keys.iter().filter_map(|key| kv.unsigned(key)) {
        if !ends.contains(&id) {
            ends.push(id);
        }
    }
    if ends.len() > 1 {
        generation.insert("eos_token_id".to_owned(), ends.into());
    }
    generation.extend(sampling_settings(kv));
    generation
}

/// `NAME-hf` in the current folder, for a user who names no output.
pub fn default_folder(checkpoint: &Checkpoint) -> PathBuf {
    PathBuf::from(format!("{}-hf", checkpoint.name()))
}
