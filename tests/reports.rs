//! The files of `planish verify` for people and for CI: whole, harmless, and true to the report.

#[path = "support/markup.rs"]
mod markup;

use std::path::Path;
use std::process::{Command, Output};

use markup::{Element, elements};
use planish::verify::Report;
use planish::verify::render::{html, junit, markdown};
use planish::verify::report::{GateVerdict, Status, Verdict};
use serde_json::{Value, json};

/// Text that breaks out of every format that does not escape it.
const HOSTILE: &str = "</style></title>\"'><script>alert(1)</script>&amp;|`*_]]>\n\r\0\x1b[31m\u{202e}\u{ffff}";

/// A report with all there can be, and hostile text wherever text can be.
fn full() -> Report {
    let model = |path: &str| {
        json!({"path": path, "name": HOSTILE, "format": HOSTILE, "architecture": HOSTILE, "parameters": 1000,
               "bytes": 2000, "bits_per_weight": 16.0})
    };
    let check = |status: &str| json!({"check": HOSTILE, "status": status, "reference": HOSTILE, "candidate": "b", "message": HOSTILE});
    let gate = |verdict: &str, value: Option<f64>, ci95: Option<[f64; 2]>| {
        json!({"metric": "slices.<b>.kld.mean", "op": "<=", "limit": 0.1, "value": value, "ci95": ci95,
               "verdict": verdict, "source": HOSTILE, "message": HOSTILE})
    };
    let tensor = |name: &str, block: Option<usize>, error: Option<f64>, problem: Option<&str>| {
        json!({"name": name, "block": block, "role": "attn_q", "type": "Q4_0", "reference_type": HOSTILE,
               "weights": 100, "bits": 4.5, "relative_error": error, "problem": problem})
    };
    let metrics = json!({
        "tokens": 100, "ppl_ref": 10.0, "ppl_ref_error": 0.5, "ppl_cand": 11.0, "ppl_cand_error": 0.6,
        "ppl_ratio": 1.1, "ppl_ratio_error": 0.01, "ppl_ratio_ci95": [1.08, 1.12], "ppl_difference": 1.0,
        "ppl_difference_error": 0.1, "ln_ratio": 0.0953, "ln_ratio_error": 0.01, "ln_ratio_ci95": [0.08, 0.11],
        "correlation": 0.99, "top1": 0.9, "top1_error": 0.01, "top1_ci95": [0.88, 0.92], "noise_floor": 0.002,
        "kld": {"mean": 0.0512, "error": 0.002, "ci95": [0.045, 0.06], "median": 0.02, "p90": 0.11, "p95": 0.2,
                "p99": 0.4, "p999": 1.5, "max": 2.25, "min": 0.0},
        "delta_p": {"mean": -0.01, "mean_error": 0.001, "rms": 0.05, "rms_error": 0.002}
    });
    let worst = json!({"file": HOSTILE, "sequence": 1, "position": 7, "before": HOSTILE, "token": HOSTILE,
                       "after": HOSTILE, "id": 9, "kld": 2.25, "p_ref": 0.9, "p_cand": 1e-9, "best_ref": HOSTILE,
                       "best_cand": "  "});
    let report = json!({
        "schema": 1, "tool": {"name": "planish", "version": HOSTILE}, "verdict": "fail", "reasons": [HOSTILE],
        "reference": model("models/original"), "candidate": model(&format!("models/{HOSTILE}.gguf")),
        "protocol": {"name": "chunks", "description": HOSTILE, "context": 128, "stride": 128, "bos": 1,
                     "sequences": 2, "planned": 3, "batch": 8, "corpus": HOSTILE},
        "precision": {"asked": HOSTILE, "used": "f32"}, "activations": "weights-only",
        "comparability": [check("same"), check("warning"), check("different"), check("unknown")],
        "coverage": {"weights": 300, "quantized": 200, "share": 0.667, "bits_per_weight": 5.0, "types": [
            {"type": HOSTILE, "tensors": 2, "weights": 200, "bytes": 113, "bits": 4.5},
            {"type": "F32", "tensors": 1, "weights": 100, "bytes": 400, "bits": 32.0}]},
        "tensors": [tensor(HOSTILE, None, Some(0.0), None), tensor("blk.0.attn_q.weight", Some(0), Some(0.08), None),
                    tensor("blk.1.attn_q.weight", Some(1), Some(1.4), Some(HOSTILE)),
                    tensor("blk.1.attn_k.weight", Some(1), None, Some(HOSTILE))],
        "rounding": {"tensors": [{"tensor": HOSTILE, "type": HOSTILE, "loss_nearest": 0.02, "loss": 0.011, "damping": 0.04,
                                   "dead_channels": 3, "fell_back": true, "whole_blocks": true, "seconds": 0.5}],
                     "scales": [{"maker": HOSTILE, "loss_before": 0.02, "loss_after": 0.01}], "resumed_layers": 2},
        "metrics": metrics,
        "noise": {"kld": 0.002, "sequences": 1, "tokens": 50, "drift_below": false, "note": HOSTILE},
        "layers": [{"name": "model.", "block": null, "relative_error": 0.01, "cosine": 0.9999},
                   {"name": HOSTILE, "block": 0, "relative_error": null, "cosine": null},
                   {"name": "model.layers.1.", "block": 1, "relative_error": 0.2, "cosine": 0.98}],
        "slices": [{"file": HOSTILE, "text_tokens": 9, "sequences": 2, "metrics": metrics},
                   {"file": "b.txt", "text_tokens": 9, "sequences": 0, "metrics": null}],
        "running": [{"sequences": 2, "tokens": 100, "ppl_ref": 10.0, "ppl_cand": 11.0, "kld": 0.05}],
        "worst": [worst],
        "kld_histogram": [{"low": 0.0, "high": 0.001, "count": 5}, {"low": 0.001, "high": 0.01, "count": 30},
                          {"low": 0.01, "high": 0.1, "count": 50}, {"low": 0.1, "high": 1.0, "count": 13},
                          {"low": 1.0, "high": null, "count": 2}],
        "gates": [gate("pass", Some(0.05), Some([0.04, 0.06])), gate("inconclusive", Some(0.1), Some([0.09, 0.11])),
                  gate("fail", Some(0.2), None), gate("fail", None, None)],
        "baseline": HOSTILE, "threads": 2, "isa": HOSTILE, "seconds": 1.5, "peak_anon_bytes": 1000000
    });
    serde_json::from_value(report).expect("a report")
}

