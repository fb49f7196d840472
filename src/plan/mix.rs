//! Which type each tensor gets. The decisions of the built-in recipes are llama.cpp's, tensor by tensor.

use std::cmp::Ordering;

use planish_formats::{GgmlType, Storage};
use regex::Regex;

use super::fallback::{fit, fits, holds_weights};
use super::recipe::COMMON;
use super::recipe_file::pattern;
use super::recipe_rule::{Class, Index, Rule};
use super::{Recipe, RecipeError};

/// What rules ask about the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `general.architecture`.
    pub arch: String,
    /// `block_count`.
    pub layers: usize,
    /// Query heads of the first layer.
    pub heads: usize,
    /// Key-value heads of the first layer; 0 where it has no attention.
    pub kv_heads: usize,
    /// Experts a layer; 0 for a dense model.
    pub experts: usize,
    /// Whether importance was given.
    pub importance: bool,
}

impl Facts {
    /// Query heads a key-value head, rounded down; 0 where there is no attention.
    pub fn gqa(&self) -> usize {
        self.heads.checked_div(self.kv_heads).unwrap_or(0)
    }
}

/// A tensor before its type is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name in GGUF.
    pub name: String,
    /// Dimensions, outermost first: `[out, in]`, `[experts, out, in]`.
    pub shape: Vec<usize>,
    /// What it is if nothing is done to it.
    pub storage: Storage,
}

impl Candidate {
    fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Dimensions as GGML counts them: outer ones of length 1 are none.
    fn dims(&self) -> usize {
        self.shape.iter().skip_while(|&&d| d == 1).count().max(1)
    }

    fn stacked(&self) -> bool {
        self.shape.iter().rev().nth(2).is_some_and(|&d| d > 1)
    }

    fn kept(&self, arch: &str) -> bool {
        self.dims() < 2 || !self.name.ends_with("weight") || COMMON.keep.iter().any(|k| k.names(arch, &self.name))
    }
}

/// What the user asks for beside the recipe.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The default type for everything; no rules.
    pub pure: bool,
    /// `output.weight` stays as it is.
    pub leave_output: bool,
    /// For `output.weight`; by way of the rules also for an embedding that serves as the output.
    pub output: Option<GgmlType>,
    /// For `token_embd.weight`, and for `per_layer_token_embd.weight` unless `tensors` names it.
    pub embedding: Option<GgmlType>,
    /// For names in which the pattern is found. The first that matches decides.
    pub tensors: Vec<(Regex, GgmlType)>,
}

impl Overrides {
    /// Reads `REGEX=TYPE` for [`Overrides::tensors`]: unanchored, in any case.
    pub fn tensor(spec: &str) -> Result<(Regex, GgmlType), RecipeError> {
        let wrong = |message: String| RecipeError::Override { spec: spec.to_owned(), message };
        let (regex, ty) = spec.split_once('=').ok_or_else(|| wrong("there is no =".into()))?;
        if regex.is_empty() {
            return Err(wrong("the regex is empty".into()));
        }
        let known = GgmlType::named(ty).ok_or_else(|| wrong(format!("no type {ty:?}")))?;
        if !holds_weights(known) {
            return Err(wrong(RecipeError::NotForWeights { ty: known }.to_string()));
        }
        Ok((pattern(regex).map_err(wrong)?, known))
    }

    /// Patterns of [`Overrides::tensors`] that no tensor's name matches: mistyped, or meant for another model.
    pub fn unmatched<'a>(&'a self, tensors: &'a [Candidate]) -> impl Iterator<Item = &'a str> {
        let matches = |regex: &Regex| tensors.iter().any(|tensor| regex.is_match(&tensor.name));
        self.tensors.iter().filter(move |(regex, _)| !matches(regex)).map(|(regex, _)| regex.as_str())
    }

    fn named(&self, name: &str) -> Option<GgmlType> {
        self.tensors.iter().find_map(|(regex, ty)| regex.is_match(name).then_some(*ty))
    }
}

/// What was decided for a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The type that it gets.
    pub ty: GgmlType,
    /// The type that it would have got if its rows were whole blocks.
    pub wanted: GgmlType,
    /// What decided.
    pub why: Why,
}

/// What decided a tensor's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is never quantized.
    Kept,
    /// No rule was for it.
    Default,
    /// This rule, in words: the recipe's, or of the way back to a checkpoint.
    Rule(String),
    /// [`Overrides::tensors`].
    Override,
    /// [`Overrides::output`].
    Output,
    /// [`Overrides::embedding`].
    Embedding,
    /// Its rows are not whole blocks of the wanted type.
    Fallback {
        /// Elements a row.
        cols: usize,
        /// What decided on the wanted type.
        wanted: Box<Why>,
    },
}

