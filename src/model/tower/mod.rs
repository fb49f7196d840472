//! Vision towers: programs that make of an image rows for the language model, and what GGUF calls their parts.
//!
//! A tower is a list of layers as a decoder's are, over the rows of one image. Between two layers rows may be dropped, put
//! side by side or averaged: see [`Rows`]. Names are those of llama.cpp's `clip` files (`mmproj`).

mod clip;
mod pen;
mod qwen;
mod siglip;

use std::collections::{BTreeMap, BTreeSet};

use planish_formats::Info;
use planish_formats::gguf::Kv;

use super::multimodal::Multimodal;
use super::{ConfigReader, Error, Gather, Has, Json, Layer, Param, Result, Tensor, widths};
pub(super) use {clip::llava, qwen::qwen2, qwen::qwen2_5, siglip::gemma3};

/// A tower and its projector.
#[derive(Clone, Debug)]
pub struct Tower {
    /// In the order of execution.
    pub stages: Vec<Stage>,
    /// How an image is cut into the rows that the first layer reads.
    pub patches: Patches,
    /// The id of the tokens that its rows take the place of.
    pub image_token: u32,
    /// Why its program cannot be run, if it cannot: what it lacks.
    pub lacks: Option<&'static str>,
    /// Why llama.cpp cannot run it, if it cannot.
    pub unheld: Option<&'static str>,
    /// Tensors that GGUF has otherwise than the ops want them, each in the place of the op's of its name or beside them.
    stored: Vec<Tensor>,
    keys: Kv,
}

/// A layer, and how its rows come from those that the layer before made.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What is done to the rows first.
    pub rows: Rows,
    /// Elements of a row then.
    pub width: usize,
    /// Reads them as [`Carry::Hidden`](super::Carry::Hidden), of any width, and leaves others there.
    pub layer: Layer,
}

/// What is done to the rows of an image between two layers.
#[derive(Clone, Debug)]
pub enum Rows {
    /// Nothing.
    Same,
    /// One more comes before them: this one, `[width]`.
    After(Param),
    /// The first is dropped.
    WithoutFirst,
    /// So many that follow each other become one, side by side.
    Joined(usize),
    /// They lie in a square; each square of so many by so many becomes its mean.
    Means(usize),
}

/// How an image is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patches {
    /// Square images of so many pixels a side in square patches of so many: each patch is a row of its three channels.
    Square {
        /// Pixels a side of the image.
        image: usize,
        /// Pixels a side of a patch.
        patch: usize,
    },
    /// Images of any size, already cut by their processor, in the order of the squares of `merge` by `merge` patches that
    /// become one row of the language model. Attention turns queries and keys by a patch's row and column.
    Cut {
        /// Elements of a patch.
        width: usize,
        /// Patches a side of a square.
        merge: usize,
    },
}

impl Patches {
    /// Elements of a row.
    pub fn width(self) -> usize {
        match self {
            Patches::Square { patch, .. } => 3 * patch * patch,
            Patches::Cut { width, .. } => width,
        }
    }
}

/// What an image's processor was given: `preprocessor_config.json`.
#[derive(Clone, Debug, Default)]
pub struct Preprocessor {
    /// Taken from each channel.
    pub mean: Vec<f32>,
    /// What each channel is divided by then.
    pub std: Vec<f32>,
}

