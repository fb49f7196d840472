//! config.json, with a record of what was asked of it, so that no key that changes the maths goes unread.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Error, Result};

/// A JSON object.
pub type Json = serde_json::Map<String, Value>;

/// The largest size taken: the product of two fits in 64 bits, and none can make a program allocate much.
const MAX_SIZE: usize = 1 << 30;

/// Keys that do not change what a decoder computes: training, generation, bookkeeping of the tools that wrote the file.
const INERT: &[&str] = &[
    // what it is and who wrote it
    "_name_or_path",
    "architectures",
    "auto_map",
    "dtype",
    "is_llama_config",
    "model_type",
    "name_or_path",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    // training
    "attention_dropout",
    "aux_loss_alpha",
    "ep_size",
    "seq_aux",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "classifier_dropout",
    "classifier_dropout_prob",
    "dropout",
    "embd_dropout",
    "activation_dropout",
    "decoder_layerdrop",
    "dropout",
    "dropout_rate",
    "encoder_layerdrop",
    "init_std",
    "initializer_factor",
    "output_past",
    "ffn_dropout",
    "resid_dropout",
    "residual_dropout",
    "use_residual_dropout",
    "embd_pdrop",
    "embedding_dropout",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "initializer_range",
    "qa_dropout",
    "resid_pdrop",
    "seq_classif_dropout",
    // how transformers runs it
    "_attn_implementation",
    "_attn_implementation_autoset",
    "attn_implementation",
    "chunk_size_feed_forward",
    "output_attentions",
    "output_hidden_states",
    "pretraining_tp",
    "output_router_logits",
    "reorder_and_upcast_attn",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "return_dict",
    "torchscript",
    "use_cache",
    // heads for other tasks
    "directionality",
    "finetuning_task",
    "id2label",
    "label2id",
    "num_labels",
    "output_past",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "problem_type",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    // special tokens and generation: the tokenizer's and the generation config's business
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "cls_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "max_new_tokens",
    "max_sequence_length",
    "min_length",
    "model_max_length",
    "n_ctx",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "pad_token_id",
    "prefix",
    "remove_invalid_values",
    "repetition_penalty",
    "sep_token_id",
    "suppress_tokens",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "typical_p",
    "unk_token_id",
];

/// Keys of which one value, beside `null`, `false` and empty, asks for nothing.
const NEUTRAL: &[(&str, f64)] = &[
    ("attention_multiplier", 1.0),
    ("embedding_multiplier", 1.0),
    ("embedding_scale", 1.0),
    ("logit_scale", 1.0),
    ("logits_scaling", 1.0),
    ("partial_rotary_factor", 1.0),
    ("residual_multiplier", 1.0),
    ("rope_pct", 1.0),
    ("rotary_pct", 1.0),
];

/// A JSON object of config.json. `null` counts as absent. Errors name the key and what stands there.
pub struct ConfigReader<'a> {
    json: &'a Json,
    /// What stands before a key in messages: `rope_scaling.` for the keys of that object.
    at: String,
    read: BTreeSet<String>,
}

impl<'a> ConfigReader<'a> {
    /// Over the whole of config.json.
    pub fn new(json: &'a Json) -> ConfigReader<'a> {
        ConfigReader { json, at: String::new(), read: BTreeSet::new() }
    }

    /// The value under `key`, which counts as read from now on.
    pub fn get(&mut self, key: &str) -> Option<&'a Value> {
        self.read.insert(key.to_owned());
        self.json.get(key).filter(|v| !v.is_null())
    }

    /// Takes back that a key was read; whether it is there.
    pub fn forget(&mut self, key: &str) -> bool {
        self.read.remove(key);
        self.has(key)
    }

    /// Whether the key is there at all, even as `null`.
    pub fn has(&self, key: &str) -> bool {
        self.json.contains_key(key)
    }

