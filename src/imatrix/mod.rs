//! Importance matrices: how much each input channel of each weight matters, as the mean square of what flows into it.
//!
//! [`Imatrix::read`] reads what llama-imatrix writes, the GGUF form and the legacy `.dat`; [`Imatrix::write`] writes the
//! GGUF form, which llama-quantize reads. [`Imatrix::merge`] adds the sums of two runs.

mod entry;
mod error;
mod file;
mod heat;
mod legacy;
mod summary;

use std::collections::BTreeMap;

pub use entry::{EXACT_BITS, Entry};
pub use error::{Error, Problem, Result};
pub use summary::{Channel, Summary};

/// Sums of squares for the weights of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imatrix {
    /// Names of the texts, in the order in which they were used.
    pub datasets: Vec<String>,
    /// How many chunks of text went into it; 0 if unknown.
    pub chunks: u32,
    /// Tokens a chunk; 0 if unknown, as in the legacy form.
    pub chunk_size: u32,
    /// By the GGUF name of the weight: `blk.0.attn_q.weight`.
    pub entries: BTreeMap<String, Entry>,
}

/// Tokens a chunk where a legacy file does not say: llama-imatrix's default.
const USUAL_CHUNK: u32 = 512;

impl Imatrix {
    /// Adds the sums and counts of `other`. The names of texts that both used are kept once.
    ///
    /// Where both were made by planish, sums are exact: any way of dividing the same chunks into runs, merged in any
    /// order of addition, gives the same sums bit for bit.
    pub fn merge(&mut self, other: &Imatrix) -> std::result::Result<(), Problem> {
        let chunk_size = [self.chunk_size, other.chunk_size].into_iter().max().filter(|&n| n > 0);
        let chunk_size = chunk_size.unwrap_or(USUAL_CHUNK);
        self.raw(chunk_size)?;
        let mut other = other.clone();
        other.raw(chunk_size)?;
        for (name, entry) in other.entries {
            match self.entries.get_mut(&name) {
                Some(ours) => ours.merge(&entry).map_err(|problem| problem.at(&name))?,
                None => {
                    self.entries.insert(name, entry);
                }
            }
        }
        let new = other.datasets.into_iter().filter(|name| !self.datasets.contains(name)).collect::<Vec<_>>();
        self.datasets.extend(new);
        self.chunks = self.chunks.saturating_add(other.chunks);
        Ok(())
    }

    /// Turns what a legacy file keeps a chunk into what was summed over tokens.
    fn raw(&mut self, chunk_size: u32) -> std::result::Result<(), Problem> {
        if self.chunk_size == 0 {
            for (name, entry) in &mut self.entries {
                entry.scale(chunk_size).map_err(|problem| problem.at(name))?;
            }
            self.chunk_size = chunk_size;
        }
        Ok(())
    }
}
