//! Which tensors a GGUF of a checkpoint has, and where each comes from.

use std::collections::{BTreeMap, BTreeSet};

use planish_formats::{Info, Storage};

use super::{Architecture, Config, Error, Gather, Head, Model, Objective, Param, Result, Role};

/// A tensor of the GGUF.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name there.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// The layer in its name, `blk.N.`.
    pub block: Option<usize>,
    /// Where it comes from.
    pub gather: Gather,
    /// `[out, in]`: outermost first, as in [`Info`].
    pub shape: Vec<usize>,
    /// llama.cpp keeps it in F32 whatever the file's type: vectors, norms, positions.
    pub keep_f32: bool,
}

/// How a checkpoint holds a tensor.
pub trait Held {
    /// Whether a weight is there as a linear `[out, in]`, even if the model's class stores it `[in, out]`: what packs
    /// a `Conv1D` makes a linear of it.
    fn as_linear(&self) -> bool;
}

impl Held for Storage {
    fn as_linear(&self) -> bool {
        false
    }
}

/// All tensors of the GGUF of this checkpoint, in the order of execution, each once. Every tensor of the checkpoint
/// that one comes from is there and of the right shape; the checkpoint has no tensor of which nothing is known.
pub fn release<S: Held>(architecture: &Architecture, config: &Config, checkpoint: &[Info<S>]) -> Result<Vec<Tensor>> {
    architecture.held(config)?;
    let (model, mut tensors) = checked(architecture, config, checkpoint)?;
    if model.objective == Objective::Masked {
        let model = model.without_head();
        let names: BTreeSet<&str> = model.params().map(|(_, p)| p.name.as_str()).collect();
        tensors.retain(|tensor| names.contains(tensor.name.as_str()));
    }
    Ok(tensors)
}

/// The checkpoint's tensors that such a GGUF has nothing of, although they were trained: what an encoder puts after its
/// hidden states.
pub fn left_behind<S>(released: &[Tensor], config: &Config, checkpoint: &[Info<S>]) -> Vec<String> {
    if config.encoder.is_none() {
        return vec![];
    }
    let used: BTreeSet<&str> = released.iter().flat_map(|t| t.gather.sources(&t.shape)).map(|(name, _)| name).collect();
    let left = checkpoint.iter().map(|info| &info.name).filter(|name| !used.contains(name.as_str()));
    left.filter(|name| !known_buffer(name)).cloned().collect()
}

/// The program over this checkpoint's tensors, checked as in [`release`], whether or not llama.cpp could run it.
pub fn runnable<S: Held>(architecture: &Architecture, config: &Config, checkpoint: &[Info<S>]) -> Result<Model> {
    Ok(checked(architecture, config, checkpoint)?.0)
}

fn checked<S: Held>(
    architecture: &Architecture,
    config: &Config,
    checkpoint: &[Info<S>],
) -> Result<(Model, Vec<Tensor>)> {
    let found: BTreeMap<&str, &[usize]> = checkpoint.iter().map(|i| (i.name.as_str(), i.shape.as_slice())).collect();
    let mut model = architecture.program(config, |name| found.contains_key(name))?;
    let linears: BTreeSet<&str> =
        checkpoint.iter().filter(|i| i.storage.as_linear()).map(|i| i.name.as_str()).collect();
    model.turn_back(|name| linears.contains(name));
    let params = model.params().map(|(layer, p)| (layer.block, p)).chain(model.tables.iter().map(|p| (None, p)));
    let mut names = BTreeSet::new();
    let tensors: Vec<Tensor> =
        params.filter(|(_, p)| names.insert(p.name.clone())).map(|(block, p)| tensor(block, p)).collect();

    let used = sources(&tensors, &found)?;
    let known = |name: &str| {
        let apart = ahead(config, name) || config.tower(name) || other_head(architecture, config, name);
        apart || known_buffer(name) || copy(config, name) || tied_head(config, name)
    };
    let left = |name: &&str| !used.contains(*name) && !known(name);
    let unexpected: Vec<String> = found.keys().filter(|name| left(name)).map(|&name| name.to_owned()).collect();
    if unexpected.is_empty() {
        Ok((model, tensors))
    } else {
        Err(Error::UnexpectedTensors { architecture: architecture.name, tensors: unexpected })
    }
}

