//! StarCoder2: Llama with layer norms, biases, and a feed-forward part without a gate.

use crate::model::decoder::{Ffn, Norm, Style, decoder};
use crate::model::{
    Activation, Architecture, Biases, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result, Scaling,
};

/// The architecture of this file.
pub(super) static STARCODER2: Architecture = Architecture {
    name: "starcoder2",
    models: "StarCoder2",
    hf: &["Starcoder2ForCausalLM", "Starcoder2Model"],
    model_types: &["starcoder2"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "starcoder2", holds, keys, config }),
};

const STYLE: Style = Style { norm: Norm::Layer, ffn: Ffn::Plain(["mlp.c_fc", "mlp.c_proj"]), ..Style::LLAMA };

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::sizes(r)?;
    c.head = crate::model::config::head(r, true)?;
    c.eps = r.optional_positive("norm_epsilon")?.unwrap_or(1e-5);
    c.act = crate::model::config::activation(r, "hidden_act", Activation::GeluTanh)?;
    let bias = r.flag("use_bias", true)?;
    c.bias = Biases { qkv: bias, out: bias, ffn: bias, norm: true };
    c.windows = super::llama::mistral_window(r, c.layers, None)?;
    for (key, only) in [("mlp_type", "default"), ("norm_type", "layer_norm")] {
        if r.text(key)?.is_some_and(|found| found != only) {
            return Err(r.bad(key, only));
        }
    }
    if c.rotary != c.head_dim {
        return Err(r.bad("partial_rotary_factor", "1: this architecture turns whole heads"));
    }
    Ok(c)
}

fn holds(c: &Config) -> Result<(), &'static str> {
    if c.act != Activation::GeluTanh {
        return Err("its graph for `starcoder2` has no activation but gelu_pytorch_tanh");
    }
    if !c.bias.qkv {
        return Err("its graph for `starcoder2` has biases everywhere");
    }
    let usual = c.rope.as_ref().is_some_and(|rope| rope.scaling == Scaling::None);
    if usual { Ok(()) } else { Err("its graph for `starcoder2` has no scaling of the rope") }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.sizes(c);
    if let Some(rope) = &c.rope {
        rope.keys(keys);
    }
    keys.set("attention.layer_norm_epsilon", c.eps as f32);
    keys.windows(c);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("Starcoder2ForCausalLM", "starcoder2");
    header.shape()?;
    header.set("hidden_act", "gelu_pytorch_tanh");
    header.set("norm_epsilon", header.number("attention.layer_norm_epsilon")?);
    header.set("use_bias", header.has("blk.0.attn_q.bias"));
    match header.window()? {
        None => header.set("sliding_window", serde_json::Value::Null),
        Some((size, None)) => header.set("sliding_window", size),
        Some((_, Some(_))) => return Err(HeaderError::NoConfig { what: "only some layers have a sliding window" }),
    }
    Ok(())
}
