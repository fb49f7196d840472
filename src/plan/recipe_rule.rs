//! One rule of a recipe: which tensors it is for, under which conditions, and their type.

use std::fmt;

use planish_formats::GgmlType;
use regex::Regex;

use super::mix::Facts;

macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident $name:literal,)*) => {
        /// The kinds of tensor that rules tell apart, by llama.cpp's names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Class { $($(#[$doc])* $class,)* }

        impl Class {
            /// All of them.
            pub const ALL: &[Class] = &[$(Class::$class),*];

            /// The name in recipe files.
            pub const fn name(self) -> &'static str {
                match self { $(Class::$class => $name),* }
            }
        }
    };
}
classes! {
    /// `output.weight`, or the token embedding of a model without one.
    Output "output",
    /// `token_embd.weight` and `per_layer_token_embd.weight` beside an output of its own.
    TokenEmbd "token_embd",
    /// Query, key and value in one.
    AttnQkv "attn_qkv",
    /// The up-projection of latent attention.
    AttnKvB "attn_kv_b",
    /// Value.
    AttnV "attn_v",
    /// Key.
    AttnK "attn_k",
    /// Query.
    AttnQ "attn_q",
    /// Attention's output.
    AttnOutput "attn_output",
    /// Up projections, those of experts and shared experts included.
    FfnUp "ffn_up",
    /// Gates, likewise.
    FfnGate "ffn_gate",
    /// Down projections, likewise.
    FfnDown "ffn_down",
    /// Everything else.
    Other "other",
}

impl Class {
    /// The class that a name tells. Where the embedding serves as the output, callers make it [`Class::Output`].
    pub fn of(name: &str) -> Class {
        match name {
            "output.weight" => Class::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Class::TokenEmbd,
            _ => [
                ("attn_qkv.weight", Class::AttnQkv),
                ("attn_kv_b.weight", Class::AttnKvB),
                ("attn_v.weight", Class::AttnV),
                ("attn_k.weight", Class::AttnK),
                ("attn_q.weight", Class::AttnQ),
                ("attn_output.weight", Class::AttnOutput),
                ("ffn_up", Class::FfnUp),
                ("ffn_gate", Class::FfnGate),
                ("ffn_down", Class::FfnDown),
            ]
            .into_iter()
            .find_map(|(part, class)| name.contains(part).then_some(class))
            .unwrap_or(Class::Other),
        }
    }
}

/// A part of a model's depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// The first eighth, the last eighth, and every third between them.
    MoreBits,
    /// From the input on.
    First(Amount),
    /// Up to the output.
    Last(Amount),
}

/// So many layers, or such a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// A number of layers.
    Count(usize),
    /// `numerator / denominator` of them, rounded as llama.cpp does.
    Share(usize, usize),
}

impl Layers {
    /// Reads `more_bits`, `first 4`, `first 1/8`, `last 1/8`.
    pub fn parse(text: &str) -> Option<Layers> {
        if text == "more_bits" {
            return Some(Layers::MoreBits);
        }
        let (end, amount) = text.split_once(' ')?;
        let amount = match amount.trim().split_once('/') {
            None => Amount::Count(amount.trim().parse().ok()?),
            Some((n, d)) => {
                let (n, d) = (n.parse::<u16>().ok()?, d.parse::<u16>().ok()?);
                (0 < n && n < d).then_some(Amount::Share(n.into(), d.into()))?
            }
        };
        match end {
            "first" => Some(Layers::First(amount)),
            "last" => Some(Layers::Last(amount)),
            _ => None,
        }
    }

    /// Whether the `i`-th of `n` is in it.
    pub fn contains(self, i: usize, n: usize) -> bool {
        match self {
            Layers::MoreBits => i < n / 8 || i >= share(7, 8, n) || (i - n / 8) % 3 == 2,
            Layers::First(Amount::Count(count)) => i < count,
            Layers::First(Amount::Share(num, den)) => i < share(num, den, n),
            Layers::Last(Amount::Count(count)) => i >= n.saturating_sub(count),
            Layers::Last(Amount::Share(num, den)) => i >= share(den - num, den, n),
        }
    }
}

fn share(num: usize, den: usize, n: usize) -> usize {
    n.saturating_mul(num) / den
}

/// What `layers` counts where a model has experts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Index {
    /// The layer number in the tensor's name.
    #[default]
    Layer,
    /// Tensors of the class, in the order of the file, as for models without experts.
    Tensor,
}

/// What must hold for a rule to match, beside the tensor's class and name. Absent is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// In one of these parts of the model.
    pub layers: Vec<Layers>,
    /// In none of these.
    pub not_layers: Vec<Layers>,
    /// Query heads a key-value head.
    pub gqa_at_least: Option<usize>,
    /// Exactly so many experts.
    pub experts: Option<usize>,
    /// Or so many and more.
    pub experts_at_least: Option<usize>,
    /// Exactly so many layers.
    pub block_count: Option<usize>,
    /// Fewer key-value heads than query heads, or not.
    pub grouped: Option<bool>,
    /// One of these architectures.
    pub arch: Vec<String>,
    /// None of these.
    pub not_arch: Vec<String>,
    /// Importance was given, or not.
    pub importance: Option<bool>,
    /// Rows are whole blocks of the recipe's default type, or not.
    pub fits: Option<bool>,
    /// A stack of matrices, as experts are, or not.
    pub stacked: Option<bool>,
}

impl When {
    /// Whether this names a part of the model, so that the tensor's place in it must be known.
    pub fn by_layer(&self) -> bool {
        !self.layers.is_empty() || !self.not_layers.is_empty()
    }

