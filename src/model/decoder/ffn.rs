//! The feed-forward part of decoders, dense or of experts.

use super::super::{Activation, Config, Experts, Gather, Has, Op, Param, Role, Scribe, Value};
use super::Style;

/// A dense feed-forward part.
#[derive(Clone, Copy)]
pub(in crate::model) enum Ffn {
    /// `down(act(gate(x)) * up(x))`.
    Gated([&'static str; 3]),
    /// The same, gate and up in one matrix: gate first.
    Fused([&'static str; 2]),
    /// `down(act(up(x)))`.
    Plain([&'static str; 2]),
}

/// What the parts of an expert layer are called.
#[derive(Clone, Copy)]
pub(in crate::model) struct ExpertNames {
    /// The router.
    pub router: &'static str,
    /// What is added where experts are chosen.
    pub correction: Option<&'static str>,
    /// What stands before an expert's number, or before `gate_up_proj` and `down_proj` of all.
    pub experts: &'static str,
    /// An expert's matrices.
    pub names: MatrixNames,
    /// What stands before the shared expert's `gate_proj`, `up_proj` and `down_proj`.
    pub shared: &'static str,
    /// What weighs the shared expert.
    pub shared_gate: Option<&'static str>,
    /// gpt-oss: router and experts have biases, all experts lie in one tensor stored `[in, out]` in which columns of gate
    /// and up take turns, and their product is `(up + 1) * gate * sigmoid(1.702 gate)`, both kept within this.
    pub clamped: Option<f32>,
}

/// Gate, up and down of an expert.
pub(in crate::model) type MatrixNames = [&'static str; 3];

impl ExpertNames {
    /// As in Qwen's checkpoints, and in most.
    pub(in crate::model) const QWEN: ExpertNames = ExpertNames {
        router: "mlp.gate",
        correction: None,
        experts: "mlp.experts",
        names: ["gate_proj", "up_proj", "down_proj"],
        shared: "mlp.shared_expert",
        shared_gate: None,
        clamped: None,
    };
}

impl Style {
    /// What the feed-forward part over the normed stream `n` adds in layer `i`.
    pub(super) fn feed_forward(&self, s: &mut Scribe, c: &Config, has: Has<'_>, i: usize, n: Value) -> Value {
        if let Some(experts) = c.sparse(i) {
            return self.experts.layer(s, c, has, experts, n);
        }
        let (d, f, bias) = (c.hidden, c.ffn, c.bias.ffn);
        let (both, down) = match self.ffn {
            Ffn::Gated([gate, up, down]) => {
                let gate = s.linear(n, Role::FfnGate, gate, [f, d], bias);
                let up = s.linear(n, Role::FfnUp, up, [f, d], bias);
                let gate = s.op(Op::Act(c.act, gate));
                (s.op(Op::Mul(gate, up)), down)
            }
            Ffn::Fused([gate_up, down]) => {
                let x = s.linear(n, Role::FfnUp, gate_up, [2 * f, d], bias);
                let gate = s.op(Op::Slice { x, per: 2 * f, from: 0, to: f });
                let up = s.op(Op::Slice { x, per: 2 * f, from: f, to: 2 * f });
                let gate = s.op(Op::Act(c.act, gate));
                (s.op(Op::Mul(gate, up)), down)
            }
            Ffn::Plain([up, down]) => {
                let up = s.linear(n, Role::FfnUp, up, [f, d], bias);
                (s.op(Op::Act(c.act, up)), down)
            }
        };
        s.linear(both, Role::FfnDown, down, [d, f], bias)
    }
}

impl ExpertNames {
    /// Routed experts, and the shared one if there is one.
    fn layer(&self, s: &mut Scribe, c: &Config, has: Has<'_>, experts: &Experts, n: Value) -> Value {
        let biased = self.clamped.is_some();
        let logits = s.linear(n, Role::FfnGateInp, self.router, [experts.count, c.hidden], biased);
        let bias = self.correction.map(|name| {
            let from = Gather::Whole(s.name(name));
            s.param_of(Role::ExpProbsB, "bias", from, &[experts.count])
        });
        let route = s.op(Op::Route { x: logits, bias, how: experts.routing });
        let [gate, up, down] = self.matrices(s, c, has, experts);
        let [gate_bias, up_bias, down_bias] = self.biases(s, c, experts);
        let gate = s.op(Op::Experts { x: n, route, w: gate, bias: gate_bias });
        let up = s.op(Op::Experts { x: n, route, w: up, bias: up_bias });
        let (gate, up) = match self.clamped {
            None => (s.op(Op::Act(c.act, gate)), up),
            Some(limit) => {
                let gate = s.op(Op::Clamp { x: gate, low: f32::NEG_INFINITY, high: limit });
                let up = s.op(Op::Clamp { x: up, low: -limit, high: limit });
                (s.op(Op::Act(Activation::GeluQuick, gate)), s.op(Op::Affine { x: up, scale: 1.0, shift: 1.0 }))
            }
        };
        let both = s.op(Op::Mul(gate, up));
        let down = s.op(Op::Experts { x: both, route, w: down, bias: down_bias });
        let routed = s.op(Op::Mix { x: down, route });
        let Some(width) = experts.shared else { return routed };
        let shared = self.shared(s, c, width, n);
        s.add(routed, shared)
    }

    /// Gate, up and down of all experts: a tensor for each, or all in one with gate and up together.
    fn matrices(&self, s: &Scribe, c: &Config, has: Has<'_>, experts: &Experts) -> [Param; 3] {
        let (count, f, d) = (experts.count, experts.ffn, c.hidden);
        let roles = [Role::FfnGateExps, Role::FfnUpExps, Role::FfnDownExps];
        let shapes = [[count, f, d], [count, f, d], [count, d, f]];
        let fused = s.name(&format!("{}.gate_up_proj", self.experts));
        let down = s.name(&format!("{}.down_proj", self.experts));
        if self.clamped.is_some() {
            let columns = [(&fused, 2, 0), (&fused, 2, 1), (&down, 1, 0)];
            return [0, 1, 2].map(|i| {
                let (name, step, first) = columns[i];
                s.param_of(roles[i], "weight", Gather::Columns { name: name.clone(), step, first }, &shapes[i])
            });
        }
        let fused = has(&fused).then_some(fused);
        [0, 1, 2].map(|i| {
            let from = match &fused {
                None => {
                    let name = |e: usize| s.name(&format!("{}.{e}.{}.weight", self.experts, self.names[i]));
                    Gather::Stacked((0..count).map(name).collect())
                }
                Some(name) if i < 2 => Gather::Picked { name: name.clone(), per: 2 * f, from: i * f, to: (i + 1) * f },
                Some(_) => Gather::Whole(down.clone()),
            };
            s.param_of(roles[i], "weight", from, &shapes[i])
        })
    }

    /// Biases of all experts, where they have them.
    fn biases(&self, s: &Scribe, c: &Config, experts: &Experts) -> [Option<Param>; 3] {
        if self.clamped.is_none() {
            return [None, None, None];
        }
        let (count, f) = (experts.count, experts.ffn);
        let both = s.name(&format!("{}.gate_up_proj_bias", self.experts));
        let half = |role, first| {
            let from = Gather::Every { name: both.clone(), step: 2, first };
            Some(s.param_of(role, "bias", from, &[count, f]))
        };
        let down = Gather::Whole(s.name(&format!("{}.down_proj_bias", self.experts)));
        let down = s.param_of(Role::FfnDownExps, "bias", down, &[count, c.hidden]);
        [half(Role::FfnGateExps, 0), half(Role::FfnUpExps, 1), Some(down)]
    }

    fn shared(&self, s: &mut Scribe, c: &Config, f: usize, n: Value) -> Value {
        let (d, name) = (c.hidden, |part: &str| format!("{}.{part}", self.shared));
        let gate = s.linear(n, Role::FfnGateShexp, &name("gate_proj"), [f, d], false);
        let up = s.linear(n, Role::FfnUpShexp, &name("up_proj"), [f, d], false);
        let gate = s.op(Op::Act(c.act, gate));
        let both = s.op(Op::Mul(gate, up));
        let down = s.linear(both, Role::FfnDownShexp, &name("down_proj"), [d, f], false);
        let Some(gate) = self.shared_gate else { return down };
        let weight = s.linear(n, Role::FfnGateInpShexp, gate, [1, d], false);
        let weight = s.op(Op::Act(Activation::Sigmoid, weight));
        s.op(Op::Mul(weight, down))
    }
}
