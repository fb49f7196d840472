//! Which tensors the entries of an importance matrix are for, and what becomes of those that have none.

use std::collections::BTreeSet;
use std::path::Path;

use planish_formats::Storage;
use planish_formats::gguf::Kv;
use planish_kernels::block;

use super::{Candidate, Choice, Class, Error, Recipe, RecipeError, Result, Why, needs_importance};
use crate::imatrix::Imatrix;

/// What the encoders are to weigh by.
pub struct Importance {
    /// The sums.
    pub imatrix: Imatrix,
    /// The file that it was read from, for the release's keys.
    pub file: Option<String>,
    /// What to do about tensors that it says nothing of.
    pub uncovered: Uncovered,
}

/// What becomes of tensors whose importance is not known, where their type would use it. The embedding and the output,
/// which llama-imatrix leaves out, are encoded without unless their type has no encoding without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Uncovered {
    /// Nothing is written. That holds for experts that saw no token too.
    Error,
    /// They are encoded without, as by llama-quantize, and counted in a warning; types that are garbage without are an
    /// error.
    #[default]
    Warn,
    /// All of their channels count alike.
    Uniform,
}

/// What an importance matrix covers of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Tensors whose encoding is weighed by what was measured.
    pub weighed: usize,
    /// Tensors that would have been, had something been measured.
    pub missing: Vec<String>,
    /// Stacks with matrices that saw no token: the name, how many, of how many.
    pub unseen: Vec<(String, usize, usize)>,
    /// Entries that name no tensor of the release.
    pub unused: Vec<String>,
    /// Embeddings whose entry is of another size, which was passed over.
    pub odd: Vec<String>,
}

impl Importance {
    /// Reads a file.
    pub fn read(path: &Path, uncovered: Uncovered) -> Result<Importance> {
        Ok(Importance { imatrix: Imatrix::read(path)?, file: Some(path.display().to_string()), uncovered })
    }

    /// The keys that llama-quantize writes.
    pub(super) fn keys(&self) -> Kv {
        let mut kv = Kv::new();
        if let Some(file) = &self.file {
            kv.set("quantize.imatrix.file", short(file));
        }
        if let Some(dataset) = self.imatrix.datasets.first() {
            kv.set("quantize.imatrix.dataset", short(dataset));
        }
        kv.set("quantize.imatrix.entries_count", self.imatrix.entries.len() as u32);
        if self.imatrix.chunks > 0 {
            kv.set("quantize.imatrix.chunks_count", self.imatrix.chunks);
        }
        kv
    }
}

/// llama-quantize's strings have room for 127 bytes.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(127)]
}

/// For each tensor one weight a column of each of its matrices, `[matrices, in]`, or `None` where it has none or its
/// type takes none.
type Weights = Vec<Option<Vec<f32>>>;

/// Finds every tensor's weights, or says why nothing should be written. What is `measured` later serves the layers' own
/// tensors: only the embedding and the output have to do without.
pub(super) fn weigh(
    importance: Option<&Importance>,
    measured: bool,
    recipe: &Recipe,
    tensors: &[Candidate],
    choices: &[Choice],
) -> Result<(Weights, Option<Coverage>)> {
    let served = |name: &&str| measured && !left_out(name);
    let needing = needs_importance(recipe, tensors, choices).into_iter().filter(|name| !served(name)).collect();
    let mut scale = Weigher {
        importance,
        measured,
        needing,
        coverage: Coverage::default(),
        unserved: vec![],
        recipe: &recipe.name,
    };
    let weights = tensors.iter().zip(choices).map(|(tensor, choice)| scale.weights(tensor, choice));
    let weights = weights.collect::<Result<Vec<_>>>()?;
    let coverage = scale.finish(tensors)?;
    Ok((weights, importance.map(|_| coverage)))
}

/// Whether llama-imatrix leaves a tensor out.
fn left_out(name: &str) -> bool {
    matches!(Class::of(name), Class::TokenEmbd | Class::Output)
}

struct Weigher<'a> {
    importance: Option<&'a Importance>,
    measured: bool,
    /// Tensors that are garbage without.
    needing: BTreeSet<&'a str>,
    coverage: Coverage,
    /// Those of them that have none.
    unserved: Vec<String>,
    recipe: &'a str,
}

