//! A GGUF written again with something else in it.

#![allow(dead_code)]

use std::path::Path;

use planish_formats::gguf::{self, Kv};
use planish_formats::{Info, Meta};

/// A GGUF in memory.
pub(crate) struct Opened {
    pub(crate) kv: Kv,
    pub(crate) tensors: Vec<(Info, Vec<u8>)>,
}

impl Opened {
    pub(crate) fn read(path: &Path) -> Opened {
        let source = planish_formats::open(path).expect("a GGUF");
        let Meta::Gguf(kv) = source.meta() else { panic!("{}: not a GGUF", path.display()) };
        let tensor = |info: &Info| (info.clone(), source.view(&info.name).expect("a tensor").bytes.to_vec());
        Opened { kv: kv.clone(), tensors: source.infos().iter().map(tensor).collect() }
    }

    pub(crate) fn write(&self, path: &Path) {
        let infos: Vec<Info> = self.tensors.iter().map(|(info, _)| info.clone()).collect();
        let sink = gguf::create(path, &self.kv, &infos, None).expect("a file");
        for (i, (_, bytes)) in self.tensors.iter().enumerate() {
            sink.write_at(i, 0, bytes).expect("a tensor");
        }
        sink.finish().expect("a GGUF");
    }

    /// The bytes of a tensor.
    pub(crate) fn bytes(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.tensor(name).1
    }

    /// A tensor.
    pub(crate) fn tensor(&mut self, name: &str) -> &mut (Info, Vec<u8>) {
        self.tensors.iter_mut().find(|(info, _)| info.name == name).expect("a tensor of the model")
    }

    /// Exchanges the data of all tensors of two blocks.
    pub(crate) fn swap_blocks(&mut self, a: usize, b: usize) {
        let (a, b) = (format!("blk.{a}."), format!("blk.{b}."));
        let names: Vec<String> =
            self.tensors.iter().filter_map(|(info, _)| Some(info.name.strip_prefix(&a)?.to_owned())).collect();
        for name in names {
            let first = std::mem::take(self.bytes(&format!("{a}{name}")));
            let second = std::mem::replace(self.bytes(&format!("{b}{name}")), first);
            *self.bytes(&format!("{a}{name}")) = second;
        }
    }

    /// The rows of a matrix in another order: row `i` becomes what row `from(i)` was.
    pub(crate) fn reorder(&mut self, name: &str, from: impl Fn(usize) -> usize) {
        let (info, bytes) = self.tensor(name);
        let rows = info.rows();
        let row = bytes.len() / rows;
        let moved: Vec<u8> = (0..rows).flat_map(|i| bytes[from(i) * row..(from(i) + 1) * row].to_vec()).collect();
        *bytes = moved;
    }
}
