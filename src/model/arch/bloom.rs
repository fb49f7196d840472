//! BLOOM: layer norms with one over the embedding too, ALiBi in place of positions.

use crate::model::config::layers;
use crate::model::decoder::{Ffn, Norm, Qkv, Style, decoder};
use crate::model::{Activation, Architecture, Biases, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result};

/// The architecture of this file.
pub(super) static BLOOM: Architecture = Architecture {
    name: "bloom",
    models: "BLOOM",
    hf: &["BloomForCausalLM", "BloomModel"],
    model_types: &["bloom"],
    roots: &["transformer.", ""],
    embedding: "word_embeddings.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "bloom", holds: |_| Ok(()), keys, config }),
};

const STYLE: Style = Style {
    norm: Norm::Layer,
    embed: "word_embeddings",
    embed_norm: Some("word_embeddings_layernorm"),
    block: "h",
    end: "ln_f",
    qkv: Qkv::Grouped("self_attention.query_key_value"),
    out: "self_attention.dense",
    ffn: Ffn::Plain(["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]),
    ..Style::LLAMA
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let older = r.optional_size("n_embed")?;
    let Some(hidden) = r.optional_size("hidden_size")?.or(older) else {
        return Err(r.bad("hidden_size", "a whole number"));
    };
    let heads = if r.has("n_head") { r.size("n_head")? } else { r.size("num_attention_heads")? };
    let layers = layers(r, if r.has("n_layer") { "n_layer" } else { "num_hidden_layers" })?;
    if hidden % heads != 0 {
        return Err(r.bad("hidden_size", format!("a multiple of the {heads} heads")));
    }
    if r.flag("apply_residual_connection_post_layernorm", false)? {
        return Err(r.bad("apply_residual_connection_post_layernorm", "false"));
    }
    // It only says how transformers splits its products.
    r.flag("slow_but_exact", false)?;
    r.optional_size("offset_alibi")?;
    Ok(Config {
        vocab: r.size("vocab_size")?,
        // As llama.cpp's converter guesses where nothing is said: positions have no limit.
        context: r.optional_size("seq_length")?.unwrap_or(hidden),
        hidden,
        layers,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        rotary: hidden / heads,
        ffn: 4 * hidden,
        act: Activation::GeluTanh,
        eps: r.optional_positive("layer_norm_epsilon")?.unwrap_or(1e-5),
        windows: vec![None; layers],
        bias: Biases { qkv: true, out: true, ffn: true, norm: true },
        head: crate::model::config::head(r, true)?,
        alibi: Some(8.0),
        ..Config::usual()
    })
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.sizes(c);
    keys.set("attention.layer_norm_epsilon", c.eps as f32);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("BloomForCausalLM", "bloom");
    header.set("n_layer", header.size("block_count")?);
    header.set("seq_length", header.size("context_length")?);
    header.set("hidden_size", header.size("embedding_length")?);
    header.set("n_head", header.size("attention.head_count")?);
    header.set("layer_norm_epsilon", header.number("attention.layer_norm_epsilon")?);
    if header.size("feed_forward_length")? != 4 * header.size("embedding_length")? {
        return Err(header.bad("feed_forward_length", "four times the width"));
    }
    header.optional_size("attention.head_count_kv")?;
    Ok(())
}
