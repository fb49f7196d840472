//! DeepSeek-V2 and V2.5: latent attention, many narrow experts and shared ones (arXiv 2405.04434). Also what V3 has of it.

pub(super) mod gguf;

use crate::model::config::{activation, head, layers};
use crate::model::decoder::{ExpertNames, Style, decoder};
use crate::model::{
    Activation, Architecture, Config, ConfigReader, Experts, Gguf, Latent, Result, Rope, Routing, Scoring, Turn,
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
    gguf: Some(Gguf { name: "deepseek2", holds: gguf::holds, keys: gguf::keys, config: gguf::config }),
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
    // To choose from all groups is to have none; llama.cpp ends itself over such a file.
    let all = routing.top_groups == routing.groups;
    let routing = if all { Routing { groups: 1, top_groups: 1, ..routing } } else { routing };
    let shared = r.size("n_shared_experts")?;
    let sparse = (0..layers).map(|i| i >= dense).collect();
    Ok(Some(Experts { count, ffn, routing, shared: Some(shared.saturating_mul(ffn)), sparse }))
}
