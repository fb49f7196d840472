//! StableLM 2 and StableLM-3B: layer norms, a rope over a quarter of each head, perhaps both parts side by side.

use crate::model::decoder::{Norm, QkNorm, Style, decoder};
use crate::model::{
    Activation, Architecture, Biases, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result, Scaling,
};

/// The architecture of this file.
pub(super) static STABLELM: Architecture = Architecture {
    name: "stablelm",
    models: "StableLM 2, StableLM-3B",
    hf: &["StableLmForCausalLM", "StableLMEpochForCausalLM", "StableLmModel"],
    model_types: &["stablelm", "stablelm_epoch"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, if c.parallel { &PARALLEL } else { &STYLE }),
    gguf: Some(Gguf { name: "stablelm", holds, keys, config }),
};

const STYLE: Style = Style {
    norm: Norm::Layer,
    qk_norm: QkNorm::Each(["self_attn.q_layernorm", "self_attn.k_layernorm"], true),
    ..Style::LLAMA
};
const PARALLEL: Style = Style { ffn_norm: None, ..STYLE };

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::sizes(r)?;
    let older = r.optional_positive("norm_eps")?;
    c.eps = r.optional_positive("layer_norm_eps")?.or(older).unwrap_or(1e-5);
    c.act = crate::model::config::activation(r, "hidden_act", Activation::Silu)?;
    c.bias = Biases { qkv: r.flag("use_qkv_bias", false)?, norm: true, ..Biases::default() };
    c.parallel = r.flag("use_parallel_residual", false)?;
    c.qk_norm = r.flag("qk_layernorm", false)?;
    Ok(c)
}

fn holds(c: &Config) -> Result<(), &'static str> {
    if c.act != Activation::Silu {
        return Err("its graph for `stablelm` has no activation but SiLU");
    }
    let usual = c.rope.as_ref().is_some_and(|rope| rope.theta == 10000.0 && rope.scaling == Scaling::None);
    if usual { Ok(()) } else { Err("its graph for `stablelm` has the base 10000 and no scaling of the rope") }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.sizes(c);
    keys.set("rope.dimension_count", c.rotary as u32);
    keys.set("use_parallel_residual", c.parallel);
    keys.set("attention.layer_norm_epsilon", c.eps as f32);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("StableLmForCausalLM", "stablelm");
    header.shape()?;
    header.rotary()?;
    header.set("hidden_act", "silu");
    header.set("layer_norm_eps", header.number("attention.layer_norm_epsilon")?);
    header.set("use_parallel_residual", !header.has("blk.0.ffn_norm.weight"));
    header.flag("use_parallel_residual")?;
    header.set("use_qkv_bias", header.has("blk.0.attn_q.bias"));
    header.set("qk_layernorm", header.has("blk.0.attn_q_norm.weight"));
    Ok(())
}
