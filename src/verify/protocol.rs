//! Which tokens are scored, and with how much context. Numbers of different protocols do not compare.

use std::fmt;
use std::ops::Range;

use super::{Error, Result};

/// How a text is cut into sequences and scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// llama-perplexity's: whole chunks of `context` tokens, the first token of each replaced by `bos` where the
    /// vocabulary adds one, and the tokens after position `context / 2` scored.
    Chunks {
        /// Tokens of a chunk.
        context: usize,
        /// What the first token becomes.
        bos: Option<u32>,
    },
    /// Hugging Face's: windows of `context` tokens that begin `stride` tokens apart; each scores the tokens that no
    /// window before it scored, but for the very first token. What does not fill the last window is left out.
    Stride {
        /// Tokens of a window.
        context: usize,
        /// Tokens between the beginnings of windows.
        stride: usize,
    },
    /// Of a model that guesses masked tokens: pieces of the text side by side, each between `begin` and `end`. One token in
    /// seven of each is masked and scored, another one first in each piece than in the one before it; so in as many
    /// pieces every place is masked once, and nothing is drawn by lot.
    Masked {
        /// Tokens of a sequence, `begin` and `end` included.
        context: usize,
        /// What stands before each piece.
        begin: Option<u32>,
        /// What stands behind it.
        end: Option<u32>,
        /// What masks a token.
        mask: u32,
    },
}

/// One token in so many is masked: near the 15 % that such models are trained with.
const MASKED: usize = 7;

/// A text cut by a [`Protocol`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// The ids of all sequences, one after another.
    pub ids: Vec<u32>,
    /// Tokens of a sequence.
    pub tokens: usize,
    /// The rows whose logits are scored, ascending, and the token that came next, or that a mask stands for.
    pub scored: Vec<(usize, u32)>,
    /// How many of its ids each sequence really has, where they were brought to one length; else empty.
    pub lengths: Vec<usize>,
    /// What an encoder reads beside each.
    pub sources: Option<Sources>,
}

/// What an encoder reads, a sequence for each of the decoder's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The ids of all sequences, one after another.
    pub ids: Vec<u32>,
    /// Tokens of a sequence.
    pub tokens: usize,
    /// How many of its ids each sequence really has.
    pub lengths: Vec<usize>,
}

/// `ids` of sequences of `tokens`, brought to `to`.
fn widened(ids: Vec<u32>, tokens: usize, to: usize) -> Vec<u32> {
    if tokens >= to || tokens == 0 {
        return ids;
    }
    let wide = |sequence: &[u32]| {
        let mut sequence = sequence.to_vec();
        sequence.resize(to, 0);
        sequence
    };
    ids.chunks(tokens).flat_map(wide).collect()
}

impl Sources {
    fn part(&self, part: &Range<usize>) -> Sources {
        let part = part.start.min(self.lengths.len())..part.end.min(self.lengths.len());
        Sources {
            ids: self.ids[part.start * self.tokens..part.end * self.tokens].to_vec(),
            tokens: self.tokens,
            lengths: self.lengths[part].to_vec(),
        }
    }

    fn append(self, more: Sources) -> Sources {
        let tokens = self.tokens.max(more.tokens);
        let [a, b] = [self, more].map(|s| (widened(s.ids, s.tokens, tokens), s.lengths));
        Sources { ids: [a.0, b.0].concat(), tokens, lengths: [a.1, b.1].concat() }
    }
}

