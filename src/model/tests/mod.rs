//! The rules of the model layer, checked on every committed tiny model: `fixtures/golden-logits` (transformers' logits)
//! and `fixtures/gguf-listings` (what llama.cpp's converter made of them).

mod configs;
mod execute;
mod golden;
#[path = "../../../tests/support/installed.rs"]
mod installed;
mod listings;
mod programs;
mod restore;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use planish_formats::{Dtype, Info, Storage};

use super::{Architecture, Config, Json, architecture};
use installed::root;

/// A parsed object; panics with the path if it is none, for these are our own files.
fn object(path: &Path) -> Json {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn parse(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

/// The entries of a folder, by name.
fn listed(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder} is empty");
    paths
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// A small safetensors file, read whole.
struct Tensors {
    infos: Vec<Info>,
    bytes: BTreeMap<String, Vec<u8>>,
}

impl Tensors {
    fn read(path: &Path) -> Tensors {
        let file = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (length, rest) = file.split_at(8);
        let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let header: Json = serde_json::from_slice(header).unwrap();
        let (mut infos, mut bytes) = (vec![], BTreeMap::new());
        for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
            let numbers = |key: &str| -> Vec<usize> {
                entry[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
            };
            let dtype = Dtype::named(entry["dtype"].as_str().unwrap()).unwrap();
            let at = numbers("data_offsets");
            infos.push(Info { name: name.clone(), storage: Storage::Plain(dtype), shape: numbers("shape") });
            bytes.insert(name.clone(), data[at[0]..at[1]].to_vec());
        }
        Tensors { infos, bytes }
    }

    fn dtype(&self, name: &str) -> Dtype {
        match self.infos.iter().find(|i| i.name == name).map(|i| i.storage) {
            Some(Storage::Plain(dtype)) => dtype,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let bytes = &self.bytes[name];
        match self.dtype(name) {
            Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::BF16 => {
                bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect()
            }
            Dtype::F16 => {
                bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect()
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// A committed tiny model.
struct Case {
    name: String,
    architecture: &'static Architecture,
    config: Config,
    checkpoint: Tensors,
    golden: Tensors,
}

fn case(folder: &Path) -> Case {
    let json = object(&folder.join("config.json"));
    let architecture = architecture(&json).unwrap();
    Case {
        name: stem(folder),
        architecture,
        config: architecture.config(&json).unwrap_or_else(|e| panic!("{}: {e}", folder.display())),
        checkpoint: Tensors::read(&folder.join("model.safetensors")),
        golden: Tensors::read(&folder.join("logits.safetensors")),
    }
}

fn cases() -> impl Iterator<Item = Case> {
    listed("fixtures/golden-logits").into_iter().map(|folder| case(&folder))
}
