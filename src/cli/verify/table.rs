//! The report as a table for people: llama-perplexity's statistics, and where the drift is.

use planish::verify::report::{Embeddings, GateVerdict, Metrics, Report, Verdict, WorstText};

use super::super::show::{self, facts};

/// Rows of the layers and of the tensors that drifted most.
const FEW: usize = 5;

/// All of it.
pub(super) fn text(report: &Report) -> String {
    let mut text = facts(&head(report));
    if let Some(metrics) = &report.metrics {
        text.push('\n');
        text.push_str(&statistics(metrics, report));
    }
    if let Some(embeddings) = &report.embeddings {
        text.push('\n');
        text.push_str(&vectors(embeddings));
    }
    for part in [slices(report), layers(report), tensors(report), worst(report), gates(report)] {
        if !part.is_empty() {
            text.push('\n');
            text.push_str(&part);
        }
    }
    text.push('\n');
    text.push_str(&facts(&foot(report)));
    text
}

fn head(report: &Report) -> Vec<(&'static str, String)> {
    let model = |model: &planish::verify::report::Model| {
        let (parameters, size) = (show::count(model.parameters), show::bytes(model.bytes));
        format!(
            "{} ({}, {parameters} parameters, {:.2} bits each, {size})",
            model.path, model.architecture, model.bits_per_weight
        )
    };
    let protocol = &report.protocol;
    let mut rows = vec![("reference", model(&report.reference)), ("candidate", model(&report.candidate))];
    rows.push(("protocol", format!("{}; {} sequences", protocol.description, protocol.sequences)));
    let precision = &report.precision;
    let used =
        if precision.used == precision.asked { String::new() } else { format!(" (computed in {})", precision.used) };
    rows.push(("precision", format!("{}{used}, activations {}", precision.asked, report.activations.name())));
    let coverage = &report.coverage;
    if coverage.weights > 0 {
        let types: Vec<String> =
            coverage.types.iter().map(|share| format!("{} x {}", share.tensors, share.storage)).collect();
        let share = coverage.share * 100.0;
        rows.push((
            "quantized",
            format!("{share:.1} % of the weights, {:.2} bits a weight: {}", coverage.bits_per_weight, types.join(", ")),
        ));
    }
    rows
}

fn statistics(m: &Metrics, report: &Report) -> String {
    let plus = |value: f64, error: f64| format!("{value:.6} ± {error:.6}");
    let within = |ci: [f64; 2]| format!("95 % interval {:.6} to {:.6}", ci[0], ci[1]);
    let percent = |x: f64| x * 100.0;
    let floor = match &report.noise {
        Some(noise) if noise.drift_below => {
            format!("{:.6} (the drift is below it: it cannot be told from noise)", noise.kld)
        }
        Some(noise) => format!("{:.6} ({})", noise.kld, noise.note),
        None => "not measured".to_owned(),
    };
    let top1 = m.top1_ci95.map(percent);
    facts(&[
        ("tokens scored", m.tokens.to_string()),
        ("PPL reference", plus(m.ppl_ref, m.ppl_ref_error)),
        ("PPL candidate", plus(m.ppl_cand, m.ppl_cand_error)),
        ("PPL ratio", format!("{}, {}", plus(m.ppl_ratio, m.ppl_ratio_error), within(m.ppl_ratio_ci95))),
        ("ln(PPL ratio)", format!("{}, {}", plus(m.ln_ratio, m.ln_ratio_error), within(m.ln_ratio_ci95))),
        ("PPL difference", plus(m.ppl_difference, m.ppl_difference_error)),
        ("correlation", m.correlation.map_or("-".to_owned(), |c| format!("{:.2} %", percent(c)))),
        ("KLD mean", format!("{}, {}", plus(m.kld.mean, m.kld.error), within(m.kld.ci95))),
        ("KLD median", format!("{:.6}", m.kld.median)),
        ("KLD 90 %", format!("{:.6}", m.kld.p90)),
        ("KLD 99 %", format!("{:.6}", m.kld.p99)),
        ("KLD 99.9 %", format!("{:.6}", m.kld.p999)),
        ("KLD maximum", format!("{:.6}", m.kld.max)),
        ("noise floor", floor),
        (
            "same top token",
            format!(
                "{:.3} ± {:.3} %, 95 % interval {:.3} to {:.3}",
                percent(m.top1),
                percent(m.top1_error),
                top1[0],
                top1[1]
            ),
        ),
        ("Δp mean", format!("{:.3} ± {:.3} %", percent(m.delta_p.mean), percent(m.delta_p.mean_error))),
        ("Δp RMS", format!("{:.3} ± {:.3} %", percent(m.delta_p.rms), percent(m.delta_p.rms_error))),
    ])
}

