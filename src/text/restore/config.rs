//! What all kinds have in common: added tokens, what stands around a text, and `tokenizer_config.json`.

use serde_json::{Map, Value, json};

use super::super::special::Role;
use super::super::table::Kind;
use super::Around;
use super::keys::{Keys, Token};

/// An entry of `added_tokens`.
pub(super) fn added(token: &Token, normalized: bool) -> Value {
    json!({
        "id": token.id,
        "content": token.text,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": normalized,
        "special": token.kind != Kind::UserDefined,
    })
}

/// `post_processor`; null if nothing stands around a text.
pub(super) fn post_processor(around: &Around) -> Value {
    if around.bos.is_none() && around.eos.is_none() {
        return Value::Null;
    }
    let sequence = |name: &str, kind: u32| json!({ "Sequence": { "id": name, "type_id": kind } });
    let token = |text: &str, kind: u32| json!({ "SpecialToken": { "id": text, "type_id": kind } });
    let (bos, eos) = (around.bos.map(|(_, text)| text), around.eos.map(|(_, text)| text));
    let before = |kind| bos.map(|text| token(text, kind));
    let after = |kind| eos.map(|text| token(text, kind));
    let single: Vec<Value> = before(0).into_iter().chain([sequence("A", 0)]).chain(after(0)).collect();
    let between = around.between.then(|| after(0)).flatten();
    let pair: Vec<Value> = (before(0).into_iter().chain([sequence("A", 0)]).chain(between))
        .chain([sequence("B", 1)])
        .chain(after(1))
        .collect();
    let special: Map<String, Value> = (around.bos.into_iter().chain(around.eos))
        .map(|(id, text)| (text.to_owned(), json!({ "id": text, "ids": [id], "tokens": [text] })))
        .collect();
    json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special })
}

/// `tokenizer_config.json`. The class is the one that runs tokenizer.json as it is.
pub(super) fn tokenizer_config(keys: &Keys, clean: Option<bool>) -> Map<String, Value> {
    let mut config = Map::new();
    config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    for role in Role::ALL {
        if let Some((_, text)) = keys.special(role) {
            config.insert(format!("{}_token", role.name()), text.into());
        }
    }
    if keys.model == "bert"
        && let Some((_, text)) = keys.special(Role::Bos)
    {
        config.insert("cls_token".into(), text.into());
    }
    for key in ["add_bos_token", "add_eos_token", "add_sep_token"] {
        if let Some(flag) = keys.flag(key) {
            config.insert(key.into(), flag.into());
        }
    }
    if let Some(prefix) = keys.flag("add_space_prefix") {
        config.insert("add_prefix_space".into(), prefix.into());
    }
    if let Some(clean) = clean {
        config.insert("clean_up_tokenization_spaces".into(), clean.into());
    }
    let architecture = keys.kv.str("general.architecture").unwrap_or_default();
    if let Some(length) = keys.kv.unsigned(&format!("{architecture}.context_length")) {
        config.insert("model_max_length".into(), length.into());
    }
    if let Some(template) = chat_template(keys) {
        config.insert("chat_template".into(), template);
    }
    config
}

/// One template as a string, several as a list with their names.
fn chat_template(keys: &Keys) -> Option<Value> {
    const KEY: &str = "tokenizer.chat_template";
    let default = keys.kv.str(KEY);
    let names = keys.kv.strings("tokenizer.chat_templates").unwrap_or_default();
    let named: Vec<(&str, &str)> = (default.map(|template| ("default", template)).into_iter())
        .chain(names.iter().filter_map(|name| Some((name.as_str(), keys.kv.str(&format!("{KEY}.{name}"))?))))
        .collect();
    match named.as_slice() {
        [] => None,
        [("default", template)] => Some((*template).into()),
        _ => Some(named.iter().map(|(name, template)| json!({ "name": name, "template": template })).collect()),
    }
}
