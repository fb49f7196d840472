//! Classes of a language model beside towers that see: whose configuration nests that of the language model, and whose
//! checkpoints have its tensors beside those of the towers.
//!
//! The language model is one of [`ARCHITECTURES`](super::ARCHITECTURES); what is here finds its configuration in that of the
//! whole, and the whole of it in the checkpoint.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::tower::{self, Write};
use super::{ConfigReader, Error, Json, Result};

/// A class of models with towers.
pub struct Multimodal {
    /// What Hugging Face calls `model_type`.
    pub name: &'static str,
    /// What is released under it, for people.
    pub models: &'static str,
    /// The `architectures` of config.json that it reads.
    pub hf: &'static [&'static str],
    /// What the names of its towers' tensors begin with, whatever the version of transformers that wrote them.
    pub towers: &'static [&'static str],
    /// Keys that are about the towers, or about where what they say goes.
    own: &'static [&'static str],
    /// Makes the language model's configuration of the nested one and of what of the outer one is not its own.
    language: fn(nested: Option<&Json>, outer: &Json) -> Result<Json>,
    /// Writes the tower's program.
    pub(super) tower: Write,
}

/// All of them.
pub static MULTIMODAL: &[&Multimodal] = &[&LLAVA, &GEMMA3, &QWEN2_VL, &QWEN2_5_VL];

/// Classes that are known and not supported, and why.
const REFUSED: &[(&str, &str)] = &[(
    "MllamaForConditionalGeneration",
    "its language model attends to images in layers of their own, of which neither llama.cpp nor planish has any",
)];

static LLAVA: Multimodal = Multimodal {
    name: "llava",
    models: "LLaVA 1.5 (over Llama, Mistral, Qwen 2)",
    hf: &["LlavaForConditionalGeneration"],
    towers: &["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."],
    own: &[
        "vision_config",
        "image_seq_length",
        "image_token_index",
        "image_token_id",
        "ignore_index",
        "multimodal_projector_bias",
        "projector_hidden_act",
        "vision_feature_layer",
        "vision_feature_select_strategy",
    ],
    language: |nested, outer| nest(nested, outer, ["llava", "llama"], either_ties),
    tower: tower::llava,
};

static GEMMA3: Multimodal = Multimodal {
    name: "gemma3",
    models: "Gemma 3",
    hf: &["Gemma3ForConditionalGeneration"],
    towers: LLAVA.towers,
    own: &[
        "vision_config",
        "boi_token_index",
        "eoi_token_index",
        "image_token_index",
        "image_token_id",
        "mm_tokens_per_image",
    ],
    // The outer key alone counts, and is true unless it says otherwise.
    language: |nested, outer| nest(nested, outer, ["gemma3", "gemma3_text"], |outer, _| outer != Some(false)),
    tower: tower::gemma3,
};

static QWEN2_VL: Multimodal = Multimodal {
    name: "qwen2_vl",
    models: "Qwen2-VL",
    hf: &["Qwen2VLForConditionalGeneration"],
    towers: &["visual.", "model.visual."],
    own: &[
        "vision_config",
        "image_token_id",
        "video_token_id",
        "vision_start_token_id",
        "vision_end_token_id",
        "vision_token_id",
    ],
    language: |nested, outer| Ok(flat(nested, outer, "Qwen2VLForConditionalGeneration")),
    tower: tower::qwen2,
};

static QWEN2_5_VL: Multimodal = Multimodal {
    name: "qwen2_5_vl",
    models: "Qwen2.5-VL",
    hf: &["Qwen2_5_VLForConditionalGeneration"],
    language: |nested, outer| Ok(flat(nested, outer, "Qwen2_5_VLForConditionalGeneration")),
    tower: tower::qwen2_5,
    ..QWEN2_VL
};

/// The multimodal class of this `config.json`, if it is of one.
pub fn multimodal(json: &Json) -> Option<&'static Multimodal> {
    let class = json.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
    let kind = json.get("model_type").and_then(Value::as_str);
    MULTIMODAL.iter().copied().find(|m| match class {
        Some(class) => m.hf.contains(&class),
        None => kind == Some(m.name),
    })
}

