//! Qwen3 with experts: normed queries and keys, and no shared expert.

use super::qwen2::plain;
use super::qwen2moe::{experts, sparse_layers};
use crate::model::config::{layer_windows, require_kv_heads};
use crate::model::decoder::{Style, decoder};
use crate::model::{Architecture, Biases, Config, ConfigReader, Error, Gguf, Header, HeaderError, Keys, Result};

/// The architecture of this file.
pub(super) static QWEN3MOE: Architecture = Architecture {
    name: "qwen3moe",
    models: "Qwen 3 with experts",
    hf: &["Qwen3MoeForCausalLM", "Qwen3MoeModel"],
    model_types: &["qwen3_moe"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &Style::LLAMA),
    gguf: Some(Gguf { name: "qwen3moe", holds, keys, config }),
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::read(r)?;
    require_kv_heads(r)?;
    if !c.own_head_dim {
        return Err(Error::MissingKey { key: "head_dim".to_owned() });
    }
    c.windows = layer_windows(r, c.layers)?;
    let attention = r.flag("attention_bias", false)?;
    c.bias = Biases { qkv: attention, out: attention, ..Biases::default() };
    c.qk_norm = true;
    let sparse = sparse_layers(r, c.layers)?;
    c.experts = experts(r, sparse)?;
    Ok(c)
}

fn holds(c: &Config) -> Result<(), &'static str> {
    match &c.experts {
        Some(experts) if !experts.routing.normalise => {
            return Err("its graph for `qwen3moe` divides by the chosen scores' sum");
        }
        Some(experts) if experts.sparse.iter().all(|sparse| *sparse) => {}
        _ => return Err("its graph for `qwen3moe` has experts in every layer"),
    }
    if c.bias.out { Err("its graph for `qwen3moe` has no bias on the output of attention") } else { plain(c) }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.decoder(c);
    keys.head_size(c);
    keys.experts(c);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("Qwen3MoeForCausalLM", "qwen3_moe");
    header.decoder()?;
    header.set("attention_bias", header.has("blk.0.attn_q.bias"));
    header.experts("num_experts")?;
    header.set("norm_topk_prob", true);
    header.layer_windows()
}
