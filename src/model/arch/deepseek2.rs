//! DeepSeek-V2 and V2.5: latent attention, many narrow experts and shared ones (arXiv 2405.04434). Also what V3 has of it.

use crate::model::config::{activation, head, layers};
use crate::model::decoder::{ExpertNames, Style, decoder};
use crate::model::{
    Activation, Architecture, Config, ConfigReader, Experts, Gguf, Header, HeaderError, Keys, Latent, Result, Rope,
    Routing, Scaling, Scoring, Turn,
};

/// The architecture of this file.
pub(super) static DEEPSEEK2: Architecture = Architecture {
    name: "deepseek2",
    models: "DeepSeek-V2, V2-Lite, V2.5",
    hf: &["DeepseekV2ForCausalLM", "DeepseekV2Model"],
    model_types: &["deepseek_v2"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &STYLE),
    gguf: Some(Gguf { name: "deepseek2", holds, keys, config }),
};

/// Of V2; V3 has a correction more.
pub(super) const STYLE: Style = Style {
    turn: Turn::Pairs,
    experts: ExpertNames { shared: "mlp.shared_experts", ..ExpertNames::QWEN },
    ..Style::LLAMA
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = latent(r)?;
    let limited = match r.text("topk_method")? {
        None | Some("greedy") => false,
        Some("group_limited_greedy") => true,
        Some(_) => return Err(r.bad("topk_method", "greedy or group_limited_greedy")),
    };
    if !matches!(r.text("scoring_func")?, None | Some("softmax")) {
        return Err(r.bad("scoring_func", "softmax"));
    }
    // transformers computes nothing else.
    if r.flag("norm_topk_prob", false)? {
        return Err(r.bad("norm_topk_prob", "false"));
    }
    let groups = groups(r)?.filter(|_| limited);
    if limited && groups.is_none() {
        return Err(r.bad("n_group", "a number of groups: topk_method asks for it"));
    }
    let scale = r.optional_positive("routed_scaling_factor")?.unwrap_or(1.0) as f32;
    let (groups, top_groups) = groups.unwrap_or((1, 1));
    let routing =
        |top| Routing { top, scoring: Scoring::Softmax, groups, top_groups, group_best: 1, normalise: false, scale };
    c.experts = experts(r, c.layers, routing)?;
    Ok(c)
}

/// What V2 and V3 have in common but for experts.
pub(super) fn latent(r: &mut ConfigReader) -> Result<Config> {
    let context = r.size("max_position_embeddings")?;
    let (rope, _) = Rope::read(r, context)?;
    let (layers, heads) = (layers(r, "num_hidden_layers")?, r.size("num_attention_heads")?);
    let latent = Latent {
        q: r.optional_size("q_lora_rank")?,
        kv: r.size("kv_lora_rank")?,
        nope: r.size("qk_nope_head_dim")?,
        rope: r.size("qk_rope_head_dim")?,
        v: r.size("v_head_dim")?,
    };
    let dim = latent.nope + latent.rope;
    if !latent.rope.is_multiple_of(2) || latent.rope > crate::model::config::MAX_HEAD {
        return Err(r.bad("qk_rope_head_dim", "an even width"));
    }
    for (key, width) in [("head_dim", latent.rope), ("qk_head_dim", dim), ("num_key_value_heads", heads)] {
        if r.optional_size(key)?.is_some_and(|found| found != width) {
            return Err(r.bad(key, format!("{width}: latent attention has no other")));
        }
    }
    if r.flag("attention_bias", false)? || r.flag("mlp_bias", false)? {
        return Err(r.bad("attention_bias", "false, as mlp_bias"));
    }
    if r.optional_size("moe_layer_freq")?.is_some_and(|found| found != 1) {
        return Err(r.bad("moe_layer_freq", "1"));
    }
    let scale = rope.score_scale() / (dim as f64).sqrt();
    let mut c = Config {
        vocab: r.size("vocab_size")?,
        context,
        hidden: r.size("hidden_size")?,
        layers,
        heads,
        kv_heads: heads,
        head_dim: dim,
        ffn: r.size("intermediate_size")?,
        act: activation(r, "hidden_act", Activation::Silu)?,
        eps: r.positive("rms_norm_eps")?,
        rope: Some(rope),
        rotary: latent.rope,
        windows: vec![None; layers],
        head: head(r, false)?,
        latent: Some(latent),
        ahead: r.count("num_nextn_predict_layers")?,
        ..Config::usual()
    };
    c.scales.attention = Some(scale);
    Ok(c)
}

/// Groups of experts and how many of them are chosen from.
pub(super) fn groups(r: &mut ConfigReader) -> Result<Option<(usize, usize)>> {
    Ok(r.optional_size("n_group")?.zip(r.optional_size("topk_group")?))
}

/// The experts of all layers but the first few.
pub(super) fn experts(
    r: &mut ConfigReader,
    layers: usize,
    routing: impl FnOnce(usize) -> Routing,
) -> Result<Option<Experts>> {
    let count = r.size("n_routed_experts")?;
    let (ffn, dense) = (r.size("moe_intermediate_size")?, r.count("first_k_dense_replace")?);
    let routing = routing(r.size("num_experts_per_tok")?);
    if routing.groups == 0 || count % routing.groups != 0 || routing.top_groups > routing.groups {
        return Err(r.bad("n_group", format!("a divisor of n_routed_experts = {count}, and at least topk_group")));
    }
    let shared = r.size("n_shared_experts")?;
    let sparse = (0..layers).map(|i| i >= dense).collect();
    Ok(Some(Experts { count, ffn, routing, shared: Some(shared.saturating_mul(ffn)), sparse }))
}

/// Layers without a rank of queries, by whose number its loader tells that they have none.
const WITHOUT: [usize; 2] = [26, 27];

pub(super) fn holds(c: &Config) -> Result<(), &'static str> {
    match &c.rope {
        Some(Rope { scaling: Scaling::None, .. }) => Ok(()),
        // Both of its scales say the same then, and cancel.
        Some(Rope { scaling: Scaling::Yarn { attention: Some(1.0), all: Some(_), .. }, .. }) => Ok(()),
        _ => Err("its graph for `deepseek2` has no rope but plain ones and YaRN with mscale = mscale_all_dim"),
    }?;
    super::llama::silu(c)
}

pub(super) fn keys(c: &Config, keys: &mut Keys) {
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
    if groups > 1 || scoring == Scoring::Sigmoid {
        keys.set("expert_group_count", groups as u32);
        keys.set("expert_group_used_count", top_groups as u32);
    }
    keys.set("expert_weights_scale", scale);
    if normalise {
        keys.set("expert_weights_norm", true);
    }
    if scoring == Scoring::Sigmoid {
        keys.set("expert_gating_func", 2u32);
    }
}

pub(super) fn config(header: &mut Header) -> Result<(), HeaderError> {
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
