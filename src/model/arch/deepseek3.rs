//! DeepSeek-V3 and R1: V2 with experts chosen by sigmoids and a correction that no gradient trains (arXiv 2412.19437).

use super::deepseek2::{STYLE, experts, gguf, groups, latent};
use crate::model::decoder::{ExpertNames, Style, decoder};
use crate::model::{Architecture, Config, ConfigReader, Gguf, Result, Routing, Scoring};

/// The architecture of this file.
pub(super) static DEEPSEEK3: Architecture = Architecture {
    name: "deepseek3",
    models: "DeepSeek-V3, R1",
    hf: &["DeepseekV3ForCausalLM", "DeepseekV3Model"],
    model_types: &["deepseek_v3"],
    roots: &["model.", ""],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| {
        let experts = ExpertNames { correction: Some("mlp.gate.e_score_correction_bias"), ..STYLE.experts };
        decoder(c, root, has, &Style { experts, ..STYLE })
    },
    gguf: Some(Gguf { name: "deepseek2", holds: gguf::holds, keys: gguf::keys, config: gguf::config }),
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = latent(r)?;
    for (key, only) in [("topk_method", "noaux_tc"), ("scoring_func", "sigmoid")] {
        if r.text(key)?.is_some_and(|found| found != only) {
            return Err(r.bad(key, only));
        }
    }
    if !r.flag("rope_interleave", true)? {
        return Err(r.bad("rope_interleave", "true"));
    }
    let (groups, top_groups) = groups(r)?.unwrap_or((8, 4));
    let normalise = r.flag("norm_topk_prob", true)?;
    let scale = r.optional_positive("routed_scaling_factor")?.unwrap_or(2.5) as f32;
    let routing = |top| Routing { top, scoring: Scoring::Sigmoid, groups, top_groups, group_best: 2, normalise, scale };
    c.experts = experts(r, c.layers, routing)?;
    Ok(c)
}
