//! Falcon: both parts side by side, few key heads, query, key and value of each key head together.

use crate::model::config::layers;
use crate::model::decoder::{Ffn, Norm, Qkv, Style, decoder};
use crate::model::{
    Activation, Architecture, Biases, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result, Role, Rope,
    Scaling,
};

/// The architecture of this file.
pub(super) static FALCON: Architecture = Architecture {
    name: "falcon",
    models: "Falcon 7B, 11B, 40B, 180B",
    hf: &["FalconForCausalLM", "RWForCausalLM", "FalconModel"],
    model_types: &["falcon", "RefinedWebModel", "RefinedWeb"],
    roots: &["transformer.", ""],
    embedding: "word_embeddings.weight",
    read,
    write: |c, root, has| decoder(c, root, has, if c.two_norms { &TWO_NORMS } else { &STYLE }),
    gguf: Some(Gguf { name: "falcon", holds, keys, config }),
};

/// The 7B, 11B and 180B have one norm before both parts.
const STYLE: Style = Style {
    norm: Norm::Layer,
    embed: "word_embeddings",
    block: "h",
    end: "ln_f",
    ffn_norm: None,
    qkv: Qkv::Grouped("self_attention.query_key_value"),
    out: "self_attention.dense",
    ffn: Ffn::Plain(["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]),
    ..Style::LLAMA
};
/// The 40B has one for each.
const TWO_NORMS: Style = Style {
    attn_norm: Some("ln_attn"),
    ffn_norm: Some("ln_mlp"),
    norm_roles: [Role::AttnNorm2, Role::AttnNorm],
    ..STYLE
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let hidden = r.size("hidden_size")?;
    let heads = if r.has("n_head") { r.size("n_head")? } else { r.size("num_attention_heads")? };
    let layers = layers(r, if r.has("n_layer") { "n_layer" } else { "num_hidden_layers" })?;
    let older = r.optional_size("n_head_kv")?;
    let named = r.optional_size("num_kv_heads")?.or(older);
    let grouped = r.flag("new_decoder_architecture", false)?;
    let one = r.flag("multi_query", true)?;
    let kv_heads = match (grouped, one) {
        (true, _) => named.unwrap_or(heads),
        (false, true) => 1,
        (false, false) => return Err(r.bad("multi_query", "true: the first models of this class are not known")),
    };
    if hidden % heads != 0 || heads % kv_heads != 0 || (hidden / heads) % 2 != 0 {
        return Err(r.bad("hidden_size", format!("{heads} heads of an even width, a multiple of {kv_heads} key heads")));
    }
    for (key, only, default) in [("alibi", false, false), ("parallel_attn", true, true)] {
        if r.flag(key, default)? != only {
            return Err(r.bad(key, only.to_string()));
        }
    }
    let bias = r.flag("bias", false)?;
    let context = r.optional_size("max_position_embeddings")?.unwrap_or(2048);
    let (rope, _) = Rope::read(r, context)?;
    let norms = r.optional_size("num_ln_in_parallel_attn")?;
    Ok(Config {
        vocab: r.size("vocab_size")?,
        context,
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim: hidden / heads,
        rotary: hidden / heads,
        ffn: r.optional_size("ffn_hidden_size")?.unwrap_or(4 * hidden),
        act: crate::model::config::activation(r, "activation", Activation::Gelu)?,
        eps: r.optional_positive("layer_norm_epsilon")?.unwrap_or(1e-5),
        rope: Some(rope),
        windows: vec![None; layers],
        bias: Biases { qkv: bias, out: bias, ffn: bias, norm: true },
        head: crate::model::config::head(r, true)?,
        parallel: true,
        two_norms: grouped && norms.unwrap_or(2) == 2,
        ..Config::usual()
    })
}

fn holds(c: &Config) -> Result<(), &'static str> {
    // It computes the tanh form whatever the configuration says.
    if c.act != Activation::Gelu {
        return Err("its graph for `falcon` has no activation but gelu");
    }
    if c.bias.qkv {
        return Err("its graph for `falcon` has no biases");
    }
    if c.ffn != 4 * c.hidden || c.context != 2048 {
        return Err("its converter for `falcon` knows no width but 4 * hidden_size and no context but 2048");
    }
    let usual = c.rope.as_ref().is_some_and(|rope| rope.theta == 10000.0 && rope.scaling == Scaling::None);
    if usual { Ok(()) } else { Err("its graph for `falcon` has the base 10000 and no scaling of the rope") }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.sizes(c);
    keys.set("tensor_data_layout", "jploski");
    keys.set("attention.layer_norm_epsilon", c.eps as f32);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("FalconForCausalLM", "falcon");
    for (config, key) in [
        ("num_hidden_layers", "block_count"),
        ("max_position_embeddings", "context_length"),
        ("hidden_size", "embedding_length"),
        ("ffn_hidden_size", "feed_forward_length"),
        ("num_attention_heads", "attention.head_count"),
    ] {
        header.set(config, header.size(key)?);
    }
    let kv = header.optional_size("attention.head_count_kv")?.unwrap_or(1);
    header.set("num_kv_heads", kv);
    let two = header.has("blk.0.attn_norm_2.weight");
    header.set("new_decoder_architecture", two || kv > 1);
    header.set("num_ln_in_parallel_attn", if two { 2 } else { 1 });
    header.set("layer_norm_epsilon", header.number("attention.layer_norm_epsilon")?);
    header.text("tensor_data_layout")?;
    Ok(())
}
