//! Architectures as data: programs of ops, and what GGUF calls their parts.
//!
//! [`architecture`] finds who can read a `config.json`; [`Architecture::config`] reads it and refuses what it does not
//! understand; [`Architecture::program`] writes the forward pass as data, checked; [`release`] says which tensors the
//! GGUF has and where in the checkpoint each comes from; [`gguf_keys`] says what its header says about the model.
//! The way back from a GGUF is [`config_json`] and [`restore`].
//! Everything that walks a model (plans, statistics, execution) reads the program; nothing but the files in `arch/`
//! knows the name of a checkpoint's tensor.

mod arch;
mod check;
mod config;
mod decoder;
mod encoder;
mod error;
mod expanded;
mod gather;
mod groups;
mod header;
mod keys;
mod multimodal;
mod op;
mod over_gguf;
mod program;
mod reader;
mod relative;
mod release;
mod restore;
mod role;
mod rope;
mod rope_header;
mod scribe;
mod tower;

pub use arch::ARCHITECTURES;
pub use check::{across, widths};
pub use config::{Biases, Bidirectional, Caps, Config, Experts, Head, Latent, Pair, Scales};
pub use error::{Error, Result};
pub use gather::{Gather, Strand, paired_row, unpaired_row};
pub use groups::{Absorber, Group, groups};
pub use header::{Header, HeaderError, RopeTables, config_json, gguf_architecture};
pub use keys::{Caveat, Keys, gguf_keys};
pub use multimodal::{MULTIMODAL, Multimodal, alone, multimodal};
pub use op::{Activation, Heads, Mask, NormKind, Op, Routing, Scores, Scoring, Turn};
pub use program::{Carry, Index, Layer, Logits, Model, Objective, Param, Stack, Value};
pub use reader::{ConfigReader, Json};
pub use relative::RelativeBias;
pub use release::{Held, Tensor, ahead, left_behind, release, runnable};
pub use restore::{released, restore};
pub use role::Role;
pub use rope::{Frequencies, Rope, Scaling};
pub use scribe::Scribe;
pub use tower::{Patches, Preprocessor, Rows, Stage, Tower};

/// Whether the checkpoint has a tensor of this name: some save one model in several ways.
pub type Has<'a> = &'a dyn Fn(&str) -> bool;

/// One architecture: how to recognise it, read its configuration and write its program.
pub struct Architecture {
    /// The name in reports, the one that Hugging Face calls `model_type`.
    pub name: &'static str,
    /// What is released under it, for people.
    pub models: &'static str,
    /// The `architectures` of config.json that it reads. Base classes (`LlamaModel`) have no head.
    pub hf: &'static [&'static str],
    /// The values of `model_type` that it reads where config.json names no class.
    pub model_types: &'static [&'static str],
    /// What may stand before the names of all tensors but the head's, the usual first: base classes save without.
    pub roots: &'static [&'static str],
    /// The tensor, after the root, that tells which root a checkpoint uses.
    pub embedding: &'static str,
    /// Reads the keys it knows. The caller refuses those that it left.
    pub read: fn(&mut ConfigReader) -> Result<Config>,
    /// Writes the program for tensors under this root.
    pub write: fn(&Config, root: &str, has: Has<'_>) -> Model,
    /// What GGUF makes of it, if llama.cpp knows it.
    pub gguf: Option<Gguf>,
}

/// What llama.cpp knows of an architecture.
pub struct Gguf {
    /// The value of `general.architecture`, and what the keys of [`gguf_keys`] begin with.
    pub name: &'static str,
    /// Says what llama.cpp's graph cannot do of what this configuration asks.
    pub holds: fn(&Config) -> std::result::Result<(), &'static str>,
    /// Sets the keys under the name.
    pub keys: fn(&Config, &mut Keys<'_>),
    /// Sets the keys of config.json that such a header amounts to: the inverse of `keys`.
    pub config: fn(&mut Header<'_>) -> std::result::Result<(), HeaderError>,
}

/// The table of all architectures: name, models, what GGUF calls it.
pub fn support() -> Vec<[&'static str; 3]> {
    ARCHITECTURES.iter().map(|a| [a.name, a.models, a.gguf.as_ref().map_or("", |gguf| gguf.name)]).collect()
}

impl Architecture {
    /// Reads `config.json`. Keys that may change the maths and that nobody read are refused by name.
    pub fn config(&self, json: &Json) -> Result<Config> {
        let (json, outer) = multimodal::language(json)?;
        let mut reader = ConfigReader::new(&json);
        let mut config = (self.read)(&mut reader)?;
        reader.finish(self.name)?;
        config.towers = outer.map_or(&[], |outer| outer.towers);
        Ok(config)
    }

    /// The program for a checkpoint whose tensors have these names; every width in it fits.
    pub fn program(&self, config: &Config, has: impl Fn(&str) -> bool) -> Result<Model> {
        let plain = || self.roots.iter().map(|&root| root.to_owned()).collect();
        let roots: Vec<String> = if config.towers.is_empty() { plain() } else { multimodal::roots(self.roots) };
        let found = roots.iter().find(|root| has(&format!("{root}{}", self.embedding)));
        let model = (self.write)(config, found.map_or(self.roots[0], String::as_str), &has);
        check::check(&model)?;
        Ok(model)
    }
}

/// The architecture that reads this `config.json`: by the first of `architectures`, else by `model_type`.
pub fn architecture(json: &Json) -> Result<&'static Architecture> {
    let (json, _) = multimodal::language(json)?;
    let named = json.get("architectures").and_then(|v| v.as_array()).and_then(|v| v.first()).and_then(|v| v.as_str());
    let model_type = json.get("model_type").and_then(|v| v.as_str());
    let found = match (named, model_type) {
        (Some(class), _) => ARCHITECTURES.iter().find(|a| a.hf.contains(&class)),
        (None, Some(model_type)) => ARCHITECTURES.iter().find(|a| a.model_types.contains(&model_type)),
        (None, None) => return Err(Error::NoArchitecture),
    };
    let name = named.or(model_type).unwrap_or_default();
    found.copied().ok_or_else(|| unknown(name, &json))
}

/// Names the class most like `class` and what of the configuration its reader would not understand.
fn unknown(class: &str, json: &Json) -> Error {
    let names = ARCHITECTURES.iter().flat_map(|a| a.hf.iter().map(move |hf| (*a, *hf)));
    let (nearest, name) = names.min_by_key(|(_, hf)| edits(class, hf)).unwrap_or((ARCHITECTURES[0], "none"));
    let mut reader = ConfigReader::new(json);
    // What it would say against the values does not matter here: only which keys it never asks for.
    let _ = (nearest.read)(&mut reader);
    Error::UnknownArchitecture { class: class.to_owned(), nearest: name, keys: reader.unread() }
}

/// Insertions, deletions and replacements between two names (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
