//! What a checkpoint is, for people: the keys a GGUF of it would have, as far as they can be told.

use planish_formats::gguf::{Kv, Value};

use super::{About, Checkpoint, Pooling};
use crate::dialect::Stored;
use crate::model::{Multimodal, Patches};
use crate::{model, text};

/// A checkpoint described without reading a weight.
pub struct Description {
    /// The class or GGUF architecture it names.
    pub class: Option<String>,
    /// Metadata: a GGUF's own, or what its GGUF would have.
    pub kv: Kv,
    /// Why parts of the metadata are missing.
    pub problems: Vec<String>,
    /// What is in it beside the language model: its class, and facts of the tower as far as they can be told.
    pub vision: Option<(&'static str, Vec<(&'static str, String)>)>,
    /// Storage, number of tensors and bytes; largest share first.
    pub types: Vec<(Stored, usize, u64)>,
    /// Number of elements.
    pub elements: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
}

/// Describes `checkpoint`, whether or not it can be converted.
pub fn describe(checkpoint: &Checkpoint) -> Description {
    let (class, kv, problems) = match &checkpoint.about {
        About::Gguf(kv) => (kv.str("general.architecture").map(str::to_owned), kv.clone(), vec![]),
        About::HuggingFace { config, .. } => {
            let class = config.get("architectures").and_then(|list| list.get(0)?.as_str()).map(str::to_owned);
            let (kv, problems) = would_be_keys(checkpoint, config);
            (class, kv, problems)
        }
    };
    let vision = match &checkpoint.about {
        About::HuggingFace { config, .. } => {
            model::multimodal(config).map(|class| (class.name, vision(checkpoint, class, config)))
        }
        About::Gguf(_) => None,
    };
    let mut types: Vec<(Stored, usize, u64)> = vec![];
    let mut elements = 0;
    for info in checkpoint.source.infos() {
        let bytes = info.storage.bytes(&info.shape);
        elements += info.elements() as u64;
        match types.iter_mut().find(|(storage, ..)| *storage == info.storage) {
            Some((_, count, sum)) => (*count, *sum) = (*count + 1, *sum + bytes),
            None => types.push((info.storage, 1, bytes)),
        }
    }
    types.sort_by_key(|(_, _, bytes)| std::cmp::Reverse(*bytes));
    Description { class, kv, problems, vision, types, elements, bytes: checkpoint.tensor_bytes() }
}

/// Facts of a tower, or why there are none.
fn vision(checkpoint: &Checkpoint, class: &Multimodal, config: &super::Json) -> Vec<(&'static str, String)> {
    let infos = checkpoint.source.infos();
    let own: Vec<_> =
        infos.iter().filter(|info| class.towers.iter().any(|start| info.name.starts_with(start))).collect();
    let bytes: u64 = own.iter().map(|info| info.storage.bytes(&info.shape)).sum();
    let mut facts = vec![("tensors", own.len().to_string()), ("bytes", bytes.to_string())];
    match class.tower(config, |name| infos.iter().any(|info| info.name == name)) {
        Ok(tower) => {
            facts.push(("projector", tower.fact("clip.projector_type")));
            for (label, key) in [
                ("layers", "block_count"),
                ("hidden", "embedding_length"),
                ("heads", "attention.head_count"),
                ("patch", "patch_size"),
            ] {
                facts.push((label, tower.fact(&format!("clip.vision.{key}"))));
            }
            if let Patches::Square { image, .. } = tower.patches {
                facts.push(("image", image.to_string()));
            }
        }
        Err(error) => facts.push(("problem", error.to_string())),
    }
    facts
}

fn would_be_keys(checkpoint: &Checkpoint, config: &super::Json) -> (Kv, Vec<String>) {
    let (mut kv, mut problems) = (Kv::new(), vec![]);
    let mut rows = None;
    match model::architecture(config).and_then(|architecture| Ok((architecture, architecture.config(config)?))) {
        Ok((architecture, settings)) => {
            match model::gguf_keys(architecture, &settings) {
                Ok(keys) => kv.extend(keys),
                Err(error) => problems.push(error.to_string()),
            }
            match (Pooling::folder(checkpoint.dir()), &architecture.gguf) {
                (Ok(Some(pooling)), Some(gguf)) => kv.set(format!("{}.pooling_type", gguf.name), pooling.number()),
                (Ok(_), _) => {}
                (Err(error), _) => problems.push(error.to_string()),
            }
            rows = Some(settings.vocab);
        }
        Err(error) => problems.push(error.to_string()),
    }
    let rows = rows.or_else(|| usize::try_from(config.get("vocab_size")?.as_u64()?).ok()).unwrap_or(0);
    match text::vocabulary(&text::Request { dir: checkpoint.dir(), rows, config, pre: None }) {
        Ok(vocabulary) => kv.extend(vocabulary.kv),
        Err(error) => problems.push(error.to_string()),
    }
    (kv, problems)
}

/// A metadata value on one line; long ones are cut, arrays counted.
pub fn brief(value: &Value) -> String {
    const WIDTH: usize = 60;
    let text = match value {
        Value::U8(v) => v.to_string(),
        Value::I8(v) => v.to_string(),
        Value::U16(v) => v.to_string(),
        Value::I16(v) => v.to_string(),
        Value::U32(v) => v.to_string(),
        Value::I32(v) => v.to_string(),
        Value::F32(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        Value::U64(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        Value::F64(v) => v.to_string(),
        Value::String(v) => format!("{v:?}"),
        Value::Array(array) => return format!("{} x {}", array.len(), array.type_name()),
    };
    match text.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
