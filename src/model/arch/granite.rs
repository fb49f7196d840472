//! Granite 3, dense: Llama with four numbers to multiply by.

use crate::model::decoder::{Style, decoder};
use crate::model::{Architecture, Biases, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result};

/// The architecture of this file.
pub(super) static GRANITE: Architecture = Architecture {
    name: "granite",
    models: "Granite 3 (dense)",
    hf: &["GraniteForCausalLM", "GraniteModel"],
    model_types: &["granite"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &Style { pairs: true, ..Style::LLAMA }),
    gguf: Some(Gguf { name: "granite", holds, keys, config }),
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::read(r)?;
    let attention = r.flag("attention_bias", false)?;
    c.bias = Biases { qkv: attention, out: attention, ffn: r.flag("mlp_bias", false)?, norm: false };
    c.scales.embedding = r.optional_positive("embedding_multiplier")?.unwrap_or(1.0);
    c.scales.residual = r.optional_positive("residual_multiplier")?.unwrap_or(1.0);
    // transformers' default is 1 here, not one over the root.
    c.scales.attention = Some(r.optional_positive("attention_multiplier")?.unwrap_or(1.0));
    c.scales.logits = 1.0 / r.optional_positive("logits_scaling")?.unwrap_or(1.0);
    Ok(c)
}

fn holds(c: &Config) -> Result<(), &'static str> {
    if c.heads * c.head_dim != c.hidden {
        return Err(
            "its converter for `granite` knows no heads but those as wide as hidden_size / num_attention_heads",
        );
    }
    super::llama::silu(c)
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.decoder(c);
    keys.set("vocab_size", c.vocab as u32);
    keys.set("rope.dimension_count", c.head_dim as u32);
    keys.set("attention.scale", c.scales.attention.unwrap_or(1.0) as f32);
    keys.set("embedding_scale", c.scales.embedding as f32);
    keys.set("residual_scale", c.scales.residual as f32);
    keys.set("logit_scale", (1.0 / c.scales.logits) as f32);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("GraniteForCausalLM", "granite");
    header.decoder()?;
    for (config, key) in [
        ("attention_multiplier", "attention.scale"),
        ("embedding_multiplier", "embedding_scale"),
        ("residual_multiplier", "residual_scale"),
        ("logits_scaling", "logit_scale"),
    ] {
        header.set(config, header.optional_number(key)?.unwrap_or(1.0));
    }
    header.set("attention_bias", header.has("blk.0.attn_q.bias"));
    header.set("mlp_bias", header.has("blk.0.ffn_up.bias"));
    Ok(())
}
