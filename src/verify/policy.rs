//! `verify.toml`: what is asked of every candidate, kept beside the code that makes it.
//!
//! ```toml
//! gates = ["kld.mean <= 0.12", "top1 >= 0.85"]
//!
//! [baseline]
//! report = "last-release.json"        # relative to this file
//! worse = { "kld.mean" = "10%", top1 = 0.01 }
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::baseline::Allowance;
use super::gate::Condition;
use super::{Error, Result};

/// What is asked of a candidate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Conditions on the report's numbers.
    pub conditions: Vec<Condition>,
    /// An earlier release's report.
    pub baseline: Option<PathBuf>,
    /// How much worse than that a metric may be; nothing said is [`Allowance::usual`].
    pub allowances: Vec<Allowance>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    gates: Vec<String>,
    baseline: Option<Baseline>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    report: PathBuf,
    #[serde(default)]
    worse: BTreeMap<String, Amount>,
}

/// `0.01` or `"10%"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Number(f64),
    Text(String),
}

impl Policy {
    /// Reads a `verify.toml`.
    pub fn read(path: &Path) -> Result<Policy> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Text { path: path.to_owned(), source })?;
        Policy::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Policy> {
        let bad = |why: String| Error::Policy { path: path.to_owned(), why };
        let file: File = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        let condition = |text: &String| -> Result<Condition> {
            let condition: Condition = text.parse().map_err(|error| bad(format!("gates: {error}")))?;
            Ok(Condition { source: path.display().to_string(), ..condition })
        };
        let conditions = file.gates.iter().map(condition).collect::<Result<Vec<_>>>()?;
        let Some(baseline) = file.baseline else { return Ok(Policy { conditions, ..Policy::default() }) };
        let allowance = |(metric, amount): (&String, &Amount)| {
            let amount = match amount {
                Amount::Number(number) => number.to_string(),
                Amount::Text(text) => text.clone(),
            };
            Allowance::new(metric, &amount).map_err(|error| bad(format!("baseline.worse: {error}")))
        };
        let allowances = baseline.worse.iter().map(allowance).collect::<Result<Vec<_>>>()?;
        let report = path.parent().unwrap_or(Path::new("")).join(&baseline.report);
        Ok(Policy { conditions, baseline: Some(report), allowances })
    }
}

#[cfg(test)]
mod tests {
    use super::super::baseline::Amount;
    use super::super::gate::Op;
    use super::*;

    #[test]
    fn a_policy_says_what_it_says() {
        let text =
            "gates = ['kld.mean <= 0.12']\n[baseline]\nreport = 'last.json'\nworse = { 'kld.p99' = '5%', top1 = 0.02 }";
        let policy = Policy::parse(text, Path::new("ci/verify.toml")).expect("a policy");
        assert_eq!(policy.conditions.len(), 1);
        assert_eq!((policy.conditions[0].op, policy.conditions[0].source.as_str()), (Op::AtMost, "ci/verify.toml"));
        assert_eq!(policy.baseline.as_deref(), Some(Path::new("ci/last.json")));
        let amounts: Vec<Amount> = policy.allowances.iter().map(|allowance| allowance.amount).collect();
        assert_eq!(amounts, [Amount::Share(0.05), Amount::Absolute(0.02)]);
        assert_eq!(Policy::parse("", Path::new("x")).expect("an empty one"), Policy::default());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, named) in [
            ("gate = []", "gate"),
            ("gates = ['kl <= 1']", "kld.mean"),
            ("[baseline]\nworse = {}", "report"),
            ("[baseline]\nreport = 'a'\nworse = { top1 = 'much' }", "much"),
        ] {
            let error = Policy::parse(text, Path::new("verify.toml")).expect_err(text).to_string();
            assert!(error.starts_with("verify.toml: ") && error.contains(named), "{error}");
        }
    }
}
