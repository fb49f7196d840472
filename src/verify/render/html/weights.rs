//! The weights: how far each lies from the original's, and how they are stored.

use std::collections::BTreeSet;

use super::super::super::report::{Report, Tensor};
use super::super::escape::html as escaped;
use super::super::facts::by_error;
use super::super::number::{optional, percent};
use super::{scrolling, section, table};
use crate::amount;

/// Where one colour of the map ends and the next begins: relative errors.
const STEPS: [f64; 8] = [0.003, 0.01, 0.02, 0.04, 0.07, 0.1, 0.2, 0.5];
/// Columns up to which cells show their number.
const NUMBERED: usize = 40;
/// Colours of the types of storage.
const COLOURS: usize = 6;

/// The colour of an error: 0 where nothing changed.
fn heat(error: Option<f64>) -> &'static str {
    const CLASSES: [&str; STEPS.len() + 1] = ["h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8", "h9"];
    match error {
        None => "hx",
        Some(0.0) => "h0",
        Some(error) => CLASSES[STEPS.partition_point(|step| *step <= error)],
    }
}

/// An error in per cent, short enough for a cell.
fn brief(tensor: &Tensor) -> String {
    match tensor.relative_error.map(|error| error * 100.0) {
        None => "?".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(x) if x < 0.05 => "&lt;.1".to_owned(),
        Some(x) if x < 9.95 => format!("{x:.1}"),
        Some(x) => format!("{x:.0}"),
    }
}

fn tooltip(tensor: &Tensor) -> String {
    let problem = tensor.problem.as_ref().map_or(String::new(), |problem| format!("; {problem}"));
    let from = if tensor.reference_type == tensor.storage {
        String::new()
    } else {
        format!(", the original in {}", tensor.reference_type)
    };
    let error = tensor.relative_error.map_or("unknown".to_owned(), percent);
    let (name, storage, bits) = (&tensor.name, &tensor.storage, tensor.bits);
    escaped(&format!("{name}: {storage} ({bits:.4} bits a weight{from}), relative error {error}{problem}"))
}

/// What a tensor is in its block: the name without the block and the usual ending.
fn kind(tensor: &Tensor) -> &str {
    let inside = tensor.block.and_then(|block| tensor.name.strip_prefix(&format!("blk.{block}.")));
    inside.map_or(tensor.role.as_str(), |name| name.trim_end_matches(".weight"))
}

/// Kinds of tensors by blocks.
pub(super) fn heat_map(report: &Report) -> String {
    let blocks: Vec<usize> =
        report.tensors.iter().filter_map(|tensor| tensor.block).collect::<BTreeSet<_>>().into_iter().collect();
    let (mut kinds, mut outside): (Vec<&str>, Vec<&Tensor>) = (vec![], vec![]);
    for tensor in &report.tensors {
        match tensor.block {
            None => outside.push(tensor),
            Some(_) if !kinds.contains(&kind(tensor)) => kinds.push(kind(tensor)),
            Some(_) => {}
        }
    }
    let map = if kinds.is_empty() { String::new() } else { map(report, &blocks, &kinds) };
    let chip = |tensor: &&Tensor| {
        format!(
            "<li><span class=\"cell {}\">{}</span> <code>{}</code> <span class=\"soft\">{}</span></li>\n",
            heat(tensor.relative_error),
            brief(tensor),
            escaped(&tensor.name),
            escaped(&tensor.storage)
        )
    };
    let chips: String = outside.iter().map(chip).collect();
    let chips = if chips.is_empty() {
        chips
    } else {
        format!("<p class=\"soft\">Outside the blocks</p>\n<ul class=\"chips\">\n{chips}</ul>\n")
    };
    if map.is_empty() && chips.is_empty() {
        return String::new();
    }
    let intro = "Relative error of each tensor in per cent: the norm of the difference over the norm of the original. \
                 0 is the same, 100 is as far away as zeros are.";
    section("Error of the weights", intro, &[legend(), problems(report), map, chips, all(report)].concat())
}

fn map(report: &Report, blocks: &[usize], kinds: &[&str]) -> String {
    let numbered = blocks.len() <= NUMBERED;
    let every = if numbered { 1 } else { 5 };
    let heading = |block: &usize| {
        let shown = if block.is_multiple_of(every) { block.to_string() } else { String::new() };
        format!("<th scope=\"col\">{shown}</th>")
    };
    let headings: String = blocks.iter().map(heading).collect();
    let row = |of: &&str| {
        let cell = |block: &usize| {
            let found = report.tensors.iter().filter(|tensor| tensor.block == Some(*block) && kind(tensor) == *of);
            // Of several of one name the worst.
            let key = |tensor: &&Tensor| tensor.relative_error.unwrap_or(f64::INFINITY);
            let Some(tensor) = found.max_by(|a, b| key(a).total_cmp(&key(b))) else {
                return "<td></td>".to_owned();
            };
            let class = heat(tensor.relative_error);
            let alarm = if tensor.problem.is_some() { " alarm" } else { "" };
            let number = match (&tensor.problem, numbered) {
                (Some(_), _) => "!".to_owned(),
                (None, true) => brief(tensor),
                (None, false) => String::new(),
            };
            format!("<td class=\"{class}{alarm}\" title=\"{}\">{number}</td>", tooltip(tensor))
        };
        let cells: String = blocks.iter().map(cell).collect();
        format!(
            "<tr><th scope=\"row\">{}</th>{cells}<td class=\"stored\">{}</td></tr>\n",
            escaped(of),
            stored(report, of)
        )
    };
    let rows: String = kinds.iter().map(row).collect();
    let class = if numbered { "heat" } else { "heat dense" };
    let table = format!(
        "<table class=\"{class}\">\n<thead><tr><th scope=\"col\">block</th>{headings}<th scope=\"col\" class=\"stored\">stored as</th></tr>\
         </thead>\n<tbody>\n{rows}</tbody>\n</table>"
    );
    scrolling("Error of the weights by block", &table)
}

