//! What was compared and how: texts, checks, protocol.

use super::super::super::report::{Check, Embeddings, Metrics, Model, Report, Slice, Status, WorstText};
use super::super::escape::html as escaped;
use super::super::number::{MISSING, between, number, percent, plus_minus};
use super::{badge, section, table};
use crate::amount;

/// The statistics of each text.
pub(super) fn slices(report: &Report) -> String {
    let row = |slice: &Slice| {
        let of = |show: fn(&Metrics) -> String| slice.metrics.as_ref().map_or(MISSING.to_owned(), show);
        vec![
            format!("<code>{}</code>", escaped(&slice.file)),
            slice.sequences.to_string(),
            of(|m| m.tokens.to_string()),
            of(|m| plus_minus(m.ppl_ref, m.ppl_ref_error)),
            of(|m| plus_minus(m.ppl_cand, m.ppl_cand_error)),
            of(|m| number(m.kld.mean)),
            of(|m| format!("<span class=\"soft\">{}</span>", between(m.kld.ci95))),
            of(|m| number(m.kld.p99)),
            of(|m| percent(m.top1)),
        ]
    };
    if let Some(embeddings) = &report.embeddings {
        return worst_texts(embeddings);
    }
    let rows: Vec<Vec<String>> = report.slices.iter().map(row).collect();
    let headings = [
        "Text",
        ">Sequences",
        ">Tokens",
        ">PPL reference",
        ">PPL candidate",
        ">KLD mean",
        "95 % interval",
        ">KLD p99",
        ">Same top token",
    ];
    section("Texts", "", &table("Texts", &headings, &rows))
}

/// The texts whose vectors turned furthest away.
fn worst_texts(embeddings: &Embeddings) -> String {
    let row = |worst: &WorstText| {
        vec![
            number(worst.cosine),
            format!("<code>{}:{}</code>", escaped(&worst.file), worst.line),
            worst.tokens.to_string(),
            format!("<span class=\"prose\">{}</span>", escaped(&worst.text)),
        ]
    };
    let rows: Vec<Vec<String>> = embeddings.worst.iter().map(row).collect();
    let headings = [">Cosine", "Line", ">Tokens", "Text"];
    section("Worst texts", "", &table("Worst texts", &headings, &rows))
}

/// What makes the two comparable.
pub(super) fn comparability(report: &Report) -> String {
    let row = |check: &Check| {
        let badge = match check.status {
            Status::Same => badge("pass", "✓", "same"),
            Status::Warning => badge("open", "!", "differs, no number changes"),
            Status::Different => badge("fail", "≠", "different"),
            Status::Unknown => badge("open", "?", "unknown"),
        };
        let value = |text: &str| format!("<span class=\"prose\">{}</span>", escaped(text));
        let mut name = format!("<code>{}</code>", escaped(&check.check));
        if !check.message.is_empty() {
            name.push_str(&format!("<br><span class=\"prose\">{}</span>", escaped(&check.message)));
        }
        let candidate = match check.status {
            Status::Same if check.reference == check.candidate => "<span class=\"soft\">the same</span>".to_owned(),
            _ => value(&check.candidate),
        };
        vec![badge, name, value(&check.reference), candidate]
    };
    let (apart, same): (Vec<&Check>, Vec<&Check>) =
        report.comparability.iter().partition(|check| check.status != Status::Same);
    let rows = |checks: &[&Check]| checks.iter().map(|check| row(check)).collect::<Vec<_>>();
    let headings = ["Answer", "What", "Original", "Candidate"];
    let mut body = table("What differs", &headings, &rows(&apart));
    if !same.is_empty() {
        let table = table("What is the same", &headings, &rows(&same));
        let what = if same.len() == 1 { "check finds" } else { "checks find" };
        body.push_str(&format!(
            "<details><summary>{} {what} the same in both</summary>\n{table}</details>",
            same.len()
        ));
    }
    section("Comparability", "Whether the two are versions of one model and read text alike.", &body)
}

/// How it was measured, by what and from what.
pub(super) fn protocol(report: &Report) -> String {
    let model = |model: &Model| {
        format!(
            "<code>{}</code> <span class=\"soft\">{} ({}), {}, {} parameters, {:.2} bits each, {}</span>",
            escaped(&model.path),
            escaped(&model.name),
            escaped(&model.architecture),
            escaped(&model.format),
            amount::count(model.parameters),
            model.bits_per_weight,
            amount::bytes(model.bytes)
        )
    };
    let (protocol, precision) = (&report.protocol, &report.precision);
    let used = if precision.used == precision.asked {
        String::new()
    } else {
        format!(" (computed in {})", escaped(&precision.used))
    };
    let bos = protocol.bos.map_or(String::new(), |id| format!(", each begins with token {id}"));
    let planned = if protocol.planned == protocol.sequences {
        String::new()
    } else {
        format!(" of {} planned", protocol.planned)
    };
    let mut rows = vec![
        ("Original", model(&report.reference)),
        ("Candidate", model(&report.candidate)),
        (
            "Protocol",
            format!("{}{bos}. Numbers of different protocols do not compare.", escaped(&protocol.description)),
        ),
        ("Sequences", format!("{}{planned}, {} at a time", protocol.sequences, protocol.batch)),
        ("Texts", format!("fingerprint <code>{}</code>", escaped(&protocol.corpus))),
        ("Precision", format!("{}{used}, activations {}", escaped(&precision.asked), report.activations.name())),
        ("Machine", format!("{} threads, {} kernels", report.threads, escaped(&report.isa))),
        ("Cost", format!("{:.1} s, {} beside the page cache", report.seconds, amount::bytes(report.peak_anon_bytes))),
    ];
    if let Some(baseline) = &report.baseline {
        rows.push(("Baseline", format!("<code>{}</code>", escaped(baseline))));
    }
    let tool = &report.tool;
    rows.push((
        "Made by",
        format!("{} {}, report schema {}", escaped(&tool.name), escaped(&tool.version), report.schema),
    ));
    let rows: String =
        rows.iter().map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>\n")).collect();
    section("How it was measured", "", &format!("<dl class=\"facts\">\n{rows}</dl>"))
}
