//! An earlier release's report as the limit: no worse by more than so much.

use std::path::Path;
use std::str::FromStr;

use super::gate::{Condition, ConditionError, Op, check_name};
use super::report::{Check, Report, SCHEMA, Status, Verdict};
use super::{Error, Result};

/// How much worse a metric may become: `kld.mean=10%`, `top1=0.01`.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowance {
    /// The metric's dotted name.
    pub metric: String,
    /// How much.
    pub amount: Amount,
}

/// How much a value may change for the worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// By so much.
    Absolute(f64),
    /// By this share of the earlier value.
    Share(f64),
}

impl Allowance {
    /// What is allowed where nothing is said.
    pub fn usual() -> Vec<Allowance> {
        [("kld.mean", Amount::Share(0.1)), ("ppl_ratio", Amount::Share(0.01)), ("top1", Amount::Absolute(0.01))]
            .map(|(metric, amount)| Allowance { metric: metric.to_owned(), amount })
            .to_vec()
    }

    /// The same where `earlier` is the limit: of models without a head vectors are all there is.
    pub fn usual_of(earlier: &Report) -> Vec<Allowance> {
        if earlier.embeddings.is_none() {
            return Allowance::usual();
        }
        [("cosine.mean", Amount::Absolute(0.001)), ("cosine.min", Amount::Absolute(0.005))]
            .map(|(metric, amount)| Allowance { metric: metric.to_owned(), amount })
            .to_vec()
    }

    /// Of this metric and the text of an amount.
    pub fn new(metric: &str, amount: &str) -> Result<Allowance, ConditionError> {
        check_name(metric)?;
        if better(metric).is_none() {
            return Err(ConditionError::Direction { metric: metric.to_owned() });
        }
        let (number, share) = match amount.trim().strip_suffix('%') {
            Some(number) => (number.trim(), true),
            None => (amount.trim(), false),
        };
        let wrong = || ConditionError::Limit { text: format!("{metric}={amount}"), limit: amount.to_owned() };
        let number: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0).ok_or_else(wrong)?;
        let amount = if share { Amount::Share(number / 100.0) } else { Amount::Absolute(number) };
        Ok(Allowance { metric: metric.to_owned(), amount })
    }

    /// The condition that `earlier` makes of it. A metric that it lacks is a limit that nothing can hold.
    fn condition(&self, earlier: &Report) -> Option<Condition> {
        let op = better(&self.metric)?;
        let value = earlier.statistic(&self.metric)?.value;
        let room = match self.amount {
            Amount::Absolute(room) => room,
            Amount::Share(share) => share * value.abs(),
        };
        let limit = if op == Op::AtMost { value + room } else { value - room };
        Some(Condition { metric: self.metric.clone(), op, limit, source: "baseline".to_owned() })
    }
}

impl FromStr for Allowance {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Allowance, ConditionError> {
        let parts = text.split_once('=').ok_or_else(|| ConditionError::Allowance { text: text.to_owned() });
        let (metric, amount) = parts?;
        Allowance::new(metric.trim(), amount)
    }
}

/// On which side of a limit the better values of a metric are, where one side is better.
fn better(metric: &str) -> Option<Op> {
    let own = metric.rsplit_once(".top1").map_or(metric, |_| "top1");
    match own {
        "top1" | "layers.min_cosine" => Some(Op::AtLeast),
        _ if own.starts_with("cosine.") => Some(Op::AtLeast),
        "tokens" | "noise_floor" | "ppl_ref" | "coverage.share" | "delta_p.mean" => None,
        _ if [".tokens", ".noise_floor", ".ppl_ref", ".delta_p.mean"].iter().any(|end| own.ends_with(end)) => None,
        _ => Some(Op::AtMost),
    }
}

/// Reads the report of an earlier release.
pub fn read(path: &Path) -> Result<Report> {
    let bad = |why: String| Error::Baseline { path: path.to_owned(), why };
    let text = std::fs::read(path).map_err(|source| Error::Text { path: path.to_owned(), source })?;
    let report: Report = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    if report.schema != SCHEMA {
        return Err(bad(format!("schema {}, and this is {SCHEMA}", report.schema)));
    }
    match (&report.metrics, &report.embeddings) {
        (None, None) => Err(bad("it has no metrics".to_owned())),
        (Some(_), _) | (_, Some(_)) => Ok(report),
    }
}

/// The conditions that an earlier report makes of `allowances`; where it was measured in another way, an entry among
/// the report's checks and the verdict that follows.
pub fn conditions(report: &mut Report, earlier: &Report, allowances: &[Allowance]) -> Result<Vec<Condition>> {
    let way = |report: &Report| {
        let protocol = &report.protocol;
        let tokens = format!("{} of {} sequences, corpus {}", protocol.sequences, protocol.planned, protocol.corpus);
        format!("{} ({tokens}), activations {}", protocol.description, report.activations.name())
    };
    let (before, now) = (way(earlier), way(report));
    let equal = before == now;
    let status = if equal { Status::Same } else { Status::Different };
    let message = if equal { String::new() } else { format!("baseline: it was measured on {before}; this is {now}") };
    if !equal && report.verdict == Verdict::Pass {
        report.verdict = Verdict::Incomparable;
        report.reasons.push(message.clone());
    }
    let check = "baseline".to_owned();
    report.comparability.push(Check { check, status, reference: before, candidate: now, message });
    let condition = |allowance: &Allowance| {
        let missing = || Error::BaselineMetric { metric: allowance.metric.clone() };
        allowance.condition(earlier).ok_or_else(missing)
    };
    if equal { allowances.iter().map(condition).collect() } else { Ok(vec![]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowances_are_read_as_they_are_written() {
        let read = |text: &str| text.parse::<Allowance>();
        assert_eq!(read("kld.mean = 10 %").expect("an allowance").amount, Amount::Share(0.1));
        assert_eq!(read("top1=0.01").expect("an allowance").amount, Amount::Absolute(0.01));
        assert_eq!(read("slices.a.txt.top1=1%").expect("an allowance").metric, "slices.a.txt.top1");
        assert!(matches!(read("kld.mean"), Err(ConditionError::Allowance { .. })));
        assert!(matches!(read("kld.mean=-1"), Err(ConditionError::Limit { .. })));
        assert!(matches!(read("kld.mean=%"), Err(ConditionError::Limit { .. })));
        assert!(matches!(read("kl=1"), Err(ConditionError::Metric { .. })));
        assert!(matches!(read("tokens=1"), Err(ConditionError::Direction { .. })));
        assert!(matches!(read("slices.a.ppl_ref=1"), Err(ConditionError::Direction { .. })));
    }

    #[test]
    fn every_usual_allowance_has_a_direction() {
        for allowance in Allowance::usual() {
            assert!(better(&allowance.metric).is_some(), "{}", allowance.metric);
        }
        assert_eq!(better("slices.a.txt.top1"), Some(Op::AtLeast));
        assert_eq!(better("slices.a.txt.kld.p99"), Some(Op::AtMost));
    }
}
