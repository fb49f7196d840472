//! A quantized safetensors folder, decided before a weight is read: which linears are packed and into which tensors, what is
//! copied, and the files beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use planish_formats::{Dtype, Info, Layout, Storage, safetensors};
use planish_kernels::group::ScaleType;
use serde_json::Value;

use super::job::ahead_warning;
use super::{Error, Result};
use crate::checkpoint::{About, Checkpoint, Json, embedding_files};
use crate::dialect::{Linear, Stored, Target};
use crate::model::{self, Gather, Model, Op, Param};

/// The name of the one file of weights, or of the parts and their index.
const WEIGHTS: &str = "model.safetensors";

/// Files that a consumer reads beside config.json and the weights.
const COPIED: &[&str] = &[
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "image_processor_config.json",
    "video_preprocessor_config.json",
];

/// One logical tensor of the checkpoint and what becomes of it.
pub struct Converted {
    /// Its name.
    pub name: String,
    /// Its shape, outermost first.
    pub shape: Vec<usize>,
    /// How it is stored in the source.
    pub source: Stored,
    /// What it is written as.
    pub becomes: Becomes,
    /// The places of its tensors in [`Quantization::infos`].
    pub places: Vec<usize>,
}

/// What a logical tensor is written as.
pub enum Becomes {
    /// One tensor of this type, under the same name.
    Kept(Storage),
    /// The tensors of a quantized linear.
    Packed {
        /// How.
        linear: Linear,
        /// Linears of one number read the same value: they share a scale where the target asks for that.
        reads: usize,
        /// How the source's tensor becomes the linear `[out, in]`.
        from: Gather,
    },
}

/// All that will be done.
pub struct Quantization {
    /// What is read.
    pub checkpoint: Checkpoint,
    /// The name of the architecture.
    pub architecture: &'static str,
    /// What is written.
    pub target: Target,
    /// `config.json`.
    pub config: Json,
    /// Every logical tensor, in file order.
    pub tensors: Vec<Converted>,
    /// The tensors to be written, in file order.
    pub infos: Vec<Info>,
    /// The files that are copied: paths, and names in the folder.
    pub copied: Vec<(PathBuf, String)>,
    /// What a person should know before starting.
    pub warnings: Vec<String>,
}

impl Quantization {
    /// Decides everything about quantizing `checkpoint` to `target`. Reads no weight.
    ///
    /// # Errors
    /// A source that is no Hugging Face folder; an architecture that is not known; a linear that the target cannot hold.
    pub fn new(checkpoint: Checkpoint, target: Target) -> Result<Quantization> {
        let About::HuggingFace { config, .. } = &checkpoint.about else { return Err(Error::NotAFolder) };
        let source = &checkpoint.source;
        let architecture = model::architecture(config)?;
        let settings = architecture.config(config)?;
        let program = model::runnable(architecture, &settings, source.infos())?.expanded();
        let (chosen, mut left) = linears(&program, &target);
        let beside = |name: &str| !settings.tower(name);
        left.extend(not_run(&program, source.infos()).into_iter().filter(|name| beside(name)));
        let scale = scale_type(source.infos());
        let mut tensors = vec![];
        for info in source.infos() {
            let becomes = match (chosen.get(info.name.as_str()), &info.shape[..]) {
                (Some(&Chosen { reads, transposed }), &[rows, cols]) => {
                    let refused = |why| Error::NotPacked { tensor: info.name.clone(), target: target.name, why };
                    let shape = if transposed { [cols, rows] } else { [rows, cols] };
                    let linear = Linear::new(&target, scale, shape).map_err(refused)?;
                    let name = info.name.clone();
                    let from = if transposed { Gather::Transposed(name) } else { Gather::Whole(name) };
                    Becomes::Packed { linear, reads, from }
                }
                _ => Becomes::Kept(kept(info.storage)),
            };
            let (name, shape) = (info.name.clone(), info.shape.clone());
            tensors.push(Converted { name, shape, source: info.storage, becomes, places: vec![] });
        }
        if !tensors.iter().any(|tensor| matches!(tensor.becomes, Becomes::Packed { .. })) {
            return Err(Error::NothingToPack { target: target.name });
        }
        let infos = place(&mut tensors);
        let towers: Vec<&str> = settings.towers.iter().map(|start| start.trim_end_matches('.')).collect();
        let mut written = config.clone();
        written.insert("quantization_config".to_owned(), Value::Object(target.quantization_config(&left, &towers)));
        let dir = checkpoint.dir();
        let named = |path: PathBuf| {
            let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
            (path, name)
        };
        let copied = copied(dir, config).into_iter().map(named).collect();
        let quantized = source.quantized();
        let already =
            format!("{quantized} of {} tensors are quantized already; what that lost stays lost", tensors.len());
        let ahead = ahead_warning(&settings, source.infos(), "copied, not quantized");
        let warnings =
            (quantized > 0).then_some(already).into_iter().chain(ahead).chain(source.notes().iter().cloned());
        let warnings = warnings.collect();
        let architecture = architecture.name;
        Ok(Quantization { config: written, checkpoint, architecture, target, tensors, infos, copied, warnings })
    }

