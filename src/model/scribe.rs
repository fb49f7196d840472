//! The pen that architectures write layers with: names, shapes and order, with the least ink.

use std::sync::Arc;

use super::{Carry, Frequencies, Gather, Index, Layer, NormKind, Op, Param, Role, Turn, Value};

/// Writes one layer. Each call appends an op and names its result.
pub struct Scribe {
    prefix: String,
    stack: &'static str,
    block: Option<usize>,
    ops: Vec<Op>,
    results: Vec<(Carry, Value)>,
}

impl Scribe {
    /// A layer of tensors named `prefix...`, the `block`-th of GGUF's numbered ones.
    pub fn layer(prefix: impl Into<String>, block: Option<usize>, write: impl FnOnce(&mut Scribe)) -> Layer {
        Scribe::layer_of("", prefix, block, write)
    }

    /// The same in one of several stacks, whose GGUF names, but for the embedding and the head, begin with `stack`.
    pub fn layer_of(
        stack: &'static str,
        prefix: impl Into<String>,
        block: Option<usize>,
        write: impl FnOnce(&mut Scribe),
    ) -> Layer {
        let mut scribe = Scribe { prefix: prefix.into(), stack, block, ops: vec![], results: vec![] };
        write(&mut scribe);
        Layer { name: scribe.prefix, block, ops: scribe.ops, results: scribe.results }
    }

    /// Appends any op.
    pub fn op(&mut self, op: Op) -> Value {
        self.ops.push(op);
        Value(self.ops.len() as u32 - 1)
    }

    /// What the layer before left.
    pub fn carried(&mut self, carry: Carry) -> Value {
        self.op(Op::Carried(carry))
    }

    /// Leaves `value` to the layers after this one.
    pub fn leave(&mut self, carry: Carry, value: Value) {
        self.results.push((carry, value));
    }

    /// The weight `name`.weight of the checkpoint.
    pub fn weight(&self, role: Role, name: &str, shape: &[usize]) -> Param {
        self.param(role, name, "weight", shape)
    }

    /// The bias `name`.bias of the checkpoint.
    pub fn bias(&self, role: Role, name: &str, width: usize) -> Param {
        self.param(role, name, "bias", &[width])
    }

    /// Any tensor of the checkpoint, and the last part of its GGUF name.
    pub fn param_of(&self, role: Role, part: &str, from: Gather, shape: &[usize]) -> Param {
        Param { name: self.gguf_name(role, part), role, from, shape: shape.to_vec(), pairs: None }
    }

    /// The full name of a tensor of the checkpoint.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// `blk.0.attn_q.weight`, `output_norm.weight`.
    fn gguf_name(&self, role: Role, part: &str) -> String {
        let stem = role.gguf();
        let stack = if matches!(role, Role::TokenEmbd | Role::Output) { "" } else { self.stack };
        self.block.map_or_else(|| format!("{stack}{stem}.{part}"), |i| format!("{stack}blk.{i}.{stem}.{part}"))
    }

    fn param(&self, role: Role, name: &str, part: &str, shape: &[usize]) -> Param {
        Param {
            name: self.gguf_name(role, part),
            role,
            from: Gather::Whole(format!("{}{name}.{part}", self.prefix)),
            shape: shape.to_vec(),
            pairs: None,
        }
    }

    /// A linear, `[out, in]`.
    pub fn linear(&mut self, x: Value, role: Role, name: &str, [out, inp]: [usize; 2], bias: bool) -> Value {
        let w = self.weight(role, name, &[out, inp]);
        let bias = bias.then(|| self.bias(role, name, out));
        self.op(Op::Linear { x, w, bias })
    }

    /// A linear, `[out, in]`, whose rows GGUF wants in pairs within each of `heads`, or as they are if `None`.
    pub fn rotary(
        &mut self,
        x: Value,
        role: Role,
        name: &str,
        [out, inp]: [usize; 2],
        bias: bool,
        heads: Option<usize>,
    ) -> Value {
        let paired = |p: Param| Param { pairs: heads, ..p };
        let w = paired(self.weight(role, name, &[out, inp]));
        let bias = bias.then(|| paired(self.bias(role, name, out)));
        self.op(Op::Linear { x, w, bias })
    }

    /// Hugging Face's `Conv1D`: a linear `[out, in]` with bias, stored `[in, out]`.
    pub fn conv1d(&mut self, x: Value, role: Role, name: &str, [out, inp]: [usize; 2]) -> Value {
        let mut w = self.weight(role, name, &[out, inp]);
        if let Gather::Whole(name) = w.from {
            w.from = Gather::Transposed(name);
        }
        let bias = Some(self.bias(role, name, out));
        self.op(Op::Linear { x, w, bias })
    }

    /// An RMS norm.
    pub fn rms(&mut self, x: Value, role: Role, name: &str, width: usize, eps: f64) -> Value {
        let w = self.weight(role, name, &[width]);
        self.op(Op::Norm { kind: NormKind::Rms, x, w, bias: None, eps: eps as f32 })
    }

    /// A layer norm with bias.
    pub fn layer_norm(&mut self, x: Value, role: Role, name: &str, width: usize, eps: f64) -> Value {
        let w = self.weight(role, name, &[width]);
        let bias = Some(self.bias(role, name, width));
        self.op(Op::Norm { kind: NormKind::Layer, x, w, bias, eps: eps as f32 })
    }

    /// `scale x`, or `x` itself if `scale` is 1.
    pub fn scaled(&mut self, x: Value, scale: f64) -> Value {
        if scale == 1.0 { x } else { self.op(Op::Affine { x, scale: scale as f32, shift: 0.0 }) }
    }

    /// Rows of a table `[rows, width]`.
    pub fn embed(&mut self, role: Role, name: &str, shape: [usize; 2], by: Index) -> Value {
        let table = self.weight(role, name, &shape);
        self.op(Op::Embed { table, by })
    }

    /// A rope over heads of width `dim`.
    pub fn rope(&mut self, x: Value, turn: Turn, dim: usize, table: &Arc<Frequencies>) -> Value {
        self.op(Op::Rope { x, turn, dim, table: Arc::clone(table) })
    }

    /// `a + b`.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.op(Op::Add(a, b))
    }
}