    /// Everything but the layers.
    pub fn holds(&self, facts: &Facts, fits: bool, stacked: bool) -> bool {
        let is = |wanted: Option<bool>, found: bool| wanted.is_none_or(|w| w == found);
        let here = |archs: &[String]| archs.contains(&facts.arch);
        self.gqa_at_least.is_none_or(|n| facts.gqa() >= n)
            && self.experts.is_none_or(|n| facts.experts == n)
            && self.experts_at_least.is_none_or(|n| facts.experts >= n)
            && self.block_count.is_none_or(|n| facts.layers == n)
            && is(self.grouped, facts.heads != facts.kv_heads)
            && (self.arch.is_empty() || here(&self.arch))
            && !here(&self.not_arch)
            && is(self.importance, facts.importance)
            && is(self.fits, fits)
            && is(self.stacked, stacked)
    }

    /// The layers: whether the `i`-th of `n` is meant.
    pub fn holds_at(&self, i: usize, n: usize) -> bool {
        let inside = |parts: &[Layers]| parts.iter().any(|p| p.contains(i, n));
        (self.layers.is_empty() || inside(&self.layers)) && !inside(&self.not_layers)
    }
}

/// A type for the tensors of some classes or names, if all conditions hold.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The classes that it is for.
    pub classes: Vec<Class>,
    /// The names that it is for, searched in unanchored.
    pub name: Option<Regex>,
    /// The conditions.
    pub when: When,
    /// What `when.layers` counts.
    pub index: Index,
    /// For a lift: the types that it takes the place of. Empty for a plain rule.
    pub from: Vec<GgmlType>,
    /// The type.
    pub ty: GgmlType,
    /// The rule in words, as plans show it: `ffn_down, layers more_bits`.
    pub text: String,
}

impl Rule {
    /// Whether it takes every tensor of its classes.
    pub fn unconditional(&self) -> bool {
        self.name.is_none() && self.when == When::default()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str, n: usize) -> Vec<usize> {
        let layers = Layers::parse(text).expect("parses");
        (0..n).filter(|&i| layers.contains(i, n)).collect()
    }

    #[test]
    fn parts_of_the_depth() {
        assert_eq!(members("more_bits", 16), [0, 1, 4, 7, 10, 13, 14, 15]);
        assert_eq!(members("more_bits", 4), [2, 3]);
        assert_eq!(members("first 1/8", 20), [0, 1]);
        assert_eq!(members("last 1/8", 20), [17, 18, 19]);
        assert_eq!(members("first 2", 5), [0, 1]);
        assert_eq!(members("last 2", 5), [3, 4]);
        assert_eq!(members("last 9", 2), [0, 1]);
        for bad in ["", "first", "first 0/8", "first 8/8", "middle 1/8", "first -1", "more bits", "first 1/0"] {
            assert_eq!(Layers::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_tell_the_class() {
        for (name, class) in [
            ("output.weight", Class::Output),
            ("per_layer_token_embd.weight", Class::TokenEmbd),
            ("blk.3.attn_qkv.weight", Class::AttnQkv),
            ("blk.3.attn_kv_b.weight", Class::AttnKvB),
            ("blk.3.attn_k_b.weight", Class::Other),
            ("blk.3.attn_q_a.weight", Class::Other),
            ("blk.3.ffn_down_exps.weight", Class::FfnDown),
            ("blk.3.ffn_gate_up_exps.weight", Class::FfnGate),
            ("enc.blk.0.attn_v.weight", Class::AttnV),
            ("blk.0.attn_output.weight", Class::AttnOutput),
            ("blk.0.ssm_in.weight", Class::Other),
        ] {
            assert_eq!(Class::of(name), class, "{name}");
        }
    }

    #[test]
    fn each_condition_can_refuse() {
        let facts = Facts { arch: "llama".into(), layers: 32, heads: 32, kv_heads: 8, experts: 8, importance: true };
        let refuses = |when: When| !when.holds(&facts, true, false);
        assert!(When::default().holds(&facts, true, false));
        assert!(refuses(When { gqa_at_least: Some(5), ..When::default() }));
        assert!(refuses(When { experts: Some(4), ..When::default() }));
        assert!(refuses(When { experts_at_least: Some(9), ..When::default() }));
        assert!(refuses(When { block_count: Some(80), ..When::default() }));
        assert!(refuses(When { grouped: Some(false), ..When::default() }));
        assert!(refuses(When { arch: vec!["falcon".into()], ..When::default() }));
        assert!(refuses(When { not_arch: vec!["falcon".into(), "llama".into()], ..When::default() }));
        assert!(refuses(When { importance: Some(false), ..When::default() }));
        assert!(refuses(When { fits: Some(false), ..When::default() }));
        assert!(refuses(When { stacked: Some(true), ..When::default() }));
        let all = When {
            gqa_at_least: Some(4),
            experts: Some(8),
            experts_at_least: Some(8),
            block_count: Some(32),
            grouped: Some(true),
            arch: vec!["llama".into()],
            not_arch: vec!["falcon".into()],
            importance: Some(true),
            fits: Some(true),
            stacked: Some(false),
            ..When::default()
        };
        assert!(all.holds(&facts, true, false));
        let part = When { layers: vec![Layers::MoreBits], not_layers: vec![Layers::First(Amount::Count(1))], ..all };
        assert!(part.holds_at(1, 16) && !part.holds_at(0, 16) && !part.holds_at(2, 16));
    }
}
