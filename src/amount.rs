//! Amounts as people read them.

/// Bytes: `105.5 MB`, decimal as disks and downloads count.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, &[(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")], "B")
}

/// A count: `134.5 M`.
pub fn count(n: u64) -> String {
    scaled(n as f64, &[(1e12, "T"), (1e9, "B"), (1e6, "M")], "")
}

fn scaled(n: f64, scales: &[(f64, &str)], unit: &str) -> String {
    match scales.iter().find(|(scale, _)| n >= *scale) {
        Some((scale, unit)) => format!("{:.1} {unit}", n / scale),
        None => format!("{n} {unit}").trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal() {
        assert_eq!(bytes(105_453_856), "105.5 MB");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(count(134_515_008), "134.5 M");
        assert_eq!(count(12), "12");
    }
}
