//! What every report says in words: the verdict, and what each number means.

use std::path::Path;

use super::super::report::{Embeddings, Gate, GateVerdict, Layer, Model, Report, Tensor, Verdict};
use super::number::{MISSING, between, change, number, percent, plus_minus};

/// A metric with its meaning.
pub(super) struct Fact {
    /// What is measured.
    pub(super) name: &'static str,
    /// Its value.
    pub(super) value: String,
    /// How sure it is; empty where that is not known.
    pub(super) doubt: String,
    /// One sentence for people.
    pub(super) meaning: String,
}

/// The verdict as a heading.
pub(super) const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "Pass",
        Verdict::Fail => "Fail",
        Verdict::Inconclusive => "Inconclusive",
        Verdict::Incomparable => "Not comparable",
        Verdict::Interrupted => "Interrupted",
    }
}

/// What the verdict means, in a sentence.
pub(super) fn verdict(report: &Report) -> String {
    let all = report.gates.len();
    let of = |verdict| report.gates.iter().filter(|gate| gate.verdict == verdict).count();
    let gates = |n: usize| format!("{n} of {all} {}", if all == 1 { "gate" } else { "gates" });
    match report.verdict {
        Verdict::Pass if report.gates.iter().all(built_in) => {
            "No limit was set on the drift: whether it is small enough is for the reader to say.".to_owned()
        }
        Verdict::Pass => format!("Every gate holds, with the whole of its 95 % interval: {all} of {all}."),
        Verdict::Fail => format!("{} failed.", gates(of(GateVerdict::Fail))),
        Verdict::Inconclusive => format!(
            "{} cannot be decided: the limit lies inside the 95 % interval. Score more text.",
            gates(of(GateVerdict::Inconclusive))
        ),
        Verdict::Incomparable => "The two are not versions of one model: nothing was measured.".to_owned(),
        Verdict::Interrupted => format!(
            "Stopped after {} of {} sequences: the numbers are those of that part, and no gate was judged.",
            report.protocol.sequences, report.protocol.planned
        ),
    }
}

fn built_in(gate: &Gate) -> bool {
    gate.source == "built-in"
}

/// The numbers in one sentence; nothing where nothing was scored.
pub(super) fn summary(report: &Report) -> Option<String> {
    if let Some(e) = &report.embeddings {
        return Some(format!(
            "Over {} texts the vectors of both have a cosine of {} on average, and of {} at least.",
            e.texts,
            number(e.mean),
            number(e.min)
        ));
    }
    let m = report.metrics.as_ref()?;
    Some(format!(
        "Over {} tokens both find the same next token most likely {} of the time, perplexity changes by {} \
         ({} to {}), and the mean KL divergence is {} nats.",
        m.tokens,
        percent(m.top1),
        change(m.ppl_ratio - 1.0),
        number(m.ppl_ref),
        number(m.ppl_cand),
        number(m.kld.mean)
    ))
}

