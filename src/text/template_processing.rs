//! What tokenizer.json's post-processor puts around a text.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::folder::Document;
use super::sources::parts;
use super::special::Role;

/// Reads the post-processor into `adds`; `texts` gains what only the post-processor names.
///
/// Simple templates are understood: at most one token before the text, one behind it, and one or two between two texts.
/// Whatever else there is, is told in `warnings`.
pub(super) fn read(
    json: &Document,
    texts: &mut BTreeMap<Role, String>,
    adds: &mut BTreeMap<Role, bool>,
    warnings: &mut Vec<String>,
) {
    // A BERT begins with its class token and ends with its separator.
    for (missing, instead) in [(Role::Bos, Role::Cls), (Role::Eos, Role::Sep)] {
        if !texts.contains_key(&missing)
            && let Some(text) = texts.get(&instead).cloned()
        {
            texts.insert(missing, text);
        }
    }
    for part in parts(json.get("post_processor").map(|node| node.value)) {
        match part.get("type").and_then(Value::as_str) {
            Some("ByteLevel") => {
                adds.entry(Role::Bos).or_insert(false);
                adds.entry(Role::Eos).or_insert(false);
            }
            Some("RobertaProcessing" | "BertProcessing") => {
                for role in [Role::Bos, Role::Eos, Role::Sep] {
                    adds.insert(role, true);
                }
                for (role, key) in [(Role::Cls, "cls"), (Role::Sep, "sep")] {
                    if let Some(text) = part.get(key).and_then(|pair| pair.get(0)).and_then(Value::as_str) {
                        texts.entry(role).or_insert_with(|| text.to_owned());
                    }
                }
            }
            Some("TemplateProcessing") => template(part, texts, adds, warnings),
            _ => {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or("without a type");
                warnings.push(format!("{}: the post-processor {kind} is not carried over", json.path.display()));
            }
        }
    }
}

fn template(
    part: &Map<String, Value>,
    texts: &mut BTreeMap<Role, String>,
    adds: &mut BTreeMap<Role, bool>,
    warnings: &mut Vec<String>,
) {
    let list = |key: &str| part.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (single, pair) = (list("single"), list("pair"));
    let (mut first, mut last) = (None, None);
    if single.len() > 1 {
        first = single.first().and_then(special);
        last = single.last().and_then(special);
    }
    if let Some(first) = first {
        texts.entry(Role::Bos).or_insert_with(|| first.to_owned());
        let known = is(texts, Role::Bos, first) || is(texts, Role::Cls, first);
        if !known {
            warnings.push(format!("the tokenizer begins texts with {first:?}, which is not its begin token"));
        }
        adds.insert(Role::Bos, known);
    }
    if let Some(last) = last {
        if !is(texts, Role::Eos, last)
            && let Some(turn) = texts.insert(Role::Eos, last.to_owned())
        {
            // The configs' end is then the end of a turn.
            let free = if texts.contains_key(&Role::Eot) { Role::Eom } else { Role::Eot };
            texts.insert(free, turn);
        }
        adds.insert(Role::Eos, true);
    }
    let start = usize::from(first.is_some() && pair.first().and_then(special) == first);
    let end = pair.len() - usize::from(last.is_some() && pair.last().and_then(special) == last);
    if let Some([a, between @ .., b]) = pair.get(start..end.max(start))
        && sequence(a) == Some("A")
        && sequence(b) == Some("B")
        && !between.is_empty()
    {
        separator(between, last.is_some(), texts, adds, warnings);
    }
}

/// The tokens between two texts: a separator, if there is one that the end token does not account for.
fn separator(
    between: &[Value],
    ended: bool,
    texts: &mut BTreeMap<Role, String>,
    adds: &mut BTreeMap<Role, bool>,
    warnings: &mut Vec<String>,
) {
    let mut add = false;
    for (i, entry) in between.iter().take(2).enumerate() {
        match special(entry) {
            Some(text) if is(texts, Role::Sep, text) || is(texts, Role::Eos, text) => add |= i == 1 || !ended,
            _ => warnings.push(format!("the tokenizer puts {entry} between two texts, which is not its separator")),
        }
    }
    adds.insert(Role::Sep, add);
    if add
        && !texts.contains_key(&Role::Sep)
        && let Some(end) = texts.get(&Role::Eos).cloned()
    {
        texts.insert(Role::Sep, end);
    }
}

fn is(texts: &BTreeMap<Role, String>, role: Role, text: &str) -> bool {
    texts.get(&role).is_some_and(|there| there == text)
}

fn special(entry: &Value) -> Option<&str> {
    entry.get("SpecialToken")?.get("id")?.as_str()
}

fn sequence(entry: &Value) -> Option<&str> {
    entry.get("Sequence")?.get("id")?.as_str()
}
