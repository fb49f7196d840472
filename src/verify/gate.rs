//! Conditions on a report's numbers, and the verdict.
//!
//! A metric with a 95 % interval passes when the whole interval is within the limit, fails when all of it is beyond,
//! and is inconclusive between. A metric that is missing fails.

use std::fmt;
use std::str::FromStr;

use super::report::{Gate, GateVerdict, Report, Statistic, Verdict};
use super::weights::ALIEN;

/// A condition on a metric: `kld.mean<=0.12`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The metric's dotted name.
    pub metric: String,
    /// How it is held against the limit.
    pub op: Op,
    /// The limit.
    pub limit: f64,
    /// Who asks.
    pub source: String,
}

/// How a metric is held against a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `<=`.
    AtMost,
    /// `<`.
    Below,
    /// `>=`.
    AtLeast,
    /// `>`.
    Above,
}

impl Op {
    /// Longer signs first, as a parser has to try them.
    const ALL: [Op; 4] = [Op::AtMost, Op::AtLeast, Op::Below, Op::Above];

    /// The sign.
    pub const fn sign(self) -> &'static str {
        match self {
            Op::AtMost => "<=",
            Op::Below => "<",
            Op::AtLeast => ">=",
            Op::Above => ">",
        }
    }

    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Op::AtMost => value <= limit,
            Op::Below => value < limit,
            Op::AtLeast => value >= limit,
            Op::Above => value > limit,
        }
    }

    fn judge(self, found: Option<Statistic>, limit: f64) -> GateVerdict {
        let Some(found) = found.filter(|found| found.value.is_finite()) else { return GateVerdict::Fail };
        let ends = found.ci95.unwrap_or([found.value; 2]);
        match ends.map(|end| self.holds(end, limit)) {
            [true, true] => GateVerdict::Pass,
            [false, false] => GateVerdict::Fail,
            [true, false] | [false, true] => GateVerdict::Inconclusive,
        }
    }
}

/// What is wrong with a condition that was written down.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConditionError {
    /// No sign in it.
    #[error("{text:?}: expected METRIC<=VALUE, with one of <= < >= >")]
    Form {
        /// What was written.
        text: String,
    },
    /// A limit that is no number.
    #[error("{text:?}: {limit:?} is not a number")]
    Limit {
        /// What was written.
        text: String,
        /// The part that should be a number.
        limit: String,
    },
    /// An allowance without an amount.
    #[error("{text:?}: expected METRIC=AMOUNT, as in kld.mean=10% or top1=0.01")]
    Allowance {
        /// What was written.
        text: String,
    },
    /// An allowance on what cannot be worse.
    #[error("no value of {metric} is worse than another; give a gate on it instead")]
    Direction {
        /// The name.
        metric: String,
    },
    /// A metric that no report has.
    #[error("there is no metric {metric:?}; metrics: {}", known())]
    Metric {
        /// The name.
        metric: String,
    },
}

fn known() -> String {
    let names: Vec<&str> = Report::statistics().collect();
    format!("{}; of one text: slices.FILE.METRIC", names.join(" "))
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Condition, ConditionError> {
        let split = Op::ALL.into_iter().find_map(|op| Some((op, text.split_once(op.sign())?)));
        let (op, (metric, limit)) = split.ok_or_else(|| ConditionError::Form { text: text.to_owned() })?;
        let (metric, limit) = (metric.trim(), limit.trim());
        check_name(metric)?;
        let not_number = || ConditionError::Limit { text: text.to_owned(), limit: limit.to_owned() };
        let limit: f64 = limit.parse().ok().filter(|limit: &f64| limit.is_finite()).ok_or_else(not_number)?;
        Ok(Condition { metric: metric.to_owned(), op, limit, source: "--gate".to_owned() })
    }
}

/// Fails for a name that no report has.
pub(super) fn check_name(metric: &str) -> Result<(), ConditionError> {
    if Report::knows(metric) { Ok(()) } else { Err(ConditionError::Metric { metric: metric.to_owned() }) }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.metric, self.op.sign(), self.limit)
    }
}

/// Every candidate has to be made of the reference's weights, unless a condition on the same metric says otherwise.
fn built_in() -> Condition {
    Condition { metric: WEIGHTS.to_owned(), op: Op::Below, limit: ALIEN, source: "built-in".to_owned() }
}

const WEIGHTS: &str = "tensors.max_relative_error";
/// Tensors that a message names.
const NAMED: usize = 6;

impl Condition {
    fn judge(&self, report: &Report, paired: bool) -> Gate {
        let found = report.statistic(&self.metric);
        // On the same tokens as its limit came from, a value has no doubt of its own.
        let found = found.map(|found| if paired { Statistic { ci95: None, ..found } } else { found });
        let verdict = self.op.judge(found, self.limit);
        let mut message = match found {
            None => format!("{self}: the metric is missing"),
            Some(Statistic { value, ci95: None }) => format!("{self}: it is {value:.6}"),
            Some(Statistic { value, ci95: Some([low, high]) }) => {
                format!("{self}: it is {value:.6}, 95 % interval {low:.6} to {high:.6}")
            }
        };
        if self.metric == WEIGHTS && verdict != GateVerdict::Pass {
            message = format!("{self}: {}", alien(report).unwrap_or(message));
        }
        Gate {
            metric: self.metric.clone(),
            op: self.op.sign().to_owned(),
            limit: self.limit,
            value: found.map(|found| found.value),
            ci95: found.and_then(|found| found.ci95),
            verdict,
            source: self.source.clone(),
            message,
        }
    }
}

