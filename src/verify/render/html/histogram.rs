//! How the KL divergences of tokens are spread.

use super::super::super::report::{Bin, Report};
use super::super::escape::html as escaped;
use super::super::number::{number, percent};
use super::axis::{Axis, per_cent, plain};
use super::section;

/// The chart's size in its own units, and what its labels need at the sides.
const WIDTH: f64 = 560.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
/// The height of the bars, and of a row of labels above them.
const PLOT: f64 = 212.0;
const ROW: f64 = 21.0;
/// Below the bars: labels and the axis' title.
const BOTTOM: f64 = 54.0;
/// About the width of a letter of a label on a narrow screen.
const LETTER: f64 = 9.5;

pub(super) fn histogram(report: &Report) -> String {
    let bins = trimmed(&report.kld_histogram);
    let total: usize = report.kld_histogram.iter().map(|bin| bin.count).sum();
    if bins.is_empty() || total == 0 {
        return String::new();
    }
    let share = |count: usize| count as f64 / total as f64;
    let most = share(bins.iter().map(|bin| bin.count).max().unwrap_or(0));
    let (marks, rows) = marks(report, bins);
    let top = ROW * rows as f64 + 8.0;
    let (floor, width) = (top + PLOT, (WIDTH - LEFT - RIGHT) / bins.len() as f64);
    let y = Axis { values: [0.0, most], places: [floor, top] };
    let mut svg = y.grid([LEFT, WIDTH - RIGHT], per_cent);
    for (i, bin) in bins.iter().enumerate() {
        let (x, y) = (LEFT + i as f64 * width, y.place(share(bin.count)));
        let range = match bin.high {
            Some(high) => format!("{} to {} nats", number(bin.low), number(high)),
            None => format!("{} nats and more", number(bin.low)),
        };
        svg.push_str(&format!(
            "<g class=\"hit\"><title>{range}: {} tokens ({})</title>\
             <rect class=\"over\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{PLOT}\"/>\
             <rect class=\"bar\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"/></g>\n",
            bin.count,
            percent(share(bin.count)),
            x + width * 0.06,
            width * 0.88,
            floor - y
        ));
    }
    svg.push_str(&edges(bins, width, floor));
    svg.push_str(&drawn(&marks, floor));
    let (height, middle) = (floor + BOTTOM, f64::midpoint(LEFT, WIDTH - RIGHT));
    let label = format!(
        "Histogram of {total} tokens by KL divergence; {}",
        marks.iter().map(|mark| format!("{} {}", mark.name, number(mark.value))).collect::<Vec<_>>().join(", ")
    );
    let chart = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">\n{svg}\
         <text class=\"title\" x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\">KL divergence of a token (nats, log scale)\
         </text>\n</svg>",
        escaped(&label),
        height - 6.0
    );
    section("How tokens drift", "Share of the scored tokens by their KL divergence.", &chart)
}

/// Without the empty bins at both ends.
fn trimmed(bins: &[Bin]) -> &[Bin] {
    let first = bins.iter().position(|bin| bin.count > 0).unwrap_or(bins.len());
    let last = bins.iter().rposition(|bin| bin.count > 0).map_or(first, |last| last + 1);
    &bins[first..last]
}

/// Labels where bins begin at a power of ten, and at both ends of the axis where there is none.
fn edges(bins: &[Bin], width: f64, floor: f64) -> String {
    let decade = |low: f64| low > 0.0 && (low.log10() - low.log10().round()).abs() < 1e-6;
    let edges = bins.iter().map(|bin| bin.low).chain(bins.last().and_then(|bin| bin.high));
    let all: Vec<(usize, f64)> = edges.enumerate().collect();
    let mut shown: Vec<(usize, f64)> = all.iter().copied().filter(|(_, low)| decade(*low) || *low == 0.0).collect();
    if shown.len() < 2 {
        shown = [all.first(), all.last()].into_iter().flatten().copied().collect();
    }
    let label = |(i, low): (usize, f64)| {
        let x = LEFT + i as f64 * width;
        let text = if decade(low) && low >= 1e-4 { plain(low) } else { number(low).replace(".00e", "e") };
        format!(
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{floor:.1}\" y2=\"{:.1}\"/>\
             <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>\n",
            floor + 5.0,
            floor + 22.0
        )
    };
    let line = format!(
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{floor:.1}\" y2=\"{floor:.1}\"/>\n",
        WIDTH - RIGHT
    );
    line + &shown.into_iter().map(label).collect::<String>()
}

/// A value marked on the axis.
struct Mark {
    name: &'static str,
    value: f64,
    x: f64,
    /// The middle of its label.
    anchor: f64,
    /// The row of its label, from the top.
    row: usize,
}

/// The percentiles, each in the first row where its label meets no other, and how many rows there are.
fn marks(report: &Report, bins: &[Bin]) -> (Vec<Mark>, usize) {
    let Some(m) = &report.metrics else { return (vec![], 0) };
    let mut values = vec![("median", m.kld.median), ("p90", m.kld.p90), ("p99", m.kld.p99), ("p99.9", m.kld.p999)];
    values.extend(m.noise_floor.filter(|floor| *floor > 0.0).map(|floor| ("noise", floor)));
    let (mut marks, mut ends): (Vec<Mark>, Vec<Vec<[f64; 2]>>) = (vec![], vec![]);
    for (name, value) in values {
        let Some(x) = place(value, bins) else { continue };
        let half = name.len() as f64 * LETTER / 2.0 + 4.0;
        // At an end of the picture a label is moved inside.
        let anchor = x.clamp(half, WIDTH - half);
        let reach = [anchor - half, anchor + half];
        let free = |row: &Vec<[f64; 2]>| row.iter().all(|[a, b]| reach[1] < *a || reach[0] > *b);
        let row = ends.iter().position(free).unwrap_or(ends.len());
        if row == ends.len() {
            ends.push(vec![]);
        }
        ends[row].push(reach);
        marks.push(Mark { name, value, x, anchor, row });
    }
    (marks, ends.len())
}

/// Where a value lies: in its bin, by its logarithm.
fn place(value: f64, bins: &[Bin]) -> Option<f64> {
    let width = (WIDTH - LEFT - RIGHT) / bins.len() as f64;
    let inside = |bin: &Bin| bin.low <= value && bin.high.is_none_or(|high| value < high);
    let i = bins.iter().position(inside)?;
    let within = match bins[i] {
        Bin { low, high: Some(high), .. } if low > 0.0 && value > 0.0 => (value / low).ln() / (high / low).ln(),
        _ => 0.5,
    };
    Some(LEFT + (i as f64 + within) * width)
}

fn drawn(marks: &[Mark], floor: f64) -> String {
    let mark = |Mark { name, value, x, anchor, row }: &Mark| {
        let y = ROW * *row as f64 + 15.0;
        let class = if *name == "noise" { "mark noise" } else { "mark" };
        format!(
            "<g class=\"{class}\"><title>{name}: {} nats</title>\
             <line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{floor:.1}\"/>\
             <text x=\"{anchor:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{name}</text></g>\n",
            number(*value),
            y + 5.0
        )
    };
    marks.iter().map(mark).collect()
}