impl Sequences {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.ids.len().checked_div(self.tokens).unwrap_or(0)
    }

    /// Some of them, by number.
    pub fn part(&self, part: Range<usize>) -> Sequences {
        let row = |sequence: usize| self.ids.len().min(sequence.saturating_mul(self.tokens));
        let rows = row(part.start)..row(part.end);
        let scored = self.scored.iter().filter(|(row, _)| rows.contains(row));
        let scored = scored.map(|(row, target)| (row - rows.start, *target)).collect();
        let all = part.start.min(self.lengths.len())..part.end.min(self.lengths.len());
        let sources = self.sources.as_ref().map(|sources| sources.part(&part));
        let lengths = self.lengths[all].to_vec();
        Sequences { ids: self.ids[rows].to_vec(), tokens: self.tokens, scored, lengths, sources }
    }

    /// Adds sequences of the same length, or of another where lengths are known.
    pub fn append(&mut self, more: Sequences) {
        let tokens = self.tokens.max(more.tokens);
        let (before, old) = (self.count() * tokens, self.tokens);
        let row = |row: usize, of: usize| row.checked_div(of).map_or(row, |sequence| sequence * tokens + row % of);
        self.scored.iter_mut().for_each(|(at, _)| *at = row(*at, old));
        self.ids = widened(std::mem::take(&mut self.ids), old, tokens);
        self.tokens = tokens;
        self.ids.extend(widened(more.ids, more.tokens, tokens));
        let scored = more.scored.into_iter().map(|(at, target)| (row(at, more.tokens) + before, target));
        self.scored.extend(scored);
        self.lengths.extend(more.lengths);
        self.sources = match (self.sources.take(), more.sources) {
            (Some(sources), Some(more)) => Some(sources.append(more)),
            (sources, more) => sources.or(more),
        };
    }
}

impl Protocol {
    /// Cuts `text`, the ids of one text from its beginning, into at most `limit` sequences.
    pub fn cut(&self, text: &[u32], limit: usize) -> Result<Sequences> {
        let (context, stride) = match *self {
            Protocol::Chunks { context, .. } => (context, context),
            Protocol::Stride { context, stride } => (context, stride),
            Protocol::Masked { context, begin, end, mask } => {
                return self.masked(text, limit, context, [begin, end], mask);
            }
        };
        if context < 4 || stride == 0 || stride > context {
            return Err(Error::Protocol { protocol: *self });
        }
        let count = text.len().checked_sub(context).map_or(0, |spare| spare / stride + 1).min(limit);
        if count == 0 {
            return Err(Error::TooShort { tokens: text.len(), context });
        }
        let (mut ids, mut scored) = (Vec::with_capacity(count * context), Vec::new());
        for chunk in 0..count {
            let window = &text[chunk * stride..chunk * stride + context];
            let row = ids.len();
            ids.extend_from_slice(window);
            // The position of the first logits that are scored: they predict the token after it.
            let first = match *self {
                Protocol::Chunks { bos, .. } => {
                    if let Some(bos) = bos {
                        ids[row] = bos;
                    }
                    context / 2
                }
                Protocol::Stride { .. } if chunk == 0 => 0,
                // Side by side, the first token of a window has nothing to be predicted from.
                Protocol::Stride { .. } | Protocol::Masked { .. } => (context - stride).saturating_sub(1),
            };
            scored.extend((first..context - 1).map(|at| (row + at, window[at + 1])));
        }
        Ok(Sequences { ids, tokens: context, scored, ..Sequences::default() })
    }

