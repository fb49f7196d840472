//! Qwen3, dense: Llama with normed queries and keys.

use super::qwen2::plain;
use crate::model::config::{layer_windows, require_kv_heads};
use crate::model::decoder::{Style, decoder};
use crate::model::{Architecture, Biases, Config, ConfigReader, Error, Gguf, Header, HeaderError, Keys, Result};

/// The architecture of this file.
pub(super) static QWEN3: Architecture = Architecture {
    name: "qwen3",
    models: "Qwen 3 (dense)",
    hf: &["Qwen3ForCausalLM", "Qwen3Model"],
    model_types: &["qwen3"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &Style::LLAMA),
    gguf: Some(Gguf { name: "qwen3", holds, keys, config }),
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::read(r)?;
    require_kv_heads(r)?;
    if !c.own_head_dim {
        // 128 in transformers, not a division.
        return Err(Error::MissingKey { key: "head_dim".to_owned() });
    }
    c.windows = layer_windows(r, c.layers)?;
    let attention = r.flag("attention_bias", false)?;
    c.bias = Biases { qkv: attention, out: attention, ..Biases::default() };
    c.qk_norm = true;
    Ok(c)
}

fn holds(c: &Config) -> Result<(), &'static str> {
    if c.bias.out { Err("its graph for `qwen3` has no bias on the output of attention") } else { plain(c) }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.decoder(c);
    keys.head_size(c);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("Qwen3ForCausalLM", "qwen3");
    header.decoder()?;
    header.set("attention_bias", header.has("blk.0.attn_q.bias"));
    header.layer_windows()
}
