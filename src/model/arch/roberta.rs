//! RoBERTa, XLM-RoBERTa and CamemBERT: BERT, but for the row of the first position and the names of the head.

use crate::model::encoder::{self, BERT, HeadNames, Style, after_padding, config, holds, keys};
use crate::model::{Activation, Architecture, Config, ConfigReader, Gguf, Has, Model, Result};

/// The architecture of this file.
pub(super) static ROBERTA: Architecture = Architecture {
    name: "roberta",
    models: "RoBERTa, XLM-RoBERTa, CamemBERT, BGE-M3, multilingual E5",
    hf: &[
        "RobertaModel",
        "RobertaForMaskedLM",
        "XLMRobertaModel",
        "XLMRobertaForMaskedLM",
        "CamembertModel",
        "CamembertForMaskedLM",
    ],
    model_types: &["roberta", "xlm-roberta", "camembert"],
    roots: &["", "roberta."],
    embedding: "embeddings.word_embeddings.weight",
    read,
    write,
    gguf: Some(Gguf { name: "bert", holds, keys, config }),
};

const STYLE: Style = Style {
    head: HeadNames {
        dense: "lm_head.dense",
        act: Some(Activation::Gelu),
        norm: "lm_head.layer_norm",
        decoder: "lm_head.decoder",
        bias: "lm_head.bias",
    },
    ..BERT
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let first = after_padding(r)?;
    encoder::read(r, first)
}

fn write(c: &Config, root: &str, has: Has) -> Model {
    encoder::encoder(c, root, has, &STYLE)
}
