//! A page that holds all of a report: one file, with its style and pictures inside, no script and no network.

mod about;
mod axis;
mod gates;
mod head;
mod histogram;
mod layers;
mod rounding;
mod tokens;
mod weights;

use super::super::report::{Report, Verdict};
use super::escape::html as escaped;
use super::facts::{short, word};

/// The page: HTML in UTF-8.
pub fn html(report: &Report) -> String {
    let title = format!("{}: {} against {}", word(report.verdict), short(&report.candidate), short(&report.reference));
    let checks = about::comparability(report);
    // What stopped the comparison comes first; where nothing did, it is for those who look for it.
    let (before, after) = match report.verdict {
        Verdict::Incomparable => (checks, String::new()),
        Verdict::Pass | Verdict::Fail | Verdict::Inconclusive | Verdict::Interrupted => (String::new(), checks),
    };
    let charts = [histogram::histogram(report), layers::layers(report)].concat();
    let charts = if charts.is_empty() { charts } else { format!("<div class=\"pair\">{charts}</div>\n") };
    let body = [
        head::head(report),
        before,
        gates::gates(report),
        head::metrics(report),
        charts,
        weights::heat_map(report),
        tokens::worst(report),
        about::slices(report),
        weights::coverage(report),
        rounding::rounding(report),
        after,
        about::protocol(report),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
        escaped(&title),
        include_str!("page.css"),
        body.concat()
    )
}

/// A part of the page; nothing of an empty one.
fn section(title: &str, intro: &str, body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    let intro = if intro.is_empty() { String::new() } else { format!("<p class=\"intro\">{intro}</p>\n") };
    format!("<section>\n<h2>{title}</h2>\n{intro}{body}\n</section>\n")
}

/// A table that scrolls by itself where the screen is narrow; nothing without rows. Cells are HTML; a heading that
/// begins with `>` is of a column of numbers.
fn table(label: &str, headings: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let class: Vec<&str> = headings.iter().map(|h| if h.starts_with('>') { " class=\"n\"" } else { "" }).collect();
    let names = headings.iter().zip(&class);
    let names: String =
        names.map(|(name, class)| format!("<th scope=\"col\"{class}>{}</th>", name.trim_start_matches('>'))).collect();
    let row = |row: &Vec<String>| {
        let cells: String = row.iter().zip(&class).map(|(cell, class)| format!("<td{class}>{cell}</td>")).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = rows.iter().map(row).collect();
    scrolling(label, &format!("<table>\n<thead><tr>{names}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"))
}

/// A table whose rows become paragraphs on a narrow screen, as its class says.
fn stacked(class: &str, table: &str) -> String {
    if table.is_empty() { String::new() } else { format!("<div class=\"stack {class}\">\n{table}</div>\n") }
}

/// What may be wider than the screen; the keyboard reaches it.
fn scrolling(label: &str, inner: &str) -> String {
    format!("<div class=\"scroll\" role=\"region\" aria-label=\"{label}\" tabindex=\"0\">\n{inner}\n</div>\n")
}

/// A verdict by its sign, its colour and its word.
fn badge(class: &str, sign: &str, word: &str) -> String {
    format!("<span class=\"badge {class}\"><span aria-hidden=\"true\">{sign}</span> {word}</span>")
}