/// As a report of two that cannot be compared: nothing was measured.
fn incomparable() -> Report {
    let mut report = full();
    report.verdict = Verdict::Incomparable;
    (report.metrics, report.noise, report.baseline) = (None, None, None);
    (report.layers, report.slices, report.running, report.worst) = (vec![], vec![], vec![], vec![]);
    (report.tensors, report.gates, report.kld_histogram) = (vec![], vec![], vec![]);
    report.coverage = planish::verify::report::Coverage::default();
    report
}

/// The same with numbers that are none.
fn without_numbers() -> Report {
    let mut report = full();
    let metrics = report.metrics.as_mut().expect("metrics");
    (metrics.kld.mean, metrics.kld.ci95, metrics.kld.p99) = (f64::NAN, [f64::NAN; 2], f64::INFINITY);
    (metrics.ppl_ratio, metrics.top1, metrics.noise_floor) = (f64::NAN, f64::NAN, Some(f64::NAN));
    for layer in &mut report.layers {
        (layer.relative_error, layer.cosine) = (Some(f64::NAN), None);
    }
    report.gates[0].value = Some(f64::NAN);
    report.gates[1].ci95 = Some([f64::NEG_INFINITY, f64::INFINITY]);
    report.worst[0].p_ref = f64::NAN;
    report
}

/// As of a model against itself.
fn identical() -> Report {
    let mut report = full();
    report.verdict = Verdict::Pass;
    let metrics = report.metrics.as_mut().expect("metrics");
    (metrics.kld.median, metrics.kld.p90, metrics.kld.p99, metrics.kld.p999) = (0.0, 0.0, 0.0, 0.0);
    report.kld_histogram.truncate(1);
    report.worst[0].kld = 0.0;
    for layer in &mut report.layers {
        (layer.relative_error, layer.cosine) = (Some(0.0), Some(1.0));
    }
    report
}

