//! GLM-4 (0414): norms before and after each part, a rope over pairs of half of each head, gate and up in one matrix.

use super::qwen2::plain;
use crate::model::config::activation;
use crate::model::decoder::{Ffn, Style, decoder};
use crate::model::{
    Activation, Architecture, Biases, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result, Turn,
};

/// The architecture of this file.
pub(super) static GLM4: Architecture = Architecture {
    name: "glm4",
    models: "GLM-4-0414",
    hf: &["Glm4ForCausalLM", "Glm4Model"],
    model_types: &["glm4"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "glm4", holds, keys, config }),
};

const STYLE: Style = Style {
    turn: Turn::Pairs,
    attn_post: Some("post_self_attn_layernorm"),
    ffn_norm: Some("post_attention_layernorm"),
    ffn_post: Some("post_mlp_layernorm"),
    ffn: Ffn::Fused(["mlp.gate_up_proj", "mlp.down_proj"]),
    ..Style::LLAMA
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::sizes(r)?;
    c.eps = r.positive("rms_norm_eps")?;
    c.act = activation(r, "hidden_act", Activation::Silu)?;
    c.bias = Biases { qkv: r.flag("attention_bias", true)?, ..Biases::default() };
    Ok(c)
}

fn holds(c: &Config) -> Result<(), &'static str> {
    plain(c)
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.decoder(c);
    if c.own_head_dim {
        keys.head_size(c);
    }
    keys.set("rope.dimension_count", c.rotary as u32);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("Glm4ForCausalLM", "glm4");
    header.decoder()?;
    header.rotary()?;
    header.set("attention_bias", header.has("blk.0.attn_q.bias"));
    Ok(())
}
