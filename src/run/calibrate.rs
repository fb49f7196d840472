//! Running a model over texts to see which input channels of its weights matter.

use std::collections::BTreeMap;

use planish_formats::Kind;

use super::executor::{self, Executor, Settings};
use super::stats::Squares;
use crate::dialect::Tensors;
use crate::imatrix::{self, Entry};
use crate::model::Model;
use crate::text::{self, Encoder};

/// What can go wrong while a model is calibrated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The run itself.
    #[error(transparent)]
    Run(#[from] executor::Error),
    /// The tokenizer.
    #[error(transparent)]
    Text(#[from] text::Error),
    /// The sums of a run that was interrupted.
    #[error(transparent)]
    Journal(#[from] imatrix::Error),
    /// Texts without a whole chunk between them that is not to be left out.
    #[error("the texts have {chunks} whole chunks of {tokens} tokens{}", left_out(*skipped))]
    TooShort {
        /// Whole chunks in all texts.
        chunks: usize,
        /// Tokens a chunk.
        tokens: usize,
        /// Chunks that are not wanted.
        skipped: usize,
    },
}

fn left_out(skipped: usize) -> String {
    if skipped == 0 { String::new() } else { format!(", and the first {skipped} are left out") }
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Run(error) => error.kind(),
            Error::Text(error) if error.unsupported() => Kind::Unsupported,
            Error::Journal(error) => error.kind(),
            Error::Text(_) | Error::TooShort { .. } => Kind::Bad,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Run(error) => error.hint(),
            Error::Text(error) => error.hint(),
            Error::Journal(_) => Some("remove it to begin again".to_owned()),
            Error::TooShort { .. } => Some("give longer texts or a smaller `--ctx`".to_owned()),
        }
    }
}

/// How texts are cut.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    /// Tokens a chunk.
    pub tokens: usize,
    /// How many whole chunks, counted over all texts, are left out.
    pub skip: usize,
    /// How many are taken after that at most.
    pub limit: usize,
    /// Whether a chunk is a whole text to the model, as for encoders: then what the tokenizer puts around a text stands
    /// around each.
    pub whole: bool,
}

impl Chunks {
    /// The ids of the chunks, one after another. As llama-imatrix cuts: BOS stands before a text where the vocabulary
    /// adds one, and takes the place of the first token of each chunk; what fills no chunk is left out.
    pub fn cut(&self, encoder: &Encoder, texts: &[String]) -> Result<Vec<u32>, Error> {
        let (mut ids, mut chunks) = (vec![], 0);
        if self.whole {
            let [before, after] = &encoder.around;
            let tokens = self.tokens.saturating_sub(before.len() + after.len()).max(1);
            for text in texts {
                for chunk in encoder.encode(text)?.chunks_exact(tokens) {
                    if chunks >= self.skip && chunks - self.skip < self.limit {
                        ids.extend([before, chunk, after].into_iter().flatten());
                    }
                    chunks += 1;
                }
            }
        }
        for text in texts.iter().filter(|_| !self.whole) {
            let text = encoder.bos.into_iter().chain(encoder.encode(text)?).collect::<Vec<u32>>();
            for chunk in text.chunks_exact(self.tokens.max(1)) {
                if chunks >= self.skip && chunks - self.skip < self.limit {
                    let start = ids.len();
                    ids.extend_from_slice(chunk);
                    ids[start] = encoder.bos.unwrap_or(ids[start]);
                }
                chunks += 1;
            }
        }
        if ids.is_empty() {
            return Err(Error::TooShort { chunks, tokens: self.tokens, skipped: self.skip });
        }
        Ok(ids)
    }
}

/// A model and what it is run on.
pub struct Calibration<'a> {
    /// The program over the names of `source`.
    pub model: &'a Model,
    /// Its weights.
    pub source: &'a Tensors,
    /// Whole chunks, one after another.
    pub ids: &'a [u32],
    /// Tokens a chunk.
    pub tokens: usize,
    /// How the model is run.
    pub settings: Settings,
    /// Whether the head is looked at too. A head that is the embedding never is.
    pub head: bool,
    /// Whether the sums of every expert are of every token, not of those alone that go to it.
    pub every_expert: bool,
}

/// Runs the model over all chunks, layer by layer. `progress` is told the layers that are done, and of how many.
pub fn calibrate(
    job: &Calibration<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<BTreeMap<String, Entry>, Error> {
    let mut executor = Executor::new(job.model, job.source, job.ids, job.tokens, job.settings)?;
    let squares = Squares::new(job.settings.isa, job.tokens);
    let mut squares = if job.every_expert { squares.every_expert() } else { squares };
    let steps = executor.steps();
    let mut done = 0;
    while executor.step_with(Some(&mut squares))?.is_some() {
        done += 1;
        progress(done, steps);
    }
    if job.head {
        executor.tap_head(&mut squares)?;
    }
    Ok(squares.entries())
}
