//! Gates, policies and baselines, and how they make the command exit.

use serde_json::json;

use super::{Q4_K_M, Q8_0, TINY, number, text, verify};

#[test]
fn gates_decide_the_exit_status() {
    let passed = verify(TINY, &Q4_K_M.path, &[]);
    let ends = ["/metrics/kld/ci95/0", "/metrics/kld/ci95/1"].map(|end| number(&passed.report, end));
    for (limit, status, verdict) in [
        (ends[1] * 1.001, 0, "pass"),
        (f64::midpoint(ends[0], ends[1]), 6, "inconclusive"),
        (ends[0] * 0.999, 1, "fail"),
    ] {
        let found = verify(TINY, &Q4_K_M.path, &["--gate", &format!("kld.mean<={limit}")]);
        assert_eq!((found.status, &found.report["verdict"]), (status, &json!(verdict)), "{limit}: {}", found.message);
        assert_eq!(found.message.contains("kld.mean <= "), status != 0, "{}", found.message);
    }
    // A failed gate is not made good by an inconclusive one.
    let middle = format!("kld.mean<={}", f64::midpoint(ends[0], ends[1]));
    assert_eq!(verify(TINY, &Q4_K_M.path, &["--gate", &middle, "--gate", "top1>1"]).status, 1);
    for (gate, named) in [("kl<=1", "kld.mean"), ("kld.mean<=much", "not a number"), ("kld.mean", "METRIC<=VALUE")] {
        let wrong = verify(TINY, &Q4_K_M.path, &["--gate", gate]);
        assert_eq!(wrong.status, 2, "{gate}: {}", wrong.message);
        assert!(wrong.message.contains(named), "{gate}: {}", wrong.message);
    }
}

#[test]
fn a_policy_and_a_baseline_decide_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let (policy, baseline) = (dir.path().join("verify.toml"), dir.path().join("last.json"));
    let fine = verify(TINY, &Q8_0.path, &[]);
    std::fs::write(&baseline, fine.report.to_string()).expect("a report");
    std::fs::write(&policy, "gates = ['kld.mean <= 1']\n[baseline]\nreport = 'last.json'\n").expect("a policy");
    let config = ["--config", text(&policy)];
    let same = verify(TINY, &Q8_0.path, &config);
    assert_eq!(same.status, 0, "{}", same.message);
    assert_eq!(same.report["gates"].as_array().map(Vec::len), Some(1 + 1 + 3));

    let worse = verify(TINY, &Q4_K_M.path, &config);
    assert_eq!(worse.status, 1, "{}", worse.message);
    assert!(worse.message.contains("kld.mean"), "{}", worse.message);
    let allowed = verify(TINY, &Q4_K_M.path, &["--baseline", text(&baseline), "--worse", "kld.mean=1"]);
    assert_eq!(allowed.status, 0, "{}", allowed.message);

    let other = verify(TINY, &Q8_0.path, &["--baseline", text(&baseline), "--chunks", "5"]);
    assert_eq!(other.status, 5, "{}", other.message);
    assert!(other.message.contains("baseline") && other.message.contains("5 of 5 sequences"), "{}", other.message);
    std::fs::write(&policy, "gate = []").expect("a policy");
    let wrong = verify(TINY, &Q8_0.path, &config);
    assert_eq!(wrong.status, 3, "{}", wrong.message);
    assert!(wrong.message.contains("verify.toml") && wrong.message.contains("`gate`"), "{}", wrong.message);
}
