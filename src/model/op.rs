//! The ops that programs are made of.

use std::sync::Arc;

use super::{Carry, Frequencies, Index, Param, RelativeBias, Value};

/// An element-wise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x / 2 * (1 + erf(x / sqrt 2))`.
    Gelu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `x / (1 + exp(-1.702 x))`.
    GeluQuick,
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// What a token may attend to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Itself and all tokens before it in its sequence.
    Causal,
    /// The last so many tokens of its sequence, itself included: position `p` sees `p - n + 1 ..= p`.
    Window(usize),
    /// All of its sequence.
    All,
    /// All of the sequence that the stack before read in parallel with its own: keys and values are of
    /// [`Carry::Encoded`].
    Across,
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

/// How a router's scores are made of its logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// Softmax over all experts.
    Softmax,
    /// Sigmoid of each logit.
    Sigmoid,
}

/// How tokens are given to experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Routing {
    /// Experts that a token goes to: those of the largest scores, of equal ones the first.
    pub top: usize,
    /// How scores are made.
    pub scoring: Scoring,
    /// Experts are divided among so many groups, and only those of the best `top_groups` are chosen from.
    pub groups: usize,
    /// See `groups`.
    pub top_groups: usize,
    /// A group is as good as the sum of so many of its largest scores: 1 or 2.
    pub group_best: usize,
    /// Whether the chosen scores are divided by their sum.
    pub normalise: bool,
    /// Multiplies them last.
    pub scale: f32,
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
        /// `[out, in]`, or matrices stacked to one, `[count, out / count, in]`.
        w: Param,
        /// `[out]`, added to every row.
        bias: Option<Param>,
    },
    /// Each piece of a row times a matrix of its own: `[T, count * in]` to `[T, count * out]`.
    Heads {
        /// `[T, count * in]`.
        x: Value,
        /// `[count, out, in]`.
        w: Param,
    },
    /// Normalises each piece of as many elements as a row of `w` has, of each row: the whole row, or each head alone,
    /// with the same `w` or with a row of its own.
    Norm {
        /// Which mean.
        kind: NormKind,
        /// `[T, n * width]`.
        x: Value,
        /// `[width]`, or `[n, width]`.
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
    /// The pieces of `a` and `b` in turn, each of `heads` pieces of `a` before one of `b`: `[T, a + b]`; if `b` has one
    /// piece only, it follows each of `a`'s: `[T, a + heads * b]`.
    Join {
        /// `[T, heads * n]`.
        a: Value,
        /// `[T, heads * m]`, or `[T, m]` if `shared`.
        b: Value,
        /// Pieces of `a`.
        heads: usize,
        /// Whether `b` is one piece.
        shared: bool,
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
        /// What else is done to scores.
        scores: Scores,
    },
    /// The sum of two values of one shape.
    Add(Value, Value),
    /// The element-wise product of two values of one shape, or the first may be `[T, 1]` for whole rows. If only one
    /// carries a scale, it is the second.
    Mul(Value, Value),
    /// The function of each element.
    Act(Activation, Value),
    /// `scale x + shift`.
    Affine {
        /// Any.
        x: Value,
        /// Multiplies every element.
        scale: f32,
        /// Added then.
        shift: f32,
    },
    /// Each element, but not under `low` nor over `high`.
    Clamp {
        /// Any.
        x: Value,
        /// The least.
        low: f32,
        /// The most.
        high: f32,
    },
    /// `cap * tanh(x / cap)`.
    Softcap {
        /// Any.
        x: Value,
        /// What no element reaches.
        cap: f32,
    },
    /// Which experts each token goes to: `[T, 2 top]`, the numbers of the chosen ones, best first, then their weights.
    Route {
        /// The router's logits, `[T, experts]`.
        x: Value,
        /// Added to the scores where experts are chosen, but not where they are weighed: `[experts]`.
        bias: Option<Param>,
        /// The rest.
        how: Routing,
    },
    /// Each token's row, or slot `j` of it, times the matrix of the `j`-th expert that it goes to:
    /// `[T, top * out]`.
    Experts {
        /// `[T, in]`, or `[T, top * in]`: a slot for each expert.
        x: Value,
        /// Of an [`Op::Route`].
        route: Value,
        /// `[experts, out, in]`.
        w: Param,
        /// `[experts, out]`, added to every slot.
        bias: Option<Param>,
    },
    /// The sum of the slots of each row, each times the weight of its expert: `[T, top * width]` to `[T, width]`.
    Mix {
        /// `[T, top * width]`.
        x: Value,
        /// Of an [`Op::Route`].
        route: Value,
    },
}

/// What is done to attention's scores after their scale.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// Score `s` becomes `cap * tanh(s / cap)`.
    pub cap: Option<f32>,
    /// For each query head a slope (ALiBi): it times how far back the key is, in tokens, is taken from the score.
    pub slopes: Option<Arc<[f32]>>,
    /// One more score for each query head that takes part in the softmax and has no value: `[heads.q]`.
    pub sinks: Option<Param>,
    /// What is added to a score by how far the key is from the query.
    pub bias: Option<RelativeBias>,
}

