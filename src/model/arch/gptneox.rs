//! GPT-NeoX and Pythia: layer norms, both parts side by side, query, key and value of each head together.

use crate::model::decoder::{Ffn, Norm, Qkv, Style, decoder};
use crate::model::{
    Activation, Architecture, Biases, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result, Scaling,
};

/// The architecture of this file.
pub(super) static GPTNEOX: Architecture = Architecture {
    name: "gptneox",
    models: "GPT-NeoX, Pythia",
    hf: &["GPTNeoXForCausalLM", "GPTNeoXModel"],
    model_types: &["gpt_neox"],
    roots: &["gpt_neox.", ""],
    embedding: "embed_in.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "gptneox", holds, keys, config }),
};

const STYLE: Style = Style {
    norm: Norm::Layer,
    embed: "embed_in",
    end: "final_layer_norm",
    head: "embed_out",
    qkv: Qkv::Grouped("attention.query_key_value"),
    out: "attention.dense",
    ffn: Ffn::Plain(["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]),
    ..Style::LLAMA
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::sizes(r)?;
    c.eps = r.optional_positive("layer_norm_eps")?.unwrap_or(1e-5);
    c.act = crate::model::config::activation(r, "hidden_act", Activation::Gelu)?;
    let attention = r.flag("attention_bias", true)?;
    c.bias = Biases { qkv: attention, out: attention, ffn: true, norm: true };
    c.parallel = r.flag("use_parallel_residual", true)?;
    // Whether it is a decoder is of no consequence to a causal model.
    r.flag("is_decoder", false)?;
    if c.kv_heads != c.heads {
        return Err(r.bad("num_key_value_heads", "the number of heads"));
    }
    Ok(c)
}

fn holds(c: &Config) -> Result<(), &'static str> {
    // It computes the tanh form whatever the configuration says.
    if c.act != Activation::Gelu {
        return Err("its graph for `gptneox` has no activation but gelu");
    }
    if !c.bias.qkv {
        return Err("its graph for `gptneox` has biases everywhere");
    }
    if c.head == crate::model::Head::Tied {
        return Err("its graph for `gptneox` has a head of its own");
    }
    let usual = c.rope.as_ref().is_some_and(|rope| rope.theta == 10000.0 && rope.scaling == Scaling::None);
    if usual { Ok(()) } else { Err("its graph for `gptneox` has the base 10000 and no scaling of the rope") }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.set("context_length", c.context as u32);
    keys.set("embedding_length", c.hidden as u32);
    keys.set("block_count", c.layers as u32);
    keys.set("feed_forward_length", c.ffn as u32);
    keys.set("rope.dimension_count", c.rotary as u32);
    keys.set("attention.head_count", c.heads as u32);
    keys.set("use_parallel_residual", c.parallel);
    keys.set("attention.layer_norm_epsilon", c.eps as f32);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("GPTNeoXForCausalLM", "gpt_neox");
    header.shape()?;
    header.rotary()?;
    header.set("hidden_act", "gelu");
    header.set("layer_norm_eps", header.number("attention.layer_norm_epsilon")?);
    let parallel = header.flag("use_parallel_residual")?.unwrap_or(true);
    header.set("use_parallel_residual", parallel);
    Ok(())
}