/// The configuration of the language model: `json` itself unless its class has towers.
pub(super) fn language(json: &Json) -> Result<(Cow<'_, Json>, Option<&'static Multimodal>)> {
    let class = json.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
    if let Some((class, why)) = REFUSED.iter().find(|(refused, _)| class == Some(*refused)) {
        return Err(Error::Refused { class: (*class).to_owned(), why });
    }
    let Some(outer) = multimodal(json) else { return Ok((Cow::Borrowed(json), None)) };
    let nested = match json.get("text_config") {
        None | Some(Value::Null) => None,
        Some(Value::Object(nested)) => Some(nested),
        Some(_) => return Err(ConfigReader::new(json).bad("text_config", "an object")),
    };
    let mut rest = json.clone();
    rest.retain(|key, _| key != "text_config" && !outer.own.contains(&key.as_str()));
    let mut language = (outer.language)(nested, &rest)?;
    // Some versions repeat them there.
    language.retain(|key, _| !outer.own.contains(&key.as_str()));
    Ok((Cow::Owned(language), Some(outer)))
}

/// What transformers takes for keys that a nested configuration leaves out: it writes only what differs.
fn defaults(kind: &str) -> Json {
    let defaults = match kind {
        "llama" => json!({
            "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
        }),
        "mistral" => json!({
            "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131_072,
            "rms_norm_eps": 1e-6,
        }),
        "qwen2" => json!({
            "vocab_size": 151_936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
        }),
        "gemma3_text" => json!({
            "vocab_size": 262_208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131_072,
            "rms_norm_eps": 1e-6, "query_pre_attn_scalar": 256,
        }),
        _ => json!({}),
    };
    match defaults {
        Value::Object(defaults) => defaults,
        _ => Json::new(),
    }
}

const TIED: &str = "tie_word_embeddings";

/// A nested configuration of `class`, whole: its architecture is told by its own `model_type`, `usual` if it names none.
/// `ties` decides of the outer and the inner flag whether the head is the embedding.
fn nest(
    nested: Option<&Json>,
    outer: &Json,
    [class, usual]: [&'static str; 2],
    ties: fn(Option<bool>, Option<bool>) -> bool,
) -> Result<Json> {
    let nested = nested.cloned().unwrap_or_default();
    let kind = nested.get("model_type").and_then(Value::as_str).unwrap_or(usual).to_owned();
    let mut json = defaults(&kind);
    json.extend(nested);
    json.insert("model_type".to_owned(), kind.into());
    let flag = |json: &Json| json.get(TIED).and_then(Value::as_bool);
    let tied = ties(flag(outer), flag(&json));
    json.insert(TIED.to_owned(), tied.into());
    let mut reader = ConfigReader::new(outer);
    // Old versions repeat the nested size.
    for key in [TIED, "vocab_size"] {
        reader.get(key);
    }
    reader.finish(class)?;
    Ok(json)
}

fn either_ties(outer: Option<bool>, inner: Option<bool>) -> bool {
    outer == Some(true) || inner == Some(true)
}

/// A configuration that versions of transformers nest and that others have beside the towers'. The three sections of its
/// rope come out of the rope's own table.
fn flat(nested: Option<&Json>, outer: &Json, class: &str) -> Json {
    let tied = [Some(outer), nested].into_iter().flatten().any(|json| json.get(TIED) == Some(&true.into()));
    let mut json = outer.clone();
    json.extend(nested.cloned().unwrap_or_default());
    json.insert(TIED.to_owned(), tied.into());
    json.insert("architectures".to_owned(), json!([class]));
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(Value::Object(table)) = json.get_mut(key) else { continue };
        let sections = table.shift_remove("mrope_section");
        for key in ["type", "rope_type"] {
            if table.get(key).and_then(Value::as_str) == Some("mrope") {
                table.insert(key.to_owned(), "default".into());
            }
        }
        if let Some(sections) = sections {
            json.insert("mrope_section".to_owned(), sections);
        }
    }
    json
}

/// What stands before the root of the language model's tensors, and before its head, in the layouts that versions of
/// transformers have: `language_model.model.`, `model.language_model.`.
pub(super) fn roots(plain: &[&str]) -> Vec<String> {
    let wrapped = plain.iter().map(|root| format!("{LANGUAGE}{root}"));
    let inside = std::iter::once(format!("model.{LANGUAGE}"));
    wrapped.chain(inside).chain(plain.iter().map(|&root| root.to_owned())).collect()
}

const LANGUAGE: &str = "language_model.";

/// What stands before the name of a head whose layers are under this root.
pub(super) fn before_head(root: &str) -> &'static str {
    if root.starts_with(LANGUAGE) { LANGUAGE } else { "" }
}

/// The configuration of a language model that was one of a whole with towers, as of a class without: rather a rope of one
/// position than of three, which for text are all one.
pub fn alone(mut json: Json) -> Json {
    if json.shift_remove("mrope_section").is_some() {
        json.insert("architectures".to_owned(), json!(["Qwen2ForCausalLM"]));
        json.insert("model_type".to_owned(), "qwen2".into());
    }
    json
}
