//! Qwen1.5, Qwen2, Qwen2.5 and what is distilled into them: Llama with biases on query, key and value.

use crate::model::config::{layer_windows, require_kv_heads};
use crate::model::decoder::{Style, decoder};
use crate::model::{
    Activation, Architecture, Biases, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result, Rope, Scaling,
};

/// The architecture of this file.
pub(super) static QWEN2: Architecture = Architecture {
    name: "qwen2",
    models: "Qwen 1.5, 2, 2.5, R1-Distill-Qwen",
    hf: &["Qwen2ForCausalLM", "Qwen2Model"],
    model_types: &["qwen2"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &Style::LLAMA),
    gguf: Some(Gguf { name: "qwen2", holds, keys, config }),
};

pub(super) fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::read(r)?;
    require_kv_heads(r)?;
    c.windows = layer_windows(r, c.layers)?;
    c.bias = Biases { qkv: true, ..Biases::default() };
    Ok(c)
}

pub(super) fn holds(c: &Config) -> Result<(), &'static str> {
    if c.heads * c.head_dim != c.hidden {
        return Err("its graph for `qwen2` needs heads as wide as hidden_size / num_attention_heads");
    }
    plain(c)
}

/// What the graphs of Qwen 2 and 3 have in common.
pub(super) fn plain(c: &Config) -> Result<(), &'static str> {
    if c.act != Activation::Silu {
        return Err("its graphs for Qwen have no activation but SiLU");
    }
    match &c.rope {
        Some(Rope { scaling: Scaling::Llama3 { .. }, .. }) => {
            Err("its graphs for Qwen have no `llama3` scaling of the rope")
        }
        _ => Ok(()),
    }
}

pub(super) fn keys(c: &Config, keys: &mut Keys) {
    keys.decoder(c);
    if c.own_head_dim {
        keys.head_size(c);
    }
}

pub(super) fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("Qwen2ForCausalLM", "qwen2");
    header.decoder()?;
    header.layer_windows()
}
