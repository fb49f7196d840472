//! A job: everything that `plan` shows and `quantize` does, decided before a weight is read.

use std::path::Path;

use planish_formats::gguf::Kv;
use planish_formats::{Dtype, GgmlType, Info, Storage};
use planish_kernels::block;

use super::importance::weigh;
use super::{
    Candidate, Choice, Coverage, Error, Facts, Importance, Outline, Overrides, Recipe, Result, Why, choose,
    output_order,
};
use crate::checkpoint::{About, Card, Checkpoint, Pooling, further_modules};
use crate::dialect::Stored;
use crate::model::{self, Config, Gather};
use crate::run::Weight;
use crate::text;

/// What the user asks for.
pub struct Request {
    /// The mix.
    pub recipe: Recipe,
    /// Types set by hand.
    pub overrides: Overrides,
    /// `tokenizer.ggml.pre`, set by hand.
    pub pre: Option<String>,
    /// What the encoders weigh errors by.
    pub importance: Option<Importance>,
    /// Whether importance will be measured while layers are rounded: see [`crate::run::Layerwise`].
    pub measured: bool,
}

/// One tensor of the release.
pub struct Planned {
    /// Its GGUF name.
    pub name: String,
    /// Its shape, outermost first: `[out, in]`.
    pub shape: Vec<usize>,
    /// Where its rows come from.
    pub gather: Gather,
    /// How they are stored there.
    pub source: Stored,
    /// The type it gets, and why.
    pub choice: Choice,
    /// Size in the release.
    pub bytes: u64,
    /// How much each column counts, `[matrices, in]`, where that is known and the type makes use of it.
    pub importance: Option<Vec<f32>>,
}

impl Planned {
    /// What the container is told.
    pub fn info(&self) -> Info {
        Info { name: self.name.clone(), storage: self.choice.ty.storage(), shape: self.shape.clone() }
    }

    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64
    }
}

/// All that will be done.
pub struct Job {
    /// What is read.
    pub checkpoint: Checkpoint,
    /// GGUF's name of the architecture.
    pub architecture: String,
    /// The mix.
    pub recipe: Recipe,
    /// The release's metadata.
    pub kv: Kv,
    /// The release's tensors, in file order.
    pub tensors: Vec<Planned>,
    /// Texts at which generation stops.
    pub stop: Vec<String>,
    /// What of the release the importance matrix covers, if one was given.
    pub coverage: Option<Coverage>,
    /// What a person should know before starting.
    pub warnings: Vec<String>,
}

/// Tensors and metadata before types are chosen.
struct Release {
    architecture: String,
    kv: Kv,
    tensors: Vec<Part>,
    stop: Vec<String>,
    warnings: Vec<String>,
}

/// A tensor before its type is chosen.
struct Part {
    name: String,
    shape: Vec<usize>,
    gather: Gather,
    source: Stored,
    /// How it is stored where the recipe leaves it alone.
    kept: Storage,
}