/// The key metrics; none where nothing was scored.
pub(super) fn facts(report: &Report) -> Vec<Fact> {
    let vectors = report.embeddings.as_ref().map(cosines).unwrap_or_default();
    let Some(m) = &report.metrics else { return vectors };
    let fact = |name, value, doubt, meaning: &str| Fact { name, value, doubt, meaning: meaning.to_owned() };
    let error = |error: f64| format!("± {}", number(error));
    let none = String::new;
    let (floor, doubt, meaning) = noise(report);
    vec![
        fact(
            "KLD mean",
            number(m.kld.mean),
            format!("95 %: {}", between(m.kld.ci95)),
            "How far the candidate's probabilities of the next token lie from the original's, on average; \
             0 is the same model.",
        ),
        fact("KLD median", number(m.kld.median), none(), "Half of the tokens drift less than this."),
        fact("KLD p90", number(m.kld.p90), none(), "One token in 10 drifts more."),
        fact("KLD p99", number(m.kld.p99), none(), "One token in 100 drifts more."),
        fact("KLD p99.9", number(m.kld.p999), none(), "One token in 1000 drifts more."),
        fact("KLD max", number(m.kld.max), none(), "The token that drifts most."),
        Fact { name: "Noise floor", value: floor, doubt, meaning },
        fact(
            "Same top token",
            percent(m.top1),
            format!("95 %: {} to {}", percent(m.top1_ci95[0]), percent(m.top1_ci95[1])),
            "How often both find the same next token most likely: greedy decoding then goes on alike.",
        ),
        fact(
            "Δp RMS",
            percent(m.delta_p.rms),
            format!("± {}", percent(m.delta_p.rms_error)),
            "The typical change of the probability of the token that really came next.",
        ),
        fact(
            "PPL reference",
            number(m.ppl_ref),
            error(m.ppl_ref_error),
            "How surprised the original is by the text; lower is better.",
        ),
        fact("PPL candidate", number(m.ppl_cand), error(m.ppl_cand_error), "The same of the candidate."),
        fact(
            "ln(PPL ratio)",
            plus_minus(m.ln_ratio, m.ln_ratio_error),
            format!("95 %: {}", between(m.ln_ratio_ci95)),
            &format!(
                "Perplexity changes by {}. The error is of pairs of tokens and so much smaller than those above.",
                change(m.ppl_ratio - 1.0)
            ),
        ),
    ]
}

/// What became of vectors.
fn cosines(e: &Embeddings) -> Vec<Fact> {
    let fact = |name, value, doubt, meaning: &str| Fact { name, value, doubt, meaning: meaning.to_owned() };
    let none = String::new;
    vec![
        fact(
            "Cosine mean",
            number(e.mean),
            format!("95 %: {}", between(e.ci95)),
            "The cosine between the two vectors of a text, on average; 1 is the same direction.",
        ),
        fact("Cosine median", number(e.median), none(), "Half of the texts are closer than this."),
        fact("Cosine p10", number(e.p10), none(), "One text in 10 is further away."),
        fact("Cosine p5", number(e.p5), none(), "One text in 20 is further away."),
        fact("Cosine p1", number(e.p1), none(), "One text in 100 is further away."),
        fact("Cosine min", number(e.min), none(), "The text that turned furthest away."),
    ]
}

/// The floor, how it was found, and what it means.
fn noise(report: &Report) -> (String, String, String) {
    let Some(noise) = &report.noise else {
        return (MISSING.to_owned(), String::new(), "Not measured.".to_owned());
    };
    let doubt = if noise.tokens > 0 { format!("over {} tokens", noise.tokens) } else { String::new() };
    let meaning = if noise.drift_below {
        "The drift is below what this machine's arithmetic does to identical weights: it cannot be told from noise."
            .to_owned()
    } else {
        format!("What this machine's arithmetic does to identical weights. {}.", noise.note.trim_end_matches('.'))
    };
    (number(noise.kld), doubt, meaning)
}

/// A model by the last part of what was opened.
pub(super) fn short(model: &Model) -> &str {
    Path::new(&model.path).file_name().and_then(|name| name.to_str()).unwrap_or(&model.name)
}

/// The name of a layer without the dot that a prefix ends with.
pub(super) fn layer_name(layer: &Layer) -> &str {
    match layer.name.trim_end_matches('.') {
        "model" | "" => "embedding",
        name => name,
    }
}

/// A gate as it was written.
pub(super) fn condition(gate: &Gate) -> String {
    format!("{} {} {}", gate.metric, gate.op, gate.limit)
}

/// Tensors by their error, the largest first; what could not be compared before all.
pub(super) fn by_error(report: &Report) -> Vec<&Tensor> {
    let key = |tensor: &Tensor| tensor.relative_error.unwrap_or(f64::INFINITY);
    let mut tensors: Vec<&Tensor> = report.tensors.iter().collect();
    tensors.sort_by(|a, b| key(b).total_cmp(&key(a)));
    tensors
}
