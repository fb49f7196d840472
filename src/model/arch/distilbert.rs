//! DistilBERT: BERT without kinds of text, under names of its own.

use crate::model::config::{activation, head, layers};
use crate::model::encoder::{self, BERT, HeadNames, Style, config, holds, keys};
use crate::model::{Activation, Architecture, Biases, Bidirectional, Config, ConfigReader, Gguf, Has, Model, Result};

/// The architecture of this file.
pub(super) static DISTILBERT: Architecture = Architecture {
    name: "distilbert",
    models: "DistilBERT",
    hf: &["DistilBertModel", "DistilBertForMaskedLM"],
    model_types: &["distilbert"],
    roots: &["", "distilbert."],
    embedding: "embeddings.word_embeddings.weight",
    read,
    write,
    gguf: Some(Gguf { name: "bert", holds, keys, config }),
};

const STYLE: Style = Style {
    block: ["transformer.layer.", "."],
    qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    out: "attention.out_lin",
    attn_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    norm: "output_layer_norm",
    head: HeadNames {
        dense: "vocab_transform",
        act: None,
        norm: "vocab_layer_norm",
        decoder: "vocab_projector",
        bias: "vocab_projector.bias",
    },
    ..BERT
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let (hidden, heads) = (r.size("dim")?, r.size("n_heads")?);
    if hidden % heads != 0 {
        return Err(r.bad("dim", format!("a multiple of n_heads = {heads}")));
    }
    // Says how positions were trained; the checkpoint has them either way.
    r.flag("sinusoidal_pos_embds", false)?;
    let layers = layers(r, "n_layers")?;
    Ok(Config {
        vocab: r.size("vocab_size")?,
        context: r.size("max_position_embeddings")?,
        hidden,
        layers,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        ffn: r.size("hidden_dim")?,
        act: activation(r, "activation", Activation::Gelu)?,
        eps: 1e-12,
        windows: vec![None; layers],
        bias: Biases { qkv: true, out: true, ffn: true, norm: true },
        head: head(r, true)?,
        encoder: Some(Bidirectional { token_types: 0, first_position: 0, embedding: hidden, groups: layers }),
        ..Config::usual()
    })
}

fn write(c: &Config, root: &str, has: Has) -> Model {
    encoder::encoder(c, root, has, &STYLE)
}
