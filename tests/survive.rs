//! Models larger than memory, full disks, and processes that are killed: nothing is lost, nothing is half written.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PLANISH: &str = env!("CARGO_BIN_EXE_planish");

/// A Llama of zero weights, 67 million a layer: BF16 that takes no room on disk.
fn sparse_checkpoint(dir: &Path, layers: usize) -> PathBuf {
    let (hidden, ffn, vocab) = (2048usize, 8192usize, 1024usize);
    let model = dir.join("sparse");
    std::fs::create_dir(&model).unwrap();
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama");
    for file in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        std::fs::copy(tiny.join(file), model.join(file)).unwrap();
    }
    let mut config: Value = serde_json::from_slice(&std::fs::read(tiny.join("config.json")).unwrap()).unwrap();
    for (key, value) in [
        ("hidden_size", hidden),
        ("intermediate_size", ffn),
        ("num_hidden_layers", layers),
        ("num_attention_heads", 32),
        ("num_key_value_heads", 32),
        ("head_dim", 64),
        ("vocab_size", vocab),
    ] {
        config[key] = value.into();
    }
    std::fs::write(model.join("config.json"), config.to_string()).unwrap();

    let mut tensors: Vec<(String, Vec<usize>)> = vec![
        ("model.embed_tokens.weight".into(), vec![vocab, hidden]),
        ("model.norm.weight".into(), vec![hidden]),
        ("lm_head.weight".into(), vec![vocab, hidden]),
    ];
    for layer in 0..layers {
        let square = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
        let mut shapes = square.map(|name| (name, vec![hidden, hidden])).to_vec();
        shapes.push(("mlp.gate_proj", vec![ffn, hidden]));
        shapes.push(("mlp.up_proj", vec![ffn, hidden]));
        shapes.push(("mlp.down_proj", vec![hidden, ffn]));
        shapes.push(("input_layernorm", vec![hidden]));
        shapes.push(("post_attention_layernorm", vec![hidden]));
        tensors.extend(shapes.into_iter().map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape)));
    }
    let (mut header, mut at) = (serde_json::Map::new(), 0usize);
    for (name, shape) in tensors {
        let bytes = 2 * shape.iter().product::<usize>();
        header.insert(name, json!({"dtype": "BF16", "shape": shape, "data_offsets": [at, at + bytes]}));
        at += bytes;
    }
    let mut header = Value::from(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = File::create(model.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + at) as u64).unwrap();
    assert!(at > layers * 130_000_000);
    model
}

fn quantize(model: &Path, to: &str, output: &Path) -> Command {
    let mut command = Command::new(PLANISH);
    command.arg("quantize").arg(model).args(["--to", to, "--json", "-o"]).arg(output);
    command
}

fn names(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn memory_does_not_grow_with_the_model_and_a_killed_run_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let model = sparse_checkpoint(dir.path(), 16);
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let file = out.join("big.gguf");

    let mut victim = quantize(&model, "q4_k_m", &file).stdout(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while names(&out).is_empty() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(50));
    victim.kill().unwrap();
    let status = victim.wait().unwrap();
    assert!(!status.success(), "it was killed before it was done");
    assert!(!file.exists(), "{:?}", names(&out));
    assert!(!names(&out).is_empty(), "it was killed while writing");

    let done = quantize(&model, "q4_k_m", &file).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(names(&out), ["big.gguf"], "the killed run's rest is gone");
    let peak = done["peak_anon_bytes"].as_u64().unwrap();
    println!("peak of anonymous memory: {peak} bytes");
    assert!(peak < 300_000_000, "{peak}");
}

#[test]
fn a_termination_request_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let model = sparse_checkpoint(dir.path(), 16);
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let run =
        quantize(&model, "q4_k_m", &out.join("big.gguf")).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while names(&out).is_empty() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let killed = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let run = run.wait_with_output().unwrap();
    assert_eq!(run.status.code(), Some(75), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(names(&out).is_empty(), "{:?}", names(&out));
}

/// Starts a conversion back to a folder and waits until it writes weights.
fn restoring(file: &Path, output: &Path) -> std::process::Child {
    let mut command = Command::new(PLANISH);
    command.args(["convert", "--to", "hf", "--threads", "1", "-o"]).arg(output).arg(file);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut weights = output.as_os_str().to_owned();
    weights.push(".partial/model.safetensors.partial");
    let (weights, start) = (PathBuf::from(weights), Instant::now());
    while !weights.exists() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn a_folder_appears_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let model = sparse_checkpoint(dir.path(), 4);
    let (file, out) = (dir.path().join("zero.gguf"), dir.path().join("out"));
    std::fs::create_dir(&out).unwrap();
    let made = quantize(&model, "q8_0", &file).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let folder = out.join("model");

    let interrupted = restoring(&file, &folder);
    assert!(Command::new("kill").args(["-TERM", &interrupted.id().to_string()]).status().unwrap().success());
    let interrupted = interrupted.wait_with_output().unwrap();
    assert_eq!(interrupted.status.code(), Some(75), "{}", String::from_utf8_lossy(&interrupted.stderr));
    assert!(names(&out).is_empty(), "{:?}", names(&out));

    // While one run writes, another keeps away.
    let first = restoring(&file, &folder);
    let second = restoring(&file, &folder).wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(74), "{}", String::from_utf8_lossy(&second.stderr));
    let first = first.wait_with_output().unwrap();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(names(&out), ["model"]);
    std::fs::remove_dir_all(&folder).unwrap();

    let mut victim = restoring(&file, &folder);
    victim.kill().unwrap();
    assert!(!victim.wait().unwrap().success(), "it was killed before it was done");
    assert_eq!(names(&out), ["model.partial"], "it was killed while writing");
    let again = restoring(&file, &folder).wait_with_output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(names(&out), ["model"], "the killed run's rest is gone");
    let mut files = names(&folder);
    files.sort();
    let expected =
        ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(files, expected);
}

/// Mounting needs rights that not every machine gives; there the test says that it was skipped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, size: &str) -> Option<SmallDisk> {
        std::fs::create_dir(&at).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at).status();
        mount.is_ok_and(|status| status.success()).then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_said_before_and_during_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama");
    let Some(disk) = SmallDisk::mount(dir.path().join("disk"), "1m") else {
        println!("skipped: cannot mount a tmpfs here");
        return;
    };
    let out = disk.0.join("tiny.gguf");
    let run = quantize(&tiny, "q4_k_m", &out).output().unwrap();
    let message = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(74), "{message}");
    assert!(message.contains("bytes are needed and") && message.contains("hint:"), "{message}");
    assert!(names(&disk.0).is_empty());
}
