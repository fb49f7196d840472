//! Llama 1 to 3.2 and what is saved under its class: SmolLM2, DeepSeek LLM; and Mistral, which adds a sliding window.

use crate::model::config::require_kv_heads;
use crate::model::decoder::{Style, decoder};
use crate::model::{Activation, Architecture, Biases, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result};

/// The architecture of this file.
pub(super) static LLAMA: Architecture = Architecture {
    name: "llama",
    models: "Llama 1, 2, 3, 3.1, 3.2 (text), Mistral, SmolLM2, DeepSeek LLM",
    hf: &["LlamaForCausalLM", "LLaMAForCausalLM", "LlamaModel", "MistralForCausalLM", "MistralModel"],
    model_types: &["llama", "mistral"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &Style { pairs: true, ..Style::LLAMA }),
    gguf: Some(Gguf { name: "llama", holds: silu, keys, config }),
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::read(r)?;
    if mistral(r)? {
        require_kv_heads(r)?;
        // Before `null` could be written for none, no key meant the default.
        c.windows = mistral_window(r, c.layers, Some(4096))?;
    } else {
        let attention = r.flag("attention_bias", false)?;
        c.bias = Biases { qkv: attention, out: attention, ffn: r.flag("mlp_bias", false)?, norm: false };
    }
    Ok(c)
}

/// Every layer has the same window.
pub(super) fn mistral_window(
    r: &mut ConfigReader,
    layers: usize,
    default: Option<usize>,
) -> Result<Vec<Option<usize>>> {
    let window = if r.has("sliding_window") { r.optional_size("sliding_window")? } else { default };
    Ok(vec![window; layers])
}

fn mistral(r: &mut ConfigReader) -> Result<bool> {
    Ok(match r.class() {
        Some(class) => class.starts_with("Mistral"),
        None => r.text("model_type")? == Some("mistral"),
    })
}

pub(super) fn silu(c: &Config) -> Result<(), &'static str> {
    if c.act == Activation::Silu { Ok(()) } else { Err("its graph for `llama` has no activation but SiLU") }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.decoder(c);
    keys.head_size(c);
    keys.set("vocab_size", c.vocab as u32);
    keys.set("rope.dimension_count", c.head_dim as u32);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    if header.optional_size("expert_count")?.is_some_and(|count| count > 0) {
        return super::mixtral::config(header);
    }
    header.decoder()?;
    match header.window()? {
        None => header.class("LlamaForCausalLM", "llama"),
        Some((size, None)) => {
            header.class("MistralForCausalLM", "mistral");
            header.set("sliding_window", size);
            return Ok(());
        }
        Some((_, Some(_))) => return Err(HeaderError::NoConfig { what: "only some layers have a sliding window" }),
    }
    header.set("attention_bias", header.has("blk.0.attn_q.bias"));
    header.set("mlp_bias", header.has("blk.0.ffn_up.bias"));
    Ok(())
}
