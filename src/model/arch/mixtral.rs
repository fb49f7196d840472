//! Mixtral: Mistral with experts. GGUF calls it `llama`, and so the way back from there begins at Llama's file.

use super::llama::{mistral_window, silu};
use super::qwen2moe::softmax;
use crate::model::config::require_kv_heads;
use crate::model::decoder::{ExpertNames, Style, decoder};
use crate::model::{Architecture, Config, ConfigReader, Experts, Gguf, Header, HeaderError, Keys, Result};

/// The architecture of this file.
pub(super) static MIXTRAL: Architecture = Architecture {
    name: "mixtral",
    models: "Mixtral",
    hf: &["MixtralForCausalLM", "MixtralModel"],
    model_types: &["mixtral"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| {
        // transformers 5 keeps them under another name in memory, and may save them so.
        let experts = if has(&format!("{root}layers.0.mlp.experts.gate_up_proj")) { ExpertNames::QWEN } else { NAMES };
        decoder(c, root, has, &Style { pairs: true, experts, ..Style::LLAMA })
    },
    gguf: Some(Gguf { name: "llama", holds: silu, keys, config }),
};

const NAMES: ExpertNames = ExpertNames {
    router: "block_sparse_moe.gate",
    experts: "block_sparse_moe.experts",
    names: ["w1", "w3", "w2"],
    ..ExpertNames::QWEN
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::read(r)?;
    require_kv_heads(r)?;
    c.windows = mistral_window(r, c.layers, None)?;
    let (count, top) = (r.size("num_local_experts")?, r.size("num_experts_per_tok")?);
    if top > count {
        return Err(r.bad("num_experts_per_tok", format!("at most num_local_experts = {count}")));
    }
    let sparse = vec![true; c.layers];
    c.experts = Some(Experts { count, ffn: c.ffn, routing: softmax(top, true), shared: None, sparse });
    Ok(c)
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.decoder(c);
    if c.own_head_dim {
        keys.head_size(c);
    }
    keys.set("vocab_size", c.vocab as u32);
    keys.set("rope.dimension_count", c.head_dim as u32);
    keys.set("expert_count", c.experts.as_ref().map_or(0, |experts| experts.count as u32));
    keys.set("expert_used_count", c.experts.as_ref().map_or(0, |experts| experts.routing.top as u32));
}

/// The keys that Llama has not.
pub(super) fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.decoder()?;
    header.class("MixtralForCausalLM", "mixtral");
    header.set("num_local_experts", header.size("expert_count")?);
    header.set("num_experts_per_tok", header.size("expert_used_count")?);
    match header.window()? {
        None => header.set("sliding_window", serde_json::Value::Null),
        Some((size, None)) => header.set("sliding_window", size),
        Some((_, Some(_))) => return Err(HeaderError::NoConfig { what: "only some layers have a sliding window" }),
    }
    Ok(())
}
