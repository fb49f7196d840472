//! The way back: a tokenizer's files from the keys of a GGUF.
//!
//! What llama.cpp makes of the keys is written as a tokenizer.json that does the same to a text. Where the checkpoint's own
//! file said more than the keys do (how unknown Unicode is normalized, what stands between two texts), that is lost.

mod byte_pairs;
mod config;
mod keys;
mod pieces;
mod sentencepiece;
mod wordpiece;

use std::path::Path;

use planish_formats::gguf::Kv;
use serde_json::{Map, Value};

use super::Error;
use keys::Keys;

/// The files of a tokenizer.
#[derive(Clone, Debug)]
pub struct Restored {
    /// `tokenizer.json`.
    pub json: Value,
    /// `tokenizer_config.json`, with the chat template.
    pub config: Map<String, Value>,
    /// `tokenizer.model`, where the tokenizer is a SentencePiece model.
    pub pieces: Option<Vec<u8>>,
    /// The token that begins every text, if one does.
    pub bos: Option<u32>,
    /// What was odd and how it was taken, a sentence each.
    pub warnings: Vec<String>,
}

/// The files of the tokenizer that `kv` describes; `path` is the GGUF, for messages.
///
/// # Errors
/// Keys that are missing or contradict each other; kinds of tokenizer and pre-tokenizers that no tokenizer.json is known for.
pub fn restore(path: &Path, kv: &Kv) -> Result<Restored, Error> {
    let mut keys = Keys::read(path, kv)?;
    let Built { json, around, clean, pieces } = match keys.model {
        "gpt2" => byte_pairs::build(&mut keys)?,
        "llama" => pieces::build(&keys),
        "bert" => wordpiece::build(&keys),
        kind => {
            let what = format!("a tokenizer of the kind {kind}");
            return Err(Error::NotRestored { path: path.to_owned(), what, supported: "gpt2, llama and bert" });
        }
    };
    let config = config::tokenizer_config(&keys, clean);
    Ok(Restored { json, config, pieces, bos: around.bos.map(|(id, _)| id), warnings: keys.warnings })
}

/// What a kind of tokenizer gives.
struct Built<'a> {
    json: Value,
    around: Around<'a>,
    /// Whether decoded text is tidied, if that has to be said.
    clean: Option<bool>,
    pieces: Option<Vec<u8>>,
}

/// Tokens around every text, with their texts.
#[derive(Clone, Copy, Default)]
struct Around<'a> {
    bos: Option<(u32, &'a str)>,
    eos: Option<(u32, &'a str)>,
    /// Whether `eos` also stands between two texts.
    between: bool,
}
