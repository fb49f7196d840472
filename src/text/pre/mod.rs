//! `tokenizer.ggml.pre`: how text is split into words before byte pairs are merged.
//!
//! tokenizer.json says it as a structure (a sequence of splits); llama.cpp has a list of names with a splitting each. The
//! structure is brought to a canonical form and looked up in [`known::KNOWN`]. A wrong name makes a model that works and is
//! worse, so a structure that is not in the list is an error.

mod known;
mod regex;
mod written;

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::Error;
use super::folder::Document;
use super::sources::{Sources, has_type, parts};
use known::{CLASSES, KNOWN, Known, NAMES};
pub use written::split_alike;
pub(super) use written::{Splitting, splitting};

/// Fails for a name that llama.cpp would refuse.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    if NAMES.contains(&name) {
        return Ok(());
    }
    Err(Error::UnknownName { name: name.to_owned(), known: NAMES.join(", ") })
}

/// The name for what tokenizer.json does.
pub(super) fn of(sources: &Sources, json: &Document, warnings: &mut Vec<String>) -> Result<&'static str, Error> {
    let structure = Structure::read(json);
    let wanted = Wanted {
        ignore_merges: json.get("model").map_or(Ok(None), |model| model.flag("ignore_merges"))?.unwrap_or(false),
        clean: sources.config_flag("clean_up_tokenization_spaces")?,
        begins: begins(sources),
    };
    let Some(known) = structure.name(&wanted) else {
        return Err(Error::UnknownStructure { path: json.path.clone(), structure: structure.to_string() });
    };
    if known.ignore_merges != wanted.ignore_merges {
        warnings.push(format!(
            "{}: model.ignore_merges is {}, but llama.cpp's {} does the opposite: words that are tokens no merge makes may differ",
            json.path.display(),
            wanted.ignore_merges,
            known.name,
        ));
    }
    if structure.prefix {
        warnings.push(format!(
            "{}: the tokenizer puts a space before the text (add_prefix_space), llama.cpp will not",
            json.path.display()
        ));
    }
    Ok(known.name)
}

/// The name for a tokenizer without tokenizer.json, by the class that transformers loads it with.
pub(super) fn of_class(sources: &Sources) -> Result<&'static str, Error> {
    let class = match sources.class()? {
        Some(class) => class,
        None => sources.model.root().text("model_type")?.unwrap_or("missing"),
    };
    CLASSES
        .iter()
        .find(|(known, _)| *known == class)
        .map(|(_, name)| *name)
        .ok_or_else(|| Error::UnknownClass { path: sources.dir.join("tokenizer_config.json"), class: class.to_owned() })
}

/// Whether any file names a token that begins a text.
fn begins(sources: &Sources) -> bool {
    let text = |document: &Option<Document>| document.as_ref().is_some_and(|d| d.get("bos_token").is_some());
    text(&sources.config) || text(&sources.map) || sources.model.get("bos_token_id").is_some()
}

/// What tells apart names whose splitting is the same.
struct Wanted {
    ignore_merges: bool,
    /// Whether decoded text is tidied, where that is said.
    clean: Option<bool>,
    /// Whether there is a token that begins a text.
    begins: bool,
}

/// Normalizer and pre-tokenizer in canonical form.
#[derive(Debug, PartialEq)]
struct Structure {
    /// Normalizers, a line each. NFC is left out: llama.cpp leaves it out too, and most text is in it.
    normalizers: Vec<String>,
    /// Splits, a line each, in the notation of [`known::Known::steps`].
    steps: Vec<String>,
    /// Whether the last step turns text into byte-level characters.
    bytes: bool,
    /// Whether a space is put before the text.
    prefix: bool,
}

