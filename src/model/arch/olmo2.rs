//! OLMo 2: Llama with norms after its parts instead of before them, and one norm over all queries and one over all keys.

use super::qwen2::plain;
use crate::model::decoder::{QkNorm, Style, decoder};
use crate::model::{Architecture, Biases, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result};

/// The architecture of this file.
pub(super) static OLMO2: Architecture = Architecture {
    name: "olmo2",
    models: "OLMo 2",
    hf: &["Olmo2ForCausalLM", "Olmo2Model"],
    model_types: &["olmo2"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "olmo2", holds, keys, config }),
};

const STYLE: Style = Style {
    attn_norm: None,
    attn_post: Some("post_attention_layernorm"),
    ffn_norm: None,
    ffn_post: Some("post_feedforward_layernorm"),
    qk_norm: QkNorm::Whole(["self_attn.q_norm", "self_attn.k_norm"]),
    ..Style::LLAMA
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::read(r)?;
    let attention = r.flag("attention_bias", false)?;
    c.bias = Biases { qkv: attention, out: attention, ..Biases::default() };
    c.qk_norm = true;
    Ok(c)
}

fn holds(c: &Config) -> Result<(), &'static str> {
    if c.bias.out {
        return Err("its graph for `olmo2` has no biases");
    }
    if c.heads * c.head_dim != c.hidden {
        return Err("its graph for `olmo2` needs heads as wide as hidden_size / num_attention_heads");
    }
    plain(c)
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.decoder(c);
    if c.own_head_dim {
        keys.head_size(c);
    }
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("Olmo2ForCausalLM", "olmo2");
    header.decoder()
}
