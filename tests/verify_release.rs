//! Verification as part of making a release: `quantize --verify`, and the job that the README shows.

#[path = "support/damaged.rs"]
mod damaged;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use damaged::Opened;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

fn quantize(output: &Path, more: &[&str]) -> Output {
    let heldout = root().join("fixtures/tiny-llama/heldout.txt");
    let mut args = vec!["quantize", "fixtures/tiny-llama", "-o", text(output), "--json"];
    if !more.contains(&"--to") {
        args.extend(["--to", "q4_k_m"]);
    }
    args.extend(["--verify", text(&heldout), "--ctx", "128", "--chunks", "6"]);
    args.extend(more);
    Command::new(env!("CARGO_BIN_EXE_planish")).args(&args).current_dir(root()).output().expect("the command starts")
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn what_passes_gets_its_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = dir.path().join("tiny.gguf");
    let made = quantize(&output, &["--gate", "kld.mean<=0.01"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let told: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    assert_eq!(told["verification"]["verdict"], "pass");
    assert_eq!(told["files"][0], text(&output));
    assert_eq!(files(dir.path()), ["tiny.gguf"]);

    // The same bytes as without it.
    let plain = dir.path().join("plain.gguf");
    let args = ["quantize", "fixtures/tiny-llama", "--to", "q4_k_m", "-o", text(&plain)];
    let done = Command::new(env!("CARGO_BIN_EXE_planish")).args(args).current_dir(root()).status();
    assert!(done.expect("the command starts").success());
    assert!(std::fs::read(&output).expect("a file") == std::fs::read(&plain).expect("a file"));
}

/// A folder of safetensors too.
#[test]
fn folders_have_to_earn_their_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = dir.path().join("tiny");
    let to = ["--to", "w4a16", "--group-size", "64"];
    let failed = quantize(&output, &[&to[..], &["--gate", "kld.mean<=0.0001"]].concat());
    let message = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{message}");
    assert!(message.contains("tiny: not written"), "{message}");
    let told: Value = serde_json::from_slice(&failed.stdout).expect("JSON");
    assert_eq!((told["verification"]["verdict"].as_str(), told["folder"].as_str()), (Some("fail"), None));
    assert!(files(dir.path()).is_empty(), "{:?}", files(dir.path()));

    let made = quantize(&output, &[&to[..], &["--gate", "kld.mean<=0.1"]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let told: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    assert_eq!((told["verification"]["verdict"].as_str(), told["folder"].as_str()), (Some("pass"), output.to_str()));
    assert_eq!(files(dir.path()), ["tiny"]);
}

#[test]
fn what_fails_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = dir.path().join("tiny.gguf");
    let failed = quantize(&output, &["--gate", "kld.mean<=0.0001", "--modelfile"]);
    let message = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{message}");
    assert!(message.contains("kld.mean <= 0.0001") && message.contains("tiny.gguf: not written"), "{message}");
    let told: Value = serde_json::from_slice(&failed.stdout).expect("JSON");
    assert_eq!(
        (told["verification"]["verdict"].as_str(), told["files"].as_array().map(Vec::len)),
        (Some("fail"), Some(0))
    );
    assert!(files(dir.path()).is_empty(), "{:?}", files(dir.path()));

    // What stood there before still does.
    std::fs::write(&output, "the last release").expect("a file");
    let failed = quantize(&output, &["--gate", "kld.mean<=0.0001", "--force"]);
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(std::fs::read(&output).expect("a file"), b"the last release");
}

#[test]
fn a_gate_without_a_text_is_a_mistake() {
    let args = ["quantize", "fixtures/tiny-llama", "--to", "q4_0", "--gate", "kld.mean<=1"];
    let out = Command::new(env!("CARGO_BIN_EXE_planish")).args(args).current_dir(root()).output();
    let out = out.expect("the command starts");
    assert_eq!(out.status.code(), Some(2), "{}", String::from_utf8_lossy(&out.stderr));
}

/// The first fenced block of this language whose text has `part`.
fn block(readme: &str, language: &str, part: &str) -> String {
    let fence = format!("```{language}\n");
    let blocks = readme.split(&fence).skip(1);
    let mut texts = blocks.filter_map(|rest| rest.split("```").next());
    texts.find(|text| text.contains(part)).unwrap_or_else(|| panic!("no {language} with {part}")).to_owned()
}

/// A folder as the README's job finds it after its checkout.
fn checkout(readme: &str) -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().expect("a folder");
    let tiny = root().join("fixtures/tiny-llama");
    let model = dir.path().join("model");
    std::fs::create_dir(&model).expect("a folder");
    for file in files(&tiny) {
        std::fs::copy(tiny.join(&file), model.join(&file)).expect("a copy");
    }
    std::fs::copy(tiny.join("heldout.txt"), dir.path().join("eval.txt")).expect("a copy");
    std::fs::write(dir.path().join("verify.toml"), block(readme, "toml", "# verify.toml")).expect("a policy");
    let job = block(readme, "yaml", "runs-on");
    let commands: Vec<String> =
        job.lines().filter_map(|line| line.trim().strip_prefix("run: ")).map(str::to_owned).collect();
    assert_eq!(commands.len(), 2, "{job}");
    (dir, commands)
}

fn shell(dir: &Path, command: &str) -> Output {
    let folder = PathBuf::from(env!("CARGO_BIN_EXE_planish"));
    let folder = folder.parent().expect("a folder").display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    Command::new("sh").args(["-e", "-c", command]).current_dir(dir).env("PATH", path).output().expect("a shell")
}

#[test]
fn the_job_in_the_readme_gates_a_release() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let (dir, commands) = checkout(&readme);
    for command in &commands {
        let done = shell(dir.path(), command);
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let report = std::fs::read(dir.path().join("drift.json")).expect("a report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!((&report["verdict"], &report["schema"]), (&"pass".into(), &1.into()));

    // The same gate on a broken release stops the job, and the report says why.
    let release = dir.path().join("model.gguf");
    let mut gguf = Opened::read(&release);
    gguf.swap_blocks(0, 1);
    std::fs::remove_file(&release).expect("a file");
    gguf.write(&release);
    let stopped = shell(dir.path(), &commands[1]);
    assert_eq!(stopped.status.code(), Some(1), "{}", String::from_utf8_lossy(&stopped.stderr));
    let report = std::fs::read(dir.path().join("drift.json")).expect("a report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!(report["verdict"], "fail");
}
