//! `planish verify` from the outside: what it says of good and of broken candidates, and how it exits.

#[path = "support/damaged.rs"]
mod damaged;
#[path = "support/schema.rs"]
mod schema;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use damaged::Opened;
use serde_json::{Value, json};

const TEXT: &str = "fixtures/tiny-llama/heldout.txt";
const TINY: &str = "fixtures/tiny-llama";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_planish"));
    command.args(args).current_dir(root());
    command
}

fn planish(args: &[&str]) -> Output {
    command(args).output().expect("the command starts")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// tiny-llama as a GGUF of a mix, made once.
struct Release {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn release(mix: &str) -> Release {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(format!("{mix}.gguf"));
    let made = planish(&["quantize", TINY, "--to", mix, "-o", text(&path)]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Release { _dir: dir, path }
}

static Q8_0: LazyLock<Release> = LazyLock::new(|| release("q8_0"));
static Q4_K_M: LazyLock<Release> = LazyLock::new(|| release("q4_k_m"));

/// What a verification said and how it ended.
struct Verdict {
    status: i32,
    report: Value,
    message: String,
}

/// On 6 chunks of 128 tokens of the held-out text, unless `more` says otherwise.
#[track_caller]
fn verify(reference: &str, candidate: &Path, more: &[&str]) -> Verdict {
    let mut args = vec!["verify", reference, text(candidate), "--text", TEXT, "--ctx", "128", "--json"];
    if !more.contains(&"--chunks") {
        args.extend(["--chunks", "6"]);
    }
    args.extend(more);
    let out = planish(&args);
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!message.contains("panicked"), "{message}");
    let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    if report.get("schema").is_some() {
        holds(&report);
    }
    Verdict { status: out.status.code().expect("exited by itself"), report, message }
}

/// Whether a report is as the committed schema says.
#[track_caller]
fn holds(report: &Value) {
    let schema = std::fs::read_to_string(root().join("tests/verify.schema.json")).expect("a schema");
    let schema = serde_json::from_str(&schema).expect("JSON");
    let violations = schema::violations(&schema, report);
    assert!(violations.is_empty(), "{violations:#?}");
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {pointer}: {report:#}"))
}

/// What has to be the same whoever computes it.
fn numbers(report: &Value) -> Value {
    let mut report = report.clone();
    for varying in ["seconds", "peak_anon_bytes", "threads", "running"] {
        report.as_object_mut().expect("an object").remove(varying);
    }
    report["protocol"].as_object_mut().expect("an object").remove("batch");
    report
}

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

/// A copy of the Q8_0 release with something done to it.
#[track_caller]
fn broken(damage: impl FnOnce(&mut Opened)) -> Verdict {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("broken.gguf");
    let mut gguf = Opened::read(&Q8_0.path);
    damage(&mut gguf);
    gguf.write(&path);
    verify(TINY, &path, &["--chunks", "2"])
}

#[track_caller]
fn caught(found: &Verdict, status: i32, named: &[&str]) {
    assert_eq!(found.status, status, "{}", found.message);
    let error: String = found.message.lines().filter(|line| line.starts_with("error:")).collect();
    for part in named {
        assert!(error.contains(part), "{part:?} is not named: {}", found.message);
    }
}

#[test]
fn a_copy_is_sound() {
    let found = broken(|_| {});
    assert_eq!((found.status, found.message.as_str()), (0, ""));
}

#[test]
fn a_shuffled_layer_is_named() {
    let found = broken(|gguf| gguf.swap_blocks(1, 2));
    caught(&found, 1, &["blk.1.attn_q.weight: holds the weights of blk.2.attn_q.weight", "blk.1.ffn_up.weight"]);
    assert_eq!(found.report["verdict"], "fail");
    assert!(number(&found.report, "/metrics/kld/mean") > 0.01);
}

#[test]
fn permuted_rows_are_named() {
    // Heads of 64: the halves of the checkpoint instead of GGUF's pairs.
    let halves = |row: usize| row / 64 * 64 + planish::model::unpaired_row(row % 64, 64);
    let found = broken(|gguf| gguf.reorder("blk.0.attn_q.weight", halves));
    caught(&found, 1, &["blk.0.attn_q.weight", "order of the other rope"]);
    let found = broken(|gguf| gguf.reorder("blk.3.attn_q.weight", |row| 255 - row));
    caught(&found, 1, &["blk.3.attn_q.weight: relative error 1.4", "not the same weights"]);
}

#[test]
fn a_wrong_rope_is_incomparable() {
    let found = broken(|gguf| gguf.kv.set("llama.rope.freq_base", 500000f32));
    caught(&found, 5, &["rope: theta 10000 in the reference, theta 500000 in the candidate"]);
    assert_eq!((&found.report["verdict"], &found.report["metrics"]), (&json!("incomparable"), &Value::Null));
}

#[test]
fn a_zeroed_tensor_is_named() {
    let found = broken(|gguf| gguf.bytes("blk.2.ffn_down.weight").fill(0));
    caught(&found, 1, &["blk.2.ffn_down.weight: all weights are zero"]);
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    // The scale of the first block of row 5: 8 blocks of 34 bytes a row.
    let found = broken(|gguf| gguf.bytes("blk.1.attn_v.weight")[5 * 8 * 34..][..2].copy_from_slice(&[0, 0x7e]));
    caught(&found, 3, &["candidate", "blk.1.attn_v.weight", "row 5, column 0", "NaN"]);
}

#[test]
fn a_truncated_file_is_bad_input() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("truncated.gguf");
    let bytes = std::fs::read(&Q8_0.path).expect("a file");
    std::fs::write(&path, &bytes[..bytes.len() * 3 / 4]).expect("a file");
    caught(&verify(TINY, &path, &[]), 3, &["truncated.gguf"]);
}

#[test]
fn another_vocabulary_is_incomparable() {
    let found = broken(|gguf| {
        let mut tokens = gguf.kv.strings("tokenizer.ggml.tokens").expect("tokens").to_vec();
        tokens.swap(40, 41);
        gguf.kv.set("tokenizer.ggml.tokens", tokens);
    });
    caught(&found, 5, &["vocabulary: token 40 is", "2 tokens differ"]);

    let found = broken(|gguf| {
        let tokens = gguf.kv.strings("tokenizer.ggml.tokens").expect("tokens")[..1000].to_vec();
        let types = gguf.kv.i32s("tokenizer.ggml.token_type").expect("types")[..1000].to_vec();
        gguf.kv.set("tokenizer.ggml.tokens", tokens);
        gguf.kv.set("tokenizer.ggml.token_type", types);
        gguf.kv.set("llama.vocab_size", 1000u32);
        for name in ["token_embd.weight", "output.weight"] {
            let (info, bytes) = gguf.tensor(name);
            bytes.truncate(bytes.len() / 1024 * 1000);
            info.shape[0] = 1000;
        }
    });
    caught(&found, 5, &["vocabulary size: 1024 in the reference, 1000 in the candidate"]);
}

#[test]
fn a_wrong_pre_tokenizer_is_incomparable() {
    let found = broken(|gguf| gguf.kv.set("tokenizer.ggml.pre", "llama-bpe"));
    caught(&found, 5, &["tokenizer.ggml.pre should be \"gpt-2\" and is \"llama-bpe\""]);
    // Another name of the same splitting.
    let found = broken(|gguf| gguf.kv.set("tokenizer.ggml.pre", "phi-2"));
    assert_eq!(found.status, 0, "{}", found.message);
}

#[test]
fn another_chat_template_is_told_and_no_more() {
    let found = broken(|gguf| gguf.kv.set("tokenizer.chat_template", "{{ messages }}"));
    assert_eq!(found.status, 0, "{}", found.message);
    assert!(found.message.contains("warning: chat template"), "{}", found.message);
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
