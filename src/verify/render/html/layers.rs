//! How the hidden states drift from layer to layer.

use super::super::super::report::{Layer, Report};
use super::super::escape::html as escaped;
use super::super::facts::layer_name;
use super::super::number::{MISSING, number, optional, percent};
use super::axis::{Axis, per_cent, plain};
use super::section;

/// The chart's size in its own units, and what its labels need at the sides.
const WIDTH: f64 = 560.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
/// The upper panel, errors; and the lower, cosines.
const ERRORS: [f64; 2] = [26.0, 128.0];
const COSINES: [f64; 2] = [168.0, 262.0];
const HEIGHT: f64 = 316.0;
/// Labels below the charts at most.
const LABELS: usize = 8;
/// What the label of the embedding needs.
const APART: f64 = 36.0;

pub(super) fn layers(report: &Report) -> String {
    let layers = &report.layers;
    let known = |value: fn(&Layer) -> Option<f64>| layers.iter().filter_map(value).filter(|x| x.is_finite());
    let most = known(|layer| layer.relative_error).fold(0.0, f64::max);
    let least = known(|layer| layer.cosine).fold(1.0, f64::min);
    if known(|layer| layer.relative_error).chain(known(|layer| layer.cosine)).next().is_none() {
        return String::new();
    }
    let step = (WIDTH - LEFT - RIGHT) / layers.len() as f64;
    let x = |i: usize| LEFT + (i as f64 + 0.5) * step;
    let error = Axis { values: [0.0, if most > 0.0 { most } else { 1e-3 }], places: [ERRORS[1], ERRORS[0]] };
    // Of identical models there is one value: some room below it all the same.
    let lowest = if least < 1.0 { 1.0 - (1.0 - least) * 1.05 } else { 0.999 };
    let cosine = Axis { values: [lowest, 1.0], places: [COSINES[1], COSINES[0]] };
    let across = [LEFT, WIDTH - RIGHT];
    let mut svg = error.grid(across, per_cent) + &cosine.grid(across, plain);
    for (i, layer) in layers.iter().enumerate() {
        let bar = finite(layer.relative_error).map_or(String::new(), |value| {
            let y = error.place(value);
            let (left, wide) = (x(i) - step * 0.4, step * 0.8);
            format!(
                "<rect class=\"bar\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{:.1}\"/>",
                ERRORS[1] - y
            )
        });
        let dot = finite(layer.cosine).map_or(String::new(), |value| {
            let radius = (step * 0.3).clamp(1.5, 3.5);
            format!("<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\"/>", x(i), cosine.place(value))
        });
        svg.push_str(&format!(
            "<g class=\"hit\"><title>after {}: relative error {}, cosine {}</title>\
             <rect class=\"over\" x=\"{:.1}\" y=\"{}\" width=\"{step:.1}\" height=\"{}\"/>{bar}{dot}</g>\n",
            escaped(layer_name(layer)),
            layer.relative_error.map_or(MISSING.to_owned(), percent),
            layer.cosine.map_or(MISSING.to_owned(), |cosine| format!("{cosine:.6}")),
            x(i) - step / 2.0,
            ERRORS[0],
            COSINES[1] - ERRORS[0]
        ));
    }
    svg.push_str(&line(layers, &cosine, &x));
    svg.push_str(&labels(layers, &x));
    let label = format!(
        "Drift after each of {} layers: relative error up to {}, cosine down to {}",
        layers.len(),
        percent(most),
        number(least)
    );
    let chart = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">\n{svg}\
         <text class=\"title\" x=\"{LEFT}\" y=\"{:.1}\">relative error (%)</text>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"{:.1}\">cosine (1 is the same direction)</text>\n</svg>\n{}",
        ERRORS[0] - 11.0,
        COSINES[0] - 13.0,
        numbers(layers)
    );
    let intro = "The candidate's hidden states against the original's, over all tokens.";
    section("Drift from layer to layer", intro, &chart)
}

fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// The cosines connected, with gaps where one is missing.
fn line(layers: &[Layer], axis: &Axis, x: &dyn Fn(usize) -> f64) -> String {
    let points: Vec<Option<(f64, f64)>> = (layers.iter().enumerate())
        .map(|(i, layer)| finite(layer.cosine).map(|value| (x(i), axis.place(value))))
        .collect();
    let run = |run: &[Option<(f64, f64)>]| {
        let points: Vec<String> = run.iter().flatten().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        format!("<polyline class=\"line\" points=\"{}\"/>\n", points.join(" "))
    };
    points.split(Option::is_none).filter(|points| points.len() > 1).map(run).collect()
}

/// The numbers of layers, not too many, and the axis' title.
fn labels(layers: &[Layer], x: &dyn Fn(usize) -> f64) -> String {
    let every = layers.len().div_ceil(LABELS).max(1);
    let mut text = String::new();
    for (i, layer) in layers.iter().enumerate() {
        let name = match layer.block {
            // Close to the first label a number would meet it.
            Some(block) if block.is_multiple_of(every) && (i == 0 || x(i) - x(0) > APART) => block.to_string(),
            None if i == 0 => "emb".to_owned(),
            Some(_) | None => continue,
        };
        text.push_str(&format!(
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>\n",
            x(i),
            COSINES[1] + 22.0
        ));
    }
    format!(
        "{text}<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y}\" y2=\"{y}\"/>\n\
         <text class=\"title\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">hidden state after layer</text>\n",
        WIDTH - RIGHT,
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 6.0,
        y = ERRORS[1]
    )
}

/// The same as a table, for those who cannot see or point at the chart.
fn numbers(layers: &[Layer]) -> String {
    let rows: Vec<Vec<String>> = (layers.iter())
        .map(|layer| {
            let name = format!("<code>{}</code>", escaped(layer_name(layer)));
            vec![name, optional(layer.relative_error), layer.cosine.map_or(MISSING.to_owned(), |c| format!("{c:.6}"))]
        })
        .collect();
    let table = super::table("Drift after each layer", &["Hidden state after", ">Relative error", ">Cosine"], &rows);
    format!("<details><summary>All {} layers as a table</summary>\n{table}</details>", layers.len())
}
