//! gpt-oss: experts with biases, attention with a score that has no value, every other layer with a window.

use crate::model::config::{require_kv_heads, typed_windows};
use crate::model::decoder::{ExpertNames, Style, decoder};
use crate::model::{
    Activation, Architecture, Biases, Config, ConfigReader, Experts, Gguf, Header, HeaderError, Keys, Result, Rope,
    Scaling,
};

/// The architecture of this file.
pub(super) static GPTOSS: Architecture = Architecture {
    name: "gptoss",
    models: "gpt-oss (BF16)",
    hf: &["GptOssForCausalLM", "GptOssModel"],
    model_types: &["gpt_oss"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "gpt-oss", holds, keys, config }),
};

const STYLE: Style = Style {
    norm_roles: [crate::model::Role::AttnNorm, crate::model::Role::AttnPostNorm],
    sinks: Some("self_attn.sinks"),
    experts: ExpertNames { router: "mlp.router", clamped: Some(7.0), ..ExpertNames::QWEN },
    ..Style::LLAMA
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::read(r)?;
    require_kv_heads(r)?;
    let attention = r.flag("attention_bias", true)?;
    c.bias = Biases { qkv: attention, out: attention, ffn: true, norm: false };
    let window = r.optional_size("sliding_window")?.or(Some(128));
    c.windows = typed_windows(r, c.layers, window, |i| i % 2 == 0)?;
    if r.optional_positive("swiglu_limit")?.is_some_and(|limit| limit != 7.0) {
        return Err(r.bad("swiglu_limit", "7"));
    }
    // Another name of num_experts_per_tok, and the training context, which the rope has too.
    let older = r.optional_size("experts_per_token")?;
    r.optional_size("initial_context_length")?;
    let (count, top) = (r.size("num_local_experts")?, r.optional_size("num_experts_per_tok")?.or(older).unwrap_or(4));
    if top > count {
        return Err(r.bad("num_experts_per_tok", format!("at most num_local_experts = {count}")));
    }
    let (routing, sparse) = (super::qwen2moe::softmax(top, true), vec![true; c.layers]);
    c.experts = Some(Experts { count, ffn: c.ffn, routing, shared: None, sparse });
    Ok(c)
}

fn holds(c: &Config) -> Result<(), &'static str> {
    if c.act != Activation::Silu || !c.bias.qkv {
        return Err("its graph for `gpt-oss` has biases everywhere and its own activation");
    }
    if c.windows.iter().enumerate().any(|(i, window)| window.is_some() != (i % 2 == 0)) {
        return Err("its graph for `gpt-oss` has windows in every other layer");
    }
    match &c.rope {
        Some(Rope { scaling: Scaling::None | Scaling::Yarn { .. }, .. }) => Ok(()),
        _ => Err("its graph for `gpt-oss` has no scaling of the rope but YaRN"),
    }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.decoder(c);
    keys.head_size(c);
    keys.experts(c);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("GptOssForCausalLM", "gpt_oss");
    header.decoder()?;
    header.set_within("rope_scaling", "truncate", false);
    header.set("num_local_experts", header.size("expert_count")?);
    header.set("num_experts_per_tok", header.size("expert_used_count")?);
    header.set("intermediate_size", header.size("expert_feed_forward_length")?);
    header.set("sliding_window", header.optional_size("attention.sliding_window")?.unwrap_or(128));
    header.window()?;
    Ok(())
}
