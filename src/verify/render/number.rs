//! Numbers as the reports print them.

/// In place of a number that is not there.
pub(super) const MISSING: &str = "–";

/// Four significant digits, with an exponent only where zeros would hide the number.
pub(super) fn number(x: f64) -> String {
    if !x.is_finite() {
        return MISSING.to_owned();
    }
    let size = x.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e6).contains(&size) {
        return format!("{x:.2e}");
    }
    let decimals = (3 - size.log10().floor() as i32).clamp(0, 7) as usize;
    format!("{x:.decimals$}")
}

/// [`number`] of what may be missing.
pub(super) fn optional(x: Option<f64>) -> String {
    x.map_or(MISSING.to_owned(), number)
}

/// A share of 1 in per cent.
pub(super) fn percent(share: f64) -> String {
    let x = share * 100.0;
    if x.is_finite() && (x.abs() >= 1.0 || x == 0.0) {
        let text = format!("{x:.2}");
        return format!("{} %", text.trim_end_matches('0').trim_end_matches('.'));
    }
    format!("{} %", number(x))
}

/// A probability in per cent, in little room however small it is.
pub(super) fn chance(p: f64) -> String {
    let x = p * 100.0;
    match x.abs() {
        size if size.is_nan() || size.is_infinite() => MISSING.to_owned(),
        size if size >= 0.01 || size == 0.0 => format!("{x:.2} %"),
        _ => format!("{x:.0e} %"),
    }
}

/// A change in per cent, with its sign.
pub(super) fn change(share: f64) -> String {
    if share.is_finite() { format!("{:+.2} %", share * 100.0) } else { MISSING.to_owned() }
}

/// An interval.
pub(super) fn between([low, high]: [f64; 2]) -> String {
    format!("{} to {}", number(low), number(high))
}

/// A value and its standard error.
pub(super) fn plus_minus(value: f64, error: f64) -> String {
    format!("{} ± {}", number(value), number(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_digits() {
        for (x, text) in [
            (0.0, "0"),
            (0.087_469_2, "0.08747"),
            (18.531_4, "18.53"),
            (1234.56, "1235"),
            (-0.5, "-0.5000"),
            (1.5e-8, "1.50e-8"),
            (f64::NAN, MISSING),
            (f64::NEG_INFINITY, MISSING),
        ] {
            assert_eq!(number(x), text);
        }
        assert_eq!(percent(0.850_394), "85.04 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.000_123_4), "0.01234 %");
        assert_eq!(percent(f64::NAN), "– %");
        assert_eq!(chance(0.818), "81.80 %");
        assert_eq!(chance(3.84e-6), "4e-4 %");
        assert_eq!(change(-0.0123), "-1.23 %");
    }
}
