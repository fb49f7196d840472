//! The texts as sequences of one corpus, and back to text.

use std::ops::Range;

use super::job::{Cut, Options, Text};
use super::party::Party;
use super::report;
use super::{Error, Protocol, Result, Sequences, pairs};
use crate::model::{Objective, Pair};
use crate::text::Encoder;

/// All texts, cut.
#[derive(Default)]
pub(super) struct Corpus<'a> {
    encoder: Option<&'a Encoder>,
    bos: Option<u32>,
    /// What of a model that guesses masked tokens stands around each piece, and masks.
    masked: Option<([Option<u32>; 2], u32)>,
    /// Of an encoder with a decoder: texts are pairs.
    pair: Option<Pair>,
    /// Of all texts, one after another.
    pub sequences: Sequences,
    pub slices: Vec<Span>,
}

/// Where a text is in the corpus.
pub(super) struct Span {
    pub name: String,
    /// Tokens in all of the text.
    pub tokens: usize,
    pub sequences: Range<usize>,
}

impl<'a> Corpus<'a> {
    /// Cuts texts whose `ids` are known.
    pub(super) fn new(
        reference: &'a Party<'_>,
        candidate: &'a Party<'_>,
        options: &Options,
        texts: &[Text],
        ids: Vec<Vec<u32>>,
    ) -> Result<Corpus<'a>> {
        let encoder = reference.encoder.as_ref().or(candidate.encoder.as_ref()).ok();
        let bos = encoder.and_then(|encoder| encoder.bos);
        let subject = &reference.subject;
        let pair = subject.config.pair.filter(|_| subject.model.objective == Objective::Seq2Seq);
        let masked = match reference.subject.model.objective {
            Objective::Masked => Some(masking(encoder, options)?),
            Objective::Causal | Objective::Seq2Seq | Objective::Hidden => None,
        };
        // There each piece has its own beginning.
        let bos = bos.filter(|_| masked.is_none());
        let mut corpus = Corpus { encoder, bos, masked, pair, ..Corpus::default() };
        if let Some((pair, encoder)) = pair.zip(encoder) {
            // Learned positions end.
            let context = options.context().min(pair.buckets.map_or(subject.config.context, |_| usize::MAX));
            for text in texts {
                let (first, sequences) =
                    (corpus.sequences.count(), pairs::cut(text, encoder, pair, context, options.limit)?);
                let tokens = sequences.lengths.iter().sum();
                corpus.sequences.append(sequences);
                let sequences = first..corpus.sequences.count();
                corpus.slices.push(Span { name: text.name.clone(), tokens, sequences });
            }
            return Ok(corpus);
        }
        let protocol = corpus.scoring(options);
        for (text, ids) in texts.iter().zip(ids) {
            // A text begins with what the tokenizer puts first, as for llama-perplexity and for Hugging Face.
            let ids: Vec<u32> = bos.into_iter().chain(ids).collect();
            let first = corpus.sequences.count();
            match protocol.cut(&ids, options.limit) {
                Ok(sequences) => corpus.sequences.append(sequences),
                Err(Error::TooShort { tokens, context }) if texts.len() > 1 => {
                    return Err(Error::ShortFile { file: text.name.clone(), tokens, context });
                }
                Err(error) => return Err(error),
            }
            let sequences = first..corpus.sequences.count();
            corpus.slices.push(Span { name: text.name.clone(), tokens: ids.len(), sequences });
        }
        Ok(corpus)
    }

    fn scoring(&self, options: &Options) -> Protocol {
        match options.cut {
            Cut::Chunks { context } | Cut::Stride { context, .. } if self.masked.is_some() => {
                let ([begin, end], mask) = self.masked.unwrap_or_default();
                Protocol::Masked { context, begin, end, mask }
            }
            Cut::Chunks { context } => Protocol::Chunks { context, bos: self.bos },
            Cut::Stride { context, stride } => Protocol::Stride { context, stride },
        }
    }

    /// What reports say of it.
    pub(super) fn protocol(&self, options: &Options) -> report::Protocol {
        let protocol = self.scoring(options);
        let (name, context, stride, bos) = match protocol {
            Protocol::Chunks { context, bos } => ("chunks", context, context, bos),
            Protocol::Stride { context, stride } => ("stride", context, stride, None),
            Protocol::Masked { context, begin, end, .. } => {
                ("masked", context, context - begin.iter().count() - end.iter().count(), begin)
            }
        };
        let (name, description) = match self.pair {
            Some(_) => ("pairs", format!("pairs of up to {context} tokens a side, every token of the target scored")),
            None => (name, protocol.to_string()),
        };
        report::Protocol {
            name: name.to_owned(),
            description,
            context,
            stride,
            bos,
            sequences: 0,
            planned: self.sequences.count(),
            batch: options.batch,
            corpus: format!("{:016x}", self.fingerprint()),
        }
    }

    /// FNV-1a of the ids and of which are scored.
    fn fingerprint(&self) -> u64 {
        let scored = self.sequences.scored.iter().flat_map(|(row, target)| [*row as u64, u64::from(*target)]);
        let sources = self.sequences.sources.iter().flat_map(|sources| &sources.ids);
        let values = self.sequences.ids.iter().chain(sources).map(|id| u64::from(*id)).chain(scored);
        fingerprint(values)
    }

    /// How many rows after that of its logits a scored token stands.
    pub(super) fn ahead(&self) -> usize {
        usize::from(self.masked.is_none())
    }

    /// The text of these rows.
    pub(super) fn text(&self, rows: Range<usize>) -> String {
        self.sequences.ids.get(rows).map_or(String::new(), |ids| self.decode(ids))
    }

    pub(super) fn decode(&self, ids: &[u32]) -> String {
        self.encoder.map_or(String::new(), |encoder| encoder.decode(ids))
    }

    /// The name of the text that a sequence is of.
    pub(super) fn file(&self, sequence: usize) -> String {
        let slice = self.slices.iter().find(|slice| slice.sequences.contains(&sequence));
        slice.map_or(String::new(), |slice| slice.name.clone())
    }
}

/// FNV-1a of numbers.
pub(super) fn fingerprint(values: impl Iterator<Item = u64>) -> u64 {
    values
        .flat_map(u64::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What stands around each piece, and what masks.
fn masking(encoder: Option<&Encoder>, options: &Options) -> Result<([Option<u32>; 2], u32)> {
    if matches!(options.cut, Cut::Stride { .. }) {
        return Err(Error::MaskedStride);
    }
    let mask = encoder.and_then(|encoder| encoder.mask).ok_or(Error::NoMask)?;
    let around = |at: usize| encoder.and_then(|encoder| encoder.around[at].first().copied());
    Ok(([around(0), around(1)], mask))
}