    fn masked(
        &self,
        text: &[u32],
        limit: usize,
        context: usize,
        [begin, end]: [Option<u32>; 2],
        mask: u32,
    ) -> Result<Sequences> {
        let around = begin.iter().count() + end.iter().count();
        let piece = context.checked_sub(around).filter(|piece| *piece >= MASKED);
        let piece = piece.ok_or(Error::Protocol { protocol: *self })?;
        let pieces = text.chunks_exact(piece).take(limit);
        if pieces.len() == 0 {
            return Err(Error::TooShort { tokens: text.len(), context });
        }
        let (mut ids, mut scored) = (Vec::with_capacity(pieces.len() * context), vec![]);
        for (at, piece) in pieces.enumerate() {
            ids.extend(begin);
            for (i, token) in piece.iter().enumerate() {
                let hidden = i % MASKED == at % MASKED;
                if hidden {
                    scored.push((ids.len(), *token));
                }
                ids.push(if hidden { mask } else { *token });
            }
            ids.extend(end);
        }
        Ok(Sequences { ids, tokens: context, scored, ..Sequences::default() })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::Chunks { context, bos } => {
                write!(f, "chunks of {context} tokens, second half scored")?;
                if bos.is_some() { write!(f, ", BOS first") } else { Ok(()) }
            }
            Protocol::Stride { context, stride } => write!(f, "windows of {context} tokens, {stride} apart"),
            Protocol::Masked { context, .. } => {
                write!(f, "pieces of {context} tokens, one in {MASKED} masked and scored")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_those_of_llama_perplexity() {
        let text: Vec<u32> = (100..127).collect();
        let cut = Protocol::Chunks { context: 8, bos: Some(1) }.cut(&text, 9).expect("three chunks");
        assert_eq!((cut.count(), cut.tokens), (3, 8));
        assert_eq!(cut.ids[..9], [1, 101, 102, 103, 104, 105, 106, 107, 1]);
        assert_eq!(cut.scored[..4], [(4, 105), (5, 106), (6, 107), (12, 113)]);
        assert_eq!(cut.scored.len(), 9);
        assert_eq!(cut.part(0..1).scored.len(), 3);
        let mut parts = cut.part(0..1);
        parts.append(cut.part(1..9));
        assert_eq!(parts, cut);
        assert_eq!(Protocol::Chunks { context: 8, bos: None }.cut(&text, 2).expect("two").count(), 2);
    }

    #[test]
    fn strides_score_every_token_once() {
        let text: Vec<u32> = (0..30).collect();
        for stride in [1, 3, 8] {
            let cut = Protocol::Stride { context: 8, stride }.cut(&text, usize::MAX).expect("windows");
            let targets: Vec<u32> = cut.scored.iter().map(|(_, target)| *target).collect();
            let reached = (cut.count() - 1) * stride + 8;
            let expected: Vec<u32> = (1..reached as u32).filter(|t| stride < 8 || t % 8 != 0).collect();
            assert_eq!(targets, expected, "{stride}");
            assert!(cut.scored.iter().all(|(row, target)| cut.ids[*row] + 1 == *target));
        }
    }

    #[test]
    fn every_place_is_masked_once_in_seven_pieces() {
        let text: Vec<u32> = (100..255).collect();
        let protocol = Protocol::Masked { context: 12, begin: Some(1), end: Some(2), mask: 3 };
        let cut = protocol.cut(&text, usize::MAX).expect("pieces");
        assert_eq!((cut.count(), cut.tokens, cut.ids[0], cut.ids[11]), (15, 12, 1, 2));
        let mut places: Vec<usize> =
            cut.scored.iter().take_while(|(row, _)| *row < 84).map(|(row, _)| row % 12).collect();
        places.sort_unstable();
        assert_eq!(places, (1..11).collect::<Vec<_>>());
        for (row, target) in &cut.scored {
            assert_eq!((cut.ids[*row], *target), (3, 100 + (row / 12 * 10 + row % 12 - 1) as u32));
        }
        assert_eq!(cut.ids.iter().filter(|id| **id == 3).count(), cut.scored.len());
        assert!(matches!(protocol.cut(&text[..9], 1), Err(Error::TooShort { tokens: 9, context: 12 })));
        let narrow = Protocol::Masked { context: 8, begin: Some(1), end: Some(2), mask: 3 };
        assert!(matches!(narrow.cut(&text, 1), Err(Error::Protocol { .. })));
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let text: Vec<u32> = (0..7).collect();
        let short = Protocol::Chunks { context: 8, bos: None }.cut(&text, 9);
        assert!(matches!(short, Err(Error::TooShort { tokens: 7, context: 8 })));
        for stride in [0, 9] {
            let cut = Protocol::Stride { context: 8, stride }.cut(&text, 9);
            assert!(matches!(cut, Err(Error::Protocol { .. })));
        }
    }
}
