//! Cohere's Command R and Aya: one norm without bias before both parts, side by side, and a rope that turns pairs.

use crate::model::decoder::{Norm, QkNorm, Style, decoder};
use crate::model::{
    Activation, Architecture, Biases, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result, Scaling, Turn,
};

/// The architecture of this file.
pub(super) static COHERE: Architecture = Architecture {
    name: "cohere",
    models: "Command R, Aya",
    hf: &["CohereForCausalLM", "CohereModel"],
    model_types: &["cohere"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "command-r", holds, keys, config }),
};

const STYLE: Style = Style {
    turn: Turn::Pairs,
    norm: Norm::Layer,
    ffn_norm: None,
    qk_norm: QkNorm::Each(["self_attn.q_norm", "self_attn.k_norm"], false),
    ..Style::LLAMA
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::sizes(r)?;
    // What the model was trained for, where it says more than the size of the buffers.
    c.context = r.optional_size("model_max_length")?.unwrap_or(c.context);
    c.head = crate::model::config::head(r, true)?;
    c.eps = r.optional_positive("layer_norm_eps")?.unwrap_or(1e-5);
    c.act = crate::model::config::activation(r, "hidden_act", Activation::Silu)?;
    let attention = r.flag("attention_bias", false)?;
    c.bias = Biases { qkv: attention, out: attention, ..Biases::default() };
    c.scales.logits = r.optional_positive("logit_scale")?.unwrap_or(0.0625);
    c.qk_norm = r.flag("use_qk_norm", false)?;
    c.parallel = true;
    if c.rotary != c.head_dim {
        return Err(r.bad("partial_rotary_factor", "1: this architecture turns whole heads"));
    }
    Ok(c)
}

fn holds(c: &Config) -> Result<(), &'static str> {
    if c.act != Activation::Silu {
        return Err("its graph for `command-r` has no activation but SiLU");
    }
    if c.head == crate::model::Head::Own {
        return Err("its graph for `command-r` has no head but the embedding");
    }
    if c.bias.out {
        return Err("its graph for `command-r` has no bias on the output of attention");
    }
    if c.qk_norm && c.layers < 64 {
        return Err("its graph for `command-r` norms queries and keys in models of 64 layers and more only");
    }
    if c.heads * c.head_dim != c.hidden {
        return Err("its graph for `command-r` needs heads as wide as hidden_size / num_attention_heads");
    }
    let usual = c.rope.as_ref().is_some_and(|rope| rope.scaling == Scaling::None);
    if usual { Ok(()) } else { Err("its graph for `command-r` has no scaling of the rope") }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.sizes(c);
    if let Some(rope) = &c.rope {
        rope.keys(keys);
    }
    keys.set("attention.layer_norm_epsilon", c.eps as f32);
    keys.set("logit_scale", c.scales.logits as f32);
    keys.set("rope.scaling.type", "none");
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("CohereForCausalLM", "cohere");
    header.shape()?;
    header.set("hidden_act", "silu");
    header.set("layer_norm_eps", header.number("attention.layer_norm_epsilon")?);
    header.set("logit_scale", header.number("logit_scale")?);
    header.set("attention_bias", header.has("blk.0.attn_q.bias"));
    header.set("use_qk_norm", header.has("blk.0.attn_q_norm.weight"));
    Ok(())
}