/// The tensors that are not the reference's weights, by name.
fn alien(report: &Report) -> Option<String> {
    let named = report.tensors.iter().filter_map(|tensor| Some((tensor, tensor.problem.as_ref()?)));
    let all: Vec<String> = named.map(|(tensor, problem)| format!("{}: {problem}", tensor.name)).collect();
    let more = all.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!all.is_empty()).then(|| all[..all.len().min(NAMED)].join("; ") + &more)
}

/// Judges a report by `conditions`, whose limits may be any, and by `earlier`, whose limits come from a report over the
/// same tokens; and sets its verdict. A report that is incomparable or interrupted stays that.
pub fn judge(report: &mut Report, conditions: &[Condition], earlier: &[Condition]) {
    if matches!(report.verdict, Verdict::Incomparable | Verdict::Interrupted) {
        return;
    }
    let built_in = [built_in()];
    let built_in = built_in.iter().filter(|_| conditions.iter().all(|asked| asked.metric != WEIGHTS));
    let asked = built_in.chain(conditions).map(|condition| condition.judge(report, false));
    report.gates = asked.chain(earlier.iter().map(|condition| condition.judge(report, true))).collect();
    let any = |verdict| report.gates.iter().any(|gate| gate.verdict == verdict);
    report.verdict = if any(GateVerdict::Fail) {
        Verdict::Fail
    } else if any(GateVerdict::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    };
    let short = report.gates.iter().filter(|gate| gate.verdict != GateVerdict::Pass);
    report.reasons.extend(short.map(|gate| format!("gate {}: {}", gate.verdict.name(), gate.message)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as a report gives it")]
    fn plain(value: f64) -> Option<Statistic> {
        Some(Statistic { value, ci95: None })
    }

    #[expect(clippy::unnecessary_wraps, reason = "as a report gives it")]
    fn between(low: f64, high: f64) -> Option<Statistic> {
        Some(Statistic { value: f64::midpoint(low, high), ci95: Some([low, high]) })
    }

    #[test]
    fn the_bound_of_the_interval_decides() {
        use GateVerdict::{Fail, Inconclusive, Pass};
        for (op, found, verdict) in [
            (Op::AtMost, plain(1.0), Pass),
            (Op::Below, plain(1.0), Fail),
            (Op::AtLeast, plain(1.0), Pass),
            (Op::Above, plain(1.0), Fail),
            (Op::AtMost, between(0.5, 1.0), Pass),
            (Op::Below, between(0.5, 1.0), Inconclusive),
            (Op::AtMost, between(0.5, 1.1), Inconclusive),
            (Op::AtMost, between(1.0, 1.1), Inconclusive),
            (Op::Below, between(1.0, 1.1), Fail),
            (Op::AtLeast, between(1.0, 1.1), Pass),
            (Op::AtLeast, between(0.9, 1.1), Inconclusive),
            (Op::AtLeast, between(0.8, 0.9), Fail),
            (Op::Above, between(1.0, 1.1), Inconclusive),
            (Op::AtMost, None, Fail),
            (Op::AtLeast, None, Fail),
            (Op::AtMost, plain(f64::NAN), Fail),
            (Op::AtLeast, plain(f64::INFINITY), Fail),
        ] {
            assert_eq!(op.judge(found, 1.0), verdict, "{op:?} {found:?}");
        }
    }

    #[test]
    fn conditions_are_read_as_they_are_written() {
        let read = |text: &str| text.parse::<Condition>();
        let condition = read(" kld.mean <= 1.2e-1").expect("a condition");
        assert_eq!((condition.metric.as_str(), condition.op, condition.limit), ("kld.mean", Op::AtMost, 0.12));
        assert_eq!(condition.to_string(), "kld.mean <= 0.12");
        assert_eq!(read("top1>0.9").expect("a condition").op, Op::Above);
        assert!(read("slices.wiki.test.raw.kld.p99<0.4").is_ok());
        assert!(matches!(read("kld.mean"), Err(ConditionError::Form { .. })));
        assert!(matches!(read("kld.mean=0.1"), Err(ConditionError::Form { .. })));
        for limit in ["", "much", "NaN", "inf"] {
            assert!(matches!(read(&format!("kld.mean<={limit}")), Err(ConditionError::Limit { .. })), "{limit}");
        }
        let unknown = read("kl.mean<=0.1").expect_err("no such metric").to_string();
        assert!(unknown.contains("kld.mean") && unknown.contains("top1"), "{unknown}");
    }
}
