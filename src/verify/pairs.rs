//! Pairs of a source and a target, for an encoder with a decoder.
//!
//! A line is a pair: the two with a tab between them, or a JSON object with `source` and `target`. A line that is neither
//! is both: its own target. The encoder reads the source and what ends a text; the decoder reads the token that its inputs
//! begin with and then the target, and every token of the target and its end are scored (teacher forcing).

use super::protocol::Sources;
use super::{Error, Result, Sequences, Text};
use crate::model::Pair;
use crate::text::{self, Encoder};

/// The two texts of a line; `None` for a JSON object without them.
fn split(line: &str) -> Option<(String, String)> {
    if line.starts_with('{') {
        let object: serde_json::Value = serde_json::from_str(line).ok()?;
        let of = |key: &str| Some(object.get(key)?.as_str()?.to_owned());
        return of("source").zip(of("target"));
    }
    let (source, target) = line.split_once('\t').unwrap_or((line, line));
    Some((source.to_owned(), target.to_owned()))
}

/// The pairs of a text, at most `limit`, each side cut to `context` tokens.
pub(super) fn cut(text: &Text, encoder: &Encoder, pair: Pair, context: usize, limit: usize) -> Result<Sequences> {
    let failed = |source: text::Error| Error::PairText { file: text.name.clone(), source: Box::new(source) };
    let ids = |side: &str| -> Result<Vec<u32>> {
        let ids = encoder.encode(side).map_err(failed)?;
        Ok(encoder.bos.into_iter().chain(ids).chain(pair.end).collect())
    };
    let (mut sources, mut targets) = (vec![], vec![]);
    let lines = text.text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (at, line) in lines.take(limit) {
        let bad = || Error::Pair { file: text.name.clone(), line: at + 1 };
        let (source, target) = split(line).ok_or_else(bad)?;
        let (mut source, mut target) = (ids(&source)?, ids(&target)?);
        if source.is_empty() || target.is_empty() {
            return Err(bad());
        }
        if source.len() > context {
            source.truncate(context);
            // What ends a text ends its beginning too.
            source.iter_mut().last().zip(pair.end).into_iter().for_each(|(last, end)| *last = end);
        }
        target.truncate(context);
        sources.push(source);
        targets.push(target);
    }
    let filler = pair.end.unwrap_or(pair.start);
    let (ids, tokens, lengths) = padded(&sources, filler);
    let sources = Sources { ids, tokens, lengths };
    let inputs: Vec<Vec<u32>> = targets
        .iter()
        .map(|target| std::iter::once(pair.start).chain(target.iter().copied()).take(target.len()).collect())
        .collect();
    let (ids, tokens, lengths) = padded(&inputs, filler);
    let scored = targets
        .iter()
        .enumerate()
        .flat_map(|(sequence, target)| target.iter().enumerate().map(move |(at, id)| (sequence * tokens + at, *id)));
    let scored = scored.collect();
    if tokens == 0 {
        return Err(Error::NoPairs { file: text.name.clone() });
    }
    Ok(Sequences { ids, tokens, scored, lengths, sources: Some(sources) })
}

/// All of one length, that of the longest; and how long each was.
pub(super) fn padded(sequences: &[Vec<u32>], filler: u32) -> (Vec<u32>, usize, Vec<usize>) {
    let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
    let tokens = lengths.iter().copied().max().unwrap_or(0);
    let pad = |ids: &Vec<u32>| ids.iter().copied().chain(std::iter::repeat(filler)).take(tokens).collect::<Vec<u32>>();
    (sequences.iter().flat_map(pad).collect(), tokens, lengths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_pairs() {
        let both = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(split("a b\tc\td"), both("a b", "c\td"));
        assert_eq!(split(r#"{"source": "x\ty", "target": "z", "id": 1}"#), both("x\ty", "z"));
        assert_eq!(split("alone"), both("alone", "alone"));
        assert_eq!(split(r#"{"source": "x"}"#), None);
        assert_eq!(split("{x\ty"), None);
    }

    #[test]
    fn sequences_of_pairs_keep_their_sources() {
        let of = |sources: &[Vec<u32>], targets: &[Vec<u32>]| {
            let (ids, tokens, lengths) = padded(sources, 9);
            let sources = Some(Sources { ids, tokens, lengths });
            let (ids, tokens, lengths) = padded(targets, 9);
            let scored = vec![(0, 5), ((lengths.len() - 1) * tokens, 6)];
            Sequences { ids, tokens, scored, lengths, sources }
        };
        let mut all = of(&[vec![1, 2, 3], vec![4]], &[vec![0, 7], vec![0]]);
        assert_eq!(all.sources.as_ref().map(|s| s.ids.clone()), Some(vec![1, 2, 3, 4, 9, 9]));
        all.append(of(&[vec![5, 5, 5, 5]], &[vec![0, 1, 2]]));
        assert_eq!((all.tokens, all.count()), (3, 3));
        assert_eq!(all.ids, [0, 7, 0, 0, 9, 0, 0, 1, 2]);
        assert_eq!(all.scored, [(0, 5), (3, 6), (6, 5), (6, 6)]);
        let last = all.part(2..3);
        assert_eq!((last.ids, last.scored), (vec![0, 1, 2], vec![(0, 5), (0, 6)]));
        let sources = last.sources.expect("sources");
        assert_eq!((sources.ids, sources.tokens, sources.lengths), (vec![5, 5, 5, 5], 4, vec![4]));
    }
}