fn tensor(block: Option<usize>, p: &Param) -> Tensor {
    Tensor {
        name: p.name.clone(),
        role: p.role,
        block,
        gather: p.in_gguf(),
        shape: p.shape.clone(),
        // The converter leaves a bias by distance in the file's type; it is only never quantized.
        keep_f32: p.shape.len() <= 1
            || (p.role.keeps_f32() && p.role != Role::AttnRelB)
            || !p.name.ends_with(".weight"),
    }
}

/// The names of all tensors of the checkpoint that are used, once each is known to be there and to fit.
fn sources(tensors: &[Tensor], found: &BTreeMap<&str, &[usize]>) -> Result<BTreeSet<String>> {
    let mut used = BTreeSet::new();
    let mut missing = Vec::new();
    for t in tensors {
        for (name, expected) in t.gather.sources(&t.shape) {
            match found.get(name) {
                None => missing.push(name.to_owned()),
                Some(shape) if !fits(&t.gather, shape, &expected) => {
                    return Err(Error::Shape { tensor: name.to_owned(), found: shape.to_vec(), expected });
                }
                Some(_) => {}
            }
            used.insert(name.to_owned());
        }
    }
    if missing.is_empty() { Ok(used) } else { Err(Error::MissingTensors { tensors: missing }) }
}

fn fits(gather: &Gather, found: &[usize], expected: &[usize]) -> bool {
    match gather {
        Gather::Rows(..) => found.first() >= expected.first() && found.get(1..) == expected.get(1..),
        Gather::Whole(_)
        | Gather::Transposed(_)
        | Gather::Stacked(_)
        | Gather::Paired { .. }
        | Gather::Unpaired { .. }
        | Gather::Picked { .. }
        | Gather::Woven(_)
        | Gather::Heads { .. }
        | Gather::OfHeads(_)
        | Gather::Ungrouped { .. }
        | Gather::Grouped { .. }
        | Gather::Shifted { .. }
        | Gather::Columns { .. }
        | Gather::Zipped { .. }
        | Gather::Every { .. }
        | Gather::Computed(_) => found == expected,
    }
}

/// Constants that old versions of transformers saved with the weights.
fn known_buffer(name: &str) -> bool {
    let ends = [
        ".attn.bias",
        ".attn.masked_bias",
        ".rotary_emb.inv_freq",
        ".attention.bias",
        ".attention.masked_bias",
        "embeddings.position_ids",
        "embeddings.token_type_ids",
    ];
    ends.iter().any(|end| name.ends_with(end))
}

/// Whether a tensor is of a layer that predicts tokens further ahead, which follow the model's own.
pub fn ahead(config: &Config, name: &str) -> bool {
    let number = name.split_once("layers.").and_then(|(_, rest)| rest.split('.').next()?.parse::<usize>().ok());
    number.is_some_and(|layer| layer >= config.layers && layer - config.layers < config.ahead)
}

/// The copy of a tied embedding that `.bin` checkpoints have.
fn tied_head(config: &Config, name: &str) -> bool {
    let name = name.strip_prefix("language_model.").filter(|_| !config.towers.is_empty()).unwrap_or(name);
    config.head == Head::Tied && name == "lm_head.weight"
}

/// What encoders have after their hidden states, beside the head that is run: what pools them for tasks of whole texts, and
/// a head, or copies of its embedding and bias, that the class of the configuration does not use.
fn other_head(architecture: &Architecture, config: &Config, name: &str) -> bool {
    const HEADS: [&str; 5] = ["cls.", "lm_head.", "predictions.", "sop_classifier.", "vocab_"];
    let pools = |root: &&str| name.strip_prefix(root).is_some_and(|bare| bare.starts_with("pooler."));
    config.encoder.is_some()
        && (architecture.roots.iter().any(pools) || HEADS.iter().any(|head| name.starts_with(head)))
}

/// What encoders and decoders were saved with beside the one embedding that both read, and a bias that T5's first releases
/// have and never used.
fn copy(config: &Config, name: &str) -> bool {
    let ends = [
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
        "EncDecAttention.relative_attention_bias.weight",
    ];
    config.pair.is_some() && ends.iter().any(|end| name.ends_with(end))
}