impl Job {
    /// Decides everything about converting `checkpoint` as `request` says.
    pub fn new(checkpoint: Checkpoint, request: Request) -> Result<Job> {
        let mut release = match &checkpoint.about {
            About::HuggingFace { .. } => from_hugging_face(&checkpoint, request.pre.as_deref())?,
            About::Gguf(kv) => from_gguf(&checkpoint, kv)?,
        };
        let Request { recipe, overrides, importance, measured, .. } = request;
        let names: Vec<&str> = release.tensors.iter().map(|part| part.name.as_str()).collect();
        let order = output_order(&names);
        let mut parts: Vec<Option<Part>> = release.tensors.into_iter().map(Some).collect();
        let parts: Vec<Part> = order.into_iter().filter_map(|i| parts[i].take()).collect();

        let candidates: Vec<Candidate> = parts
            .iter()
            .map(|part| Candidate { name: part.name.clone(), shape: part.shape.clone(), storage: part.kept })
            .collect();
        let facts = Facts { importance: measured || importance.is_some(), ..facts(&release.architecture, &release.kv) };
        let choices = choose(&recipe, &overrides, &facts, &candidates)?;
        let (weights, coverage) = weigh(importance.as_ref(), measured, &recipe, &candidates, &choices)?;

        let mut tensors = Vec::with_capacity(parts.len());
        for ((part, choice), importance) in parts.into_iter().zip(choices).zip(weights) {
            let storage = choice.ty.storage();
            let bytes = storage.bytes(&part.shape).ok_or_else(|| Error::DoesNotFit {
                tensor: part.name.clone(),
                shape: part.shape.clone(),
                ty: choice.ty.name(),
            })?;
            if part.source != storage && block::codec(choice.ty.name()).is_none() {
                return Err(Error::NoEncoder { tensor: part.name, ty: choice.ty.name() });
            }
            let Part { name, shape, gather, source, .. } = part;
            tensors.push(Planned { name, shape, gather, source, choice, bytes: bytes as u64, importance });
        }
        release.kv.set("general.file_type", recipe.file_type);
        if tensors.iter().any(|t| matches!(t.choice.ty.storage(), Storage::Blocks(_))) {
            release.kv.set("general.quantization_version", 2u32);
        }
        let Release { architecture, mut kv, stop, mut warnings, .. } = release;
        warnings.extend(fallback_warning(&tensors));
        let unmatched = overrides.unmatched(&candidates);
        warnings.extend(
            unmatched.map(|pattern| format!("no tensor has a name that matches {pattern}: its type is not used")),
        );
        if let Some((importance, coverage)) = importance.as_ref().zip(coverage.as_ref()) {
            kv.extend(importance.keys());
            warnings.extend(coverage.warnings(importance.uncovered));
        }
        Ok(Job { checkpoint, architecture, recipe, kv, tensors, stop, coverage, warnings })
    }

    /// Tensors as the container is told of them.
    pub fn infos(&self) -> Vec<Info> {
        self.tensors.iter().map(Planned::info).collect()
    }

    /// What there is to tell of it.
    pub fn outline(&self) -> Outline<'_> {
        Outline {
            checkpoint: &self.checkpoint,
            architecture: &self.architecture,
            target: &self.recipe.name,
            file_type: Some(self.recipe.file_type),
            tensors: &self.tensors,
            coverage: self.coverage.as_ref(),
            warnings: &self.warnings,
        }
    }

    /// [`default_output`], and where it is of towers a name that says so.
    pub fn default_output(&self) -> std::path::PathBuf {
        let path = default_output(&self.checkpoint, &self.recipe);
        match self.kv.str("general.type") {
            Some("mmproj") => Path::new(&format!("mmproj-{}", path.display())).to_owned(),
            Some("adapter") => Path::new(&format!("lora-{}", path.display())).to_owned(),
            _ => path,
        }
    }

    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.outline().weights()
    }

    /// Bytes of all tensors of the release.
    pub fn tensor_bytes(&self) -> u64 {
        self.outline().tensor_bytes()
    }

    /// Bits a weight, over all tensors of the release.
    pub fn bits_per_weight(&self) -> f64 {
        self.outline().bits_per_weight()
    }

    /// How many tensors have each type, largest share first.
    pub fn histogram(&self) -> Vec<(GgmlType, usize, u64)> {
        self.outline().histogram()
    }
}

