//! The encoder of T5 by itself: its last hidden states.

use super::t5::{EMBEDDING, encoder, holds, keys, shape, sizes};
use crate::model::{
    Architecture, Config, ConfigReader, Gguf, Has, Head, Header, HeaderError, Model, Objective, Result,
};

/// The architecture of this file.
pub(super) static T5ENCODER: Architecture = Architecture {
    name: "t5encoder",
    models: "encoders of T5 (sentence-T5, text encoders of image models)",
    hf: &["T5EncoderModel"],
    model_types: &[],
    roots: &[""],
    embedding: EMBEDDING,
    read,
    write,
    gguf: Some(Gguf { name: "t5encoder", holds, keys, config }),
};

fn read(r: &mut ConfigReader) -> Result<Config> {
    let config = sizes(r)?;
    // They are of a decoder and a head that it does not have.
    r.flag("tie_word_embeddings", true)?;
    r.flag("scale_decoder_outputs", true)?;
    let pair = config.pair.map(|pair| crate::model::Pair { decoder_layers: 0, start: 0, ..pair });
    Ok(Config { head: Head::None, pair, ..config })
}

fn write(c: &Config, _: &str, _: Has) -> Model {
    let pair = c.pair.unwrap_or_else(|| unreachable!("its reader sets it"));
    Model { stacks: vec![encoder(c, pair)], objective: Objective::Hidden, tables: vec![] }
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    header.class("T5EncoderModel", "t5");
    shape(header)
}
