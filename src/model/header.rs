//! A GGUF's header read back into a `config.json`, as transformers 4 writes it: the inverse of [`Keys`](super::Keys).
//!
//! Like config.json's reader this one keeps a record of what was asked: a key that may change the maths and that nobody
//! read is refused by name.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use planish_formats::Info;
use planish_formats::gguf::{Array, Kv, Value};
use serde_json::json;

use super::{ARCHITECTURES, Architecture, Gguf, Json, Role};

/// What can be wrong with a GGUF's header.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// A key that the architecture cannot do without.
    #[error("the GGUF has no key `{key}`")]
    Missing {
        /// The key.
        key: String,
    },
    /// A value of the wrong type, or out of range.
    #[error("the GGUF's `{key}` is not {expected}")]
    Bad {
        /// The key.
        key: String,
        /// What would do.
        expected: &'static str,
    },
    /// A tensor that the shape of the model is told from.
    #[error("the GGUF has no tensor {name}")]
    NoTensor {
        /// The tensor.
        name: &'static str,
    },
    /// No registered architecture has this GGUF name.
    #[error("unknown GGUF architecture {name}; known are {}", known())]
    UnknownArchitecture {
        /// The value of `general.architecture`.
        name: String,
    },
    /// Keys that may change the maths and that the architecture does not read.
    #[error("{architecture} does not understand the GGUF's {}", keys.join(", "))]
    UnknownKeys {
        /// The architecture that read the header.
        architecture: &'static str,
        /// The keys.
        keys: Vec<String>,
    },
    /// Something that no config.json says.
    #[error("no config.json says what this GGUF does: {what}")]
    NoConfig {
        /// What it is.
        what: &'static str,
    },
}

impl HeaderError {
    /// Whether the file is at fault, or asks for what is not supported.
    pub(super) fn unsupported(&self) -> bool {
        match self {
            HeaderError::UnknownArchitecture { .. }
            | HeaderError::UnknownKeys { .. }
            | HeaderError::NoConfig { .. } => true,
            HeaderError::Missing { .. } | HeaderError::Bad { .. } | HeaderError::NoTensor { .. } => false,
        }
    }
}

fn known() -> String {
    ARCHITECTURES.iter().filter_map(|a| Some(a.gguf.as_ref()?.name)).collect::<Vec<_>>().join(", ")
}

/// A result of reading a header.
pub(super) type Result<T, E = HeaderError> = std::result::Result<T, E>;

/// The size of a sliding window, and whether each layer has it, if not all have.
pub(super) type Window<'a> = (u64, Option<&'a [bool]>);

/// The keys under an architecture's name and the tensors, and the `config.json` that they become.
pub struct Header<'a> {
    architecture: &'static str,
    kv: &'a Kv,
    tensors: BTreeMap<&'a str, &'a [usize]>,
    tables: &'a RopeTables,
    /// Width of a head, once it was asked for.
    width: u64,
    read: RefCell<BTreeSet<String>>,
    config: Json,
}

/// The architecture that `general.architecture` names.
pub fn gguf_architecture(kv: &Kv) -> Result<(&'static Architecture, &'static Gguf)> {
    let key = "general.architecture";
    let name = kv.str(key).ok_or_else(|| HeaderError::Missing { key: key.to_owned() })?;
    let mut known = ARCHITECTURES.iter().filter_map(|a| Some((*a, a.gguf.as_ref()?)));
    known.find(|(_, gguf)| gguf.name == name).ok_or_else(|| HeaderError::UnknownArchitecture { name: name.to_owned() })
}

/// The values of the tables that a GGUF has of its rope: `rope_freqs.weight` and LongRoPE's two.
pub type RopeTables = BTreeMap<Role, Vec<f32>>;

/// The `config.json` of the model that these keys and tensors are. `tables` are the values of those that the GGUF has.
pub fn config_json<S>(kv: &Kv, tensors: &[Info<S>], tables: &RopeTables) -> Result<Json> {
    let (_, gguf) = gguf_architecture(kv)?;
    let tensors = tensors.iter().map(|info| (info.name.as_str(), info.shape.as_slice())).collect();
    let mut header = Header {
        architecture: gguf.name,
        kv,
        tensors,
        tables,
        width: 0,
        read: RefCell::new(BTreeSet::new()),
        config: Json::new(),
    };
    (gguf.config)(&mut header)?;
    let vocab = header.rows("token_embd.weight")?;
    header.set("vocab_size", vocab);
    header.set("tie_word_embeddings", !header.has("output.weight"));
    for (role, key) in [("bos", "bos"), ("eos", "eos"), ("pad", "padding")] {
        if let Some(id) = kv.unsigned(&format!("tokenizer.ggml.{key}_token_id")) {
            header.set(&format!("{role}_token_id"), id);
        }
    }
    header.finish()
}

