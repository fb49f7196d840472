//! A model is a program: layers of ops over numbered values. Architectures write it; names, plans, calibration groups
//! and execution only read it.
//!
//! A value is a matrix of f32, one row a token: `[tokens, width]`. Sequences of a batch are independent; positions
//! count from 0 in each. All ops act on each row alone, except [`Op::Attend`].

use std::sync::Arc;

use super::{Frequencies, Role};

/// The result of one op of a layer: the op's place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub(super) u32);

impl Value {
    /// The place in [`Layer::ops`] of the op that makes it.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What crosses from layer to layer. Every other value dies with its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carry {
    /// The residual stream, `[tokens, hidden]`.
    Hidden,
    /// What the head says, `[tokens, vocab]`: the end of the program. It is made by the last op of the last layer, a
    /// [`Op::Linear`], so that an executor can take it in tiles of the vocabulary and never hold all of it.
    Logits,
}

/// How a logical tensor is assembled from the checkpoint's.
#[derive(Clone, Debug, PartialEq)]
pub enum Gather {
    /// The tensor of this name as it is.
    Whole(String),
    /// A matrix stored `[in, out]` (Hugging Face's `Conv1D`), transposed to `[out, in]`.
    Transposed(String),
    /// Rows `from..to` of the matrix of this name, of which other tensors take the rest.
    Rows(String, usize, usize),
    /// Matrices of one shape `[out, in]`, stacked to `[count, out, in]`.
    Stacked(Vec<String>),
    /// The tensor of this name (a matrix, or a bias) with the rows of each of its `heads` reordered, so that a rope
    /// that turns halves becomes one that turns pairs: see [`paired_row`].
    Paired {
        /// The checkpoint's tensor, its rows in halves.
        name: String,
        /// How many heads its rows are divided among.
        heads: usize,
    },
    /// Not in the checkpoint: these values.
    Computed(Arc<[f32]>),
}

/// The row of the checkpoint that becomes row `row` of a [`Gather::Paired`] tensor: of a head's `head_dim` rows, row
/// `j` goes to `2j` and row `j + head_dim / 2` to `2j + 1`.
pub fn paired_row(row: usize, head_dim: usize) -> usize {
    let (head, at) = (row / head_dim, row % head_dim);
    head * head_dim + (at % 2) * (head_dim / 2) + at / 2
}

impl Gather {
    /// The checkpoint's tensors it reads, each with the shape it must have for the whole to be of `shape`; for
    /// [`Gather::Rows`] the first dimension is the least it may be.
    pub fn sources(&self, shape: &[usize]) -> Vec<(&str, Vec<usize>)> {
        match self {
            Gather::Whole(name) | Gather::Paired { name, .. } => vec![(name, shape.to_vec())],
            Gather::Transposed(name) => vec![(name, shape.iter().rev().copied().collect())],
            Gather::Rows(name, _, to) => {
                let inner = shape.iter().skip(1).copied();
                vec![(name, std::iter::once(*to).chain(inner).collect())]
            }
            Gather::Stacked(names) => {
                names.iter().map(|name| (name.as_str(), shape.iter().skip(1).copied().collect())).collect()
            }
            Gather::Computed(_) => vec![],
        }
    }
}

/// A weight or a bias of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its GGUF name, unique in the model: `blk.0.attn_q.weight`. A tied head is the embedding's own [`Param`] again.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Where the checkpoint has it, in the order that the program wants.
    pub from: Gather,
    /// `[out, in]` for a matrix, `[width]` for a bias or a norm, `[rows, width]` for an embedding.
    pub shape: Vec<usize>,
    /// GGUF wants the rows of each of this many heads reordered from halves to pairs.
    pub pairs: Option<usize>,
}

impl Param {
    /// How the GGUF's tensor is assembled from the checkpoint's.
    pub fn in_gguf(&self) -> Gather {
        match (self.pairs, &self.from) {
            (Some(heads), Gather::Whole(name)) => Gather::Paired { name: name.clone(), heads },
            (_, from) => from.clone(),
        }
    }
}

