//! One of the two models, opened: its program, its tokenizer and its metadata.

use planish_formats::gguf::Kv;

use super::report;
use super::{Error, Result, Side, Which};
use crate::checkpoint::{About, Checkpoint};
use crate::run::Subject;
use crate::run::executor::Settings;
use crate::text::{self, Encoder};

/// A checkpoint that is ready to run.
pub(super) struct Party<'a> {
    pub which: Which,
    pub checkpoint: &'a Checkpoint,
    pub subject: Subject,
    /// Its own tokenizer, or why it cannot be run.
    pub encoder: Result<Encoder, text::Error>,
    /// The `tokenizer.*` keys that its GGUF has or would have, or why they cannot be told.
    pub vocabulary: Result<Kv, text::Error>,
}

impl<'a> Party<'a> {
    pub(super) fn open(which: Which, checkpoint: &'a Checkpoint) -> Result<Party<'a>> {
        let subject = Subject::of(checkpoint).map_err(|source| Error::Open { which, source })?;
        let encoder = Encoder::of(checkpoint);
        let vocabulary = match &checkpoint.about {
            About::Gguf(kv) => Ok(kv.clone()),
            About::HuggingFace { config, .. } => {
                let rows = subject.config.vocab;
                let request = text::Request { dir: checkpoint.dir(), rows, config, pre: None };
                text::vocabulary(&request).map(|vocabulary| vocabulary.kv)
            }
        };
        Ok(Party { which, checkpoint, subject, encoder, vocabulary })
    }

    pub(super) fn side(&self, settings: Settings) -> Side<'_> {
        Side { model: &self.subject.model, source: &self.checkpoint.source, settings }
    }

    /// What reports say of it.
    pub(super) fn describe(&self) -> report::Model {
        let infos = self.checkpoint.source.infos();
        let parameters: u64 = infos.iter().map(|info| info.elements() as u64).sum();
        let bytes = self.checkpoint.source.bytes();
        report::Model {
            path: self.checkpoint.path.display().to_string(),
            name: self.checkpoint.name(),
            format: match self.checkpoint.about {
                About::Gguf(_) => "gguf",
                About::HuggingFace { .. } => "huggingface",
            }
            .to_owned(),
            architecture: self.subject.architecture.name.to_owned(),
            parameters,
            bytes,
            bits_per_weight: bytes as f64 * 8.0 / parameters.max(1) as f64,
        }
    }
}
