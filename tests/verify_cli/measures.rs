//! Good candidates: what is measured, and that it is the same however it is computed.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Q4_K_M, Q8_0, TEXT, TINY, command, holds, number, numbers, planish, root, text, verify};

#[test]
fn a_release_is_measured() {
    let found = verify(TINY, &Q4_K_M.path, &["--gate", "kld.mean<=0.01", "--gate", "top1>=0.8"]);
    assert_eq!(found.status, 0, "{}", found.message);
    let report = &found.report;
    assert_eq!(report["verdict"], "pass");
    let kld = number(report, "/metrics/kld/mean");
    assert!(kld > 1e-4 && kld < 0.01, "{kld}");
    assert!(number(report, "/metrics/kld/ci95/0") < kld && kld < number(report, "/metrics/kld/ci95/1"));
    assert!(number(report, "/metrics/kld/median") < number(report, "/metrics/kld/p99"));
    let (ratio, a, b) =
        (number(report, "/metrics/ppl_ratio"), number(report, "/metrics/ppl_ref"), number(report, "/metrics/ppl_cand"));
    assert!((ratio - b / a).abs() < 1e-12);
    assert!(number(report, "/coverage/share") > 0.99 && number(report, "/coverage/bits_per_weight") < 5.0);
    assert_eq!(report["layers"].as_array().map(Vec::len), Some(5));
    assert_eq!(report["tensors"].as_array().map(Vec::len), Some(39));
    assert_eq!(report["gates"].as_array().map(Vec::len), Some(3));
    let counted: u64 =
        report["kld_histogram"].as_array().expect("bins").iter().filter_map(|b| b["count"].as_u64()).sum();
    assert_eq!(Some(counted), report["metrics"]["tokens"].as_u64());
    let worst = report["worst"].as_array().expect("tokens");
    assert_eq!(worst.len(), 20);
    assert_eq!(worst[0]["kld"], report["metrics"]["kld"]["max"]);
    let heldout = std::fs::read_to_string(root().join(TEXT)).expect("the text");
    for token in worst {
        let shown = ["before", "token", "after"].map(|part| token[part].as_str().unwrap_or_default()).concat();
        // A piece may begin or end inside a character.
        assert!(heldout.contains(shown.trim_matches('\u{fffd}')), "{shown:?}");
    }
}

#[test]
fn people_see_the_statistics() {
    let out = planish(&["verify", TINY, text(&Q4_K_M.path), "--text", TEXT, "--ctx", "128", "--chunks", "2"]);
    let shown = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    for part in [
        "PPL reference",
        "KLD mean",
        "KLD 99.9 %",
        "same top token",
        "Δp RMS",
        "second half scored",
        "f32, activations weights-only",
        "model.layers.3",
        "25 x Q4_K",
        "verdict  pass",
    ] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
}

#[test]
fn a_model_does_not_drift_from_itself() {
    for candidate in [root().join(TINY), Q8_0.path.clone()] {
        let found = verify(
            text(&candidate),
            &candidate,
            &["--gate", "kld.max<=0", "--gate", "top1>=1", "--gate", "ppl_ratio<=1"],
        );
        assert_eq!(found.status, 0, "{}", found.message);
        let of = |pointer| number(&found.report, pointer);
        assert_eq!((of("/metrics/kld/mean"), of("/metrics/kld/max"), of("/metrics/top1")), (0.0, 0.0, 1.0));
        assert_eq!((of("/metrics/ppl_ratio"), of("/metrics/noise_floor")), (1.0, 0.0));
        let exact = |layer: &Value| layer["relative_error"] == 0.0 && layer["cosine"] == 1.0;
        assert!(found.report["layers"].as_array().expect("layers").iter().all(exact));
        let same = |tensor: &Value| tensor["relative_error"] == 0.0;
        assert!(found.report["tensors"].as_array().expect("tensors").iter().all(same));
    }
}

#[test]
fn threads_batches_and_memory_change_no_number() {
    let one = numbers(&verify(TINY, &Q4_K_M.path, &["--threads", "1"]).report);
    for more in [["--threads", "2"], ["--batch", "1"], ["--batch", "4"], ["--memory", "0M"]] {
        let other = verify(TINY, &Q4_K_M.path, &more);
        assert_eq!(other.status, 0, "{more:?}: {}", other.message);
        let (one, other) = (one.as_object().expect("an object"), numbers(&other.report));
        for (field, value) in one {
            assert!(*value == other[field], "{more:?} changes {field}");
        }
    }
}

#[test]
fn running_numbers_end_in_the_final_ones() {
    let report = verify(TINY, &Q4_K_M.path, &["--batch", "4"]).report;
    let running = report["running"].as_array().expect("groups");
    assert_eq!((running.len(), &running[0]["sequences"], &running[1]["sequences"]), (2, &json!(4), &json!(6)));
    assert_eq!(running[1]["kld"], report["metrics"]["kld"]["mean"]);
    assert_eq!(running[1]["ppl_cand"], report["metrics"]["ppl_cand"]);
}

