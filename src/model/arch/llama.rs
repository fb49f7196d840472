//! Llama 1 to 3.2 and what is saved under its class: SmolLM2, DeepSeek LLM; and Mistral, which adds a sliding window.

use crate::model::config::require_kv_heads;
use crate::model::decoder::{Rows, decoder};
use crate::model::{Activation, Architecture, Biases, Config, ConfigReader, Gguf, Keys, Result};

/// The architecture of this file.
pub(super) static LLAMA: Architecture = Architecture {
    name: "llama",
    hf: &["LlamaForCausalLM", "LLaMAForCausalLM", "LlamaModel", "MistralForCausalLM", "MistralModel"],
    model_types: &["llama", "mistral"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root| decoder(c, root, Rows::Pairs),
    gguf: Some(Gguf { name: "llama", holds, keys }),
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::read(r)?;
    if mistral(r)? {
        require_kv_heads(r)?;
        // Before `null` could be written for none, no key meant the default.
        let window = if r.has("sliding_window") { r.optional_size("sliding_window")? } else { Some(4096) };
        c.windows = vec![window; c.layers];
    } else {
        let attention = r.flag("attention_bias", false)?;
        c.bias = Biases { qkv: attention, out: attention, ffn: r.flag("mlp_bias", false)? };
    }
    Ok(c)
}

fn mistral(r: &mut ConfigReader) -> Result<bool> {
    Ok(match r.class() {
        Some(class) => class.starts_with("Mistral"),
        None => r.text("model_type")? == Some("mistral"),
    })
}

fn holds(c: &Config) -> Result<(), &'static str> {
    if c.act == Activation::Silu { Ok(()) } else { Err("its graph for `llama` has no activation but SiLU") }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.decoder(c);
    keys.head_size(c);
    keys.set("vocab_size", c.vocab as u32);
    keys.set("rope.dimension_count", c.head_dim as u32);
}
