//! A report's numbers under the names that gates use.

use std::path::Path;

use super::{Embeddings, Metrics, Report, Statistic};

/// What the name of a text's own metric begins with.
const SLICES: &str = "slices.";

impl Report {
    /// The dotted names of what is not measured on tokens.
    const OWN: &[&str] = &[
        "coverage.share",
        "coverage.bits_per_weight",
        "tensors.max_relative_error",
        "layers.max_relative_error",
        "layers.min_cosine",
    ];

    /// The dotted names that [`Report::statistic`] knows, but for those of single texts.
    pub fn statistics() -> impl Iterator<Item = &'static str> {
        Metrics::NAMES.iter().chain(Embeddings::NAMES).chain(Report::OWN).copied()
    }

    /// Whether a report may have a statistic of this name.
    pub fn knows(name: &str) -> bool {
        Report::statistics().any(|known| known == name) || slice(name).is_some()
    }

    /// The statistic of this dotted name; `None` where it is not known or was not measured.
    pub fn statistic(&self, name: &str) -> Option<Statistic> {
        let plain = |value: Option<f64>| value.map(|value| Statistic { value, ci95: None });
        let covered = self.coverage.weights > 0;
        match name {
            "coverage.share" => plain(covered.then_some(self.coverage.share)),
            "coverage.bits_per_weight" => plain(covered.then_some(self.coverage.bits_per_weight)),
            "tensors.max_relative_error" => {
                plain(extreme(self.tensors.iter().map(|tensor| tensor.relative_error), f64::max))
            }
            "layers.max_relative_error" => {
                plain(extreme(self.layers.iter().map(|layer| layer.relative_error), f64::max))
            }
            "layers.min_cosine" => plain(extreme(self.layers.iter().map(|layer| layer.cosine), f64::min)),
            _ => match slice(name) {
                Some((file, metric)) => self.slice(file)?.get(metric),
                None => match self.embeddings.as_ref().and_then(|embeddings| embeddings.get(name)) {
                    None => self.metrics.as_ref()?.get(name),
                    found => found,
                },
            },
        }
    }

    /// The metrics of a text, by the path that was given or its last part.
    fn slice(&self, file: &str) -> Option<&Metrics> {
        let last = |path: &str| Path::new(path).file_name().is_some_and(|name| name == file);
        let exact = self.slices.iter().find(|slice| slice.file == file);
        exact.or_else(|| self.slices.iter().find(|slice| last(&slice.file)))?.metrics.as_ref()
    }
}

/// The largest or smallest; `None` of nothing, and where one of them is missing.
fn extreme(values: impl Iterator<Item = Option<f64>>, pick: fn(f64, f64) -> f64) -> Option<f64> {
    values.collect::<Option<Vec<f64>>>()?.into_iter().reduce(pick)
}

/// A text and a metric, of `slices.FILE.METRIC`. Both have dots; metrics are known.
fn slice(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(SLICES)?;
    Metrics::NAMES.iter().find_map(|metric| {
        let file = rest.strip_suffix(metric)?.strip_suffix('.')?;
        (!file.is_empty()).then_some((file, *metric))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_one_list_of_names() {
        assert!(Report::knows("slices.wiki.test.raw.kld.mean"));
        assert_eq!(slice("slices.wiki.test.raw.kld.mean"), Some(("wiki.test.raw", "kld.mean")));
        for unknown in ["slices.kld.mean", "slices.a.coverage.share", "kld", "slices..top1", ""] {
            assert!(!Report::knows(unknown), "{unknown}");
        }
    }
}
