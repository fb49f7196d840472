//! The program of a checkpoint, turned into that of the GGUF that was made of it.

use super::{Gather, Layer, Model, Op, Param, Turn, Value};

impl Model {
    /// The same model over the GGUF's own tensors: every parameter is whole under its GGUF name, and ropes turn pairs
    /// where GGUF has the rows in pairs.
    pub fn over_gguf(mut self) -> Model {
        for layer in self.stacks.iter_mut().flat_map(|s| &mut s.layers) {
            turn_pairs(layer);
            layer.ops.iter_mut().flat_map(Op::params_mut).for_each(whole);
        }
        self.tables.iter_mut().for_each(whole);
        self
    }
}

/// Makes every rope turn pairs whose input GGUF has in pairs.
fn turn_pairs(layer: &mut Layer) {
    let paired: Vec<bool> =
        layer.ops.iter().map(|op| op.inputs().first().is_some_and(|&x| in_pairs(layer, x))).collect();
    for (op, paired) in layer.ops.iter_mut().zip(paired) {
        if let Op::Rope { turn, .. } = op
            && paired
        {
            *turn = Turn::Pairs;
        }
    }
}

/// Whether GGUF reorders the rows of the matrix that makes `x`.
fn in_pairs(layer: &Layer, x: Value) -> bool {
    matches!(layer.maker(x), Some(Op::Linear { w, .. }) if w.pairs.is_some())
}

fn whole(param: &mut Param) {
    param.from = Gather::Whole(param.name.clone());
    param.pairs = None;
}