/// An element-wise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x / 2 * (1 + erf(x / sqrt 2))`.
    Gelu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

/// What a token may attend to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Itself and all tokens before it in its sequence.
    Causal,
    /// The last so many tokens of its sequence, itself included: position `p` sees `p - n + 1 ..= p`.
    Window(usize),
}

/// Which mean a norm takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps) * w`.
    Rms,
    /// `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * w + bias`.
    Layer,
}

/// Which two elements of a head a rope turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// `j` and `j + n` of the `2n` that are turned (Hugging Face, GPT-NeoX).
    Halves,
    /// `2j` and `2j + 1` (Meta's Llama, GGUF `llama`).
    Pairs,
}

/// The heads of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub q: usize,
    /// Key and value heads; a divisor of `q`.
    pub kv: usize,
    /// Width of a query or key head.
    pub dim: usize,
    /// Width of a value head.
    pub v_dim: usize,
}

/// What picks the row of an embedding for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// Its id.
    Token,
    /// Its position in the sequence, from 0.
    Position,
}

/// One step. Reads values made before it in its layer and makes one: `T` below is the number of tokens.
#[derive(Clone, Debug)]
pub enum Op {
    /// What the layer before left under this name.
    Carried(Carry),
    /// Row `index` of `table` for each token: `[T, table.shape[1]]`. No scaling.
    Embed {
        /// `[rows, width]`.
        table: Param,
        /// What picks the row.
        by: Index,
    },
    /// `x w^T + bias`: `[T, in]` to `[T, out]`.
    Linear {
        /// `[T, in]`.
        x: Value,
        /// `[out, in]`.
        w: Param,
        /// `[out]`, added to every row.
        bias: Option<Param>,
    },
    /// Normalises each piece of `w.shape[0]` elements of each row: the whole row, or each head alone with the same `w`.
    Norm {
        /// Which mean.
        kind: NormKind,
        /// `[T, n * width]`.
        x: Value,
        /// `[width]`.
        w: Param,
        /// `[width]`, added last.
        bias: Option<Param>,
        /// Added under the root.
        eps: f32,
    },
    /// Turns the first `2 n` elements of every piece of `dim`, `n = table.inverse.len()`, by the token's position `p`:
    /// the `j`-th two elements `(a, b)` become `(a cos - b sin, b cos + a sin)` with `cos = scale * cos(p *
    /// inverse[j])` and `sin` alike. Elements from `2 n` on stay. Angles are f32 products, as in transformers.
    Rope {
        /// `[T, heads * dim]`.
        x: Value,
        /// Which two elements go together.
        turn: Turn,
        /// Width of a head.
        dim: usize,
        /// All that the kind of rope and its scaling amount to.
        table: Arc<Frequencies>,
    },
    /// Elements `from..to` of every piece of `per` elements, side by side: `[T, width / per * (to - from)]`.
    Slice {
        /// `[T, n * per]`.
        x: Value,
        /// Width of a piece.
        per: usize,
        /// First element taken.
        from: usize,
        /// The element after the last.
        to: usize,
    },
    /// For each query head `h` with key and value head `h / (heads.q / heads.kv)`: softmax over the tokens that `mask`
    /// lets it see of `scale * q . k`, times `v`. Heads lie side by side: `[T, heads.q * heads.v_dim]`.
    Attend {
        /// `[T, heads.q * heads.dim]`.
        q: Value,
        /// `[T, heads.kv * heads.dim]`.
        k: Value,
        /// `[T, heads.kv * heads.v_dim]`.
        v: Value,
        /// How the rows divide.
        heads: Heads,
        /// What a token sees.
        mask: Mask,
        /// Multiplies every score before the softmax.
        scale: f32,
    },
    /// The sum of two values of one shape.
    Add(Value, Value),
    /// The element-wise product of two values of one shape. If only one carries a scale, it is the second.
    Mul(Value, Value),
    /// The function of each element.
    Act(Activation, Value),
}

