//! MiniCPM 1 and 2: Llama with three numbers to multiply by (arXiv 2404.06395).

use crate::model::decoder::{Style, decoder};
use crate::model::{Architecture, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result, Rope, Scaling};

/// The architecture of this file.
pub(super) static MINICPM: Architecture = Architecture {
    name: "minicpm",
    models: "MiniCPM 1, 2 (dense)",
    hf: &["MiniCPMForCausalLM", "MiniCPMModel"],
    model_types: &["minicpm"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &Style { pairs: true, ..Style::LLAMA }),
    gguf: Some(Gguf { name: "minicpm", holds, keys, config }),
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::read(r)?;
    // Its own class ties the two unless told otherwise.
    c.head = crate::model::config::head(r, true)?;
    for key in ["attention_bias", "num_experts"] {
        if r.flag(key, false).unwrap_or(true) {
            return Err(r.bad(key, "absent: of MiniCPM only dense models without biases are known"));
        }
    }
    c.scales.embedding = r.optional_positive("scale_emb")?.unwrap_or(1.0);
    c.scales.residual = r.optional_positive("scale_depth")?.unwrap_or(1.0) / (c.layers as f64).sqrt();
    c.scales.logits = r.optional_positive("dim_model_base")?.unwrap_or(1.0) / c.hidden as f64;
    Ok(c)
}

fn holds(c: &Config) -> Result<(), &'static str> {
    if c.heads * c.head_dim != c.hidden {
        return Err(
            "its converter for `minicpm` knows no heads but those as wide as hidden_size / num_attention_heads",
        );
    }
    if !matches!(c.rope, Some(Rope { scaling: Scaling::None, .. })) {
        return Err("planish knows no scaling of the rope in `minicpm`");
    }
    super::llama::silu(c)
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.decoder(c);
    keys.set("embedding_scale", c.scales.embedding as f32);
    keys.set("residual_scale", c.scales.residual as f32);
    keys.set("logit_scale", (1.0 / c.scales.logits) as f32);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("MiniCPMForCausalLM", "minicpm");
    header.decoder()?;
    // Files of older converters have none of the three: what llama.cpp takes them to be.
    let (layers, hidden) = (header.size("block_count")? as f64, header.size("embedding_length")? as f64);
    let scale = |key| header.optional_number(key);
    let (embedding, residual, logit) = (scale("embedding_scale")?, scale("residual_scale")?, scale("logit_scale")?);
    header.set("scale_emb", embedding.unwrap_or(12.0));
    // The decimal that the f32 in the file was computed from.
    let depth = |residual: f64| (residual * layers.sqrt() * 1e6).round() / 1e6;
    header.set("scale_depth", residual.map_or(1.4, depth));
    header.set("dim_model_base", logit.map_or(256.0, |logit| hidden / logit));
    Ok(())
}
