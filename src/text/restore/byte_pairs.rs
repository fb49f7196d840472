//! `gpt2`: byte-level BPE.

use serde_json::{Map, Value, json};

use super::super::pre::{self, Splitting};
use super::super::table::Kind;
use super::super::{Error, byte_level};
use super::Built;
use super::config;
use super::keys::{Keys, Token};

pub(super) fn build<'a>(keys: &mut Keys<'a>) -> Result<Built<'a>, Error> {
    let splitting = splitting(keys)?;
    let added: Vec<Value> =
        keys.tokens.iter().filter(|token| token.added()).map(|t| config::added(t, normalized(t))).collect();
    let vocab: Map<String, Value> = keys.tokens.iter().map(|token| (token.text.to_owned(), token.id.into())).collect();
    let around = keys.around(splitting.begins);
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": splitting.pre_tokenizer(),
        "post_processor": config::post_processor(&around),
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": splitting.ignore_merges(),
            "vocab": vocab,
            "merges": merges(keys)?,
        },
    });
    Ok(Built { json, around, clean: splitting.clean(), pieces: None })
}

fn splitting(keys: &mut Keys) -> Result<Splitting, Error> {
    let name = match keys.kv.str("tokenizer.ggml.pre") {
        Some(name) if !name.is_empty() => name,
        _ => {
            keys.warnings.push(format!(
                "{}: nothing says how text is split into words (tokenizer.ggml.pre); llama.cpp's default is taken",
                keys.path.display()
            ));
            "default"
        }
    };
    pre::check_name(name)?;
    pre::splitting(name).ok_or_else(|| Error::NotRestored {
        path: keys.path.to_owned(),
        what: format!("the pre-tokenizer {name:?}"),
        supported: "those that split with regexes over bytes",
    })
}

/// Whether an added token is to be marked as found in normalized text. Nothing is normalized here; but one that is marked
/// as not normalized is read as bytes when it is decoded.
fn normalized(token: &Token) -> bool {
    token.kind == Kind::UserDefined || byte_level::decode(token.text).is_some_and(|text| text != token.text)
}

fn merges(keys: &Keys) -> Result<Vec<Value>, Error> {
    let field = |at: usize| format!("tokenizer.ggml.merges[{at}]");
    let Some(merges) = keys.kv.strings("tokenizer.ggml.merges") else {
        let (path, field) = (keys.path.to_owned(), "tokenizer.ggml.merges".to_owned());
        return Err(Error::Field { path, field, found: "missing".into(), expected: "pairs of tokens" });
    };
    let pair = |(at, merge): (usize, &String)| {
        // A half may itself begin with a space.
        let space = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(space, _)| space);
        let Some((left, right)) = space.map(|space| (&merge[..space], &merge[space + 1..])) else {
            let (path, found) = (keys.path.to_owned(), format!("{merge:?}"));
            return Err(Error::Field { path, field: field(at), found, expected: "a pair of tokens" });
        };
        let joined = format!("{left}{right}");
        match [left, right, &joined].into_iter().find(|text| keys.find(text).is_none()) {
            None => Ok(json!([left, right])),
            Some(missing) => {
                let (merge, missing) = (merge.clone(), missing.to_owned());
                Err(Error::Merge { path: keys.path.to_owned(), field: field(at), merge, missing })
            }
        }
    };
    merges.iter().enumerate().map(pair).collect()
}