#[test]
fn other_protocols_are_named() {
    let tokens = |more: &[&str]| {
        let found = verify(TINY, &Q8_0.path, &[&["--chunks", "2"], more].concat());
        assert_eq!(found.status, 0, "{}", found.message);
        (found.report["metrics"]["tokens"].clone(), found.report["protocol"]["name"].clone())
    };
    assert_eq!(tokens(&[]), (json!(2 * 63), json!("chunks")));
    assert_eq!(tokens(&["--full"]), (json!(2 * 127), json!("stride")));
    assert_eq!(tokens(&["--stride", "32"]), (json!(127 + 32), json!("stride")));
    let wrong = verify(TINY, &Q8_0.path, &["--stride", "129"]);
    assert_eq!(wrong.status, 3, "{}", wrong.message);
}

#[test]
fn rounded_activations_are_measured_and_named() {
    let kld = |more: &[&str]| {
        let found = verify(TINY, &Q8_0.path, more);
        assert_eq!(found.status, 0, "{}", found.message);
        (number(&found.report, "/metrics/kld/mean"), found.report["activations"].clone())
    };
    let (exact, rounded) = (kld(&[]), kld(&["--activations", "q8"]));
    assert_eq!((exact.1, rounded.1), (json!("weights-only"), json!("q8")));
    // Rounding both factors to 8 bits is worse than one, and far from rounding to 4.
    assert!(rounded.0 > 1.3 * exact.0 && rounded.0 < 10.0 * exact.0, "{} {}", exact.0, rounded.0);
}

#[test]
fn the_noise_of_a_faster_precision_is_measured_or_explained() {
    let report = verify(TINY, &Q8_0.path, &["--precision", "bf16"]).report;
    let (used, floor) = (&report["precision"]["used"], number(&report, "/metrics/noise_floor"));
    assert_eq!(report["precision"]["asked"], "bf16");
    assert_eq!(report["noise"]["kld"], json!(floor));
    if used == "bf16" {
        assert!(floor > 0.0 && report["noise"]["sequences"] == 1, "{}", report["noise"]);
        let [coarse, exact] = [&report, &verify(TINY, &Q8_0.path, &[]).report].map(|r| number(r, "/metrics/kld/mean"));
        assert!(floor < exact && (coarse - exact).abs() < 10.0 * floor, "{coarse} {exact} {floor}");
    } else {
        let note = report["noise"]["note"].as_str().expect("a note");
        assert!(used == "f32" && floor == 0.0 && note.contains("does not multiply bf16"), "{note}");
    }
}

#[test]
fn every_text_is_a_slice() {
    let dir = tempfile::tempdir().expect("a folder");
    let other = dir.path().join("other.txt");
    let heldout = std::fs::read_to_string(root().join(TEXT)).expect("the text");
    std::fs::write(&other, &heldout[heldout.len() / 2..]).expect("a text");
    let gate = ["--gate", "slices.other.txt.kld.mean<=0.01", "--gate", "slices.nobody.txt.kld.mean<=1"];
    let found = verify(TINY, &Q4_K_M.path, &[&["--text", text(&other)], &gate[..2]].concat());
    assert_eq!(found.status, 0, "{}", found.message);
    let slices = found.report["slices"].as_array().expect("slices");
    assert_eq!(slices.len(), 2);
    let alone = verify(TINY, &Q4_K_M.path, &[]);
    assert_eq!(slices[0]["metrics"]["kld"], alone.report["metrics"]["kld"]);
    assert_ne!(slices[1]["metrics"]["kld"], slices[0]["metrics"]["kld"]);
    assert_eq!(found.report["metrics"]["tokens"], json!(2 * 6 * 63));
    let missing = verify(TINY, &Q4_K_M.path, &gate[2..]);
    assert_eq!(missing.status, 1, "{}", missing.message);
    assert!(missing.message.contains("slices.nobody.txt.kld.mean <= 1: the metric is missing"), "{}", missing.message);
}

#[test]
fn what_cannot_be_read_is_said() {
    let missing = planish(&["verify", TINY, text(&Q8_0.path), "--text", "no-such.txt"]);
    assert_eq!(missing.status.code(), Some(74));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no-such.txt"));
    let dir = tempfile::tempdir().expect("a folder");
    let short = dir.path().join("short.txt");
    std::fs::write(&short, "a few words").expect("a text");
    let short = planish(&["verify", TINY, text(&Q8_0.path), "--text", text(&short)]);
    assert_eq!(short.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&short.stderr).contains("less than one sequence of 512"));
}

#[test]
fn an_interrupted_run_tells_what_it_measured() {
    let args = ["verify", TINY, text(&Q4_K_M.path), "--text", TEXT, "--ctx", "128", "--batch", "1", "--json"];
    let mut args = args.to_vec();
    args.extend(["--gate", "kld.mean<=0"]);
    let child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    std::thread::sleep(Duration::from_secs(3));
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().expect("kill");
    let out = child.wait_with_output().expect("it ends");
    let message = String::from_utf8_lossy(&out.stderr);
    assert!(sent.success(), "it had ended: {message}");
    assert_eq!(out.status.code(), Some(75), "{message}");
    let report: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    if report.get("schema").is_some() {
        holds(&report);
        assert_eq!((&report["verdict"], &report["gates"]), (&json!("interrupted"), &json!([])));
        let (done, all) = (number(&report, "/protocol/sequences"), number(&report, "/protocol/planned"));
        assert!(done > 0.0 && done < all, "{done} of {all}");
        assert_eq!(number(&report, "/metrics/tokens"), done * 63.0);
        assert!(message.contains("interrupted after"), "{message}");
    } else {
        // A machine so slow that not one sequence was done.
        assert!(message.contains("error: interrupted"), "{message}");
    }
}
