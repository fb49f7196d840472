//! A unigram model in tokenizer.json (T5, XLM-RoBERTa): becomes llama.cpp's `t5`.

use planish_formats::gguf::Kv;
use serde_json::Value;

use super::byte_pairs::put_added;
use super::folder::Document;
use super::pieces::charsmap;
use super::sources::{Sources, parts};
use super::table::{self, Ids, Kind, Place, Table, Token};
use super::{Base, Error, SpecialIds, added};

pub(super) fn read(sources: &Sources, json: &Document) -> Result<Base, Error> {
    let model = json.root().need("model", "the model of the tokenizer")?;
    let unknown = model.get("unk_id").map(|node| node.id()).transpose()?;
    let mut table = Table::new(sources.rows);
    let mut ids = Ids::default();
    for (id, node) in model.need("vocab", "the pieces")?.items()?.enumerate() {
        let id = id as u64;
        let Some((text, score)) = node
            .value
            .as_array()
            .and_then(|pair| Some((pair.first()?.as_str()?, pair.get(1)?.as_f64()?)))
            .filter(|(_, score)| score.is_finite())
        else {
            return Err(node.wrong("a piece and its score"));
        };
        let kind = match () {
            () if unknown == Some(id) => Kind::Unknown,
            () if table::byte(text).is_some() => Kind::Byte,
            () => Kind::Normal,
        };
        let place = Place { path: &json.path, field: &|| node.field.clone() };
        table.put(&place, id, Token { text: text.to_owned(), score: score as f32, kind })?;
        ids.insert(text, id);
    }
    let list: Vec<_> = added::all(sources)?.into_iter().filter(|added| Some(added.id) != unknown).collect();
    put_added(&mut table, &list, &ids, false)?;

    let ids = SpecialIds { unk: unknown.and_then(|id| u32::try_from(id).ok()), ..SpecialIds::default() };
    let (path, pre) = (json.path.clone(), "default".to_owned());
    Ok(Base { path, model: "t5", pre, table, scored: true, merges: None, ids, own: keys(json)? })
}

/// What is done to the text before it is cut.
fn keys(json: &Document) -> Result<Kv, Error> {
    let (mut prefix, mut trimmed) = (false, false);
    let mut map = None;
    for field in ["normalizer", "pre_tokenizer"] {
        let node = json.get(field);
        for part in parts(node.as_ref().map(|node| node.value)) {
            let text = |key: &str| part.get(key).and_then(Value::as_str);
            match text("type") {
                Some("Precompiled") => map = text("precompiled_charsmap"),
                Some("Metaspace") => {
                    let old = part.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(true);
                    prefix = text("prepend_scheme").map_or(old, |scheme| scheme != "never");
                }
                // Each of these leaves single spaces between words.
                Some("WhitespaceSplit" | "Replace") => trimmed = true,
                // Spaces at the ends.
                Some("Strip") => {}
                _ => {
                    let found = Value::Object(part.clone()).to_string();
                    let supported = "Precompiled, Metaspace, WhitespaceSplit, Replace and Strip";
                    return Err(Error::Kind { path: json.path.clone(), field: field.into(), found, supported });
                }
            }
        }
    }
    let mut keys = Kv::new();
    keys.set("tokenizer.ggml.add_space_prefix", prefix);
    keys.set("tokenizer.ggml.remove_extra_whitespaces", trimmed);
    if let Some(map) = map.filter(|map| !map.is_empty()) {
        let bytes = base64(map).ok_or_else(|| Error::Field {
            path: json.path.clone(),
            field: "normalizer.precompiled_charsmap".into(),
            found: format!("{} characters", map.len()),
            expected: "base64",
        })?;
        keys.set("tokenizer.ggml.precompiled_charsmap", charsmap(&json.path, &bytes)?);
    }
    Ok(keys)
}

/// Standard base64, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_of_every_length() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg", "foob")] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(base64("Zm9-"), None);
    }
}
