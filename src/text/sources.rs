//! The files of a tokenizer, and which of them is the vocabulary.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::folder::{self, Document};
use super::{Error, Request, protobuf};

/// The small files, read; where one is absent there is none.
pub(super) struct Sources<'a> {
    pub(super) dir: &'a Path,
    /// Rows of the embedding.
    pub(super) rows: usize,
    /// The user's `--pre`.
    pub(super) pre: Option<&'a str>,
    /// `config.json`.
    pub(super) model: Document,
    /// `tokenizer.json`.
    pub(super) json: Option<Document>,
    /// `tokenizer_config.json`.
    pub(super) config: Option<Document>,
    /// `special_tokens_map.json`.
    pub(super) map: Option<Document>,
    /// `added_tokens.json`.
    pub(super) added: Option<Document>,
    /// `generation_config.json`.
    pub(super) generation: Option<Document>,
}

/// The vocabulary, by its kind.
pub(super) enum Found<'a> {
    /// A SentencePiece model.
    Pieces(PathBuf, protobuf::Model),
    /// `tokenizer.json` with byte-level BPE.
    BytePairs(&'a Document),
    /// `tokenizer.json` with BPE over SentencePiece's alphabet.
    Fused(&'a Document),
    /// `tokenizer.json` with a unigram model.
    Unigram(&'a Document),
    /// `tokenizer.json` with WordPiece.
    WordPiece(&'a Document),
    /// `vocab.json`, with `merges.txt` beside it.
    VocabAndMerges(Document),
    /// `vocab.txt`.
    VocabText(PathBuf, String),
}

/// Names that a SentencePiece model goes by.
const PIECES: [&str; 2] = ["tokenizer.model", "spiece.model"];
/// Vocabularies that are known and not read: the file, and what it is.
const NOT_READ: [(&str, &str); 4] = [
    ("tekken.json", "Mistral's tekken"),
    ("qwen.tiktoken", "a tiktoken vocabulary"),
    ("tiktoken.model", "a tiktoken vocabulary"),
    ("sentencepiece.bpe.model", "a SentencePiece model with fairseq's ids"),
];
const READ: &str = "tokenizer.model, spiece.model, tokenizer.json, vocab.json with merges.txt, and vocab.txt";

impl<'a> Sources<'a> {
    pub(super) fn read(request: &Request<'a>) -> Result<Sources<'a>, Error> {
        let read = |name| Document::read(request.dir, name);
        let sources = Sources {
            dir: request.dir,
            rows: request.rows,
            pre: request.pre,
            model: Document::of(request.dir.join("config.json"), request.config.clone()),
            json: read("tokenizer.json")?,
            config: read("tokenizer_config.json")?,
            map: read("special_tokens_map.json")?,
            added: read("added_tokens.json")?,
            generation: read("generation_config.json")?,
        };
        sources.check_size()?;
        Ok(sources)
    }

    /// A config that names another size belongs to other weights.
    fn check_size(&self) -> Result<(), Error> {
        let text = self.model.get("text_config").and_then(|text| text.get("vocab_size"));
        for (field, node) in [("vocab_size", self.model.get("vocab_size")), ("text_config.vocab_size", text)] {
            let Some(node) = node else { continue };
            if node.value.as_u64() != Some(self.rows as u64) {
                let (path, found) = (self.model.path.clone(), node.value.to_string());
                return Err(Error::VocabSize { path, field, found, rows: self.rows });
            }
        }
        Ok(())
    }

    /// Which vocabulary there is. A SentencePiece model comes first, as in llama.cpp.
    pub(super) fn find(&self) -> Result<Found<'_>, Error> {
        for name in PIECES {
            let Some(bytes) = folder::bytes(self.dir, name)? else { continue };
            // Some Llama 3 folders have a tiktoken vocabulary under this name, beside a tokenizer.json.
            if self.json.is_some() && is_tiktoken(&bytes) {
                continue;
            }
            let path = self.dir.join(name);
            let model = protobuf::Model::parse(&bytes).map_err(|fault| fault.at(&path))?;
            return Ok(Found::Pieces(path, model));
        }
        if let Some(json) = &self.json {
            return kind(json);
        }
        if let Some(vocab) = Document::read(self.dir, "vocab.json")? {
            return Ok(Found::VocabAndMerges(vocab));
        }
        if let Some(text) = folder::text(self.dir, "vocab.txt")? {
            return Ok(Found::VocabText(self.dir.join("vocab.txt"), text));
        }
        for (name, what) in NOT_READ {
            let path = self.dir.join(name);
            if path.is_file() {
                return Err(Error::Kind { path, field: "the vocabulary".into(), found: what.into(), supported: READ });
            }
        }
        Err(Error::Missing { dir: self.dir.to_owned(), looked_for: READ })
    }

    /// The class that transformers loads the tokenizer with, without the `Fast` that says only who wrote it.
    pub(super) fn class(&self) -> Result<Option<&str>, Error> {
        let Some(config) = &self.config else { return Ok(None) };
        Ok(config.root().text("tokenizer_class")?.map(|class| class.strip_suffix("Fast").unwrap_or(class)))
    }

    /// The flag `key` of tokenizer_config.json.
    pub(super) fn config_flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.config.as_ref().map_or(Ok(None), |config| config.root().flag(key))
    }
}

/// Lines of base64 and a rank.
fn is_tiktoken(bytes: &[u8]) -> bool {
    let line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    let Some(at) = line.iter().position(|&b| b == b' ') else { return false };
    let base64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/=".contains(b);
    at > 0 && at + 1 < line.len() && line[..at].iter().all(base64) && line[at + 1..].iter().all(u8::is_ascii_digit)
}

fn kind(json: &Document) -> Result<Found<'_>, Error> {
    let model = json.root().need("model", "the model of the tokenizer")?;
    // Files of before tokenizers 0.6 do not name the type.
    let kind = match model.get("type") {
        Some(node) => node.string()?,
        None if model.get("merges").is_some() => "BPE",
        None => model.need("type", "the type of the model")?.string()?,
    };
    match kind {
        "BPE" if is_fused(json)? => Ok(Found::Fused(json)),
        "BPE" => Ok(Found::BytePairs(json)),
        "Unigram" => Ok(Found::Unigram(json)),
        "WordPiece" => Ok(Found::WordPiece(json)),
        _ => Err(model.need("type", "a type")?.unsupported("BPE, Unigram and WordPiece")),
    }
}

/// Whether BPE works on SentencePiece's alphabet: unknown characters fall back to byte tokens, and no byte-level step is there.
fn is_fused(json: &Document) -> Result<bool, Error> {
    let fallback = json.root().need("model", "the model")?.flag("byte_fallback")?.unwrap_or(false);
    Ok(fallback && !has_type(json.get("pre_tokenizer").map(|node| node.value), "ByteLevel"))
}

/// Whether `value`, or a member of its sequence, is of this `type`.
pub(super) fn has_type(value: Option<&Value>, wanted: &str) -> bool {
    parts(value).iter().any(|part| part.get("type").and_then(Value::as_str) == Some(wanted))
}

/// The steps of a normalizer, pre-tokenizer, post-processor or decoder, which may be one, a sequence, or sequences of such.
pub(super) fn parts(value: Option<&Value>) -> Vec<&Map<String, Value>> {
    let Some(Value::Object(map)) = value else { return Vec::new() };
    let members = ["normalizers", "pretokenizers", "processors", "decoders"].iter().find_map(|key| map.get(*key));
    match members.and_then(Value::as_array) {
        Some(members) => members.iter().flat_map(|member| parts(Some(member))).collect(),
        None => vec![map],
    }
}
