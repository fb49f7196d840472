//! Axes of the charts.

use super::super::number::number;

/// A linear axis from a value at one place to a value at another.
pub(super) struct Axis {
    pub(super) values: [f64; 2],
    pub(super) places: [f64; 2],
}

impl Axis {
    /// Where a value is drawn.
    pub(super) fn place(&self, value: f64) -> f64 {
        let ([a, b], [from, to]) = (self.values, self.places);
        let share = if b > a { (value - a) / (b - a) } else { 0.0 };
        from + share * (to - from)
    }

    /// Lines across with their labels, of a vertical axis over `x`.
    pub(super) fn grid(&self, x: [f64; 2], label: fn(f64) -> String) -> String {
        let line = |value: f64| {
            let y = self.place(value);
            format!(
                "<line class=\"grid\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                x[0],
                x[1],
                x[0] - 7.0,
                y + 4.5,
                label(value)
            )
        };
        ticks(self.values).into_iter().map(line).collect()
    }
}

/// Two to five round values of a range.
pub(super) fn ticks([low, high]: [f64; 2]) -> Vec<f64> {
    let span = high - low;
    if span.is_nan() || span <= 0.0 || !span.is_finite() {
        return vec![low];
    }
    let scale = 10f64.powf((span / 4.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|x| x * scale).find(|step| span / step <= 4.5).unwrap_or(span);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A tick's label: no more digits than it needs.
pub(super) fn plain(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-4 {
        return number(value);
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A tick's label in per cent.
pub(super) fn per_cent(value: f64) -> String {
    format!("{} %", plain(value * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let labels = |range| ticks(range).into_iter().map(plain).collect::<Vec<_>>().join(" ");
        assert_eq!(labels([0.0, 0.33]), "0 0.1 0.2 0.3");
        assert_eq!(labels([0.985, 1.0]), "0.985 0.99 0.995 1");
        assert_eq!(labels([0.0, 61.0]), "0 20 40 60");
        assert_eq!(labels([3.0, 3.0]), "3");
        assert_eq!(per_cent(0.05), "5 %");
    }
}
