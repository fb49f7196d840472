//! What the tests of running models share.

#![allow(dead_code)]

pub(crate) mod installed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use planish::checkpoint::read_json;
use planish::dialect::Tensors;
use planish::model::{Model, architecture};
use planish::run::{Scratch, Weight};
use planish_formats::{Dtype, Info, Meta, Result, Source, Storage, View};
use planish_kernels::{Isa, block};

/// A folder's weights and the program over them.
pub(crate) fn open(folder: &Path) -> (Tensors, Model) {
    let config = read_json(&folder.join("config.json")).expect("config.json");
    let architecture = architecture(&config).expect("an architecture");
    let settings = architecture.config(&config).expect("a configuration");
    let source = Tensors::plain(planish_formats::open(&folder.join("model.safetensors")).expect("weights"));
    let model = architecture.program(&settings, |tensor| source.info(tensor).is_some()).expect("a program");
    (source, model)
}

/// The tensors of a checkpoint's GGUF, made in memory.
pub(crate) struct Released {
    infos: Vec<Info>,
    data: Vec<Vec<u8>>,
    meta: Meta,
}

impl Released {
    /// Every matrix as `storage` says for its name, every vector as F32.
    pub(crate) fn new(model: &Model, source: &Tensors, storage: impl Fn(&str) -> Storage) -> Released {
        let mut released = Released { infos: vec![], data: vec![], meta: Meta::Strings(BTreeMap::new()) };
        for (_, param) in model.params() {
            if released.infos.iter().any(|info| info.name == param.name) {
                continue;
            }
            let gather = param.in_gguf();
            let weight = Weight::new(source, &gather, &param.shape).expect("a weight");
            let mut values = vec![0.0; weight.rows * weight.cols];
            for (piece, out) in values.chunks_mut(weight.piece_rows * weight.cols).enumerate() {
                let rows = piece * weight.piece_rows..(piece + 1) * weight.piece_rows;
                weight.read(Isa::Scalar, rows, &mut Scratch::default(), out).expect("values");
            }
            let matrix = param.shape.len() > 1 && param.name.ends_with(".weight") && !param.role.keeps_f32();
            let storage = if matrix { storage(&param.name) } else { Storage::Plain(Dtype::F32) };
            let codec = block::codec(storage.name()).expect("a codec");
            let mut bytes = vec![0; storage.bytes(&param.shape).expect("whole blocks")];
            codec.encode(Isa::Scalar, &values, *param.shape.last().expect("a row"), None, &mut bytes);
            released.infos.push(Info { name: param.name.clone(), storage, shape: param.shape.clone() });
            released.data.push(bytes);
        }
        released
    }
}

impl Released {
    /// The whole of it, as an executor reads it.
    pub(crate) fn tensors(self) -> Tensors {
        Tensors::plain(Box::new(self))
    }

    /// The bytes of a tensor, to be damaged.
    pub(crate) fn bytes(&mut self, name: &str) -> &mut Vec<u8> {
        let at = self.infos.iter().position(|info| info.name == name).expect("a tensor of the model");
        &mut self.data[at]
    }
}

impl Source for Released {
    fn infos(&self) -> &[Info] {
        &self.infos
    }

    fn view(&self, name: &str) -> Result<View<'_>> {
        let at = self.infos.iter().position(|info| info.name == name).expect("only what the program names");
        Ok(View { info: &self.infos[at], bytes: &self.data[at] })
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn files(&self) -> &[PathBuf] {
        &[]
    }
}