/// The release of a Hugging Face folder: its architecture's tensors and keys, its tokenizer's, its card's.
fn from_hugging_face(checkpoint: &Checkpoint, pre: Option<&str>) -> Result<Release> {
    let About::HuggingFace { config, generation } = &checkpoint.about else { return Err(Error::NotAFolder) };
    let source = &checkpoint.source;
    let architecture = model::architecture(config)?;
    let settings = architecture.config(config)?;
    let keys = model::gguf_keys(architecture, &settings)?;
    let released = model::release(architecture, &settings, source.infos())?;

    let left = model::left_behind(&released, &settings, source.infos());
    let mut tensors = Vec::with_capacity(released.len());
    for tensor in released {
        let source = Weight::new(source, &tensor.gather, &tensor.shape)?.storage();
        let kept = if tensor.keep_f32 { Storage::Plain(Dtype::F32) } else { kept_type(source) };
        let model::Tensor { name, shape, gather, .. } = tensor;
        tensors.push(Part { name, shape, gather, source, kept });
    }
    let weights: u64 = tensors.iter().map(|part| part.shape.iter().product::<usize>() as u64).sum();

    let mut kv = Kv::new();
    let name = keys.str("general.architecture").unwrap_or(architecture.name).to_owned();
    kv.set("general.architecture", name.as_str());
    kv.set("general.type", "model");
    let (card, card_warning) = Card::read(checkpoint.dir());
    kv.extend(card.keys(&checkpoint.name(), weights));
    kv.extend(crate::checkpoint::sampling_keys(generation));
    kv.extend(keys);
    let pooling = Pooling::of(checkpoint)?;
    if let Some(pooling) = pooling {
        kv.set(format!("{name}.pooling_type"), pooling.number());
    }
    let rows = embedding_rows(&tensors).ok_or(Error::NoEmbedding)?;
    let vocabulary = text::vocabulary(&text::Request { dir: checkpoint.dir(), rows, config, pre })?;
    kv.extend(vocabulary.kv);
    if let Some(encoder) = &settings.encoder {
        // Its graph asks for the count, whatever the tokenizer.
        kv.set("tokenizer.ggml.token_type_count", encoder.token_types.max(1) as u32);
    }
    let caveats = architecture.caveats(&settings);
    let left_out = ahead_warning(&settings, source.infos(), "left out, as llama.cpp's converter leaves them");
    let towers = towers_warning(source.infos().iter().filter(|info| settings.tower(&info.name)));
    let warnings = (caveats.iter().map(ToString::to_string))
        .chain(left_out)
        .chain(towers)
        .chain(quantized_warning(&tensors))
        .chain(source.notes().iter().cloned())
        .chain(card_warning)
        .chain(left_warning(&left))
        .chain(modules_warning(checkpoint)?)
        .chain(vocabulary.warnings)
        .collect();
    Ok(Release { architecture: name, kv, tensors, stop: vocabulary.stop, warnings })
}

/// What of the checkpoint the GGUF of the language model leaves out.
fn towers_warning<'a>(towers: impl Iterator<Item = &'a Info<Stored>>) -> Option<String> {
    let (count, bytes) =
        towers.fold((0, 0), |(count, bytes), info| (count + 1, bytes + info.storage.bytes(&info.shape)));
    (count > 0).then(|| {
        format!(
            "{count} tensors ({} MB) are the vision tower and its projector, which llama.cpp reads from a file of their own: \
             convert --mmproj writes it",
            bytes.div_ceil(1_000_000)
        )
    })
}

/// The release of a GGUF: the same tensors and keys, without the facts of how it was split.
fn from_gguf(checkpoint: &Checkpoint, kv: &Kv) -> Result<Release> {
    let mut kv = kv.clone();
    for key in ["split.no", "split.count", "split.tensors.count"] {
        kv.remove(key);
    }
    let architecture = kv.str("general.architecture").ok_or(Error::NoArchitecture)?.to_owned();
    let tensors: Vec<Part> = (checkpoint.source.infos().iter())
        .map(|info| Part {
            name: info.name.clone(),
            shape: info.shape.clone(),
            gather: Gather::Whole(info.name.clone()),
            source: info.storage,
            kept: info.storage.of_one().unwrap_or(Storage::Plain(Dtype::F32)),
        })
        .collect();
    let warnings = quantized_warning(&tensors).into_iter().collect();
    Ok(Release { architecture, kv, tensors, stop: vec![], warnings })
}

