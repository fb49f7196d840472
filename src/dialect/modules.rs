//! The tensors of a checkpoint by the module they belong to.

use std::collections::BTreeMap;

use planish_formats::{Info, Source};
use regex::Regex;

use super::packed::find;
use super::{Error, Result};
use crate::model::ConfigReader;

/// The tensors of one module: `P.qweight` is the part `qweight` of `P`.
pub(super) struct Module<'a> {
    pub name: &'a str,
    source: &'a dyn Source,
    parts: BTreeMap<&'a str, &'a Info>,
}

impl<'a> Module<'a> {
    /// A part, if it is there.
    pub(super) fn part(&self, part: &str) -> Option<&'a Info> {
        self.parts.get(part).copied()
    }

    /// A part that `beside` needs.
    pub(super) fn require(&self, part: &str, beside: &str) -> Result<&'a Info> {
        find(self.source, &self.tensor(part), &self.tensor(beside))
    }

    /// The bytes of a part that is there.
    pub(super) fn bytes(&self, part: &str) -> Result<&'a [u8]> {
        Ok(self.source.view(&self.tensor(part))?.bytes)
    }

    /// The name of the tensor that is this part.
    pub(super) fn tensor(&self, part: &str) -> String {
        if self.name.is_empty() { part.to_owned() } else { format!("{}.{part}", self.name) }
    }

    /// The names of those of these parts that are there.
    pub(super) fn those(&self, parts: &[&str]) -> Vec<String> {
        parts.iter().filter(|part| self.parts.contains_key(**part)).map(|part| self.tensor(part)).collect()
    }
}

/// All modules, in the order of their names.
pub(super) fn modules(source: &dyn Source) -> Vec<Module<'_>> {
    let mut modules: BTreeMap<&str, BTreeMap<&str, &Info>> = BTreeMap::new();
    for info in source.infos() {
        let (module, part) = info.name.rsplit_once('.').unwrap_or(("", &info.name));
        modules.entry(module).or_default().insert(part, info);
    }
    modules.into_iter().map(|(name, parts)| Module { name, source, parts }).collect()
}

/// A group size as configurations have it: -1 is the whole row, here 0.
pub(super) fn group_size(config: &mut ConfigReader<'_>, key: &str) -> Result<Option<usize>> {
    let Some(value) = config.get(key) else { return Ok(None) };
    match value.as_i64() {
        Some(-1) => Ok(Some(0)),
        Some(size) if size > 0 => Ok(usize::try_from(size).ok()),
        _ => Err(config.bad(key, "a number of columns, or -1 for all of a row").into()),
    }
}

/// A regular expression of Python's `re.match`, which holds from the beginning on.
pub(super) fn pattern(key: &str, pattern: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{pattern})"))
        .map_err(|_| Error::Unsupported { what: format!("quantization_config.{key}: the pattern {pattern:?}") })
}