impl Op {
    /// The matrices it multiplies, each with the value it reads: all that calibration needs.
    pub fn reads(&self) -> Option<(Value, &Param)> {
        match self {
            Op::Linear { x, w, .. } => Some((*x, w)),
            Op::Carried(_)
            | Op::Embed { .. }
            | Op::Norm { .. }
            | Op::Rope { .. }
            | Op::Slice { .. }
            | Op::Attend { .. }
            | Op::Add(..)
            | Op::Mul(..)
            | Op::Act(..) => None,
        }
    }

    /// The values it reads.
    pub fn inputs(&self) -> Vec<Value> {
        match self {
            Op::Carried(_) | Op::Embed { .. } => vec![],
            Op::Linear { x, .. } | Op::Norm { x, .. } | Op::Rope { x, .. } | Op::Slice { x, .. } | Op::Act(_, x) => {
                vec![*x]
            }
            Op::Add(a, b) | Op::Mul(a, b) => vec![*a, *b],
            Op::Attend { q, k, v, .. } => vec![*q, *k, *v],
        }
    }

    /// Its weights and biases.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        let (weight, bias) = match self {
            Op::Embed { table, .. } => (Some(table), None),
            Op::Linear { w, bias, .. } | Op::Norm { w, bias, .. } => (Some(w), bias.as_ref()),
            Op::Carried(_)
            | Op::Rope { .. }
            | Op::Slice { .. }
            | Op::Attend { .. }
            | Op::Add(..)
            | Op::Mul(..)
            | Op::Act(..) => (None, None),
        };
        weight.into_iter().chain(bias)
    }
}

/// The ops whose weights are in memory together.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What the checkpoint's names of its tensors begin with, or what it is: `model.layers.0.`, `head`.
    pub name: String,
    /// The number in `blk.N.` of its GGUF names.
    pub block: Option<usize>,
    /// In the order of execution.
    pub ops: Vec<Op>,
    /// What it leaves to the layers after it. What it does not name stays as it was.
    pub results: Vec<(Carry, Value)>,
}

impl Layer {
    /// The op that makes `v`.
    pub fn maker(&self, v: Value) -> Option<&Op> {
        self.ops.get(v.index())
    }

    /// The ops that read `v`.
    pub fn readers(&self, v: Value) -> impl Iterator<Item = &Op> {
        self.ops.iter().filter(move |op| op.inputs().contains(&v))
    }

    /// Its weights and biases, in the order of execution.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        self.ops.iter().flat_map(Op::params)
    }
}

/// One pass of layers over a sequence: here a decoder.
#[derive(Clone, Debug)]
pub struct Stack {
    /// What it is in reports.
    pub name: &'static str,
    /// In the order of execution. The first embeds, the last makes what the objective needs.
    pub layers: Vec<Layer>,
}

/// What the program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// Logits of the next token under [`Carry::Logits`].
    Causal,
    /// Normed hidden states under [`Carry::Hidden`]: a base model without a head.
    Hidden,
}

/// A whole model, from token ids to what its [`Objective`] says.
#[derive(Clone, Debug)]
pub struct Model {
    /// In the order of execution.
    pub stacks: Vec<Stack>,
    /// What it ends with.
    pub objective: Objective,
    /// Tensors that a GGUF carries beside those of the ops: llama.cpp reads from them what ops hold as data.
    pub tables: Vec<Param>,
}

impl Model {
    /// Every weight and bias with its layer, in the order of execution. A tied embedding comes twice.
    pub fn params(&self) -> impl Iterator<Item = (&Layer, &Param)> {
        self.stacks.iter().flat_map(|s| &s.layers).flat_map(|layer| layer.params().map(move |p| (layer, p)))
    }
}
