//! `adapter_config.json`: how much of each product is added.

use regex::Regex;
use serde_json::Value;

use super::{Error, Result};
use crate::checkpoint::Json;

/// Keys that say nothing of what is added.
const INERT: &[&str] = &[
    "alora_invocation_tokens",
    "arrow_config",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "monteclora_config",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];
/// Keys that are read.
const READ: &[&str] = &[
    "alpha_pattern",
    "fan_in_fan_out",
    "init_lora_weights",
    "lora_alpha",
    "lora_bias",
    "peft_type",
    "r",
    "rank_pattern",
    "use_dora",
    "use_qalora",
    "use_rslora",
];
/// Beginnings of `init_lora_weights` that change the base model too, which the adapter then does not fit.
const CHANGED_BASE: &[&str] = &["pissa", "olora", "corda", "loftq"];

/// What a configuration says.
pub(super) struct Config {
    rank: f64,
    alpha: f64,
    /// Divided by the root of the rank instead of the rank (rank-stabilised, arXiv 2312.03732).
    stabilised: bool,
    ranks: Vec<(Regex, f64)>,
    alphas: Vec<(Regex, f64)>,
    /// Weights are stored `[in, out]`.
    pub fan_in_fan_out: bool,
}

impl Config {
    /// Reads all keys; those that ask for what is not done are refused.
    pub(super) fn read(json: &Json) -> Result<Config> {
        let bad = |key: &str, expected| {
            let found = json.get(key).map_or_else(|| "missing".to_owned(), ToString::to_string);
            Error::Key { key: key.to_owned(), found, expected }
        };
        let number = |key: &str, default: Option<f64>| match json.get(key) {
            None | Some(Value::Null) => default.ok_or_else(|| bad(key, "a number above 0")),
            Some(value) => value.as_f64().filter(|x| *x > 0.0).ok_or_else(|| bad(key, "a number above 0")),
        };
        let flag = |key: &str| match json.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| bad(key, "true or false")),
        };
        let patterns = |key: &str| -> Result<Vec<(Regex, f64)>> {
            let table = match json.get(key) {
                None | Some(Value::Null) => return Ok(vec![]),
                Some(Value::Object(table)) => table,
                Some(_) => return Err(bad(key, "modules with a number each")),
            };
            let entry = |(module, value): (&String, &Value)| {
                // PEFT matches the end of a module's name, whole parts of it.
                let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{module})$")).ok();
                regex.zip(value.as_f64().filter(|x| *x > 0.0)).ok_or_else(|| bad(key, "modules with a number each"))
            };
            table.iter().map(entry).collect()
        };
        if json.get("peft_type").and_then(Value::as_str) != Some("LORA") {
            return Err(bad("peft_type", "\"LORA\""));
        }
        for key in ["use_dora", "use_qalora", "lora_bias"] {
            if flag(key)? {
                return Err(bad(key, "false"));
            }
        }
        let start = json.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        if CHANGED_BASE.iter().any(|name| start.starts_with(name)) {
            return Err(bad("init_lora_weights", "a start that leaves the base model as it is"));
        }
        let asks = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(list) => !list.is_empty(),
            Value::Object(table) => !table.is_empty(),
            Value::Bool(true) | Value::Number(_) | Value::String(_) => true,
        };
        let unknown = |key: &str| !READ.contains(&key) && !INERT.contains(&key);
        let keys = json.iter().filter(|(key, value)| unknown(key) && asks(value));
        let keys: Vec<String> = keys.map(|(key, value)| format!("{key} = {value}")).collect();
        if !keys.is_empty() {
            return Err(Error::UnknownKeys { keys });
        }
        Ok(Config {
            rank: number("r", Some(8.0))?,
            alpha: number("lora_alpha", Some(8.0))?,
            stabilised: flag("use_rslora")?,
            ranks: patterns("rank_pattern")?,
            alphas: patterns("alpha_pattern")?,
            fan_in_fan_out: flag("fan_in_fan_out")?,
        })
    }

    /// What the product of a module's two matrices is multiplied by.
    pub(super) fn scale(&self, module: &str) -> f64 {
        let of = |patterns: &[(Regex, f64)], usual| {
            patterns.iter().find(|(regex, _)| regex.is_match(module)).map_or(usual, |(_, value)| *value)
        };
        let (rank, alpha) = (of(&self.ranks, self.rank), of(&self.alphas, self.alpha));
        alpha / if self.stabilised { rank.sqrt() } else { rank }
    }
}
