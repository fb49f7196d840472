//! Tokenizers and their GGUF keys.
//!
//! A checkpoint's tokenizer files are read without running them; what llama.cpp needs to give the same ids is written as
//! `tokenizer.*` keys: the tokens with their types and scores or merges, the name of the pre-tokenizer that splits text into
//! words, the special ids, and the chat template. [`restore`] is the way back, and [`Encoder`] runs the tokenizer of either.

mod added;
mod byte_level;
mod byte_pairs;
mod decode;
mod encoder;
mod error;
mod folder;
mod fused;
mod pieces;
mod pre;
mod protobuf;
mod restore;
mod sources;
mod special;
mod stop;
mod table;
mod template;
mod template_processing;
mod unigram;
mod wordpiece;

use std::path::Path;

use planish_formats::gguf::Kv;
use serde_json::{Map, Value};

pub use encoder::Encoder;
pub use error::Error;
pub use pre::split_alike;
pub use restore::{Restored, restore};
pub use special::SpecialIds;

use sources::{Found, Sources};
use table::Table;

/// A tokenizer as GGUF keys.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// All `tokenizer.*` keys, the chat template included.
    pub kv: Kv,
    /// Number of tokens: the rows of the embedding.
    pub size: usize,
    /// What was odd and how it was taken, a sentence each.
    pub warnings: Vec<String>,
    /// Ids with a meaning.
    pub special: SpecialIds,
    /// Texts of the tokens that end a generation, for an Ollama Modelfile.
    pub stop: Vec<String>,
}

/// Whose tokenizer is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The checkpoint's folder.
    pub dir: &'a Path,
    /// Rows of the embedding, which is the number of tokens that the file will have.
    pub rows: usize,
    /// The parsed `config.json`.
    pub config: &'a Map<String, Value>,
    /// llama.cpp's name of the pre-tokenizer, where the user knows better.
    pub pre: Option<&'a str>,
}

/// Reads the tokenizer of a checkpoint. Nothing in the folder is run.
///
/// # Errors
/// Files that are missing, damaged or contradict each other or the embedding; kinds of tokenizer that llama.cpp does not have.
pub fn vocabulary(request: &Request) -> Result<Vocabulary, Error> {
    if let Some(name) = request.pre {
        pre::check_name(name)?;
    }
    let sources = Sources::read(request)?;
    let mut warnings = Vec::new();
    let Base { path, model, pre, table, scored, merges, ids, own } = match sources.find()? {
        Found::Pieces(path, model) => pieces::read(&sources, path, &model)?,
        Found::BytePairs(json) => byte_pairs::from_json(&sources, json, &mut warnings)?,
        Found::Fused(json) => fused::read(&sources, json)?,
        Found::Unigram(json) => unigram::read(&sources, json)?,
        Found::WordPiece(json) => wordpiece::from_json(&sources, json)?,
        Found::VocabAndMerges(vocab) => byte_pairs::from_vocab_and_merges(&sources, &vocab)?,
        Found::VocabText(path, text) => wordpiece::from_text(&sources, path, &text)?,
    };
    let marks = special::read(&sources, &table, &ids, &mut warnings)?;
    let stop = stop::texts(&table, &marks);
    let special = marks.ids.clone();

    let tokens = table.fill(&path, &mut warnings)?;
    let size = tokens.len();
    let mut kv = Kv::new();
    kv.set("tokenizer.ggml.model", model);
    kv.set("tokenizer.ggml.pre", pre);
    if scored {
        kv.set("tokenizer.ggml.scores", tokens.iter().map(|token| token.score).collect::<Vec<f32>>());
    }
    kv.set("tokenizer.ggml.token_type", tokens.iter().map(|token| token.kind as i32).collect::<Vec<i32>>());
    kv.set("tokenizer.ggml.tokens", tokens.into_iter().map(|token| token.text).collect::<Vec<String>>());
    if let Some(merges) = merges {
        kv.set("tokenizer.ggml.merges", merges);
    }
    kv.extend(own);
    kv.extend(marks.into_keys());
    kv.extend(template::keys(&sources, &mut warnings)?);
    // A tree of a hundred thousand strings takes as long to free as half of its reading.
    let Sources { json, .. } = sources;
    std::thread::spawn(move || drop(json));
    Ok(Vocabulary { kv, size, warnings, special, stop })
}

/// What a kind of tokenizer says, before what all kinds have in common.
struct Base {
    /// The file that it was read from.
    path: std::path::PathBuf,
    /// `tokenizer.ggml.model`.
    model: &'static str,
    /// `tokenizer.ggml.pre`.
    pre: String,
    table: Table,
    /// Whether the scores mean something.
    scored: bool,
    merges: Option<Vec<String>>,
    /// Ids that the vocabulary itself names, weaker than what any config says.
    ids: SpecialIds,
    /// Keys of this kind alone.
    own: Kv,
}
