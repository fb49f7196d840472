//! Phi-3, 3.5 and 4: Llama with query, key and value in one matrix, and gate and up in another.

use crate::model::decoder::{Ffn, Qkv, Style, decoder};
use crate::model::{
    Activation, Architecture, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result, Rope, Scaling,
};

/// The architecture of this file.
pub(super) static PHI3: Architecture = Architecture {
    name: "phi3",
    models: "Phi-3, Phi-3.5, Phi-4",
    hf: &["Phi3ForCausalLM", "Phi3Model"],
    model_types: &["phi3"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "phi3", holds, keys, config }),
};

const STYLE: Style = Style {
    qkv: Qkv::Fused("self_attn.qkv_proj"),
    ffn: Ffn::Fused(["mlp.gate_up_proj", "mlp.down_proj"]),
    ..Style::LLAMA
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::sizes(r)?;
    c.eps = r.positive("rms_norm_eps")?;
    c.act = crate::model::config::activation(r, "hidden_act", Activation::Silu)?;
    c.windows = super::llama::mistral_window(r, c.layers, None)?;
    if r.flag("attention_bias", false)? {
        return Err(r.bad("attention_bias", "false"));
    }
    Ok(c)
}

fn holds(c: &Config) -> Result<(), &'static str> {
    if c.act != Activation::Silu {
        return Err("its graph for `phi3` has no activation but SiLU");
    }
    if c.heads * c.head_dim != c.hidden {
        return Err("its graph for `phi3` needs heads as wide as hidden_size / num_attention_heads");
    }
    match &c.rope {
        Some(Rope { scaling: Scaling::None | Scaling::Long { .. }, .. }) => Ok(()),
        _ => Err("its graph for `phi3` has no scaling of the rope but LongRoPE"),
    }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.sizes(c);
    keys.set("attention.layer_norm_rms_epsilon", c.eps as f32);
    keys.set("rope.dimension_count", c.rotary as u32);
    keys.set("rope.scaling.original_context_length", c.context as u32);
    if let Some(rope) = &c.rope {
        rope.keys(keys);
    }
    // Zero is what tells it that there is none.
    keys.set("attention.sliding_window", c.windows.first().copied().flatten().unwrap_or(0) as u32);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("Phi3ForCausalLM", "phi3");
    header.decoder()?;
    header.rotary()?;
    if let Some((size, _)) = header.window()? {
        header.set("sliding_window", size);
    }
    Ok(())
}
