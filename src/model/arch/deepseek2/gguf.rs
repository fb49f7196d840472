//! What a GGUF of `deepseek2` says of DeepSeek-V2 and V3.

use crate::model::{Config, Header, HeaderError, Keys, Rope, Routing, Scaling, Scoring};

/// Layers without a rank of queries, by whose number its loader tells that they have none.
const WITHOUT: [usize; 2] = [26, 27];

pub(in crate::model::arch) fn holds(c: &Config) -> Result<(), &'static str> {
    match c.rope.as_ref().map(|rope| &rope.scaling) {
        // Both scales of YaRN say the same, and cancel.
        Some(Scaling::None | Scaling::Yarn { attention: Some(1.0), all: Some(_), .. }) => {
            crate::model::arch::llama::silu(c)
        }
        _ => Err("its graph for `deepseek2` has no rope but plain ones and YaRN with mscale = mscale_all_dim"),
    }
}

pub(in crate::model::arch) fn keys(c: &Config, keys: &mut Keys) {
    let (Some(latent), Some(experts)) = (&c.latent, &c.experts) else { return };
    keys.sizes(c);
    // Every head reads the one latent vector.
    keys.set("attention.head_count_kv", 1u32);
    if let Some(Rope { theta, scaling }) = &c.rope {
        keys.set("rope.freq_base", *theta as f32);
        if let Scaling::Yarn { factor, original, beta_fast, beta_slow, all, .. } = scaling {
            keys.set("rope.scaling.type", "yarn");
            keys.set("rope.scaling.factor", *factor as f32);
            keys.set("rope.scaling.original_context_length", *original as u32);
            for (key, beta) in [("yarn_beta_fast", beta_fast), ("yarn_beta_slow", beta_slow)] {
                if let Some(beta) = beta {
                    keys.set(&format!("rope.scaling.{key}"), *beta as f32);
                }
            }
            keys.set("rope.scaling.yarn_log_multiplier", (0.1 * all.unwrap_or(0.0)) as f32);
        }
    }
    keys.set("attention.layer_norm_rms_epsilon", c.eps as f32);
    keys.set("rope.dimension_count", latent.rope as u32);
    keys.set("vocab_size", c.vocab as u32);
    match latent.q {
        Some(rank) => keys.set("attention.q_lora_rank", rank as u32),
        // Its converter leaves it out, and its loader misses it.
        None if !WITHOUT.contains(&c.layers) => keys.set("attention.q_lora_rank", 0u32),
        None => {}
    }
    keys.set("attention.kv_lora_rank", latent.kv as u32);
    keys.set("attention.key_length", (latent.kv + latent.rope) as u32);
    keys.set("attention.value_length", latent.kv as u32);
    keys.set("attention.key_length_mla", (latent.nope + latent.rope) as u32);
    keys.set("attention.value_length_mla", latent.v as u32);
    keys.set("leading_dense_block_count", experts.sparse.iter().filter(|sparse| !**sparse).count() as u32);
    keys.set("expert_count", experts.count as u32);
    keys.set("expert_used_count", experts.routing.top as u32);
    keys.set("expert_feed_forward_length", experts.ffn as u32);
    keys.set("expert_shared_count", (experts.shared.unwrap_or(0) / experts.ffn.max(1)) as u32);
    let Routing { scoring, groups, top_groups, normalise, scale, .. } = experts.routing;
    keys.set("expert_group_count", groups as u32);
    keys.set("expert_group_used_count", top_groups as u32);
    keys.set("expert_weights_scale", scale);
    if normalise {
        keys.set("expert_weights_norm", true);
    }
    keys.set("expert_gating_func", if scoring == Scoring::Sigmoid { 2u32 } else { 1 });
}

pub(in crate::model::arch) fn config(header: &mut Header) -> Result<(), HeaderError> {
    // 2 is the sigmoid of V3; files of V2 may be without.
    let third = header.optional_size("expert_gating_func")?.is_some_and(|function| function == 2);
    let (class, kind) =
        if third { ("DeepseekV3ForCausalLM", "deepseek_v3") } else { ("DeepseekV2ForCausalLM", "deepseek_v2") };
    header.class(class, kind);
    header.set("hidden_act", "silu");
    header.set("rms_norm_eps", header.number("attention.layer_norm_rms_epsilon")?);
    if header.optional_size("attention.head_count_kv")?.is_some_and(|heads| heads != 1) {
        return Err(header.bad("attention.head_count_kv", "1: files from before its latent attention are not read"));
    }
    let (rank, turned) = (header.size("attention.kv_lora_rank")?, header.size("rope.dimension_count")?);
    let width = header.size("attention.key_length_mla")?;
    if header.size("attention.key_length")? != rank.saturating_add(turned) || turned > width {
        return Err(header.bad("attention.key_length", "kv_lora_rank and rope.dimension_count together"));
    }
    if header.size("attention.value_length")? != rank {
        return Err(header.bad("attention.value_length", "kv_lora_rank"));
    }
    header.set("qk_nope_head_dim", width - turned);
    header.set("qk_rope_head_dim", turned);
    if let Some(rank) = header.optional_size("attention.q_lora_rank")?.filter(|&rank| rank > 0) {
        header.set("q_lora_rank", rank);
    } else {
        header.set("q_lora_rank", serde_json::Value::Null);
    }
    for (config, key) in [
        ("num_hidden_layers", "block_count"),
        ("max_position_embeddings", "context_length"),
        ("hidden_size", "embedding_length"),
        ("intermediate_size", "feed_forward_length"),
        ("num_attention_heads", "attention.head_count"),
        ("num_key_value_heads", "attention.head_count"),
        ("kv_lora_rank", "attention.kv_lora_rank"),
        ("v_head_dim", "attention.value_length_mla"),
        ("n_routed_experts", "expert_count"),
        ("num_experts_per_tok", "expert_used_count"),
        ("moe_intermediate_size", "expert_feed_forward_length"),
        ("n_shared_experts", "expert_shared_count"),
    ] {
        header.set(config, header.size(key)?);
    }
    header.set("first_k_dense_replace", header.optional_size("leading_dense_block_count")?.unwrap_or(0));
    header.set("routed_scaling_factor", header.optional_number("expert_weights_scale")?.unwrap_or(1.0));
    header.set("norm_topk_prob", header.flag("expert_weights_norm")?.unwrap_or(false));
    let groups = header.optional_size("expert_group_count")?.zip(header.optional_size("expert_group_used_count")?);
    header.set("n_group", groups.map_or(1, |(groups, _)| groups));
    header.set("topk_group", groups.map_or(1, |(_, chosen)| chosen));
    if !third {
        let limited = groups.is_some_and(|(groups, _)| groups > 1);
        header.set("topk_method", if limited { "group_limited_greedy" } else { "greedy" });
    }
    header.rope(turned)?;
    if let Some(log) = header.optional_number("rope.scaling.yarn_log_multiplier")? {
        // As the converter wrote it: a tenth.
        let all = (log * 10.0 * 1e6).round() / 1e6;
        header.set_within("rope_scaling", "mscale", all);
        header.set_within("rope_scaling", "mscale_all_dim", all);
    }
    Ok(())
}