/// Tensors that llama.cpp has no use for.
fn left_warning(left: &[String]) -> Option<String> {
    let names = left.join(", ");
    let count = left.len();
    (count > 0).then(|| format!("llama.cpp computes hidden states only; {count} tensors are not in the GGUF: {names}"))
}

/// What comes after an embedding's pooling.
fn modules_warning(checkpoint: &Checkpoint) -> Result<Option<String>> {
    let further = further_modules(checkpoint.dir())?;
    let told = || format!("the GGUF ends with the pooling; not in it: {}", further.join(", "));
    Ok((!further.is_empty()).then(told))
}

fn quantized_warning(tensors: &[Part]) -> Option<String> {
    let quantized = tensors.iter().filter(|part| part.source.quantized()).count();
    let of = tensors.len();
    (quantized > 0).then(|| format!("{quantized} of {of} tensors are quantized already; what that lost stays lost"))
}

/// What becomes of the tensors of multi-token prediction, if the checkpoint has any.
pub(super) fn ahead_warning(config: &Config, infos: &[Info<Stored>], fate: &str) -> Option<String> {
    let ahead: Vec<_> = infos.iter().filter(|info| model::ahead(config, &info.name)).collect();
    let (first, weights) = (&ahead.first()?.name, ahead.iter().map(|info| info.elements()).sum::<usize>());
    let count = ahead.len();
    Some(format!(
        "{count} tensors of {weights} weights predict tokens further ahead (MTP), {first} first: they are {fate}"
    ))
}

/// Plain types that GGUF readers compute with stay; the others become F32.
fn kept_type(stored: Stored) -> Storage {
    match stored {
        Stored::Whole(kept @ Storage::Plain(Dtype::F16 | Dtype::BF16 | Dtype::F32))
        | Stored::Merged(kept @ Storage::Plain(Dtype::F16 | Dtype::BF16 | Dtype::F32)) => kept,
        Stored::Whole(_) | Stored::Merged(_) | Stored::Packed(_) => Storage::Plain(Dtype::F32),
    }
}

fn embedding_rows(tensors: &[Part]) -> Option<usize> {
    tensors.iter().find(|part| part.name == "token_embd.weight")?.shape.first().copied()
}

/// What the mix rules ask about a model, from its GGUF keys.
fn facts(architecture: &str, kv: &Kv) -> Facts {
    let number = |key: &str| {
        let key = format!("{architecture}.{key}");
        // Models whose layers differ give a list; the first layer counts.
        let first = || kv.i32s(&key)?.first().map(|&n| u64::from(n.unsigned_abs()));
        kv.unsigned(&key).or_else(first).and_then(|n| usize::try_from(n).ok())
    };
    let heads = number("attention.head_count").unwrap_or(0);
    Facts {
        arch: architecture.to_owned(),
        layers: number("block_count").unwrap_or(0),
        heads,
        kv_heads: number("attention.head_count_kv").unwrap_or(heads),
        experts: number("expert_count").unwrap_or(0),
        importance: false,
    }
}

fn fallback_warning(tensors: &[Planned]) -> Option<String> {
    let fell: Vec<&Planned> = tensors.iter().filter(|t| matches!(t.choice.why, Why::Fallback { .. })).collect();
    let first = fell.first()?;
    Some(format!(
        "{} of {} tensors have rows that are no whole number of blocks and got another type, {} first: {} instead of {}",
        fell.len(),
        tensors.len(),
        first.name,
        first.choice.ty.name(),
        first.choice.wanted.name(),
    ))
}

/// `NAME-TYPE.gguf` in the current folder, for a user who names no output.
pub fn default_output(checkpoint: &Checkpoint, recipe: &Recipe) -> std::path::PathBuf {
    Path::new(&format!("{}-{}.gguf", checkpoint.name(), recipe.name.to_ascii_uppercase())).to_owned()
}
