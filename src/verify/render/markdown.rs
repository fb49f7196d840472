//! A short summary in GitHub's Markdown, for a job's summary, a pull request or release notes.

use super::super::report::{Report, Status};
use super::escape::markdown as escaped;
use super::facts::{by_error, condition, facts, layer_name, short, summary, verdict, word};
use super::number::{between, number, optional, percent};

/// Rows of the layers and tensors that drifted most.
const FEW: usize = 5;

/// The verdict, the gates, the key metrics and where the drift is.
pub fn markdown(report: &Report) -> String {
    let mut text = format!(
        "## {}: {} against {}\n\n{}\n",
        word(report.verdict),
        escaped(short(&report.candidate)),
        escaped(short(&report.reference)),
        escaped(&verdict(report))
    );
    for reason in &report.reasons {
        text.push_str(&format!("\n- {}", escaped(reason)));
    }
    if !report.reasons.is_empty() {
        text.push('\n');
    }
    if let Some(sentence) = summary(report) {
        text.push_str(&format!("\n{}\n", escaped(&sentence)));
    }
    for part in [gates(report), metrics(report), layers(report), tensors(report), slices(report), checks(report)] {
        text.push_str(&part);
    }
    text.push_str(&foot(report));
    text
}

/// A table under a heading; nothing without rows. A column whose heading begins with `>` is aligned to the right.
fn table(title: &str, headings: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = headings.iter().map(|heading| heading.trim_start_matches('>')).collect();
    let rules: Vec<&str> = headings.iter().map(|h| if h.starts_with('>') { "---:" } else { "---" }).collect();
    let mut text = format!("\n### {title}\n\n| {} |\n| {} |\n", names.join(" | "), rules.join(" | "));
    text.extend(rows.iter().map(|row| format!("| {} |\n", row.join(" | "))));
    text
}

fn gates(report: &Report) -> String {
    let row = |gate: &_| {
        let gate: &super::super::report::Gate = gate;
        let interval = gate.ci95.map_or(String::new(), between);
        let verdict = gate.verdict.name();
        let value = gate.value.map_or("missing".to_owned(), number);
        vec![escaped(&condition(gate)), format!("**{verdict}**"), value, interval, escaped(&gate.source)]
    };
    let rows: Vec<_> = report.gates.iter().map(row).collect();
    table("Gates", &["gate", "verdict", ">value", "95 % interval", "asked by"], &rows)
}

fn metrics(report: &Report) -> String {
    let rows: Vec<_> = (facts(report).into_iter())
        .map(|fact| vec![escaped(fact.name), escaped(&fact.value), escaped(&fact.doubt)])
        .collect();
    table("Metrics (KL divergences in nats)", &["metric", ">value", ""], &rows)
}

fn layers(report: &Report) -> String {
    let mut layers: Vec<_> = report.layers.iter().filter(|layer| layer.relative_error != Some(0.0)).collect();
    let key = |error: Option<f64>| error.unwrap_or(f64::INFINITY);
    layers.sort_by(|a, b| key(b.relative_error).total_cmp(&key(a.relative_error)));
    let rows: Vec<_> = (layers.into_iter().take(FEW))
        .map(|layer| vec![escaped(layer_name(layer)), optional(layer.relative_error), optional(layer.cosine)])
        .collect();
    table("Layers that drift most", &["hidden state after", ">relative error", ">cosine"], &rows)
}

fn tensors(report: &Report) -> String {
    let rows: Vec<_> = (by_error(report).into_iter().take(FEW))
        .filter(|tensor| tensor.relative_error != Some(0.0))
        .map(|tensor| {
            let problem = tensor.problem.as_deref().map_or(String::new(), escaped);
            vec![escaped(&tensor.name), escaped(&tensor.storage), optional(tensor.relative_error), problem]
        })
        .collect();
    table("Tensors that moved most", &["tensor", "type", ">relative error", ""], &rows)
}

fn slices(report: &Report) -> String {
    if report.slices.len() < 2 || report.embeddings.is_some() {
        return String::new();
    }
    let row = |slice: &super::super::report::Slice| {
        let m = slice.metrics.as_ref();
        vec![
            escaped(&slice.file),
            slice.sequences.to_string(),
            optional(m.map(|m| m.ppl_ref)),
            optional(m.map(|m| m.ppl_cand)),
            optional(m.map(|m| m.kld.mean)),
            m.map_or(String::new(), |m| percent(m.top1)),
        ]
    };
    let rows: Vec<_> = report.slices.iter().map(row).collect();
    let headings = ["text", ">sequences", ">PPL reference", ">PPL candidate", ">KLD mean", ">same top token"];
    table("Texts", &headings, &rows)
}

/// What is not the same in both.
fn checks(report: &Report) -> String {
    let rows: Vec<_> = (report.comparability.iter())
        .filter(|check| check.status != Status::Same)
        .map(|check| vec![escaped(&check.check), check.status.name().to_owned(), escaped(&check.message)])
        .collect();
    table("Not the same in both", &["what", "status", ""], &rows)
}

fn foot(report: &Report) -> String {
    let protocol = &report.protocol;
    let coverage = if report.coverage.weights > 0 {
        let coverage = &report.coverage;
        format!("{} of the weights quantized, {:.2} bits each; ", percent(coverage.share), coverage.bits_per_weight)
    } else {
        String::new()
    };
    format!(
        "\n{coverage}{}, {} sequences; {} {}\n",
        escaped(&protocol.description),
        protocol.sequences,
        escaped(&report.tool.name),
        escaped(&report.tool.version)
    )
}
