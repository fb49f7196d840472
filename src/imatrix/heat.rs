//! A page that shows where the importance lies: a row a weight, its channels from left to right.

use std::fmt::Write;

use super::Imatrix;

/// Cells a row at most; each shows the loudest of its channels.
const CELLS: usize = 192;
/// A cell's level, from a thousandth of the row's mean or less to a thousand times it or more.
const LEVELS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

impl Imatrix {
    /// The page, complete in itself. A matrix of a stack that saw no token is left blank.
    pub fn heat_map(&self, title: &str) -> String {
        let mut rows = String::new();
        for (name, entry) in &self.entries {
            let stacked = entry.counts().len() > 1;
            for (matrix, (sums, &count)) in entry.sums().chunks(entry.cols()).zip(entry.counts()).enumerate() {
                let label = if stacked { format!("{name} #{matrix}") } else { name.clone() };
                let cells = if count == 0 { String::new() } else { cells(sums) };
                // Writing to a string cannot fail.
                let _ = writeln!(rows, "<tr><th>{}<td><i>{cells}</i><td>{count}", escaped(&label));
            }
        }
        PAGE.replace("{TITLE}", &escaped(title)).replace("{ROWS}", &rows)
    }
}

fn cells(sums: &[f32]) -> String {
    let mean = sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() / sums.len() as f64;
    let loudest = |cell: &[f32]| cell.iter().copied().fold(0.0, f32::max);
    let level = |sum: f32| {
        let decades = (f64::from(sum) / mean).log10().clamp(-3.0, 3.0);
        // Nothing over nothing is no number, and as faint as can be.
        let share = if decades.is_nan() { 0.0 } else { (decades + 3.0) / 6.0 };
        char::from(LEVELS[(share * (LEVELS.len() - 1) as f64).round() as usize])
    };
    sums.chunks(sums.len().div_ceil(CELLS)).map(|cell| level(loudest(cell))).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8">
<title>{TITLE}</title>
<style>
body { font: 13px system-ui, sans-serif; margin: 2em; }
th { font-weight: normal; text-align: left; padding-right: 1em; white-space: nowrap; }
td:last-child { padding-left: 1em; color: #777; text-align: right; }
td, th { padding-top: 0; padding-bottom: 0; }
canvas { display: block; width: 60vw; height: 12px; image-rendering: pixelated; }
</style>
<h1>{TITLE}</h1>
<p>Mean square of the input channels of each weight, first channel left. Dark: a thousandth of the weight's mean or less;
bright: a thousand times the mean or more. Each cell shows the loudest of its channels. Right: tokens.</p>
<table>
{ROWS}</table>
<script>
for (const place of document.querySelectorAll("i")) {
  const levels = [...place.textContent].map(digit => parseInt(digit, 36) / 35);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(levels.length, 1);
  canvas.height = 1;
  const pen = canvas.getContext("2d");
  levels.forEach((level, at) => {
    pen.fillStyle = `hsl(${280 - 230 * level} 85% ${8 + 72 * level}%)`;
    pen.fillRect(at, 0, 1, 1);
  });
  place.replaceWith(canvas);
}
</script>
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imatrix::Entry;

    #[test]
    fn levels_are_relative_to_the_mean() {
        let mut sums = vec![1.0; 1000];
        (sums[0], sums[999]) = (0.0, 1e9);
        assert_eq!(cells(&sums).len(), 167);
        assert!(cells(&sums).starts_with("00") && cells(&sums).ends_with('z'));
        assert_eq!(cells(&[2.0; 3]), "iii");
        assert_eq!(cells(&[0.0; 3]), "000");
    }

    #[test]
    fn names_cannot_leave_their_place() {
        let entries = [("<b>".to_owned(), Entry::rounded(vec![1.0, 1.0], vec![1, 0]).unwrap())].into();
        let page = Imatrix { entries, ..Imatrix::default() }.heat_map("a & b");
        assert!(page.contains("&lt;b&gt; #1") && page.contains("a &amp; b") && !page.contains("<b>"), "{page}");
    }
}