impl<'a> Header<'a> {
    /// Sets a key of config.json.
    pub fn set(&mut self, key: &str, value: impl Into<serde_json::Value>) {
        self.config.insert(key.to_owned(), value.into());
    }

    /// Names the class and the kind of model.
    pub(super) fn class(&mut self, class: &str, model_type: &str) {
        self.set("architectures", json!([class]));
        self.set("model_type", model_type);
    }

    /// Whether the GGUF has this tensor.
    pub fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// Rows of a tensor that has to be there.
    pub(super) fn rows(&self, name: &'static str) -> Result<usize> {
        self.tensors.get(name).and_then(|shape| shape.first()).copied().ok_or(HeaderError::NoTensor { name })
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn missing(&self, key: &str) -> HeaderError {
        HeaderError::Missing { key: self.key(key) }
    }

    pub(super) fn bad(&self, key: &str, expected: &'static str) -> HeaderError {
        HeaderError::Bad { key: self.key(key), expected }
    }

    /// The value under `{architecture}.{key}`, which counts as read from now on.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        let key = self.key(key);
        let value = self.kv.get(&key);
        self.read.borrow_mut().insert(key);
        value
    }

    /// A whole number, if it is there.
    pub(super) fn optional_size(&self, key: &str) -> Result<Option<u64>> {
        match self.get(key) {
            None => Ok(None),
            Some(_) => self.kv.unsigned(&self.key(key)).map(Some).ok_or_else(|| self.bad(key, "a whole number")),
        }
    }

