//! JUnit's XML, which CI servers show as tests: a case for each gate and for each check that the two can be compared.

use super::super::report::{Check, Gate, GateVerdict, Report, Status, Verdict};
use super::escape::xml;
use super::facts::{condition, short, summary, verdict};

/// What became of a case.
enum Outcome<'a> {
    Passed,
    Failure { kind: &'a str, message: &'a str },
    Error { message: &'a str },
    Skipped { message: &'a str },
}

struct Case<'a> {
    class: &'static str,
    name: String,
    outcome: Outcome<'a>,
    /// What is worth reading whatever the outcome.
    output: String,
}

/// One test suite: XML 1.0 in UTF-8.
pub fn junit(report: &Report) -> String {
    let sentence = verdict(report);
    let mut cases: Vec<Case<'_>> = report.gates.iter().map(gate).collect();
    cases.extend(report.comparability.iter().map(check));
    if let Verdict::Interrupted = report.verdict {
        let outcome = Outcome::Error { message: &sentence };
        cases.push(Case { class: "planish.run", name: "finished".to_owned(), outcome, output: String::new() });
    }
    let count = |is: fn(&Outcome<'_>) -> bool| cases.iter().filter(|case| is(&case.outcome)).count();
    let failures = count(|outcome| matches!(outcome, Outcome::Failure { .. }));
    let errors = count(|outcome| matches!(outcome, Outcome::Error { .. }));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped { .. }));
    let name = xml(&format!("planish verify {} against {}", short(&report.candidate), short(&report.reference)));
    let (tests, time) = (cases.len(), report.seconds);
    let totals = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\"");
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text.push_str(&format!("<testsuites name=\"planish verify\" {totals} skipped=\"{skipped}\" time=\"{time:.3}\">\n"));
    text.push_str(&format!("  <testsuite name=\"{name}\" {totals} skipped=\"{skipped}\" time=\"{time:.3}\">\n"));
    text.push_str(&properties(report));
    text.extend(cases.iter().map(element));
    let out: Vec<String> =
        [sentence.clone()].into_iter().chain(summary(report)).chain(report.reasons.clone()).collect();
    text.push_str(&format!("    <system-out>{}</system-out>\n", xml(&out.join("\n"))));
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn properties(report: &Report) -> String {
    let rows = [
        ("verdict", report.verdict.name().to_owned()),
        ("reference", report.reference.path.clone()),
        ("candidate", report.candidate.path.clone()),
        ("protocol", report.protocol.description.clone()),
        ("sequences", report.protocol.sequences.to_string()),
        ("version", format!("{} {}", report.tool.name, report.tool.version)),
    ];
    let rows = rows.map(|(name, value)| format!("      <property name=\"{name}\" value=\"{}\"/>\n", xml(&value)));
    format!("    <properties>\n{}    </properties>\n", rows.concat())
}

fn gate(gate: &Gate) -> Case<'_> {
    let outcome = match gate.verdict {
        GateVerdict::Pass => Outcome::Passed,
        verdict @ (GateVerdict::Fail | GateVerdict::Inconclusive) => {
            Outcome::Failure { kind: verdict.name(), message: &gate.message }
        }
    };
    Case {
        class: "planish.gate",
        name: condition(gate),
        outcome,
        output: format!("{} (asked by {})", gate.message, gate.source),
    }
}

fn check(check: &Check) -> Case<'_> {
    let outcome = match check.status {
        // A warning changes no number: the case passes and says it.
        Status::Same | Status::Warning => Outcome::Passed,
        Status::Different => Outcome::Failure { kind: "incomparable", message: &check.message },
        Status::Unknown => Outcome::Skipped { message: &check.message },
    };
    let both = if check.reference == check.candidate {
        format!("both: {}", check.reference)
    } else {
        format!("reference: {}\ncandidate: {}", check.reference, check.candidate)
    };
    let message = if check.message.is_empty() { String::new() } else { format!("{}\n", check.message) };
    Case { class: "planish.comparability", name: check.check.clone(), outcome, output: message + &both }
}

fn element(case: &Case<'_>) -> String {
    let inner = match case.outcome {
        Outcome::Passed => String::new(),
        Outcome::Failure { kind, message } => {
            let message = xml(message);
            format!("      <failure type=\"{}\" message=\"{message}\">{message}</failure>\n", xml(kind))
        }
        Outcome::Error { message } => format!("      <error type=\"interrupted\" message=\"{}\"/>\n", xml(message)),
        Outcome::Skipped { message } => format!("      <skipped message=\"{}\"/>\n", xml(message)),
    };
    let output = match case.output.as_str() {
        "" => String::new(),
        output => format!("      <system-out>{}</system-out>\n", xml(output)),
    };
    format!(
        "    <testcase classname=\"{}\" name=\"{}\" time=\"0\">\n{inner}{output}    </testcase>\n",
        case.class,
        xml(&case.name)
    )
}