    /// The files of weights in `folder`, of at most `shard_max` bytes of data each.
    ///
    /// # Errors
    /// Tensors that safetensors cannot hold.
    pub fn layout(&self, folder: &Path, shard_max: Option<u64>) -> Result<Layout, planish_formats::Error> {
        safetensors::layout(&folder.join(WEIGHTS), &self.infos, shard_max)
    }

    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum()
    }

    /// Bytes of all tensors of the result.
    pub fn tensor_bytes(&self) -> u64 {
        self.infos.iter().filter_map(Info::bytes).map(|bytes| bytes as u64).sum()
    }

    /// Bits a weight, over all tensors of the result.
    pub fn bits_per_weight(&self) -> f64 {
        self.tensor_bytes() as f64 * 8.0 / self.weights().max(1) as f64
    }
}

impl Converted {
    /// What reports call what it becomes.
    pub fn storage(&self) -> Stored {
        match self.becomes {
            Becomes::Kept(storage) => storage.into(),
            Becomes::Packed { linear, .. } => Stored::Packed(linear.scheme()),
        }
    }

    /// What its module is called, if it is the weight of one.
    pub fn module(&self) -> &str {
        module(&self.name)
    }
}

fn module(tensor: &str) -> &str {
    tensor.strip_suffix(".weight").unwrap_or(tensor)
}

/// A tensor that becomes a quantized linear.
#[derive(Clone, Copy)]
struct Chosen {
    /// A number for the value that it reads.
    reads: usize,
    /// Whether it is stored `[in, out]`.
    transposed: bool,
}

/// The tensors that linears of layers read, and the modules of all other linears. Heads, embeddings and what routes tokens
/// to experts stay as they are.
fn linears(program: &Model, target: &Target) -> (BTreeMap<String, Chosen>, Vec<String>) {
    let (mut chosen, mut left, mut values) = (BTreeMap::new(), vec!["lm_head".to_owned()], 0);
    for layer in program.stacks.iter().flat_map(|stack| &stack.layers) {
        for group in model::groups(layer) {
            values += 1;
            for weight in group.weights {
                let transposed = matches!(weight.from, Gather::Transposed(_));
                let packed = layer.block.is_some() && packable(weight) && (!transposed || target.packs_conv1d());
                for (name, _) in weight.from.sources(&weight.shape) {
                    if packed {
                        chosen.insert(name.to_owned(), Chosen { reads: values, transposed });
                    } else {
                        left.push(module(name).to_owned());
                    }
                }
            }
        }
    }
    // A tied head is the embedding, which is no linear.
    let embeds = |op: &Op| match op {
        Op::Embed { table, .. } => {
            table.from.sources(&table.shape).iter().map(|(name, _)| module(name).to_owned()).collect()
        }
        _ => vec![],
    };
    let tables: Vec<String> = program
        .stacks
        .iter()
        .flat_map(|stack| &stack.layers)
        .flat_map(|layer| layer.ops.iter().flat_map(embeds))
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    left.retain(|name| !tables.contains(name) && seen.insert(name.clone()));
    (chosen, left)
}

