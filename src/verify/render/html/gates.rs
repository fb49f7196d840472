//! What was asked of the candidate, each with a picture of the interval and its limit.

use super::super::super::report::{Gate, GateVerdict, Report};
use super::super::escape::html as escaped;
use super::super::facts::condition;
use super::super::number::{between, number};
use super::{badge, section, stacked, table};

/// The picture's size in its own units, and what is left free at both ends.
const WIDTH: f64 = 180.0;
const HEIGHT: f64 = 22.0;
const INSET: f64 = 8.0;

pub(super) fn gates(report: &Report) -> String {
    let row = |gate: &Gate| {
        let (class, sign) = match gate.verdict {
            GateVerdict::Pass => ("pass", "✓"),
            GateVerdict::Fail => ("fail", "✕"),
            GateVerdict::Inconclusive => ("open", "?"),
        };
        vec![
            badge(class, sign, gate.verdict.name()),
            format!("<code>{}</code>", escaped(&condition(gate))),
            gate.value.map_or("missing".to_owned(), number),
            format!("<span class=\"soft\">{}</span>", gate.ci95.map_or("none".to_owned(), between)),
            picture(gate, class),
            format!("<span class=\"soft\">{}</span>", escaped(&gate.source)),
        ]
    };
    let rows: Vec<Vec<String>> = report.gates.iter().map(row).collect();
    let headings = ["Verdict", "Gate", ">Value", "95 % interval", "Where the limit lies", "Asked by"];
    let intro = "A gate holds if all of the 95 % interval is within the limit, and fails if none of it is; \
                 between the two the text was too short to tell. Shaded: what is allowed.";
    section("Gates", intro, &stacked("gates", &table("Gates", &headings, &rows)))
}

/// The allowed side shaded, the limit as a line, the interval as a bar, the value as a dot.
fn picture(gate: &Gate, class: &str) -> String {
    let Some(value) = gate.value.filter(|value| value.is_finite() && gate.limit.is_finite()) else {
        return String::new();
    };
    let [low, high] = gate.ci95.filter(|ends| ends.iter().all(|end| end.is_finite())).unwrap_or([value; 2]);
    let (least, most) = (low.min(value).min(gate.limit), high.max(value).max(gate.limit));
    let span = if most > least { most - least } else { most.abs().max(1e-9) };
    let place = |x: f64| INSET + 12.0 + (x - least) / span * (WIDTH - 2.0 * INSET - 24.0);
    let (limit, middle) = (place(gate.limit), HEIGHT / 2.0);
    let (from, to) = if gate.op.starts_with('<') { (0.0, limit) } else { (limit, WIDTH) };
    let (x1, x2, dot) = (place(low), place(high), place(value));
    format!(
        "<svg class=\"gate {class}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\
         <title>{}</title>\
         <rect class=\"allowed\" x=\"{from:.1}\" y=\"1\" width=\"{:.1}\" height=\"{:.1}\"/>\
         <line class=\"limit\" x1=\"{limit:.1}\" x2=\"{limit:.1}\" y1=\"0\" y2=\"{HEIGHT}\"/>\
         <line class=\"interval\" x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>\
         <circle class=\"value\" cx=\"{dot:.1}\" cy=\"{middle}\" r=\"4.5\"/></svg>",
        escaped(&gate.message),
        to - from,
        HEIGHT - 2.0
    )
}
