//! The program of a checkpoint, turned into that of the GGUF that was made of it.

use super::{Gather, Layer, Model, Op, Param, Turn, Value};

impl Model {
    /// The same model over the GGUF's own tensors: every parameter is whole under its GGUF name, and ropes turn pairs
    /// where GGUF has the rows in pairs.
    pub fn over_gguf(mut self) -> Model {
        for layer in self.stacks.iter_mut().flat_map(|s| &mut s.layers) {
            turn_pairs(layer);
            layer.ops.iter_mut().for_each(rename);
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

fn rename(op: &mut Op) {
    match op {
        Op::Embed { table, .. } => whole(table),
        Op::Linear { w, bias, .. } | Op::Norm { w, bias, .. } => {
            whole(w);
            bias.iter_mut().for_each(whole);
        }
        Op::Carried(_)
        | Op::Rope { .. }
        | Op::Slice { .. }
        | Op::Attend { .. }
        | Op::Add(..)
        | Op::Mul(..)
        | Op::Act(..) => {}
    }
}

fn whole(param: &mut Param) {
    param.from = Gather::Whole(param.name.clone());
    param.pairs = None;
}
