//! The tokens that the candidate sees most differently, where they stand in the text.

use super::super::super::report::{Report, Worst};
use super::super::escape::html as escaped;
use super::super::number::{chance, number};
use super::section;

/// Where one colour ends and the next begins: nats.
const STEPS: [f64; 4] = [0.01, 0.1, 0.5, 2.0];
const CLASSES: [&str; STEPS.len() + 1] = ["k0", "k1", "k2", "k3", "k4"];

pub(super) fn worst(report: &Report) -> String {
    let items: String = report.worst.iter().filter(|token| token.kld > 0.0).map(item).collect();
    if items.is_empty() {
        return String::new();
    }
    let legend: String = (CLASSES.iter().enumerate())
        .map(|(i, class)| {
            let range = match (i.checked_sub(1).map(|i| STEPS[i]), STEPS.get(i)) {
                (None, Some(high)) => format!("&lt; {high}"),
                (Some(low), Some(high)) => format!("{low}–{high}"),
                (low, None) => format!("≥ {}", low.unwrap_or(0.0)),
            };
            format!("<li><span class=\"cell {class}\"></span> {range}</li>")
        })
        .collect();
    let intro = "The token that came next is marked, coloured by its KL divergence. Below it: the probability that each \
                 model gave to it, and what each found most likely instead.";
    let body = format!(
        "<ul class=\"legend\" aria-label=\"Colours, in nats\">{legend}<li>nats</li></ul>\n<ol class=\"tokens\">\n{items}</ol>"
    );
    section("Worst tokens", intro, &body)
}

fn item(token: &Worst) -> String {
    let class = CLASSES[STEPS.partition_point(|step| *step <= token.kld)];
    let side = |name: &str, p: f64, best: &str| {
        let wide = if p.is_finite() { p.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
        let best = if best == token.token {
            "its first choice".to_owned()
        } else {
            format!("first choice <q>{}</q>", spaced(best))
        };
        format!(
            "<div class=\"side\"><span>{name}</span>\
             <svg viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect class=\"track\" width=\"100\" height=\"10\"/><rect class=\"bar\" width=\"{wide:.2}\" height=\"10\"/></svg>\
             <span class=\"n\">{}</span><span class=\"best\">{best}</span></div>\n",
            chance(p)
        )
    };
    let before = match token.before.trim_start_matches(' ') {
        "" => String::new(),
        before => format!("… {}", escaped(before)),
    };
    format!(
        "<li>\n<p class=\"context\">{}<mark class=\"{class}\">{}</mark>{}</p>\n\
         <p class=\"kld\"><strong>{}</strong> nats</p>\n<div class=\"sides\">\n{}{}</div>\n\
         <p class=\"where\">{}, sequence {}, token {} (id {})</p>\n</li>\n",
        before,
        spaced(&token.token),
        escaped(&token.after),
        number(token.kld),
        side("original", token.p_ref, &token.best_ref),
        side("candidate", token.p_cand, &token.best_cand),
        escaped(&token.file),
        token.sequence,
        token.position,
        token.id
    )
}

/// A token alone, with the spaces at its ends to be seen.
fn spaced(token: &str) -> String {
    let inner = token.trim_matches(' ');
    if inner.is_empty() {
        return "␣".repeat(token.len());
    }
    let start = token.len() - token.trim_start_matches(' ').len();
    let end = token.len() - start - inner.len();
    format!("{}{}{}", "␣".repeat(start), escaped(inner), "␣".repeat(end))
}