/// The types that tensors of a kind are stored in.
fn stored(report: &Report, of: &str) -> String {
    let mut types: Vec<(&str, usize)> = vec![];
    for tensor in report.tensors.iter().filter(|tensor| tensor.block.is_some() && kind(tensor) == of) {
        match types.iter_mut().find(|(storage, _)| *storage == tensor.storage) {
            Some((_, count)) => *count += 1,
            None => types.push((&tensor.storage, 1)),
        }
    }
    types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    match &types[..] {
        [(storage, _)] => escaped(storage),
        types => {
            let each = types.iter().map(|(storage, count)| format!("{} × {count}", escaped(storage)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

fn legend() -> String {
    let per_cent = |step: f64| (step * 1000.0).round() / 10.0;
    let mut cells = "<li><span class=\"cell h0\"></span> 0</li>".to_owned();
    for (i, low) in [0.0].into_iter().chain(STEPS).enumerate() {
        let text = match STEPS.get(i) {
            Some(high) if i == 0 => format!("&lt; {}", per_cent(*high)),
            Some(high) => format!("{}–{}", per_cent(low), per_cent(*high)),
            None => format!("≥ {}", per_cent(low)),
        };
        cells.push_str(&format!("<li><span class=\"cell {}\"></span> {text}</li>", heat(Some(low.max(1e-9)))));
    }
    format!("<ul class=\"legend\" aria-label=\"Colours, in per cent\">{cells}<li>per cent</li></ul>\n")
}

/// What is wrong with tensors, in words.
fn problems(report: &Report) -> String {
    let wrong = report.tensors.iter().filter_map(|tensor| Some((tensor, tensor.problem.as_ref()?)));
    let rows: String = wrong
        .map(|(tensor, why)| format!("<li><code>{}</code>: {}</li>\n", escaped(&tensor.name), escaped(why)))
        .collect();
    if rows.is_empty() { rows } else { format!("<ul class=\"reasons\">\n{rows}</ul>\n") }
}

/// Every tensor in words, the worst first.
fn all(report: &Report) -> String {
    let row = |tensor: &&Tensor| {
        vec![
            format!("<code>{}</code>", escaped(&tensor.name)),
            escaped(&tensor.storage),
            escaped(&tensor.reference_type),
            amount::count(tensor.weights),
            format!("{:.2}", tensor.bits),
            optional(tensor.relative_error),
        ]
    };
    let rows: Vec<Vec<String>> = by_error(report).iter().map(row).collect();
    let headings = ["Tensor", "Type", "Original", ">Weights", ">Bits", ">Relative error"];
    let table = table("All tensors", &headings, &rows);
    format!("<details><summary>All {} tensors, the largest error first</summary>\n{table}</details>", rows.len())
}

/// How much is quantized, and into what.
pub(super) fn coverage(report: &Report) -> String {
    let coverage = &report.coverage;
    if coverage.weights == 0 {
        return String::new();
    }
    let whole = coverage.weights as f64;
    let colour = |i: usize| i.min(COLOURS - 1);
    let (mut x, mut bars) = (0.0, String::new());
    for (i, share) in coverage.types.iter().enumerate() {
        let width = share.weights as f64 / whole * 100.0;
        bars.push_str(&format!(
            "<rect class=\"t{}\" x=\"{x:.3}\" y=\"0\" width=\"{width:.3}\" height=\"10\"><title>{}: {}</title></rect>",
            colour(i),
            escaped(&share.storage),
            percent(width / 100.0)
        ));
        x += width;
    }
    let rows: Vec<Vec<String>> = (coverage.types.iter().enumerate())
        .map(|(i, share)| {
            vec![
                format!("<span class=\"cell t{}\"></span> {}", colour(i), escaped(&share.storage)),
                share.tensors.to_string(),
                amount::count(share.weights),
                percent(share.weights as f64 / whole),
                format!("{:.2}", share.bits),
                amount::bytes(share.bytes),
            ]
        })
        .collect();
    let headings = ["Type", ">Tensors", ">Weights", ">Share", ">Bits each", ">Size"];
    let intro = format!(
        "{} of {} weights are stored in fewer than 16 bits; over all it is {:.2} bits a weight.",
        percent(coverage.share),
        amount::count(coverage.weights),
        coverage.bits_per_weight
    );
    let strip = format!(
        "<svg class=\"strip\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"Share of the weights by type\">{bars}</svg>\n"
    );
    section("Coverage", &intro, &(strip + &table("Types of storage", &headings, &rows)))
}
