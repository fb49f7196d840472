//! Reads recipe files, and says where they are wrong.

use std::collections::BTreeMap;
use std::ops::Range;

use planish_formats::GgmlType;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use super::fallback::holds_weights;
use super::recipe_rule::{Class, Index, Layers, Rule, When};
use super::{Recipe, RecipeError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecipe {
    name: Spanned<String>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    about: String,
    file_type: u32,
    default: Spanned<String>,
    #[serde(default, rename = "use")]
    sets: Vec<Spanned<String>>,
    #[serde(default)]
    needs_importance: Vec<Spanned<String>>,
    #[serde(default)]
    rule: Vec<Spanned<RawRule>>,
    #[serde(default)]
    lift: Vec<Spanned<RawRule>>,
}

/// The keys of a rule, in the order in which reports tell them. Several names in one string are split at `|`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    tensor: Option<Spanned<String>>,
    name: Option<Spanned<String>>,
    layers: Option<Spanned<String>>,
    not_layers: Option<Spanned<String>>,
    #[serde(default)]
    index: Index,
    gqa_at_least: Option<usize>,
    experts: Option<usize>,
    experts_at_least: Option<usize>,
    block_count: Option<usize>,
    grouped: Option<bool>,
    arch: Option<String>,
    not_arch: Option<String>,
    importance: Option<bool>,
    fits: Option<bool>,
    stacked: Option<bool>,
    #[serde(default)]
    from: Vec<Spanned<String>>,
    #[serde(rename = "type")]
    ty: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCommon {
    keep: Vec<Keep>,
    importance: RawImportance,
    set: BTreeMap<String, RawSet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImportance {
    types: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSet {
    #[serde(default)]
    rule: Vec<Spanned<RawRule>>,
    #[serde(default)]
    lift: Vec<Spanned<RawRule>>,
}

/// Names that are never quantized.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keep {
    arch: Option<String>,
    #[serde(default)]
    equals: Vec<String>,
    #[serde(default)]
    contains: Vec<String>,
}

impl Keep {
    /// Whether a tensor of this name is kept in a model of this architecture.
    pub(super) fn names(&self, arch: &str, name: &str) -> bool {
        self.arch.as_ref().is_none_or(|only| only == arch)
            && (self.equals.iter().any(|n| n == name) || self.contains.iter().any(|part| name.contains(part.as_str())))
    }
}

#[derive(Debug)]
struct Set {
    rules: Vec<Rule>,
    lifts: Vec<Rule>,
}

/// What all recipes share.
#[derive(Debug)]
pub(super) struct Common {
    /// What is never quantized.
    pub(super) keep: Vec<Keep>,
    /// Types that no recipe takes without importance.
    pub(super) needs_importance: Vec<GgmlType>,
    sets: BTreeMap<String, Set>,
}

impl Common {
    /// Reads `common.toml`.
    pub(super) fn parse(text: &str, origin: &str) -> Result<Common, RecipeError> {
        let file = File { text, origin };
        let raw: RawCommon = file.read()?;
        let sets = raw
            .set
            .into_iter()
            .map(|(name, set)| Ok((name, Set { rules: file.rules(set.rule)?, lifts: file.lifts(set.lift)? })));
        Ok(Common {
            keep: raw.keep,
            needs_importance: raw.importance.types.iter().map(|t| file.ty(t)).collect::<Result<_, _>>()?,
            sets: sets.collect::<Result<_, RecipeError>>()?,
        })
    }
}

/// Reads a recipe that may use the sets of `common`.
pub(super) fn parse(text: &str, origin: &str, common: &Common) -> Result<Recipe, RecipeError> {
    let file = File { text, origin };
    let raw: RawRecipe = file.read()?;
    if raw.name.get_ref().trim().is_empty() {
        return Err(file.error(raw.name.span(), "the name is empty"));
    }
    let (mut rules, mut lifts) = (Vec::new(), Vec::new());
    for name in &raw.sets {
        let set = common.sets.get(name.get_ref()).ok_or_else(|| {
            let known: Vec<&str> = common.sets.keys().map(String::as_str).collect();
            file.error(name.span(), format!("no set {:?}; there are: {}", name.get_ref(), known.join(", ")))
        })?;
        rules.extend(set.rules.iter().cloned());
        lifts.extend(set.lifts.iter().cloned());
    }
    let places: Vec<Range<usize>> = raw.rule.iter().map(Spanned::span).collect();
    let own = file.rules(raw.rule)?;
    for (i, (rule, place)) in own.iter().zip(places).enumerate() {
        let earlier = || rules.iter().chain(&own[..i]).filter(|r| r.unconditional());
        if !rule.classes.is_empty() && rule.classes.iter().all(|c| earlier().any(|r| r.classes.contains(c))) {
            return Err(file.error(place, "never reached: rules before it take all of its tensors"));
        }
    }
    rules.extend(own);
    lifts.extend(file.lifts(raw.lift)?);
    Ok(Recipe {
        name: raw.name.into_inner(),
        aliases: raw.aliases,
        about: raw.about,
        file_type: raw.file_type,
        default: file.ty(&raw.default)?,
        rules,
        lifts,
        needs_importance: raw.needs_importance.iter().map(|t| file.ty(t)).collect::<Result<_, _>>()?,
    })
}

/// A text and where it is from, so that errors can point into it.
struct File<'a> {
    text: &'a str,
    origin: &'a str,
}

impl File<'_> {
    fn read<T: DeserializeOwned>(&self) -> Result<T, RecipeError> {
        toml::from_str(self.text).map_err(|e| self.error(e.span().unwrap_or(0..0), e.message().replace('\n', ", ")))
    }

    fn error(&self, place: Range<usize>, message: impl Into<String>) -> RecipeError {
        let before = self.text.as_bytes().get(..place.start).unwrap_or_default();
        let line = before.split(|&b| b == b'\n').count();
        RecipeError::File { origin: self.origin.to_owned(), line, message: message.into() }
    }

    fn ty(&self, name: &Spanned<String>) -> Result<GgmlType, RecipeError> {
        let ty = GgmlType::named(name.get_ref())
            .ok_or_else(|| self.error(name.span(), format!("no type {:?}", name.get_ref())))?;
        if !holds_weights(ty) {
            return Err(self.error(name.span(), RecipeError::NotForWeights { ty }.to_string()));
        }
        Ok(ty)
    }

    fn rules(&self, raw: Vec<Spanned<RawRule>>) -> Result<Vec<Rule>, RecipeError> {
        let plain = |raw: Spanned<RawRule>| match raw.get_ref().from.first() {
            Some(from) => Err(self.error(from.span(), "`from` is for lifts: [[lift]]")),
            None => self.rule(raw),
        };
        raw.into_iter().map(plain).collect()
    }

    fn lifts(&self, raw: Vec<Spanned<RawRule>>) -> Result<Vec<Rule>, RecipeError> {
        let lift = |raw: Spanned<RawRule>| {
            if raw.get_ref().from.is_empty() {
                return Err(self.error(raw.span(), "a lift says which types it takes the place of: from = [\"Q4_K\"]"));
            }
            self.rule(raw)
        };
        raw.into_iter().map(lift).collect()
    }

    fn rule(&self, raw: Spanned<RawRule>) -> Result<Rule, RecipeError> {
        let place = raw.span();
        let raw = raw.into_inner();
        if raw.tensor.is_none() && raw.name.is_none() {
            return Err(self.error(place, "a rule says what it is for: `tensor` (a class, or any) or `name` (a regex)"));
        }
        let text = describe(&raw);
        let rule = Rule {
            classes: self.classes(raw.tensor.as_ref())?,
            name: raw.name.map(|n| pattern(n.get_ref()).map_err(|m| self.error(n.span(), m))).transpose()?,
            when: When {
                layers: self.layers(raw.layers.as_ref())?,
                not_layers: self.layers(raw.not_layers.as_ref())?,
                gqa_at_least: raw.gqa_at_least,
                experts: raw.experts,
                experts_at_least: raw.experts_at_least,
                block_count: raw.block_count,
                grouped: raw.grouped,
                arch: split(raw.arch.as_deref()),
                not_arch: split(raw.not_arch.as_deref()),
                importance: raw.importance,
                fits: raw.fits,
                stacked: raw.stacked,
            },
            index: raw.index,
            from: raw.from.iter().map(|t| self.ty(t)).collect::<Result<_, _>>()?,
            ty: self.ty(&raw.ty)?,
            text,
        };
        let no_layer = |c: &Class| matches!(c, Class::Output | Class::TokenEmbd);
        if rule.when.by_layer() && !rule.classes.is_empty() && rule.classes.iter().all(no_layer) {
            return Err(self.error(place, "can never match: these tensors are in no layer"));
        }
        Ok(rule)
    }

    /// The classes of a rule; all of them for `any` and for a rule by name alone.
    fn classes(&self, names: Option<&Spanned<String>>) -> Result<Vec<Class>, RecipeError> {
        let Some(names) = names.filter(|n| n.get_ref() != "any") else { return Ok(Class::ALL.to_vec()) };
        let class = |name: String| {
            Class::ALL.iter().copied().find(|c| c.name() == name).ok_or_else(|| {
                let known: Vec<&str> = Class::ALL.iter().map(|c| c.name()).collect();
                let message = format!("no tensor class {name:?}; there are: any, {}", known.join(", "));
                self.error(names.span(), message)
            })
        };
        split(Some(names.get_ref())).into_iter().map(class).collect()
    }

    fn layers(&self, parts: Option<&Spanned<String>>) -> Result<Vec<Layers>, RecipeError> {
        let Some(parts) = parts else { return Ok(Vec::new()) };
        let part = |text: String| {
            Layers::parse(&text).ok_or_else(|| {
                let message = format!("no layers {text:?}; known are more_bits, first N, first 1/N, last N, last 1/N");
                self.error(parts.span(), message)
            })
        };
        split(Some(parts.get_ref())).into_iter().map(part).collect()
    }
}