/// What writes a tower: the reader of the whole, that of `vision_config`, the width of the language model.
pub(super) type Write = fn(&mut ConfigReader, &mut ConfigReader, usize, Has<'_>) -> Result<Tower>;

impl Multimodal {
    /// The tower of a checkpoint of this class whose tensors have these names.
    pub fn tower(&self, json: &Json, has: impl Fn(&str) -> bool) -> Result<Tower> {
        let language = super::architecture(json)?.config(json)?;
        let mut outer = ConfigReader::new(json);
        let mut vision = outer.object("vision_config")?.ok_or(Error::MissingKey { key: "vision_config".to_owned() })?;
        let tower = (self.tower)(&mut outer, &mut vision, language.hidden, &has)?;
        vision.finish(self.name)?;
        tower.check()?;
        Ok(tower)
    }
}

impl Tower {
    /// Every op gets what it reads, and every layer the rows that are left to it.
    fn check(&self) -> Result<()> {
        let mut left = self.patches.width();
        for Stage { rows, width, layer } in &self.stages {
            let made = match rows {
                Rows::Same | Rows::WithoutFirst | Rows::After(_) | Rows::Means(_) => Some(left),
                Rows::Joined(count) => left.checked_mul(*count),
            };
            let wrong = |what: String| Error::Width { layer: layer.name.clone(), op: 0, what };
            if made != Some(*width) {
                return Err(wrong(format!("reads rows of {width}, left are {left}")));
            }
            let widths = widths(layer, |_| Some(*width))?;
            let last = layer.results.iter().find_map(|(_, value)| widths.get(value.index()));
            left = *last.ok_or_else(|| wrong("leaves nothing".to_owned()))?;
        }
        Ok(())
    }

    /// All tensors of its GGUF, each once. Every tensor of the checkpoint that one comes from is there and as large as it
    /// has to be; of those that `belongs` says are the tower's none is left that nobody knows.
    pub fn release<S>(&self, checkpoint: &[Info<S>], belongs: impl Fn(&str) -> bool) -> Result<Vec<Tensor>> {
        if let Some(what) = self.unheld {
            return Err(Error::NotInGguf { architecture: "clip", what });
        }
        let found: BTreeMap<&str, &[usize]> =
            checkpoint.iter().map(|i| (i.name.as_str(), i.shape.as_slice())).collect();
        let names: BTreeSet<&str> = self.stored.iter().map(|t| t.name.as_str()).collect();
        let ops = self.params().filter(|p| !names.contains(p.name.as_str())).map(tensor);
        let mut tensors: Vec<Tensor> = ops.collect();
        tensors.extend(self.stored.iter().cloned());
        let (mut missing, mut used) = (vec![], BTreeSet::new());
        for t in &tensors {
            for (name, expected) in t.gather.sources(&t.shape) {
                let size = |shape: &[usize]| shape.iter().try_fold(1usize, |n, &m| n.checked_mul(m));
                match found.get(name) {
                    None => missing.push(name.to_owned()),
                    // A convolution's kernel is as good as a matrix.
                    Some(shape) if shape.first() != expected.first() || size(shape) != size(&expected) => {
                        return Err(Error::Shape { tensor: name.to_owned(), found: shape.to_vec(), expected });
                    }
                    Some(_) => {}
                }
                used.insert(name.to_owned());
            }
        }
        if !missing.is_empty() {
            return Err(Error::MissingTensors { tensors: missing });
        }
        let left = found.keys().filter(|name| belongs(name) && !used.contains(**name) && !unread(name));
        let left: Vec<String> = left.map(|&name| name.to_owned()).collect();
        if left.is_empty() {
            Ok(tensors)
        } else {
            Err(Error::UnexpectedTensors { architecture: "clip", tensors: left })
        }
    }

    /// A key of its GGUF that only it says, as text.
    pub fn fact(&self, key: &str) -> String {
        match self.keys.str(key) {
            Some(text) => text.to_owned(),
            None => self.keys.unsigned(key).map_or(String::new(), |number| number.to_string()),
        }
    }

    /// Its weights and biases, in the order of execution.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        self.stages.iter().flat_map(|stage| {
            let first = match &stage.rows {
                Rows::After(param) => Some(param),
                Rows::Same | Rows::WithoutFirst | Rows::Joined(_) | Rows::Means(_) => None,
            };
            first.into_iter().chain(stage.layer.params())
        })
    }

    /// The keys of its GGUF, `clip.*`.
    ///
    /// # Errors
    /// A processor that does not say what it takes from pixels and divides them by.
    pub fn keys(&self, preprocessor: &Preprocessor) -> Result<Kv> {
        let mut kv = self.keys.clone();
        for (key, values) in [("image_mean", &preprocessor.mean), ("image_std", &preprocessor.std)] {
            if values.len() != 3 {
                return Err(Error::MissingKey { key: format!("{key} of preprocessor_config.json") });
            }
            kv.set(format!("clip.vision.{key}"), values.clone());
        }
        Ok(kv)
    }
}

fn tensor(p: &Param) -> Tensor {
    Tensor {
        name: p.name.clone(),
        role: p.role,
        block: None,
        gather: p.from.clone(),
        shape: p.shape.clone(),
        keep_f32: keeps_f32(&p.name, p.shape.len()),
    }
}

/// What llama.cpp's converter keeps in F32 whatever the file's type.
fn keeps_f32(name: &str, dimensions: usize) -> bool {
    dimensions <= 1 || name.contains("position_embd") || name.ends_with("_norm.weight") || !name.ends_with(".weight")
}

/// What checkpoints have of a tower and no program reads: numbers of positions, and the part of a tower after the layer
/// whose rows are taken.
fn unread(name: &str) -> bool {
    [".position_ids", ".inv_freq"].iter().any(|end| name.ends_with(end))
        || [".post_layernorm.", ".encoder.layers.", "vision_model.head."].iter().any(|part| name.contains(part))
}

/// The prefix among `all` under which the checkpoint has this tensor; the first without one.
fn root(has: Has<'_>, all: &[&'static str], tensor: &str) -> &'static str {
    all.iter().find(|root| has(&format!("{root}{tensor}"))).or(all.first()).copied().unwrap_or_default()
}

/// A tensor as it lies in the checkpoint, of another shape than the ops have it.
fn as_stored(name: &str, gather: Gather, shape: Vec<usize>, like: super::Role, keep_f32: bool) -> Tensor {
    Tensor { name: name.to_owned(), role: like, block: None, gather, shape, keep_f32 }
}
