//! Text to token ids, as the checkpoint's own tokenizer does it.
//!
//! The `tokenizers` crate runs it; a tokenizer that is not a tokenizer.json is brought to that form first.

use std::path::Path;

use planish_formats::gguf::Kv;
use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use super::folder::Document;
use super::special::{self, Role};
use super::{Error, Request, restore, vocabulary};
use crate::checkpoint::{About, Checkpoint};

/// A tokenizer that can be run.
pub struct Encoder {
    pub(super) tokenizer: Tokenizer,
    /// The token that stands before every text, if one does.
    pub bos: Option<u32>,
    /// What the tokenizer puts before and after a text: of an encoder `[CLS]` and `[SEP]`.
    pub around: [Vec<u32>; 2],
    /// Stands for a hidden token.
    pub mask: Option<u32>,
}

impl Encoder {
    /// The tokenizer of any checkpoint.
    ///
    /// # Errors
    /// Tokenizers that are missing or damaged, or of a kind that cannot be run here.
    pub fn of(checkpoint: &Checkpoint) -> Result<Encoder, Error> {
        match &checkpoint.about {
            About::Gguf(kv) => Encoder::keys(&checkpoint.path, kv),
            About::HuggingFace { config, .. } => {
                let dir = checkpoint.dir();
                if dir.join("tokenizer.json").is_file() { Encoder::folder(dir) } else { other_files(dir, config) }
            }
        }
    }

    /// The tokenizer.json of a checkpoint's folder.
    pub fn folder(dir: &Path) -> Result<Encoder, Error> {
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let tokenizer = run(&path, &bytes)?;
        let config = Document::read(dir, "tokenizer_config.json")?;
        let bos = begin(&tokenizer, config.as_ref())?;
        let mask = config.as_ref().map_or(Ok(None), |config| special::text(config, Role::Mask))?;
        let mask = mask.and_then(|text| tokenizer.token_to_id(&text));
        Encoder::new(tokenizer, bos, mask)
    }

    /// The tokenizer that the keys of a GGUF describe; `path` is the GGUF, for messages.
    pub fn keys(path: &Path, kv: &Kv) -> Result<Encoder, Error> {
        let restored = restore(path, kv)?;
        let mask = Role::Mask.key().and_then(|key| kv.unsigned(key)).and_then(|id| u32::try_from(id).ok());
        Encoder::new(run(path, restored.json.to_string().as_bytes())?, restored.bos, mask)
    }

    fn new(tokenizer: Tokenizer, bos: Option<u32>, mask: Option<u32>) -> Result<Encoder, Error> {
        let around = around(&tokenizer)?;
        // Vocabularies of before their tokenizers named it.
        let mask = mask.or_else(|| ["[MASK]", "<mask>"].iter().find_map(|text| tokenizer.token_to_id(text)));
        Ok(Encoder { tokenizer, bos, around, mask })
    }

    /// The ids of `text` with what stands around it, `most` at most: what is too long loses its end, as transformers
    /// truncates.
    pub fn encode_whole(&self, text: &str, most: usize) -> Result<Vec<u32>, Error> {
        let mut ids = self.encode(text)?;
        let [before, after] = &self.around;
        ids.truncate(most.saturating_sub(before.len() + after.len()));
        Ok([before, &ids[..], after].concat())
    }

    /// Takes the markup of special tokens for text from now on, or again for those tokens.
    pub fn parse_special(&mut self, yes: bool) {
        self.tokenizer.set_encode_special_tokens(!yes);
    }

    /// The ids of `text` alone, without what stands around a text. Markup of special tokens is taken for those
    /// tokens unless [`Encoder::parse_special`] was told otherwise.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|why| failed(&why))?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// A folder without tokenizer.json: its files become keys, and these a tokenizer.json.
fn other_files(dir: &Path, config: &Map<String, Value>) -> Result<Encoder, Error> {
    let document = Document::of(dir.join("config.json"), config.clone());
    let sizes = [document.get("vocab_size"), document.get("text_config").and_then(|text| text.get("vocab_size"))];
    let size = match sizes.into_iter().flatten().next() {
        Some(node) => node,
        None => document.root().need("vocab_size", "the number of tokens")?,
    };
    let rows = usize::try_from(size.id()?).map_err(|_| size.wrong("a number of tokens"))?;
    let vocabulary = vocabulary(&Request { dir, rows, config, pre: None })?;
    Encoder::keys(dir, &vocabulary.kv)
}

fn run(path: &Path, json: &[u8]) -> Result<Tokenizer, Error> {
    let failed = |why: tokenizers::Error| Error::Run { path: path.to_owned(), why: why.to_string() };
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(failed)?;
    // Some files keep the batch settings of who saved them: all of a text counts here, and nothing else.
    tokenizer.with_padding(None).with_truncation(None).map_err(failed)?;
    Ok(tokenizer)
}

fn failed(why: &tokenizers::Error) -> Error {
    Error::Encode { why: why.to_string() }
}

/// What the post-processor puts before and after a text.
fn around(tokenizer: &Tokenizer) -> Result<[Vec<u32>; 2], Error> {
    let encoding = tokenizer.encode_fast("a", true).map_err(|why| failed(&why))?;
    let (ids, mask) = (encoding.get_ids(), encoding.get_special_tokens_mask());
    let text = |mask: &u32| *mask == 0;
    let (first, last) = (mask.iter().position(text), mask.iter().rposition(text));
    let Some((first, last)) = first.zip(last) else { return Ok([vec![], vec![]]) };
    Ok([ids[..first].to_vec(), ids[last + 1..].to_vec()])
}

/// The token that begins every text: what tokenizer_config.json says where its class goes by that, else what the
/// post-processor puts before a text. What it puts behind one does not begin it.
fn begin(tokenizer: &Tokenizer, config: Option<&Document>) -> Result<Option<u32>, Error> {
    if let Some(config) = config
        && special::obeys_flags(config.root().text("tokenizer_class")?.unwrap_or_default())
        && let Some(add) = config.root().flag("add_bos_token")?
    {
        let text = special::text(config, Role::Bos)?.filter(|_| add);
        return Ok(text.and_then(|text| tokenizer.token_to_id(&text)));
    }
    let encoding = tokenizer.encode_fast("a", true).map_err(|why| failed(&why))?;
    let mask = encoding.get_special_tokens_mask();
    let text = mask.contains(&0);
    Ok(encoding.get_ids().first().copied().filter(|_| text && mask.first() == Some(&1)))
}