impl Op {
    /// The matrices it multiplies, each with the value it reads: all that calibration needs. If it is
    /// [apart](Op::apart), no matrix reads all of the value.
    pub fn reads(&self) -> Option<(Value, &Param)> {
        match self {
            Op::Linear { x, w, .. } | Op::Heads { x, w } | Op::Experts { x, w, .. } => Some((*x, w)),
            Op::Carried(_)
            | Op::Embed { .. }
            | Op::Norm { .. }
            | Op::Rope { .. }
            | Op::Slice { .. }
            | Op::Join { .. }
            | Op::Attend { .. }
            | Op::Add(..)
            | Op::Mul(..)
            | Op::Act(..)
            | Op::Affine { .. }
            | Op::Clamp { .. }
            | Op::Softcap { .. }
            | Op::Route { .. }
            | Op::Mix { .. } => None,
        }
    }

    /// Whether each of its matrices reads something else: the rows of its expert, or its piece of every row.
    pub fn apart(&self) -> bool {
        matches!(self, Op::Experts { .. } | Op::Heads { .. })
    }

    /// Which experts its rows are for, if they are.
    pub fn route(&self) -> Option<Value> {
        match self {
            Op::Experts { route, .. } | Op::Mix { route, .. } => Some(*route),
            Op::Carried(_)
            | Op::Embed { .. }
            | Op::Linear { .. }
            | Op::Heads { .. }
            | Op::Norm { .. }
            | Op::Rope { .. }
            | Op::Slice { .. }
            | Op::Join { .. }
            | Op::Attend { .. }
            | Op::Add(..)
            | Op::Mul(..)
            | Op::Act(..)
            | Op::Affine { .. }
            | Op::Clamp { .. }
            | Op::Softcap { .. }
            | Op::Route { .. } => None,
        }
    }

    /// The values it reads.
    pub fn inputs(&self) -> Vec<Value> {
        match self {
            Op::Carried(_) | Op::Embed { .. } => vec![],
            Op::Linear { x, .. }
            | Op::Heads { x, .. }
            | Op::Norm { x, .. }
            | Op::Rope { x, .. }
            | Op::Slice { x, .. }
            | Op::Act(_, x)
            | Op::Affine { x, .. }
            | Op::Clamp { x, .. }
            | Op::Softcap { x, .. }
            | Op::Route { x, .. } => vec![*x],
            Op::Add(a, b) | Op::Mul(a, b) | Op::Join { a, b, .. } => vec![*a, *b],
            Op::Experts { x, route, .. } | Op::Mix { x, route } => vec![*x, *route],
            Op::Attend { q, k, v, .. } => vec![*q, *k, *v],
        }
    }

    /// Its weights and biases.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        let (weight, bias) = match self {
            Op::Embed { table: w, .. } | Op::Heads { w, .. } => (Some(w), None),
            Op::Linear { w, bias, .. } | Op::Norm { w, bias, .. } | Op::Experts { w, bias, .. } => {
                (Some(w), bias.as_ref())
            }
            Op::Attend { scores, .. } => (scores.bias.as_ref().map(|bias| &bias.table), scores.sinks.as_ref()),
            Op::Route { bias, .. } => (None, bias.as_ref()),
            Op::Carried(_)
            | Op::Rope { .. }
            | Op::Slice { .. }
            | Op::Join { .. }
            | Op::Add(..)
            | Op::Mul(..)
            | Op::Act(..)
            | Op::Affine { .. }
            | Op::Clamp { .. }
            | Op::Softcap { .. }
            | Op::Mix { .. } => (None, None),
        };
        weight.into_iter().chain(bias)
    }

    /// [`Op::params`], to be changed.
    pub(super) fn params_mut(&mut self) -> impl Iterator<Item = &mut Param> {
        let (weight, bias) = match self {
            Op::Embed { table: w, .. } | Op::Heads { w, .. } => (Some(w), None),
            Op::Linear { w, bias, .. } | Op::Norm { w, bias, .. } | Op::Experts { w, bias, .. } => {
                (Some(w), bias.as_mut())
            }
            Op::Attend { scores, .. } => (scores.bias.as_mut().map(|bias| &mut bias.table), scores.sinks.as_mut()),
            Op::Route { bias, .. } => (None, bias.as_mut()),
            Op::Carried(_)
            | Op::Rope { .. }
            | Op::Slice { .. }
            | Op::Join { .. }
            | Op::Add(..)
            | Op::Mul(..)
            | Op::Act(..)
            | Op::Affine { .. }
            | Op::Clamp { .. }
            | Op::Softcap { .. }
            | Op::Mix { .. } => (None, None),
        };
        weight.into_iter().chain(bias)
    }
}