fn vectors(e: &Embeddings) -> String {
    let number = |value: f64| format!("{value:.6}");
    let mut text = facts(&[
        (
            "texts",
            format!("{} lines, {} tokens; vectors of {} elements, pooled: {}", e.texts, e.tokens, e.width, e.pooling),
        ),
        ("cosine mean", format!("{:.6}, 95 % interval {:.6} to {:.6}", e.mean, e.ci95[0], e.ci95[1])),
        ("cosine median", number(e.median)),
        ("cosine 10 %", number(e.p10)),
        ("cosine 5 %", number(e.p5)),
        ("cosine 1 %", number(e.p1)),
        ("cosine minimum", number(e.min)),
    ]);
    let cut = |text: &str| text.chars().take(56).collect::<String>().escape_debug().to_string();
    let row =
        |worst: &WorstText| vec![number(worst.cosine), format!("{}:{}", worst.file, worst.line), cut(&worst.text)];
    let rows: Vec<Vec<String>> = e.worst.iter().take(FEW).map(row).collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&show::table(&["cosine", "worst texts", ""], &rows));
    }
    text
}

fn slices(report: &Report) -> String {
    if report.slices.len() < 2 || report.metrics.is_none() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = (report.slices.iter())
        .map(|slice| {
            let number = |value: fn(&Metrics) -> f64| {
                slice.metrics.as_ref().map_or("-".to_owned(), |m| format!("{:.5}", value(m)))
            };
            vec![
                slice.file.clone(),
                slice.sequences.to_string(),
                number(|m| m.ppl_ref),
                number(|m| m.ppl_cand),
                number(|m| m.kld.mean),
                number(|m| m.top1),
            ]
        })
        .collect();
    show::table(&["text", ">sequences", ">PPL reference", ">PPL candidate", ">KLD", ">same top"], &rows)
}

fn layers(report: &Report) -> String {
    let error = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.6}"));
    let (count, mut rows) = (report.layers.len(), vec![]);
    for (i, layer) in report.layers.iter().enumerate() {
        // The beginning, the end, and evenly between.
        if count <= 2 * FEW || i == 0 || i + 1 == count || i % count.div_ceil(2 * FEW) == 0 {
            rows.push(vec![
                layer.name.trim_end_matches('.').to_owned(),
                error(layer.relative_error),
                error(layer.cosine),
            ]);
        }
    }
    if rows.is_empty() {
        String::new()
    } else {
        show::table(&["hidden states after", ">relative error", ">cosine"], &rows)
    }
}

fn tensors(report: &Report) -> String {
    let mut tensors: Vec<_> = report.tensors.iter().collect();
    let key = |error: Option<f64>| error.unwrap_or(f64::INFINITY);
    tensors.sort_by(|a, b| key(b.relative_error).total_cmp(&key(a.relative_error)));
    let rows: Vec<Vec<String>> = (tensors.iter().take(FEW))
        .filter(|tensor| tensor.relative_error != Some(0.0))
        .map(|tensor| {
            let error = tensor.relative_error.map_or("-".to_owned(), |error| format!("{error:.5}"));
            vec![tensor.name.clone(), tensor.storage.clone(), error, tensor.problem.clone().unwrap_or_default()]
        })
        .collect();
    if rows.is_empty() {
        String::new()
    } else {
        show::table(&["weights that moved most", "type", ">relative error", ""], &rows)
    }
}

fn worst(report: &Report) -> String {
    let line = |text: &str| text.escape_debug().to_string();
    let tail = |text: &str| {
        let skip = text.chars().count().saturating_sub(32);
        line(&text.chars().skip(skip).collect::<String>())
    };
    let rows: Vec<Vec<String>> = (report.worst.iter().take(FEW))
        .filter(|token| token.kld > 0.0)
        .map(|token| {
            let percent = |p: f64| format!("{:.1} %", p * 100.0);
            vec![
                tail(&token.before),
                line(&token.token),
                format!("{:.3}", token.kld),
                percent(token.p_ref),
                percent(token.p_cand),
                line(&token.best_ref),
                line(&token.best_cand),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    show::table(
        &["worst tokens, after", "came", ">KLD", ">reference", ">candidate", "reference's top", "candidate's top"],
        &rows,
    )
}

fn gates(report: &Report) -> String {
    let rows: Vec<Vec<String>> = (report.gates.iter())
        .map(|gate| {
            let value = gate.value.map_or("missing".to_owned(), |value| format!("{value:.6}"));
            let bounds = gate.ci95.map_or(String::new(), |[low, high]| format!("{low:.6} to {high:.6}"));
            let verdict = match gate.verdict {
                GateVerdict::Pass => "pass",
                GateVerdict::Fail => "FAIL",
                GateVerdict::Inconclusive => "inconclusive",
            };
            vec![
                format!("{} {} {}", gate.metric, gate.op, gate.limit),
                value,
                bounds,
                verdict.to_owned(),
                gate.source.clone(),
            ]
        })
        .collect();
    if rows.is_empty() {
        String::new()
    } else {
        show::table(&["gate", ">value", "95 % interval", "", "asked by"], &rows)
    }
}

fn foot(report: &Report) -> Vec<(&'static str, String)> {
    let verdict = match report.verdict {
        Verdict::Pass if report.gates.is_empty() => "pass (no gates)".to_owned(),
        verdict => verdict.name().to_owned(),
    };
    vec![
        ("verdict", verdict),
        ("time", format!("{:.2} s on {} threads", report.seconds, report.threads)),
        ("memory", format!("{} beside the page cache", show::bytes(report.peak_anon_bytes))),
    ]
}