/// Modules with a matrix that the program does not run, which stay as they are: a pooler, a head of another task, layers
/// that predict tokens further ahead.
fn not_run(program: &Model, infos: &[Info<Stored>]) -> Vec<String> {
    let of = |(_, param): (_, &Param)| {
        let sources = param.from.sources(&param.shape).into_iter().map(|(name, _)| name.to_owned());
        sources.collect::<Vec<_>>()
    };
    let used: BTreeSet<String> = program.params().flat_map(of).collect();
    let left = infos.iter().filter(|info| info.shape.len() == 2 && !used.contains(&info.name));
    left.filter_map(|info| info.name.strip_suffix(".weight")).map(str::to_owned).collect()
}

/// Whether the checkpoint has the weight as a linear, or as some rows of each head of one, and it does not route tokens.
fn packable(weight: &Param) -> bool {
    const ROUTER: &str = "ffn_gate_inp";
    weight.from.linears().is_some() && !weight.role.gguf().starts_with(ROUTER)
}

/// Scales are in the type of the weights, but never wider than 16 bits.
fn scale_type(infos: &[Info<Stored>]) -> ScaleType {
    let weights = |dtype| {
        let of = infos.iter().filter(|info| info.storage == Storage::Plain(dtype));
        of.map(Info::elements).sum::<usize>()
    };
    if weights(Dtype::F16) > weights(Dtype::BF16) + weights(Dtype::F32) { ScaleType::F16 } else { ScaleType::Bf16 }
}

/// What is not packed stays as it is; what was packed by another becomes BF16.
fn kept(stored: Stored) -> Storage {
    stored.of_one().unwrap_or(Storage::Plain(Dtype::BF16))
}

/// The tensors in file order: as safetensors writes them, every element at a multiple of its size, else as they come.
fn place(tensors: &mut [Converted]) -> Vec<Info> {
    let mut infos: Vec<(usize, usize, Info)> = vec![];
    for (at, tensor) in tensors.iter().enumerate() {
        let parts = match &tensor.becomes {
            Becomes::Kept(storage) => {
                vec![Info { name: tensor.name.clone(), storage: *storage, shape: tensor.shape.clone() }]
            }
            Becomes::Packed { linear, .. } => linear.infos(tensor.module()),
        };
        infos.extend(parts.into_iter().enumerate().map(|(part, info)| (at, part, info)));
    }
    let bits = |info: &Info| match info.storage {
        Storage::Plain(dtype) => dtype.bits(),
        Storage::Blocks(_) => 0,
    };
    infos.sort_by_key(|(_, _, info)| std::cmp::Reverse(bits(info)));
    for (place, (tensor, part, _)) in infos.iter().enumerate() {
        let places = &mut tensors[*tensor].places;
        if places.len() <= *part {
            places.resize(part + 1, 0);
        }
        places[*part] = place;
    }
    infos.into_iter().map(|(_, _, info)| info).collect()
}

/// The files of `dir` that a consumer reads, code of the model's own included where config.json asks for it.
fn copied(dir: &Path, config: &Json) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = COPIED.iter().map(|name| dir.join(name)).filter(|path| path.is_file()).collect();
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let code = config.contains_key("auto_map");
    let wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        let program = code && path.extension().is_some_and(|extension| extension == "py");
        path.is_file() && (program || name.starts_with("LICENSE") || name.starts_with("NOTICE"))
    };
    let mut more: Vec<PathBuf> = entries.filter(wanted).collect();
    more.sort();
    files.extend(more);
    files.extend(embedding_files(dir).into_iter().map(|name| dir.join(name)));
    files
}

/// `NAME-TARGET` in the current folder, for a user who names no output.
pub fn default_packed_folder(checkpoint: &Checkpoint, target: &Target) -> PathBuf {
    PathBuf::from(format!("{}-{}", checkpoint.name(), target.name))
}
