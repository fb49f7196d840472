//! A model is a program: layers of ops over numbered values. Architectures write it; names, plans, calibration groups
//! and execution only read it.
//!
//! A value is a matrix of f32, one row a token: `[tokens, width]`. Sequences of a batch are independent; positions
//! count from 0 in each. All ops act on each row alone, except [`Op::Attend`].

use super::{Gather, Op, Role};

/// The result of one op of a layer: the op's place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(pub(super) u32);

impl Value {
    /// The result of the op at this place in [`Layer::ops`].
    pub fn at(index: usize) -> Value {
        Value(index as u32)
    }

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
    /// What the stack before left under [`Carry::Hidden`] at its end, a row for each token that it read: for a decoder what
    /// the encoder made. A value made of it alone has those rows too.
    Encoded,
    /// What the head says, `[tokens, vocab]`: the end of the program. It is made by the last op of the last layer, an
    /// [`Op::Linear`] or an [`Op::Softcap`] of one, so that an executor can take it in tiles of the vocabulary and never
    /// hold all of it.
    Logits,
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
    /// `[out, in]` for a matrix, `[experts, out, in]` for a stack of them, `[width]` for a bias or a norm,
    /// `[rows, width]` for an embedding.
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

/// What picks the row of an embedding for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// Its id.
    Token,
    /// Its position in the sequence, from 0.
    Position,
    /// Nothing: the first row is every token's.
    First,
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

    /// The head's ops: those before the linear one, what it reads, its weight and bias, and the cap of what it makes.
    pub fn head(&self) -> Option<Logits<'_>> {
        let (cap, ops) = match self.ops.split_last()? {
            (Op::Softcap { cap, .. }, ops) => (Some(*cap), ops),
            _ => (None, &self.ops[..]),
        };
        match ops.split_last()? {
            (Op::Linear { x, w, bias }, before) => Some(Logits { before, x: *x, w, bias: bias.as_ref(), cap }),
            _ => None,
        }
    }

    /// Leaves what the head would read, before that is scaled for it.
    fn end_before_head(&mut self) {
        let Some((count, mut x)) = self.head().map(|head| (head.before.len(), head.x)) else { return };
        while let Some(Op::Affine { x: unscaled, .. }) = self.maker(x) {
            x = *unscaled;
        }
        self.ops.truncate(count);
        self.results = vec![(Carry::Hidden, x)];
    }
}

/// The layer that makes logits, taken apart.
pub struct Logits<'a> {
    /// The ops before the linear one.
    pub before: &'a [Op],
    /// What it reads.
    pub x: Value,
    /// `[vocab, hidden]`.
    pub w: &'a Param,
    /// `[vocab]`.
    pub bias: Option<&'a Param>,
    /// Logits are made soft by it: [`Op::Softcap`].
    pub cap: Option<f32>,
}

/// One pass of layers over a sequence of its own: a decoder, or an encoder and then a decoder.
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
    /// Logits of the token at each place itself, under [`Carry::Logits`]: what stood where a mask stands. llama.cpp computes
    /// no such head; the GGUF is that of the model without it.
    Masked,
    /// The same of a decoder that also reads what an encoder made of another sequence.
    Seq2Seq,
    /// Normed hidden states under [`Carry::Hidden`]: a base model without a head.
    Hidden,
}

impl Objective {
    /// Whether the program ends with a layer that makes logits.
    pub fn has_head(self) -> bool {
        match self {
            Objective::Causal | Objective::Masked | Objective::Seq2Seq => true,
            Objective::Hidden => false,
        }
    }
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
    /// The same without what makes logits, if there is such: the last hidden states are left, normed as those of a base
    /// class are.
    pub fn without_head(mut self) -> Model {
        if let Some(layers) = self.stacks.last_mut().map(|stack| &mut stack.layers) {
            match (self.objective, layers.last_mut()) {
                // A dense layer and a norm of its own are parts of such a head.
                (Objective::Masked, _) => _ = layers.pop(),
                (Objective::Causal | Objective::Seq2Seq, Some(last)) => last.end_before_head(),
                (Objective::Causal | Objective::Seq2Seq, None) | (Objective::Hidden, _) => {}
            }
        }
        Model { objective: Objective::Hidden, ..self }
    }

    /// Takes the weights that are linears in the checkpoint as they are, instead of transposed.
    pub(super) fn turn_back(&mut self, linear: impl Fn(&str) -> bool) {
        let layers = self.stacks.iter_mut().flat_map(|stack| &mut stack.layers);
        for param in layers.flat_map(|layer| &mut layer.ops).flat_map(Op::params_mut) {
            if let Gather::Transposed(name) = &mut param.from
                && linear(name)
            {
                param.from = Gather::Whole(std::mem::take(name));
            }
        }
    }

    /// Every weight and bias with its layer, in the order of execution. A tied embedding comes twice.
    pub fn params(&self) -> impl Iterator<Item = (&Layer, &Param)> {
        self.stacks.iter().flat_map(|s| &s.layers).flat_map(|layer| layer.params().map(move |p| (layer, p)))
    }
}