/// Decides the type of every tensor, in the order given. Which of several equal tensors counts as an early one depends on
/// [`output_order`], not on the order given.
///
/// As llama.cpp decides, except where llama.cpp would ignore an override in silence or abort: overrides of single tensors
/// hold for recipes of plain floats too, and the types of [`Overrides::output`] and [`Overrides::embedding`] fall back
/// like any other where rows do not fit.
pub fn choose(
    recipe: &Recipe,
    overrides: &Overrides,
    facts: &Facts,
    tensors: &[Candidate],
) -> Result<Vec<Choice>, RecipeError> {
    let asked = overrides.tensors.iter().map(|(_, ty)| *ty).chain(overrides.output).chain(overrides.embedding);
    if let Some(ty) = asked.into_iter().find(|&ty| !holds_weights(ty)) {
        return Err(RecipeError::NotForWeights { ty });
    }
    let mut mixer = Mixer {
        recipe,
        overrides,
        facts,
        tied: tensors.iter().all(|t| Class::of(&t.name) != Class::Output),
        seen: Counts::default(),
        values: tensors.iter().filter(|t| Counter::of(Class::of(&t.name)) == Some(Counter::Value)).count(),
    };
    let names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    let mut choices = Vec::with_capacity(tensors.len());
    for i in output_order(&names) {
        choices.push((i, mixer.choice(&tensors[i])?));
    }
    choices.sort_unstable_by_key(|&(i, _)| i);
    Ok(choices.into_iter().map(|(_, choice)| choice).collect())
}

/// The order in which llama.cpp writes tensors, as indices into `names`: by layer, those outside the layers first, then
/// by name.
pub fn output_order<S: AsRef<str>>(names: &[S]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| in_order(names[a].as_ref(), names[b].as_ref()));
    order
}

fn in_order(a: &str, b: &str) -> Ordering {
    block(a).cmp(&block(b)).then_with(|| a.cmp(b))
}

/// The layer number in `blk.N.…`.
fn block(name: &str) -> Option<usize> {
    let rest = name.strip_prefix("blk.")?;
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

/// The tensors whose type is garbage without importance: if none was given for one of them, nothing should be written.
pub fn needs_importance<'a>(recipe: &Recipe, tensors: &'a [Candidate], choices: &[Choice]) -> Vec<&'a str> {
    let needs = |t: &&(&Candidate, &Choice)| {
        let listed = COMMON.needs_importance.contains(&t.1.ty) || recipe.needs_importance.contains(&t.1.ty);
        listed && t.1.why != Why::Kept && !matches!(Class::of(&t.0.name), Class::Output | Class::TokenEmbd)
    };
    let pairs: Vec<_> = tensors.iter().zip(choices).collect();
    pairs.iter().filter(needs).map(|t| t.0.name.as_str()).collect()
}

/// Fails, naming the tensors, if [`needs_importance`] finds any and the model's [`Facts`] say that there is none.
pub fn require_importance(
    recipe: &Recipe,
    facts: &Facts,
    tensors: &[Candidate],
    choices: &[Choice],
) -> Result<(), RecipeError> {
    let needing = needs_importance(recipe, tensors, choices);
    if facts.importance || needing.is_empty() {
        return Ok(());
    }
    let tensors = needing.into_iter().map(str::to_owned).collect();
    Err(RecipeError::NeedsImportance { recipe: recipe.name.clone(), tensors })
}

/// Classes that llama.cpp counts together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counter {
    Value,
    Up,
    Gate,
    Down,
}

impl Counter {
    fn of(class: Class) -> Option<Counter> {
        match class {
            Class::AttnV | Class::AttnQkv | Class::AttnKvB => Some(Counter::Value),
            Class::FfnUp => Some(Counter::Up),
            Class::FfnGate => Some(Counter::Gate),
            Class::FfnDown => Some(Counter::Down),
            Class::Output | Class::TokenEmbd | Class::AttnK | Class::AttnQ | Class::AttnOutput | Class::Other => None,
        }
    }
}

/// How many tensors of each counter the rules have seen.
#[derive(Default)]
struct Counts([usize; 4]);

impl Counts {
    fn of(&mut self, counter: Counter) -> &mut usize {
        &mut self.0[counter as usize]
    }
}

struct Mixer<'a> {
    recipe: &'a Recipe,
    overrides: &'a Overrides,
    facts: &'a Facts,
    /// No output of its own: the embedding serves as one.
    tied: bool,
    seen: Counts,
    /// Tensors of [`Counter::Value`] in the model.
    values: usize,
}

/// One tensor as the rules see it.
struct Seen<'a> {
    tensor: &'a Candidate,
    class: Class,
    fits: bool,
    /// How many of its counter came before.
    before: usize,
}

