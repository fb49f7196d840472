//! BERT, and what was trained from it: sentence embeddings as a rule have this shape.

use crate::model::encoder::{self, BERT as STYLE, config, holds, keys};
use crate::model::{Architecture, Config, Gguf, Has, Model};

/// The architecture of this file.
pub(super) static BERT: Architecture = Architecture {
    name: "bert",
    models: "BERT, MiniLM, BGE, E5, GTE and other sentence embeddings of its shape",
    hf: &["BertModel", "BertForMaskedLM", "BertForPreTraining"],
    model_types: &["bert"],
    roots: &["", "bert."],
    embedding: "embeddings.word_embeddings.weight",
    read: |r| encoder::read(r, 0),
    write,
    gguf: Some(Gguf { name: "bert", holds, keys, config }),
};

fn write(c: &Config, root: &str, has: Has) -> Model {
    encoder::encoder(c, root, has, &STYLE)
}