    /// The whole object.
    pub fn json(&self) -> &'a Json {
        self.json
    }

    /// All keys, in file order.
    pub fn keys(&self) -> Vec<String> {
        self.json.keys().cloned().collect()
    }

    /// The first of `architectures`, if the file names one.
    pub fn class(&self) -> Option<&'a str> {
        self.json.get("architectures")?.get(0)?.as_str()
    }

    /// A whole number from 1.
    pub fn size(&mut self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| Error::MissingKey { key: self.name(key) })
    }

    /// A whole number from 1, if it is there.
    pub fn optional_size(&mut self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        // Some tools write whole numbers as 4096.0.
        let whole =
            value.as_u64().or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && *f > 0.0).map(|f| f as u64));
        match whole.and_then(|n| usize::try_from(n).ok()) {
            Some(n) if (1..=MAX_SIZE).contains(&n) => Ok(Some(n)),
            _ => Err(self.bad(key, format!("a whole number from 1 to {MAX_SIZE}"))),
        }
    }

    /// A whole number from 0; 0 if it is not there.
    pub fn count(&mut self, key: &str) -> Result<usize> {
        match self.get(key) {
            Some(value) if value.as_f64() == Some(0.0) => Ok(0),
            _ => Ok(self.optional_size(key)?.unwrap_or(0)),
        }
    }

    /// A number above 0, if it is there.
    pub fn optional_positive(&mut self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        // It must survive as f32, which is what files and arithmetic hold it in.
        match value.as_f64() {
            Some(f) if (f as f32) > 0.0 && (f as f32).is_finite() => Ok(Some(f)),
            _ => Err(self.bad(key, "a number above 0")),
        }
    }

    /// A number above 0.
    pub fn positive(&mut self, key: &str) -> Result<f64> {
        self.optional_positive(key)?.ok_or_else(|| Error::MissingKey { key: self.name(key) })
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.bad(key, "true or false")),
        }
    }

    /// A string, if it is there.
    pub fn text(&mut self, key: &str) -> Result<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| self.bad(key, "a string")),
        }
    }

    /// A list of strings, if it is there.
    pub fn texts(&mut self, key: &str) -> Result<Option<Vec<&'a str>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let texts = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        texts.map(Some).ok_or_else(|| self.bad(key, "a list of strings"))
    }

    /// A list of whole numbers, if it is there.
    pub fn sizes(&mut self, key: &str) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let size = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        let sizes = value.as_array().and_then(|list| list.iter().map(size).collect());
        sizes.map(Some).ok_or_else(|| self.bad(key, "a list of whole numbers"))
    }

    /// A list of numbers, if it is there.
    pub fn numbers(&mut self, key: &str) -> Result<Option<Vec<f64>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = |value: &Value| value.as_f64().filter(|n| (*n as f32).is_finite());
        let numbers = value.as_array().and_then(|list| list.iter().map(number).collect());
        numbers.map(Some).ok_or_else(|| self.bad(key, "a list of numbers"))
    }

    /// A nested object, if it is there and not empty. It has its own record: [`ConfigReader::finish`] it too.
    pub fn object(&mut self, key: &str) -> Result<Option<ConfigReader<'a>>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(json)) if json.is_empty() => Ok(None),
            Some(Value::Object(json)) => {
                Ok(Some(ConfigReader { json, at: format!("{}{key}.", self.at), read: BTreeSet::new() }))
            }
            Some(_) => Err(self.bad(key, "an object")),
        }
    }

    /// The error for what stands under `key`.
    pub fn bad(&self, key: &str, expected: impl Into<String>) -> Error {
        let found = self.json.get(key).map_or_else(|| "missing".to_owned(), short);
        Error::BadValue { key: self.name(key), found, expected: expected.into() }
    }

    /// The keys nobody read that may change what the model computes, each with its value.
    pub fn unread(&self) -> Vec<String> {
        let open = self.json.iter().filter(|(key, value)| !self.read.contains(*key) && matters(key, value));
        open.map(|(key, value)| format!("{} = {}", self.name(key), short(value))).collect()
    }

    /// Refuses what is left in [`ConfigReader::unread`].
    pub fn finish(&self, architecture: &'static str) -> Result<()> {
        let keys = self.unread();
        if keys.is_empty() { Ok(()) } else { Err(Error::UnknownKeys { architecture, keys }) }
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.at)
    }
}

/// Whether a key that nobody read may ask for something.
fn matters(key: &str, value: &Value) -> bool {
    let empty = match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => NEUTRAL.iter().any(|(k, neutral)| *k == key && n.as_f64() == Some(*neutral)),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    };
    !empty && !INERT.contains(&key)
}

/// A value as JSON, cut to what a message can bear.
fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