impl Mixer<'_> {
    /// Call in output order: rules count tensors.
    fn choice(&mut self, tensor: &Candidate) -> Result<Choice, RecipeError> {
        if tensor.kept(&self.facts.arch) || (self.overrides.leave_output && tensor.name == "output.weight") {
            let unholdable = || RecipeError::Unholdable { tensor: tensor.name.clone(), storage: tensor.storage.name() };
            let ty = GgmlType::holding(tensor.storage).ok_or_else(unholdable)?;
            return Ok(Choice { ty, wanted: ty, why: Why::Kept });
        }
        let (wanted, why) = self.wanted(tensor)?;
        let cols = tensor.cols();
        let no_fallback = || RecipeError::NoFallback { tensor: tensor.name.clone(), ty: wanted, cols };
        let ty = fit(wanted, cols).ok_or_else(no_fallback)?;
        let why = if ty == wanted { why } else { Why::Fallback { cols, wanted: Box::new(why) } };
        Ok(Choice { ty, wanted, why })
    }

    fn wanted(&mut self, tensor: &Candidate) -> Result<(GgmlType, Why), RecipeError> {
        let class = Class::of(&tensor.name);
        let named = self.overrides.named(&tensor.name);
        let whole_type = match class {
            Class::TokenEmbd if tensor.name == "token_embd.weight" || named.is_none() => {
                self.overrides.embedding.map(|ty| (ty, Why::Embedding))
            }
            Class::Output => self.overrides.output.map(|ty| (ty, Why::Output)),
            _ => None,
        };
        if let Some(decided) = whole_type.or(named.map(|ty| (ty, Why::Override))) {
            return Ok(decided);
        }
        if self.overrides.pure {
            return Ok((self.recipe.default, Why::Default));
        }
        let class = if self.tied && class == Class::TokenEmbd { Class::Output } else { class };
        self.by_rules(tensor, class)
    }

    fn by_rules(&mut self, tensor: &Candidate, class: Class) -> Result<(GgmlType, Why), RecipeError> {
        let counter = Counter::of(class);
        let before = counter.map_or(0, |c| *self.seen.of(c));
        let seen = Seen { tensor, class, fits: fits(self.recipe.default, tensor.cols()), before };
        let decided = self.first(&self.recipe.rules, &seen)?;
        // A recipe of plain floats has no rules in llama.cpp, so there an embedding is never taken for the output.
        let ruled = self.recipe.default.block_len() > 1;
        let tied_output = self.overrides.output.filter(|_| class == Class::Output && ruled);
        let mut result = match (decided, tied_output) {
            (_, Some(ty)) => (ty, Why::Output),
            (Some(rule), None) => (rule.ty, Why::Rule(rule.text.clone())),
            (None, None) => (self.recipe.default, Why::Default),
        };
        let lifts = self.recipe.lifts.iter().filter(|lift| lift.from.contains(&result.0));
        if let Some(lift) = self.first(lifts, &seen)? {
            result = (lift.ty, Why::Rule(lift.text.clone()));
        }
        if let Some(counter) = counter {
            *self.seen.of(counter) += 1;
        }
        Ok(result)
    }

    /// The first rule that matches.
    fn first<'r>(
        &self,
        rules: impl IntoIterator<Item = &'r Rule>,
        seen: &Seen,
    ) -> Result<Option<&'r Rule>, RecipeError> {
        for rule in rules {
            let named = rule.name.as_ref().is_none_or(|regex| regex.is_match(&seen.tensor.name));
            if !named || !rule.classes.contains(&seen.class) {
                continue;
            }
            if !rule.when.holds(self.facts, seen.fits, seen.tensor.stacked()) {
                continue;
            }
            if !rule.when.by_layer() {
                return Ok(Some(rule));
            }
            if self.place(seen, rule.index)?.is_some_and(|(i, n)| rule.when.holds_at(i, n)) {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }

    /// The tensor is the `i`-th of `n`. `None` for tensors that are in no layer.
    fn place(&self, seen: &Seen, index: Index) -> Result<Option<(usize, usize)>, RecipeError> {
        let layers = self.facts.layers;
        let layer = block(&seen.tensor.name);
        match Counter::of(seen.class) {
            None => Ok(layer.map(|i| (i, layers))),
            Some(Counter::Value) => Ok(Some((seen.before, self.values))),
            Some(Counter::Up | Counter::Gate | Counter::Down) => {
                if self.facts.experts <= 1 || index == Index::Tensor {
                    return Ok(Some((seen.before, layers)));
                }
                let no_layer = || RecipeError::NoLayer { tensor: seen.tensor.name.clone(), layers };
                Ok(Some((layer.filter(|&i| i < layers).ok_or_else(no_layer)?, layers)))
            }
        }
    }
}