impl Weigher<'_> {
    fn weights(&mut self, tensor: &Candidate, choice: &Choice) -> Result<Option<Vec<f32>>> {
        let target = choice.ty.storage();
        if choice.why == Why::Kept || target == tensor.storage || (self.measured && !left_out(&tensor.name)) {
            return Ok(None);
        }
        let codec = block::codec(choice.ty.name());
        let weighs = codec.is_some_and(block::Codec::weighs) && matches!(target, Storage::Blocks(_));
        let needs = codec.is_some_and(block::Codec::needs_importance) || self.needing.contains(tensor.name.as_str());
        let found = self.found(tensor)?;
        if !weighs {
            return Ok(None);
        }
        if found.is_some() {
            self.coverage.weighed += 1;
            return Ok(found);
        }
        let Some(Importance { uncovered, .. }) = self.importance else {
            self.unserved.extend(needs.then(|| tensor.name.clone()));
            return Ok(None);
        };
        let left_out = left_out(&tensor.name);
        if needs || !left_out {
            self.coverage.missing.push(tensor.name.clone());
        }
        match uncovered {
            Uncovered::Uniform if needs || !left_out => Ok(Some(vec![1.0; weights_of(&tensor.shape)])),
            Uncovered::Error | Uncovered::Warn | Uncovered::Uniform => {
                self.unserved.extend(needs.then(|| tensor.name.clone()));
                Ok(None)
            }
        }
    }

    /// The entry's importance, if there is an entry and it fits.
    fn found(&mut self, tensor: &Candidate) -> Result<Option<Vec<f32>>> {
        let Some(importance) = self.importance else { return Ok(None) };
        let Some(entry) = importance.imatrix.entries.get(&tensor.name) else { return Ok(None) };
        let (found, expected) = (entry.sums().len(), weights_of(&tensor.shape));
        if found != expected && Class::of(&tensor.name) == Class::TokenEmbd {
            self.coverage.odd.push(tensor.name.clone());
            return Ok(None);
        }
        if found != expected {
            return Err(Error::ImportanceSize { tensor: tensor.name.clone(), found, expected });
        }
        if entry.unseen() > 0 {
            self.coverage.unseen.push((tensor.name.clone(), entry.unseen(), entry.counts().len()));
        }
        Ok(Some(entry.importance()))
    }

    fn finish(mut self, tensors: &[Candidate]) -> Result<Coverage> {
        if !self.unserved.is_empty() {
            let (recipe, tensors) = (self.recipe.to_owned(), self.unserved);
            return Err(match self.importance {
                None => RecipeError::NeedsImportance { recipe, tensors }.into(),
                Some(_) => Error::Uncovered { tensors },
            });
        }
        let Some(importance) = self.importance else { return Ok(self.coverage) };
        let names: BTreeSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let entries = importance.imatrix.entries.keys();
        self.coverage.unused = entries.filter(|name| !names.contains(name.as_str())).cloned().collect();
        let unseen = self.coverage.unseen.iter().map(|(name, ..)| name);
        let tensors: Vec<String> = self.coverage.missing.iter().chain(unseen).cloned().collect();
        if importance.uncovered == Uncovered::Error && !tensors.is_empty() {
            return Err(Error::Uncovered { tensors });
        }
        Ok(self.coverage)
    }
}

/// Weights of importance that a tensor takes: as many as a row has elements, for each of its matrices.
fn weights_of(shape: &[usize]) -> usize {
    let cols = shape.last().copied().unwrap_or(1);
    cols * shape.iter().rev().nth(2).copied().unwrap_or(1)
}

impl Coverage {
    /// What a person should know, a sentence each.
    pub fn warnings(&self, uncovered: Uncovered) -> Vec<String> {
        let some = |names: &[String], what: &str| {
            (names.first()).map(|first| format!("{} tensors {what}, {first} first", names.len()))
        };
        let fate = match uncovered {
            Uncovered::Uniform => "have no importance and all of their channels count alike",
            Uncovered::Error | Uncovered::Warn => "have no importance and are encoded without",
        };
        let (unseen, of) = self.unseen.iter().fold((0, 0), |(a, b), (_, unseen, of)| (a + unseen, b + of));
        let experts = self.unseen.first().map(|(first, ..)| {
            format!("{unseen} of {of} experts saw no token and all of their channels count alike, {first} first")
        });
        let unused = self.unused.first().map(|first| {
            format!(
                "{} entries of the importance matrix are for no tensor of the model, {first} first",
                self.unused.len()
            )
        });
        let odd = some(&self.odd, "have an importance of another size, which is passed over");
        some(&self.missing, fate).into_iter().chain(experts).chain(unused).chain(odd).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_llama_quantize() {
        let imatrix = Imatrix { datasets: vec!["é".repeat(70), "b".to_owned()], chunks: 7, ..Imatrix::default() };
        let importance = |file: Option<&str>, imatrix| Importance {
            imatrix,
            file: file.map(str::to_owned),
            uncovered: Uncovered::Warn,
        };
        let keys = importance(Some("m.gguf"), imatrix).keys();
        assert!(keys.iter().map(|(key, _)| key.trim_start_matches("quantize.imatrix.")).eq([
            "file",
            "dataset",
            "entries_count",
            "chunks_count"
        ]));
        // At most 127 bytes, and whole characters.
        assert_eq!(keys.str("quantize.imatrix.dataset").map(str::len), Some(126));
        assert_eq!(keys.unsigned("quantize.imatrix.chunks_count"), Some(7));
        assert_eq!(importance(None, Imatrix::default()).keys().len(), 1);
    }

    #[test]
    fn stacks_have_a_weight_for_each_column_of_each_matrix() {
        assert_eq!(weights_of(&[9, 5]), 5);
        assert_eq!(weights_of(&[8, 9, 5]), 40);
        assert_eq!(weights_of(&[5]), 5);
    }
}
