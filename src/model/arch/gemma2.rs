//! Gemma 2: norms before and after each part, soft caps, every other layer with a window.

use crate::model::config::{activation, typed_windows};
use crate::model::decoder::{Norm, Style, decoder};
use crate::model::{
    Activation, Architecture, Biases, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result, Scaling,
};

/// The architecture of this file.
pub(super) static GEMMA2: Architecture = Architecture {
    name: "gemma2",
    models: "Gemma 2",
    hf: &["Gemma2ForCausalLM", "Gemma2Model"],
    model_types: &["gemma2"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "gemma2", holds, keys, config }),
};

/// Of Gemma 2 and 3.
pub(super) const STYLE: Style = Style {
    norm: Norm::RmsFromOne,
    attn_post: Some("post_attention_layernorm"),
    ffn_norm: Some("pre_feedforward_layernorm"),
    ffn_post: Some("post_feedforward_layernorm"),
    ..Style::LLAMA
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let sizes = Config::sizes(r)?;
    let mut c = gemma(r, sizes)?;
    let window = r.optional_size("sliding_window")?.or(Some(4096));
    c.windows = typed_windows(r, c.layers, window, |i| i % 2 == 0)?;
    c.caps.attention = r.optional_positive("attn_logit_softcapping")?;
    c.caps.logits = r.optional_positive("final_logit_softcapping")?;
    Ok(c)
}

/// What Gemma 2 and 3 have in common. Their defaults are not Llama's.
pub(super) fn gemma(r: &mut ConfigReader, mut c: Config) -> Result<Config> {
    if !c.own_head_dim {
        return Err(crate::model::Error::MissingKey { key: "head_dim".to_owned() });
    }
    c.head = crate::model::config::head(r, true)?;
    c.eps = r.optional_positive("rms_norm_eps")?.unwrap_or(1e-6);
    let named = activation(r, "hidden_activation", Activation::GeluTanh)?;
    // An older key that transformers no longer heeds.
    r.text("hidden_act")?;
    c.act = named;
    let attention = r.flag("attention_bias", false)?;
    c.bias = Biases { qkv: attention, out: attention, ..Biases::default() };
    if r.flag("use_bidirectional_attention", false)? {
        return Err(r.bad("use_bidirectional_attention", "false"));
    }
    c.scales.embedding = f64::from((c.hidden as f32).sqrt());
    let scalar = r.optional_positive("query_pre_attn_scalar")?.unwrap_or(256.0);
    c.scales.attention = Some(scalar.sqrt().recip());
    Ok(c)
}

/// What the graphs of Gemma 2 and 3 have in common.
pub(super) fn plain(c: &Config, widest: usize) -> Result<(), &'static str> {
    if c.act != Activation::GeluTanh {
        return Err("its graphs for Gemma have no activation but gelu_pytorch_tanh");
    }
    if c.bias.qkv || c.bias.out {
        return Err("its graphs for Gemma have no biases");
    }
    if c.head == crate::model::Head::Own {
        return Err("its graphs for Gemma have no head but the embedding");
    }
    // It knows the largest model by its number of layers, and scales by the width of a head in all others.
    let scalar = if c.layers == widest { c.hidden / c.heads.max(1) } else { c.head_dim };
    let scale = (scalar as f64).sqrt().recip();
    if c.scales.attention.is_some_and(|found| (found - scale).abs() > 1e-6 * scale) {
        return Err("its graphs for Gemma scale attention by the width of a head");
    }
    Ok(())
}

fn holds(c: &Config) -> Result<(), &'static str> {
    let usual = c.rope.as_ref().is_some_and(|rope| rope.theta == 10000.0 && rope.scaling == Scaling::None);
    if !usual {
        return Err("its graph for `gemma2` has the base 10000 and no scaling of the rope");
    }
    if c.windows.iter().enumerate().any(|(i, window)| window.is_some() != (i % 2 == 0)) {
        return Err("its graph for `gemma2` has windows in every other layer");
    }
    if c.caps.attention.is_none() || c.caps.logits.is_none() {
        return Err("its graph for `gemma2` has both soft caps");
    }
    plain(c, 46)
}

/// The keys of Gemma's converters.
pub(super) fn sizes(c: &Config, keys: &mut Keys) {
    keys.sizes(c);
    keys.set("attention.layer_norm_rms_epsilon", c.eps as f32);
    keys.head_size(c);
}

fn keys(c: &Config, keys: &mut Keys) {
    sizes(c, keys);
    keys.set("attn_logit_softcapping", c.caps.attention.unwrap_or(0.0) as f32);
    keys.set("final_logit_softcapping", c.caps.logits.unwrap_or(0.0) as f32);
    keys.set("attention.sliding_window", c.windows.iter().copied().flatten().next().unwrap_or(0) as u32);
}

/// What Gemma 2 and 3 have in common.
pub(super) fn header_of(header: &mut Header, widest: u64) -> Result<(), HeaderError> {
    header.decoder()?;
    header.set("hidden_activation", "gelu_pytorch_tanh");
    let (heads, width) = (header.size("attention.head_count")?, header.size("attention.key_length")?);
    let wide = header.size("embedding_length")?.checked_div(heads).unwrap_or(width);
    header.set("query_pre_attn_scalar", if header.size("block_count")? == widest { wide } else { width });
    Ok(())
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("Gemma2ForCausalLM", "gemma2");
    header_of(header, 46)?;
    header.set("attn_logit_softcapping", header.optional_number("attn_logit_softcapping")?.unwrap_or(50.0));
    header.set("final_logit_softcapping", header.optional_number("final_logit_softcapping")?.unwrap_or(30.0));
    header.set("sliding_window", header.optional_size("attention.sliding_window")?.unwrap_or(4096));
    Ok(())
}
