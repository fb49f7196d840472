//! How the weights were rounded: what each matrix loses on the calibration text.

use super::super::super::report::{Report, RoundedTensor};
use super::super::escape::html as escaped;
use super::super::number::percent;
use super::{section, table};

/// A row a matrix; nothing where nothing is known.
pub(super) fn rounding(report: &Report) -> String {
    let Some(rounding) = &report.rounding else { return String::new() };
    let row = |tensor: &RoundedTensor| {
        vec![
            escaped(&tensor.tensor),
            escaped(&tensor.storage),
            percent(tensor.loss_nearest),
            percent(tensor.loss),
            if tensor.damping > 0.0 { format!("{:.3}", tensor.damping) } else { String::new() },
            format!("{:.2}", tensor.seconds),
            escaped(&tensor.remarks().join("; ")),
        ]
    };
    let rows: Vec<Vec<String>> = rounding.tensors.iter().map(row).collect();
    let scaled = match rounding.scales.len() {
        0 => String::new(),
        count => format!(" Channels of {count} values were scaled first."),
    };
    let resumed = match rounding.resumed_layers {
        0 => String::new(),
        layers => format!(" {layers} layers were done before an interruption and are not listed."),
    };
    let intro = format!(
        "The square error of each matrix's outputs on the calibration text, as a share of the outputs: rounded to \
         nearest, and as it was rounded.{scaled}{resumed}"
    );
    let headings = ["tensor", "type", ">nearest", ">loss", ">damping", ">seconds", "remarks"];
    section("Rounding", &intro, &table("Rounding", &headings, &rows))
}
