//! ALBERT: its layers share their weights, and its embedding is narrower than they are.

use crate::model::encoder::{self, BERT, HeadNames, Style};
use crate::model::{Architecture, Bidirectional, Config, ConfigReader, Has, Model, Result};

/// The architecture of this file.
pub(super) static ALBERT: Architecture = Architecture {
    name: "albert",
    models: "ALBERT",
    hf: &["AlbertModel", "AlbertForMaskedLM", "AlbertForPreTraining"],
    model_types: &["albert"],
    roots: &["", "albert."],
    embedding: "embeddings.word_embeddings.weight",
    read,
    write,
    gguf: None,
};

const STYLE: Style = Style {
    mapping: "encoder.embedding_hidden_mapping_in",
    block: ["encoder.albert_layer_groups.", ".albert_layers.0."],
    qkv: ["attention.query", "attention.key", "attention.value"],
    out: "attention.dense",
    attn_norm: "attention.LayerNorm",
    up: "ffn",
    down: "ffn_output",
    norm: "full_layer_layer_norm",
    head: HeadNames {
        dense: "predictions.dense",
        act: None,
        norm: "predictions.LayerNorm",
        decoder: "predictions.decoder",
        bias: "predictions.bias",
    },
    ..BERT
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let config = encoder::read(r, 0)?;
    let groups = r.optional_size("num_hidden_groups")?.unwrap_or(1);
    if config.layers % groups != 0 {
        return Err(r.bad("num_hidden_groups", format!("a divisor of num_hidden_layers = {}", config.layers)));
    }
    if r.optional_size("inner_group_num")?.unwrap_or(1) != 1 {
        return Err(r.bad("inner_group_num", "1"));
    }
    // Left over from an experiment; the first releases have them, as they are here.
    for (key, none) in [("down_scale_factor", 1), ("gap_size", 0), ("net_structure_type", 0), ("num_memory_blocks", 0)]
    {
        if r.get(key).is_some_and(|value| value.as_u64() != Some(none)) {
            return Err(r.bad(key, none.to_string()));
        }
    }
    let embedding = r.optional_size("embedding_size")?.unwrap_or(128);
    let encoder = config.encoder.clone().map(|e| Bidirectional { embedding, groups, ..e });
    Ok(Config { encoder, ..config })
}

fn write(c: &Config, root: &str, has: Has) -> Model {
    encoder::encoder(c, root, has, &STYLE)
}
