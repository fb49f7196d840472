//! Models without a head: what becomes of the vector of each line of the texts.
//!
//! A line is a text of its own, with what the tokenizer puts around it, cut at the trained context. Lines of one length run
//! together, so that nothing is padded; a vector is made of the last hidden states as the checkpoint says.

use std::collections::BTreeMap;

use super::compare::{self, LayerDrift, Side};
use super::job::{Event, Observer, Options, Text};
use super::party::Party;
use super::report::{Embeddings, WorstText};
use super::{Error, Progress, Result, Sequences};
use crate::checkpoint::Pooling;
use crate::model::Objective;
use crate::run::executor::{Activations, Settings};
use crate::text::Encoder;

/// Characters of a worst text that are shown.
const SHOWN: usize = 120;

/// What was measured.
pub(super) struct Drift {
    pub layers: Vec<LayerDrift>,
    pub embeddings: Option<Embeddings>,
    /// Of each file, the lines that were run.
    pub lines: Vec<usize>,
    /// The ids, sequence after sequence: they fix the texts.
    pub ids: Vec<u32>,
    pub context: usize,
}

/// One line.
struct Line<'a> {
    file: usize,
    number: usize,
    text: &'a str,
    ids: Vec<u32>,
}

/// Whether vectors are what is compared: one of the two has no head. Then both are run without.
pub(super) fn wanted(reference: &mut Party<'_>, candidate: &mut Party<'_>) -> bool {
    let models = [&mut reference.subject.model, &mut candidate.subject.model];
    let wanted = models.iter().any(|model| model.objective == Objective::Hidden);
    if wanted {
        for model in models {
            *model = model.clone().without_head();
        }
    }
    wanted
}

/// How vectors are made: as either checkpoint says, else as is usual. Two that say different things do not compare.
pub(super) fn pooling(reference: &Party<'_>, candidate: &Party<'_>) -> Result<Result<Pooling, [Pooling; 2]>> {
    let of = |party: &Party<'_>| {
        let which = party.which;
        Pooling::of(party.checkpoint).map_err(|source| Error::Pooling { which, source: Box::new(source) })
    };
    let usual = if reference.subject.config.encoder.is_some() { Pooling::Mean } else { Pooling::Last };
    Ok(match (of(reference)?, of(candidate)?) {
        (Some(a), Some(b)) if a != b => Err([a, b]),
        (a, b) => Ok(a.or(b).unwrap_or(usual)),
    })
}

/// Runs both over the lines of all texts.
pub(super) fn run(
    reference: &Party<'_>,
    candidate: &Party<'_>,
    texts: &[Text],
    pooling: Pooling,
    options: &Options,
    observer: &mut Observer<'_>,
) -> Result<Drift> {
    let encoder = reference.encoder.as_ref().or(candidate.encoder.as_ref());
    let encoder = encoder.map_err(|why| Error::NoTokenizer { why: why.to_string() })?;
    let context = options.context().min(reference.subject.config.context);
    let tokenizer = |source| Error::Tokenizer { which: reference.which, source: Box::new(source) };
    let lines = lines(encoder, texts, context, options.limit).map_err(tokenizer)?;
    if lines.is_empty() {
        return Err(Error::NoLines);
    }
    let mut lengths: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        lengths.entry(line.ids.len()).or_default().push(at);
    }
    let settings = options.settings;
    let exact = reference.side(Settings { activations: Activations::Exact, ..settings });
    let other = candidate.side(settings);
    let total: usize = lines.iter().map(|line| line.ids.len()).sum();
    let (mut cosines, mut before) = (vec![1.0; lines.len()], 0);
    let mut layers: Vec<LayerDrift> = vec![];
    for (tokens, group) in lengths {
        let ids: Vec<u32> = group.iter().flat_map(|at| lines[*at].ids.iter().copied()).collect();
        let count = ids.len();
        let sequences = Sequences { ids, tokens, ..Sequences::default() };
        let mut watch = |progress: &Progress| {
            let share = match progress {
                Progress::Layer { done, of, .. } | Progress::Head { done, of } => *done as f64 / (*of).max(1) as f64,
            };
            let share = (before as f64 + share * count as f64) / total.max(1) as f64;
            observer(&Event::Run { share, tokens: total })
        };
        let found = compare::vectors([&exact, &other], &sequences, pooling, &mut watch)?;
        before += count;
        compare::append_layers(&mut layers, found.layers);
        for (at, cosine) in group.into_iter().zip(found.cosines) {
            cosines[at] = cosine;
        }
    }
    let width = layers.first().map_or(0, |_| width(&exact));
    let embeddings = Embeddings::of(pooling.name(), width, total, &cosines);
    let embeddings =
        embeddings.map(|found| Embeddings { worst: worst(&lines, &cosines, texts, options.worst), ..found });
    let in_file = |file: usize| lines.iter().filter(|line| line.file == file).count();
    Ok(Drift {
        layers,
        embeddings,
        lines: (0..texts.len()).map(in_file).collect(),
        ids: lines.iter().flat_map(|line| line.ids.iter().copied()).collect(),
        context,
    })
}

fn width(side: &Side<'_>) -> usize {
    let params = side.model.params().find(|(layer, _)| layer.block.is_some());
    params.and_then(|(_, param)| param.shape.last().copied()).unwrap_or(0)
}

/// The lines that are not empty, `limit` of each text at most.
fn lines<'a>(
    encoder: &Encoder,
    texts: &'a [Text],
    context: usize,
    limit: usize,
) -> Result<Vec<Line<'a>>, crate::text::Error> {
    let mut lines = vec![];
    for (file, text) in texts.iter().enumerate() {
        let full = text.text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        for (at, line) in full.take(limit) {
            let ids = encoder.encode_whole(line.trim(), context)?;
            if !ids.is_empty() {
                lines.push(Line { file, number: at + 1, text: line.trim(), ids });
            }
        }
    }
    Ok(lines)
}

/// The lines of the least cosine; of equals the earlier, and none whose vector is the same.
fn worst(lines: &[Line<'_>], cosines: &[f64], texts: &[Text], count: usize) -> Vec<WorstText> {
    let mut order: Vec<usize> = (0..lines.len()).filter(|at| cosines[*at] != 1.0).collect();
    order.sort_by(|a, b| cosines[*a].total_cmp(&cosines[*b]));
    order.truncate(count);
    let shown = |at: usize| WorstText {
        file: texts[lines[at].file].name.clone(),
        line: lines[at].number,
        text: lines[at].text.chars().take(SHOWN).collect(),
        tokens: lines[at].ids.len(),
        cosine: cosines[at],
    };
    order.into_iter().map(shown).collect()
}
