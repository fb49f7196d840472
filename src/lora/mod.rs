//! Low-rank adapters as PEFT saves them, merged into a checkpoint's weights while these are read.
//!
//! `W + scale * B A`, row by row in f32 (arXiv 2106.09685): no merged copy of the checkpoint is made, and memory is that of
//! `A` and `B`. Every tensor of the adapter goes somewhere, or the adapter is refused.

mod config;
mod error;

use std::collections::BTreeMap;
use std::path::Path;

use planish_formats::{Dtype, Source, Storage, View};
use planish_kernels::{Isa, block};

use crate::checkpoint::read_json;
use crate::dialect::Delta;
use config::Config;
pub use error::{Error, Result};

/// An adapter, read but for the weights that it replaces.
pub struct Adapter {
    /// Its tensors.
    pub(crate) source: Box<dyn Source>,
    /// What is added, by the weight's name without what may stand before it.
    pub(crate) deltas: Vec<(String, Delta)>,
    /// Weights of its own in the place of the checkpoint's: the weight, and the tensor of `source`.
    pub(crate) instead: Vec<(String, String)>,
}

/// Where one half of a product lies, and how.
#[derive(Default)]
struct Halves {
    /// `[rank, in]`.
    a: Option<String>,
    /// `[out, rank]`.
    b: Option<String>,
    /// Of an embedding, whose rows are inputs.
    embedding: bool,
}

impl Adapter {
    /// Reads the adapter in `folder`; what it adds is multiplied by `scale` once more.
    pub fn open(folder: &Path, scale: f64) -> Result<Adapter> {
        let json = read_json(&folder.join("adapter_config.json")).map_err(Box::new)?;
        let config = Config::read(&json)?;
        let files = ["adapter_model.safetensors", "adapter_model.bin"].map(|name| folder.join(name));
        let file = files.iter().find(|file| file.is_file());
        let source = planish_formats::open(file.ok_or_else(|| Error::NoWeights { folder: folder.to_owned() })?)?;
        let (mut modules, mut instead): (BTreeMap<String, Halves>, _) = (BTreeMap::new(), vec![]);
        for info in source.infos() {
            let name = info.name.strip_prefix("base_model.model.").unwrap_or(&info.name);
            match part(name) {
                Some((module, Part::A(embedding))) => {
                    let halves = modules.entry(module.to_owned()).or_default();
                    (halves.a, halves.embedding) = (Some(info.name.clone()), embedding);
                }
                Some((module, Part::B(embedding))) => {
                    let halves = modules.entry(module.to_owned()).or_default();
                    (halves.b, halves.embedding) = (Some(info.name.clone()), embedding);
                }
                None if name.contains("lora_") || !matches!(name.rsplit_once('.'), Some((_, "weight" | "bias"))) => {
                    return Err(Error::Strange { tensor: info.name.clone() });
                }
                None => {
                    // An embedding with an adapter is saved with what it is added to.
                    let weight = name.replace(".modules_to_save.default.", ".").replace(".base_layer.", ".");
                    instead.push((weight, info.name.clone()));
                }
            }
        }
        let mut deltas = vec![];
        for (module, halves) in modules {
            let scale = (config.scale(&module) * scale) as f32;
            let turned = halves.embedding || config.fan_in_fan_out;
            let delta = product(source.as_ref(), halves, scale, turned)?;
            deltas.push((format!("{module}.weight"), delta));
        }
        Ok(Adapter { source, deltas, instead })
    }
}

/// A half, and whether it is an embedding's.
enum Part {
    A(bool),
    B(bool),
}

/// The module and which half of its product a tensor is.
fn part(name: &str) -> Option<(&str, Part)> {
    [
        (".lora_A.weight", Part::A(false)),
        (".lora_B.weight", Part::B(false)),
        (".lora_A.default.weight", Part::A(false)),
        (".lora_B.default.weight", Part::B(false)),
        (".lora_embedding_A", Part::A(true)),
        (".lora_embedding_B", Part::B(true)),
        (".lora_embedding_A.default", Part::A(true)),
        (".lora_embedding_B.default", Part::B(true)),
    ]
    .into_iter()
    .find_map(|(end, part)| Some((name.strip_suffix(end)?, part)))
}

/// `scale * b x a`, or that transposed.
fn product(source: &dyn Source, halves: Halves, scale: f32, turned: bool) -> Result<Delta> {
    let (a, b) = match (halves.a, halves.b) {
        (Some(a), Some(b)) => (a, b),
        (Some(tensor), None) | (None, Some(tensor)) => return Err(Error::Half { tensor }),
        (None, None) => return Err(Error::Half { tensor: "module".to_owned() }),
    };
    let ([rank, _], down) = matrix(source, &a)?;
    let ([_, width], up) = matrix(source, &b)?;
    let shape = source.view(&b)?.info.shape.clone();
    let wrong = || Error::Shape { tensor: b.clone(), found: shape, weight: a.clone(), expected: vec![rank] };
    if width != rank {
        return Err(wrong());
    }
    // (B A)^T = A^T B^T.
    let (up, down) =
        if turned { (transposed(&down, rank), transposed(&up, up.len() / rank.max(1))) } else { (up, down) };
    Delta::new(rank, scale, up, down).ok_or_else(wrong)
}

/// A matrix of the adapter in f32.
fn matrix(source: &dyn Source, name: &str) -> Result<([usize; 2], Vec<f32>)> {
    let View { info, bytes } = source.view(name)?;
    let elements = |found| Error::Elements { tensor: name.to_owned(), found };
    let Storage::Plain(Dtype::F32 | Dtype::F16 | Dtype::BF16) = info.storage else {
        return Err(elements(info.storage.name()));
    };
    let [rows, cols] = info.shape[..] else {
        let (tensor, weight) = (name.to_owned(), "half of a product".to_owned());
        return Err(Error::Shape { tensor, found: info.shape.clone(), weight, expected: vec![0, 0] });
    };
    let values = decoded(&View { info, bytes }).ok_or_else(|| elements(info.storage.name()))?;
    Ok(([rows, cols], values))
}

fn decoded(view: &View<'_>) -> Option<Vec<f32>> {
    let codec = block::codec(view.info.storage.name())?;
    let mut values = vec![0.0; view.info.elements()];
    codec.decode(Isa::detected(), view.bytes, &mut values);
    Some(values)
}

/// Whether two tensors have the same elements, whatever their types.
pub(crate) fn same_numbers(a: &View<'_>, b: &View<'_>) -> bool {
    a.info.shape == b.info.shape && decoded(a).is_some_and(|a| decoded(b).is_some_and(|b| a == b))
}

/// Of `rows` rows.
fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let cols = values.len() / rows.max(1);
    (0..cols).flat_map(|c| (0..rows).map(move |r| values[r * cols + c])).collect()
}