    /// A whole number.
    pub(super) fn size(&self, key: &str) -> Result<u64> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number, if it is there.
    pub(super) fn optional_number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => number(value).map(Some).ok_or_else(|| self.bad(key, "a finite number")),
        }
    }

    /// A number.
    pub(super) fn number(&self, key: &str) -> Result<f64> {
        self.optional_number(key)?.ok_or_else(|| self.missing(key))
    }

    /// A string, if it is there.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.bad(key, "a string")),
        }
    }

    /// Sets a key of an object of config.json, if the object is there.
    pub(super) fn set_within(&mut self, object: &str, key: &str, value: impl Into<serde_json::Value>) {
        if let Some(object) = self.config.get_mut(object).and_then(serde_json::Value::as_object_mut) {
            object.insert(key.to_owned(), value.into());
        }
    }

    /// `true` or `false`, if it is there.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.bad(key, "true or false")),
        }
    }

    /// The share of each head that its rope turns.
    pub(super) fn rotary(&mut self) -> Result<()> {
        let Some(turned) = self.optional_size("rope.dimension_count")? else { return Ok(()) };
        let (heads, key) = (self.size("attention.head_count")?, self.optional_size("attention.key_length")?);
        let width = key.or(self.size("embedding_length")?.checked_div(heads)).unwrap_or(0);
        if turned == 0 || turned > width {
            return Err(self.bad("rope.dimension_count", "the width of a head at most"));
        }
        self.set("partial_rotary_factor", turned as f64 / width as f64);
        Ok(())
    }

    /// The keys of a decoder with RMS norms and a rope.
    pub(super) fn decoder(&mut self) -> Result<()> {
        self.set("hidden_act", "silu");
        self.set("rms_norm_eps", self.number("attention.layer_norm_rms_epsilon")?);
        self.shape()
    }

    /// The sizes of a decoder, and its rope.
    pub(super) fn shape(&mut self) -> Result<()> {
        for (config, key) in [
            ("num_hidden_layers", "block_count"),
            ("max_position_embeddings", "context_length"),
            ("hidden_size", "embedding_length"),
            ("intermediate_size", "feed_forward_length"),
            ("num_attention_heads", "attention.head_count"),
        ] {
            self.set(config, self.size(key)?);
        }
        let heads = self.size("attention.head_count")?;
        self.set("num_key_value_heads", self.optional_size("attention.head_count_kv")?.unwrap_or(heads));
        let width = self.head_size(heads)?;
        self.rope(width)
    }

    /// The rope of heads of which `width` elements turn.
    pub(super) fn rope(&mut self, width: u64) -> Result<()> {
        super::rope_header::read(self, self.tables, width)
    }

    /// Sets `head_dim` where the header names it, and gives the width of a head back.
    fn head_size(&mut self, heads: u64) -> Result<u64> {
        let key = self.optional_size("attention.key_length")?;
        if let Some(width) = key {
            self.set("head_dim", width);
        }
        let width = key.or_else(|| self.size("embedding_length").ok()?.checked_div(heads)).unwrap_or(0);
        if self.optional_size("attention.value_length")?.is_some_and(|value| value != width) {
            return Err(self.bad("attention.value_length", "the width of a key"));
        }
        self.width = width;
        Ok(width)
    }

    /// The sections of a rope of three positions: those that `Config::sections` is read from.
    pub(super) fn sections(&mut self) -> Result<()> {
        const KEY: &str = "rope.dimension_sections";
        let list = match self.get(KEY) {
            Some(Value::Array(Array::I32(list))) => list.iter().map(|&n| i64::from(n)).collect::<Vec<_>>(),
            Some(Value::Array(Array::U32(list))) => list.iter().map(|&n| i64::from(n)).collect(),
            _ => return Err(self.bad(KEY, "a list of whole numbers")),
        };
        match list[..] {
            [time, row, column] | [time, row, column, 0] => self.set("mrope_section", json!([time, row, column])),
            _ => return Err(self.bad(KEY, "three sizes")),
        }
        Ok(())
    }

    /// Experts, as Qwen's configurations say them.
    pub(super) fn experts(&mut self, count: &str) -> Result<()> {
        self.set(count, self.size("expert_count")?);
        self.set("num_experts_per_tok", self.size("expert_used_count")?);
        self.set("moe_intermediate_size", self.size("expert_feed_forward_length")?);
        Ok(())
    }

    /// The sliding window; `None` if no layer has one.
    pub(super) fn window(&self) -> Result<Option<Window<'a>>> {
        let size = self.optional_size("attention.sliding_window")?.filter(|&size| size > 0);
        let pattern = match self.get("attention.sliding_window_pattern") {
            None => None,
            Some(Value::Array(Array::Bool(pattern))) => Some(pattern.as_slice()),
            Some(_) => return Err(self.bad("attention.sliding_window_pattern", "true or false for each layer")),
        };
        Ok(size.map(|size| (size, pattern)))
    }

    /// Qwen's sliding windows: those that `layer_windows` reads.
    pub(super) fn layer_windows(&mut self) -> Result<()> {
        let Some((size, pattern)) = self.window()? else {
            self.set("use_sliding_window", false);
            return Ok(());
        };
        let layers = self.size("block_count")?;
        let slides = |layer: u64| pattern.is_none_or(|p| usize::try_from(layer).is_ok_and(|i| p.get(i) == Some(&true)));
        let kind = |layer| if slides(layer) { "sliding_attention" } else { "full_attention" };
        let types: Vec<&str> = (0..layers).map(kind).collect();
        self.set("use_sliding_window", true);
        self.set("sliding_window", size);
        self.set("max_window_layers", (0..layers).find(|&layer| slides(layer)).unwrap_or(layers));
        self.set("layer_types", json!(types));
        Ok(())
    }

    /// Refuses keys that nobody read; zero, false and empty ask for nothing.
    fn finish(self) -> Result<Json> {
        let turned = self.optional_size("rope.dimension_count")?;
        if self.width > 0
            && turned.is_some_and(|n| n != self.width)
            && !self.config.contains_key("partial_rotary_factor")
        {
            return Err(self.bad("rope.dimension_count", "the width of a head"));
        }
        let (prefix, read) = (format!("{}.", self.architecture), self.read.into_inner());
        // Sizes that the tensors tell.
        // And what becomes of hidden states in the end.
        let inert = ["vocab_size", "rope.dimension_count", "pooling_type"].map(|key| format!("{prefix}{key}"));
        let open = |(key, value): &(&str, &Value)| {
            key.starts_with(&prefix) && !read.contains(*key) && !inert.iter().any(|k| k == key) && asks(value)
        };
        let keys: Vec<String> = self.kv.iter().filter(open).map(|(key, _)| key.to_owned()).collect();
        if keys.is_empty() {
            Ok(self.config)
        } else {
            Err(HeaderError::UnknownKeys { architecture: self.architecture, keys })
        }
    }
}

fn asks(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        number_value => number(number_value) != Some(0.0),
    }
}

/// The decimal that an `f32` was most likely written from, if it is finite.
pub(super) fn number_of(value: f32) -> Option<f64> {
    value.to_string().parse().ok().filter(|number: &f64| number.is_finite())
}

/// A finite number of any type. An `f32` becomes the decimal that it was most likely written from: `1e-5`, not
/// `9.99999974e-6`.
fn number(value: &Value) -> Option<f64> {
    let number = match *value {
        Value::F32(v) => number_of(v)?,
        Value::F64(v) => v,
        Value::U32(v) => v.into(),
        Value::I32(v) => v.into(),
        Value::U64(v) => v as f64,
        Value::I64(v) => v as f64,
        Value::U16(v) => v.into(),
        Value::I16(v) => v.into(),
        Value::U8(v) => v.into(),
        Value::I8(v) => v.into(),
        Value::Bool(_) | Value::String(_) | Value::Array(_) => return None,
    };
    number.is_finite().then_some(number)
}