fn all() -> [Report; 4] {
    [full(), incomparable(), without_numbers(), identical()]
}

#[track_caller]
fn page(report: &Report) -> (String, Vec<Element>) {
    let page = html(report);
    let elements = elements(&page, &["meta", "br"]);
    (page, elements.unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn pages_are_whole_and_harmless() {
    for report in all() {
        let (text, elements) = page(&report);
        for banned in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "NaN", "inf\"", "alert(1)</s"]
        {
            assert!(!text.contains(banned), "{banned} in the page");
        }
        let control = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}' || c == '\u{ffff}';
        assert!(!text.contains(control), "a control character in the page");
        assert!(!elements.iter().any(|element| element.name == "script"));
        assert!(!elements.iter().flat_map(|element| &element.attributes).any(|(name, _)| name.starts_with("on")));
        assert_eq!(elements.iter().filter(|element| element.name == "title").count(), svg_titles(&elements) + 1);
    }
}

/// Pictures' own titles: all but the page's.
fn svg_titles(elements: &[Element]) -> usize {
    let body = elements.iter().position(|element| element.name == "body").expect("a body");
    elements[body..].iter().filter(|element| element.name == "title").count()
}

#[test]
fn pages_show_what_was_found() {
    let (text, elements) = page(&full());
    for part in [
        "✕</span> Fail",
        "2 of 4 gates failed",
        "0.05120",
        "95 %: 0.04500 to 0.06000",
        "p99.9: 1.500 nats",
        "0.1000 to 1.000 nats: 13 tokens (13 %)",
        "relative error (%)",
        "after model.layers.1: relative error 20 %, cosine 0.980000",
        "blk.0.attn_q.weight: Q4_0",
        "␛[31m&lt;U+202E&gt;",
        "noise: 0.002000 nats",
        "Comparability",
    ] {
        assert!(text.contains(part), "{part} is missing");
    }
    let alarms = elements.iter().filter(|element| element.get("class").is_some_and(|class| class.contains("alarm")));
    assert_eq!(alarms.count(), 2);
    let marks: Vec<_> = elements.iter().filter(|element| element.name == "mark").collect();
    assert_eq!(marks.len(), 1);
    assert_eq!(marks[0].get("class"), Some("k4"));

    let (text, _) = page(&incomparable());
    assert!(text.contains("Not comparable") && !text.contains("Metrics") && !text.contains("<svg"));
    assert!(text.find("Comparability") < text.find("How it was measured"));
}

#[test]
fn junit_has_a_case_for_each_gate_and_check() {
    for report in all() {
        let text = junit(&report);
        let legal = |c: char| matches!(c, '\n' | ' '..='\u{fffd}' | '\u{10000}'..);
        assert!(text.chars().all(legal), "a character that XML cannot hold");
        let elements = elements(&text, &[]).unwrap_or_else(|error| panic!("{error}"));
        let named = |name: &str| elements.iter().filter(|element| element.name == name).collect::<Vec<_>>();
        let (suite, failures) = (named("testsuite"), named("failure"));
        assert_eq!(suite.len(), 1);
        let cases = report.gates.len() + report.comparability.len();
        assert_eq!(named("testcase").len(), cases);
        assert_eq!(suite[0].get("tests"), Some(cases.to_string().as_str()));
        assert_eq!(suite[0].get("failures"), Some(failures.len().to_string().as_str()));
        assert_eq!(suite[0].get("skipped"), Some(named("skipped").len().to_string().as_str()));
        let kind = |kind: &str| failures.iter().filter(|failure| failure.get("type") == Some(kind)).count();
        let gates = |verdict| report.gates.iter().filter(|gate| gate.verdict == verdict).count();
        assert_eq!(kind("fail"), gates(GateVerdict::Fail));
        assert_eq!(kind("inconclusive"), gates(GateVerdict::Inconclusive));
        let apart = report.comparability.iter().filter(|check| check.status == Status::Different);
        assert_eq!(kind("incomparable"), apart.count());
        let said = HOSTILE.replace(['\0', '\x1b', '\u{ffff}'], "");
        assert!(failures.iter().all(|failure| failure.get("message") == Some(&said) && failure.text == said));
    }
    let mut report = full();
    report.verdict = Verdict::Interrupted;
    report.gates.clear();
    assert!(junit(&report).contains("errors=\"1\""));
}

