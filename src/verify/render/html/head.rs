//! The verdict and the numbers.

use super::super::super::report::{Report, Verdict};
use super::super::escape::html as escaped;
use super::super::facts::{facts, short, summary, verdict, word};
use super::super::number::{between, change, number, percent};
use super::{badge, section, stacked, table};
use crate::amount;

/// The class of a verdict, and its sign.
const fn look(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Pass => ("pass", "✓"),
        Verdict::Fail => ("fail", "✕"),
        Verdict::Inconclusive => ("open", "?"),
        Verdict::Incomparable => ("fail", "≠"),
        Verdict::Interrupted => ("open", "…"),
    }
}

/// How it ended and why, and the four numbers that people ask for first.
pub(super) fn head(report: &Report) -> String {
    let (class, sign) = look(report.verdict);
    let reasons: String = report.reasons.iter().map(|reason| format!("<li>{}</li>\n", escaped(reason))).collect();
    let reasons = if reasons.is_empty() { reasons } else { format!("<ul class=\"reasons\">\n{reasons}</ul>\n") };
    let summary = summary(report).map_or(String::new(), |text| format!("<p>{}</p>\n", escaped(&text)));
    format!(
        "<header class=\"{class}\">\n<p class=\"kicker\">Drift of a quantized model</p>\n\
         <h1>{}</h1>\n<p class=\"against\">against {}</p>\n\
         <p class=\"verdict\">{} {}</p>\n{reasons}{summary}</header>\n{}",
        escaped(short(&report.candidate)),
        escaped(short(&report.reference)),
        badge(class, sign, word(report.verdict)),
        escaped(&verdict(report)),
        tiles(report)
    )
}

fn tiles(report: &Report) -> String {
    let mut tiles = vec![];
    if let Some(m) = &report.metrics {
        tiles.push(("KL divergence, mean", number(m.kld.mean), format!("nats; 95 %: {}", between(m.kld.ci95))));
        let ends = m.top1_ci95.map(percent);
        tiles.push(("Same top token", percent(m.top1), format!("95 %: {} to {}", ends[0], ends[1])));
        let ppl = format!("{} to {}", number(m.ppl_ref), number(m.ppl_cand));
        tiles.push(("Perplexity", change(m.ppl_ratio - 1.0), ppl));
    }
    if let Some(e) = &report.embeddings {
        tiles.push(("Cosine, mean", number(e.mean), format!("95 %: {}", between(e.ci95))));
        tiles.push(("Cosine, least", number(e.min), format!("of {} texts", e.texts)));
    }
    let (a, b) = (&report.reference, &report.candidate);
    if b.bytes > 0 {
        let bits = format!("{:.2} bits a weight; was {}", b.bits_per_weight, amount::bytes(a.bytes));
        tiles.push(("Size", amount::bytes(b.bytes), bits));
    }
    let tile = |(name, value, note): (&str, String, String)| {
        format!(
            "<div><dt>{name}</dt><dd class=\"value\">{}</dd><dd class=\"note\">{}</dd></div>\n",
            escaped(&value),
            escaped(&note)
        )
    };
    let tiles: String = tiles.into_iter().map(tile).collect();
    if tiles.is_empty() { tiles } else { format!("<dl class=\"tiles\">\n{tiles}</dl>\n") }
}

/// All statistics with their meaning.
pub(super) fn metrics(report: &Report) -> String {
    let rows: Vec<Vec<String>> = (facts(report).into_iter())
        .map(|fact| {
            vec![
                format!("<strong>{}</strong>", escaped(fact.name)),
                escaped(&fact.value),
                if fact.doubt.is_empty() {
                    String::new()
                } else {
                    format!("<span class=\"soft\">{}</span>", escaped(&fact.doubt))
                },
                format!("<span class=\"prose\">{}</span>", escaped(&fact.meaning)),
            ]
        })
        .collect();
    let intro =
        "KL divergences (KLD) are in nats. ± is one standard error, 95 % an interval by bootstrap over sequences.";
    section(
        "Metrics",
        intro,
        &stacked("metrics", &table("Metrics", &["Metric", ">Value", "Uncertainty", "What it means"], &rows)),
    )
}
