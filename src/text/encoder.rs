//! Text to token ids, as the checkpoint's own tokenizer does it.
//!
//! The `tokenizers` crate runs it; a tokenizer that is not a tokenizer.json is brought to that form first.

use std::path::Path;

use tokenizers::Tokenizer;

use super::Error;

/// A tokenizer that can be run.
pub struct Encoder {
    tokenizer: Tokenizer,
    /// The token that stands before every text, if one does.
    pub bos: Option<u32>,
}

impl Encoder {
    /// The tokenizer.json of a checkpoint's folder.
    pub fn folder(dir: &Path) -> Result<Encoder, Error> {
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let tokenizer = Tokenizer::from_bytes(bytes).map_err(|why| Error::Run { path, why: why.to_string() })?;
        // What it puts around nothing: the first of it begins a text.
        let around = tokenizer.encode_fast("", true).map_err(|why| Error::Encode { why: why.to_string() })?;
        Ok(Encoder { bos: around.get_ids().first().copied(), tokenizer })
    }

    /// Takes the markup of special tokens for text from now on, or again for those tokens.
    pub fn parse_special(&mut self, yes: bool) {
        self.tokenizer.set_encode_special_tokens(!yes);
    }

    /// The ids of `text` alone, without what stands around a text. Markup of special tokens is taken for those
    /// tokens unless [`Encoder::parse_special`] was told otherwise.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|why| Error::Encode { why: why.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }
}