#[test]
fn markdown_keeps_its_tables() {
    for report in all() {
        let text = markdown(&report);
        let columns = |line: &str| line.replace("\\|", "").matches('|').count();
        let mut table = None;
        for line in text.lines() {
            if line.starts_with('|') {
                assert_eq!(columns(line), *table.get_or_insert(columns(line)), "{line}");
            } else {
                table = None;
                assert_eq!(columns(line), 0, "{line}");
            }
        }
        assert!(!text.contains("<script") && !text.contains('\x1b') && text.len() < 20_000);
    }
    let text = markdown(&full());
    for part in ["## Fail: ", "| KLD mean | 0.05120 |", "blk.1.attn\\_q.weight | Q4\\_0 | 1.400", "**inconclusive**"] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}

fn planish(args: &[&str], summary: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_planish"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("GITHUB_STEP_SUMMARY");
    if let Some(path) = summary {
        command.env("GITHUB_STEP_SUMMARY", path);
    }
    command.output().expect("the command starts")
}

#[test]
fn a_run_leaves_its_reports_whatever_the_verdict() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str| dir.path().join(name).to_str().expect("the path is UTF-8").to_owned();
    let (tiny, release) = ("fixtures/tiny-llama", file("q4_0.gguf"));
    let made = planish(&["quantize", tiny, "--to", "q4_0", "-o", &release], None);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let summary = dir.path().join("summary.md");
    std::fs::write(&summary, "an earlier step\n").expect("a file");
    let (page, xml, md) = (file("drift.html"), file("drift.xml"), file("drift.md"));
    let verify = |limit: &str, html: &str| {
        let gate = format!("kld.mean<={limit}");
        let text = "fixtures/tiny-llama/heldout.txt";
        let mut args = vec!["verify", tiny, &release, "--text", text, "--ctx", "128", "--chunks", "2", "--json"];
        args.extend(["--gate", &gate, "--html", html, "--junit", &xml, "--markdown", &md]);
        planish(&args, Some(&summary))
    };
    for (limit, status, word) in [("0.5", 0, "Pass"), ("1e-9", 1, "Fail")] {
        let out = verify(limit, &page);
        assert_eq!(out.status.code(), Some(status), "{}", String::from_utf8_lossy(&out.stderr));
        let report: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let read = |path: &str| std::fs::read_to_string(path).expect("the report is there");
        let report: Report = serde_json::from_value(report).expect("a report");
        assert_eq!((read(&page), read(&xml), read(&md)), (html(&report), junit(&report), markdown(&report)));
        assert!(read(&page).contains(&format!("<title>{word}: q4_0.gguf against tiny-llama</title>")));
    }
    let added = std::fs::read_to_string(&summary).expect("the summary");
    assert!(added.starts_with("an earlier step\n## Pass: ") && added.contains("## Fail: "), "{added}");

    // A report that cannot be written is told before anything is run.
    std::fs::remove_file(&md).expect("it was written");
    let out = verify("0.5", &file("no/such/folder.html"));
    assert_eq!(out.status.code(), Some(74), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(!Path::new(&md).exists());
    let left = std::fs::read_dir(dir.path()).expect("a folder").flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().ends_with(".partial")));
}

#[test]
fn browsers_show_the_page() {
    let Some(folder) = std::env::var_os("PLANISH_SCREENSHOTS") else {
        println!("skipped: PLANISH_SCREENSHOTS names no folder for pictures");
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    for (name, report) in ["full", "incomparable", "without-numbers", "identical"].into_iter().zip(all()) {
        let page = dir.path().join(format!("{name}.html"));
        std::fs::write(&page, html(&report)).expect("a page");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(root.join("tests/screenshot"));
        let out = command.arg(&page).arg(Path::new(&folder).join(name)).output().expect("bash");
        println!("{}", String::from_utf8_lossy(&out.stdout));
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    }
}
