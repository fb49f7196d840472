//! Qwen1.5 and Qwen2 with experts: one more expert that every token goes to, weighed by a gate of its own.

use super::qwen2::plain;
use crate::model::config::{layer_windows, require_kv_heads};
use crate::model::decoder::{ExpertNames, Style, decoder};
use crate::model::{
    Architecture, Biases, Config, ConfigReader, Experts, Gguf, Header, HeaderError, Keys, Result, Routing, Scoring,
};

/// The architecture of this file.
pub(super) static QWEN2MOE: Architecture = Architecture {
    name: "qwen2moe",
    models: "Qwen 1.5 and 2 with experts",
    hf: &["Qwen2MoeForCausalLM", "Qwen2MoeModel"],
    model_types: &["qwen2_moe"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "qwen2moe", holds, keys, config }),
};

const STYLE: Style =
    Style { experts: ExpertNames { shared_gate: Some("mlp.shared_expert_gate"), ..ExpertNames::QWEN }, ..Style::LLAMA };

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = Config::read(r)?;
    require_kv_heads(r)?;
    c.windows = layer_windows(r, c.layers)?;
    c.bias = Biases { qkv: r.flag("qkv_bias", true)?, ..Biases::default() };
    let (sparse, shared) = (sparse_layers(r, c.layers)?, r.size("shared_expert_intermediate_size")?);
    c.experts = experts(r, sparse)?.map(|experts| Experts { shared: Some(shared), ..experts });
    Ok(c)
}

/// The experts of Qwen's configurations.
pub(super) fn experts(r: &mut ConfigReader, sparse: Vec<bool>) -> Result<Option<Experts>> {
    // Written under either name, or both.
    let local = r.optional_size("num_local_experts")?;
    let count = r.optional_size("num_experts")?.or(local);
    let Some(count) = count else { return Err(r.bad("num_experts", "a number of experts")) };
    let top = r.size("num_experts_per_tok")?;
    if top > count {
        return Err(r.bad("num_experts_per_tok", format!("at most num_experts = {count}")));
    }
    let ffn = r.size("moe_intermediate_size")?;
    let normalise = r.flag("norm_topk_prob", false)?;
    Ok(Some(Experts { count, ffn, routing: softmax(top, normalise), shared: None, sparse }))
}

/// The usual routing: the best of a softmax over all experts.
pub(super) fn softmax(top: usize, normalise: bool) -> Routing {
    Routing { top, scoring: Scoring::Softmax, groups: 1, top_groups: 1, group_best: 1, normalise, scale: 1.0 }
}

/// Which layers have experts: every `decoder_sparse_step`-th, but for `mlp_only_layers`.
pub(super) fn sparse_layers(r: &mut ConfigReader, layers: usize) -> Result<Vec<bool>> {
    let step = r.optional_size("decoder_sparse_step")?.unwrap_or(1);
    let dense = r.sizes("mlp_only_layers")?.unwrap_or_default();
    Ok((0..layers).map(|i| !dense.contains(&i) && (i + 1) % step == 0).collect())
}

fn holds(c: &Config) -> Result<(), &'static str> {
    match &c.experts {
        Some(experts) if experts.routing.normalise => {
            Err("its graph for `qwen2moe` keeps the chosen scores as they are")
        }
        Some(experts) if experts.sparse.iter().all(|sparse| *sparse) => plain(c),
        _ => Err("its graph for `qwen2moe` has experts in every layer"),
    }?;
    if c.head == crate::model::Head::Tied {
        return Err("its graph for `qwen2moe` has a head of its own");
    }
    if c.heads * c.head_dim == c.hidden {
        Ok(())
    } else {
        Err("its graph for `qwen2moe` has heads as wide as hidden_size")
    }
}

fn keys(c: &Config, keys: &mut Keys) {
    keys.decoder(c);
    if c.own_head_dim {
        keys.head_size(c);
    }
    keys.experts(c);
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("Qwen2MoeForCausalLM", "qwen2_moe");
    header.decoder()?;
    header.set("qkv_bias", header.has("blk.0.attn_q.bias"));
    header.experts("num_experts")?;
    let shared = header.size("expert_shared_feed_forward_length")?;
    header.set("shared_expert_intermediate_size", shared);
    header.set("norm_topk_prob", false);
    header.layer_windows()
}
