//! The language models of Qwen2-VL and Qwen2.5-VL: Qwen2 whose rope turns by three positions: time, row, column. Those of
//! text are all one, so for text it is Qwen2's.

use crate::model::decoder::{Style, decoder};
use crate::model::{Architecture, Config, ConfigReader, Gguf, Header, HeaderError, Keys, Result};

/// The architecture of this file.
pub(super) static QWEN2VL: Architecture = Architecture {
    name: "qwen2vl",
    models: "Qwen2-VL, Qwen2.5-VL (language model)",
    hf: &["Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"],
    model_types: &["qwen2_vl", "qwen2_5_vl"],
    roots: &["model."],
    embedding: "embed_tokens.weight",
    read,
    write: |c, root, has| decoder(c, root, has, &Style::LLAMA),
    gguf: Some(Gguf { name: "qwen2vl", holds: super::qwen2::holds, keys, config }),
};

/// How many frequencies turn by each of the three.
const KEY: &str = "mrope_section";

fn read(r: &mut ConfigReader) -> Result<Config> {
    let mut c = super::qwen2::read(r)?;
    let sections = r.sizes(KEY)?.ok_or_else(|| crate::model::Error::MissingKey { key: KEY.to_owned() })?;
    let whole = sections.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
    c.sections = match sections[..] {
        [time, row, column] if whole == Some(c.head_dim / 2) => Some([time, row, column]),
        _ => return Err(r.bad(KEY, format!("three sizes that make {}", c.head_dim / 2))),
    };
    Ok(c)
}

fn keys(c: &Config, keys: &mut Keys) {
    super::qwen2::keys(c, keys);
    if let Some(sections) = c.sections {
        let list: Vec<i32> = sections.iter().map(|&n| n as i32).chain([0]).collect();
        keys.set("rope.dimension_sections", list);
    }
}

fn config(header: &mut Header) -> Result<(), HeaderError> {
    super::qwen2::config(header)?;
    header.class("Qwen2VLForConditionalGeneration", "qwen2_vl");
    header.sections()
}
