//! MPT: layer norms without biases, no bias anywhere, ALiBi in place of positions.

use crate::model::config::layers;
use crate::model::decoder::{Ffn, Norm, Qkv, Style, decoder};
use crate::model::{Activation, Architecture, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result};

/// The architecture of this file.
pub(super) static MPT: Architecture = Architecture {
    name: "mpt",
    models: "MPT",
    hf: &["MPTForCausalLM", "MptForCausalLM", "MptModel"],
    model_types: &["mpt"],
    roots: &["transformer.", ""],
    embedding: "wte.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "mpt", holds, keys, config }),
};

const STYLE: Style = Style {
    norm: Norm::Layer,
    embed: "wte",
    block: "blocks",
    end: "norm_f",
    attn_norm: Some("norm_1"),
    ffn_norm: Some("norm_2"),
    qkv: Qkv::Fused("attn.Wqkv"),
    out: "attn.out_proj",
    ffn: Ffn::Plain(["ffn.up_proj", "ffn.down_proj"]),
    ..Style::LLAMA
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let (hidden, heads, layers) = (r.size("d_model")?, r.size("n_heads")?, layers(r, "n_layers")?);
    if hidden % heads != 0 {
        return Err(r.bad("d_model", format!("a multiple of n_heads = {heads}")));
    }
    // Past powers of 2 its slopes come in another order than ALiBi's authors'.
    if !heads.is_power_of_two() {
        return Err(r.bad("n_heads", "a power of 2"));
    }
    if !r.flag("no_bias", true)? {
        return Err(r.bad("no_bias", "true"));
    }
    let mut alibi = Some(8.0);
    if let Some(mut attention) = r.object("attn_config")? {
        let max = attention.optional_positive("alibi_bias_max")?.unwrap_or(8.0);
        alibi = attention.flag("alibi", true)?.then_some(max);
        // How it is computed, and dropout in training.
        attention.text("attn_impl")?;
        attention.get("attn_pdrop");
        if attention.text("attn_type")?.is_some_and(|found| found != "multihead_attention") {
            return Err(attention.bad("attn_type", "multihead_attention"));
        }
        attention.get("model_type");
        attention.finish("MPT's attention")?;
    }
    if alibi.is_none() {
        return Err(r.bad("attn_config", "alibi: true, for there are no other positions"));
    }
    let norm = r.text("norm_type")?;
    if norm.is_some_and(|found| found != "low_precision_layernorm") {
        return Err(r.bad("norm_type", "low_precision_layernorm"));
    }
    if r.optional_positive("embedding_fraction")?.is_some_and(|found| found != 1.0) {
        return Err(r.bad("embedding_fraction", "1"));
    }
    // There are none where there is ALiBi.
    r.flag("learned_pos_emb", true)?;
    // How it is initialised and trained, and what transformers prints.
    for key in ["init_config", "init_device", "emb_pdrop", "verbose"] {
        r.get(key);
    }
    Ok(Config {
        vocab: r.size("vocab_size")?,
        context: r.size("max_seq_len")?,
        hidden,
        layers,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        rotary: hidden / heads,
        ffn: hidden * r.optional_size("expansion_ratio")?.unwrap_or(4),
        act: Activation::Gelu,
        eps: r.optional_positive("layer_norm_epsilon")?.unwrap_or(1e-5),
        windows: vec![None; layers],
        head: crate::model::config::head(r, true)?,
        alibi,
        ..Config::usual()
    })
}

fn holds(c: &Config) -> Result<(), &'static str> {
    if c.ffn != 4 * c.hidden {
        return Err("its converter for `mpt` knows no expansion_ratio but 4");
    }
    Ok(())
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.set("context_length", c.context as u32);
    keys.set("embedding_length", c.hidden as u32);
    keys.set("block_count", c.layers as u32);
    keys.set("feed_forward_length", c.ffn as u32);
    keys.set("attention.head_count", c.heads as u32);
    keys.set("attention.layer_norm_epsilon", c.eps as f32);
    keys.set("attention.max_alibi_bias", c.alibi.unwrap_or(0.0) as f32);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("MPTForCausalLM", "mpt");
    for (config, key) in [
        ("n_layers", "block_count"),
        ("max_seq_len", "context_length"),
        ("d_model", "embedding_length"),
        ("n_heads", "attention.head_count"),
    ] {
        header.set(config, header.size(key)?);
    }
    header.set("layer_norm_epsilon", header.number("attention.layer_norm_epsilon")?);
    header.set("attn_config", serde_json::json!({ "alibi_bias_max": header.number("attention.max_alibi_bias")? }));
    let ratio = header.size("feed_forward_length")?.checked_div(header.size("embedding_length")?).unwrap_or(4);
    header.set("expansion_ratio", ratio);
    let heads = header.size("attention.head_count")?;
    if header.optional_size("attention.head_count_kv")?.is_some_and(|kv| kv != heads) {
        return Err(header.bad("attention.head_count_kv", "the number of heads"));
    }
    Ok(())
}