/// A pattern over tensor names as recipes and overrides take it: unanchored, in any case.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).case_insensitive(true).build().map_err(|e| match e {
        // The last of several lines says what is wrong.
        regex::Error::Syntax(message) => {
            let last = message.lines().last().unwrap_or_default().trim();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
        other => other.to_string(),
    })
}

fn split(names: Option<&str>) -> Vec<String> {
    names.into_iter().flat_map(|n| n.split('|')).map(|n| n.trim().to_owned()).collect()
}

fn describe(raw: &RawRule) -> String {
    let quoted = |key: &str, value: Option<&Spanned<String>>| value.map(|v| format!("{key}{}", v.get_ref()));
    let number = |key: &str, value: Option<usize>| value.map(|v| format!("{key}{v}"));
    let flag = |yes: &str, no: &str, value: Option<bool>| value.map(|v| if v { yes } else { no }.to_owned());
    [
        quoted("", raw.tensor.as_ref()),
        quoted("name ", raw.name.as_ref()),
        quoted("layers ", raw.layers.as_ref()),
        quoted("layers not ", raw.not_layers.as_ref()),
        number("gqa >= ", raw.gqa_at_least),
        number("experts ", raw.experts),
        number("experts >= ", raw.experts_at_least),
        number("layers in all ", raw.block_count),
        flag("grouped heads", "no grouped heads", raw.grouped),
        raw.arch.as_ref().map(|a| format!("arch {a}")),
        raw.not_arch.as_ref().map(|a| format!("arch not {a}")),
        flag("with importance", "without importance", raw.importance),
        flag("rows fit", "rows do not fit", raw.fits),
        flag("stacked", "not stacked", raw.stacked),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(", ")
}