impl Structure {
    fn read(json: &Document) -> Structure {
        let node = |key| json.get(key).map(|node| node.value);
        let normalizers = parts(node("normalizer"))
            .into_iter()
            .filter(|part| part.get("type").and_then(Value::as_str) != Some("NFC"))
            .map(|part| Value::Object(part.clone()).to_string())
            .filter(|part| part != r#"{"type":"Sequence"}"#)
            .collect();
        let pre = parts(node("pre_tokenizer"));
        let flag =
            |part: &Map<String, Value>, key: &str, default| part.get(key).and_then(Value::as_bool).unwrap_or(default);
        let bytes = pre.iter().copied().filter(|part| part.get("type").and_then(Value::as_str) == Some("ByteLevel"));
        Structure {
            normalizers,
            steps: pre.iter().filter_map(|part| step(part)).collect(),
            bytes: has_type(node("pre_tokenizer"), "ByteLevel"),
            prefix: bytes.into_iter().any(|part| flag(part, "add_prefix_space", true)),
        }
    }

    /// The known splitting that is the same, the best fit of several.
    fn name(&self, wanted: &Wanted) -> Option<&'static Known> {
        if !self.bytes || !self.normalizers.is_empty() {
            return None;
        }
        // A name of the runtime's counts for more the more it would change in the ids.
        let fit = |known: &&Known| {
            let clean = wanted.clean.is_none_or(|clean| clean == known.clean);
            (known.ignore_merges == wanted.ignore_merges, known.begins == wanted.begins, clean)
        };
        // `max_by_key` takes the last of equals, the list has the best known first.
        KNOWN.iter().rev().filter(|known| known.steps == self.steps).max_by_key(fit)
    }
}

impl std::fmt::Display for Structure {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let mut lines = String::new();
        for normalizer in &self.normalizers {
            writeln!(lines, "  normalizer    {normalizer}")?;
        }
        for step in &self.steps {
            writeln!(lines, "  pre_tokenizer {step}")?;
        }
        let last = if self.bytes { "byte-level" } else { "no byte-level step" };
        write!(f, "{lines}  pre_tokenizer {last}")
    }
}

/// One step in canonical form; `None` for a byte-level step that does not split.
fn step(part: &Map<String, Value>) -> Option<String> {
    let text = |key: &str| part.get(key).and_then(Value::as_str);
    let flag = |key: &str| part.get(key).and_then(Value::as_bool);
    Some(match text("type") {
        Some("ByteLevel") if flag("use_regex") == Some(false) => return None,
        Some("ByteLevel") => known::GPT2.to_owned(),
        Some("Digits") if flag("individual_digits") == Some(true) => known::DIGIT.to_owned(),
        Some("Digits") => known::DIGITS.to_owned(),
        Some("Punctuation") => {
            format!("punctuation {}", text("behavior").unwrap_or("Isolated").to_lowercase())
        }
        Some("Split") => split(part),
        _ => Value::Object(part.clone()).to_string(),
    })
}

fn split(part: &Map<String, Value>) -> String {
    let pattern = part.get("pattern");
    let Some(found) = pattern.and_then(|pattern| pattern.get("Regex")).and_then(Value::as_str) else {
        return Value::Object(part.clone()).to_string();
    };
    let regex = regex::canonical(found);
    let behavior = part.get("behavior").and_then(Value::as_str).unwrap_or("");
    let inverted = part.get("invert").and_then(Value::as_bool).unwrap_or(false);
    match (behavior, inverted) {
        ("Isolated", _) => {}
        // Removing what does not match is the same where everything matches.
        ("Removed", true) if regex.ends_with(r"\s+") => {}
        _ => return format!("split {}{} {regex}", behavior.to_lowercase(), if inverted { " inverted" } else { "" }),
    }
    match regex.as_str() {
        r"\p{N}" | r"\d" => known::DIGIT.to_owned(),
        r"\p{N}+" => known::DIGITS.to_owned(),
        known::GPT2_REGEX => known::GPT2.to_owned(),
        _ => format!("split {regex}"),
    }
}

#[cfg(test)]
mod tests;
