//! Checkpoints that other tools wrote, against what an independent decoder and the tools' own loaders make of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use planish::checkpoint::read_json;
use planish::dialect::Tensors;
use planish::model::Gather;
use planish::run::{Scratch, Weight};
use planish_kernels::Isa;
use sha2::{Digest, Sha256};

use super::support::installed::root;

/// One weight of `fixtures/golden/dialects.txt`.
struct Golden {
    tensor: String,
    shape: Vec<usize>,
    /// Of the exact weight in f32.
    full: String,
    /// `bf16:HASH`: of the weight that the tool's loader computes with.
    half: Option<(String, String)>,
}

fn golden() -> BTreeMap<String, Vec<Golden>> {
    let text = std::fs::read_to_string(root().join("fixtures/golden/dialects.txt")).expect("golden weights");
    let mut samples: BTreeMap<String, Vec<Golden>> = BTreeMap::new();
    for line in text.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let [sample, tensor, shape, full, half] = parts[..] else { panic!("{line}") };
        let shape = shape.split('x').map(|n| n.parse().expect("a size")).collect();
        let half = half.split_once(':').map(|(kind, hash)| (kind.to_owned(), hash.to_owned()));
        let golden = Golden { tensor: tensor.to_owned(), shape, full: full.to_owned(), half };
        samples.entry(sample.to_owned()).or_default().push(golden);
    }
    samples
}

/// The folder of the samples, or nothing, which is told.
fn samples() -> Option<PathBuf> {
    let folder = root().join("../shared/golden");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: {} is not there", folder.display());
    None
}

pub(crate) fn open(folder: &Path) -> Tensors {
    let source = planish_formats::open(folder).expect("a container");
    Tensors::open(source, &read_json(&folder.join("config.json")).expect("config.json"))
        .unwrap_or_else(|unread| panic!("{}: {}", folder.display(), unread.error))
}

/// All of a weight, in bands of `band` rows.
pub(crate) fn values(tensors: &Tensors, gather: &Gather, shape: &[usize], band: usize) -> Vec<f32> {
    let weight = Weight::new(tensors, gather, shape).expect("a weight");
    let (mut scratch, mut out) = (Scratch::default(), vec![0.0; weight.rows * weight.cols]);
    for piece in (0..weight.rows).step_by(weight.piece_rows) {
        for first in (piece..piece + weight.piece_rows).step_by(band) {
            let rows = first..(piece + weight.piece_rows).min(first + band);
            let part = &mut out[rows.start * weight.cols..rows.end * weight.cols];
            weight.read(Isa::Scalar, rows, &mut scratch, part).expect("rows");
        }
    }
    out
}

fn hash(bytes: impl Iterator<Item = u8>) -> String {
    let bytes: Vec<u8> = bytes.collect();
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn weights_are_the_tools() {
    let Some(folder) = samples() else { return };
    let mut count = 0;
    for (sample, weights) in golden() {
        let tensors = open(&folder.join(&sample));
        let quantized = tensors.quantized();
        assert_eq!(quantized, weights.len(), "{sample}: packed weights");
        for golden in weights {
            let gather = Gather::Whole(golden.tensor.clone());
            let info = tensors.info(&golden.tensor).unwrap_or_else(|| panic!("{sample}: no {}", golden.tensor));
            assert_eq!(info.shape, golden.shape, "{sample}: {}", golden.tensor);
            // Odd bands lie across words, groups and blocks.
            let values = values(&tensors, &gather, &info.shape, 37);
            let full = hash(values.iter().flat_map(|x| x.to_le_bytes()));
            assert_eq!(full, golden.full, "{sample}: {} as {}", golden.tensor, info.storage.name());
            if let Some((kind, expected)) = golden.half {
                let half = match kind.as_str() {
                    "bf16" => hash(values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes())),
                    "f16" => hash(values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes())),
                    other => panic!("{other}"),
                };
                assert_eq!(half, expected, "{sample}: {} in {kind}", golden.tensor);
                count += 1;
            }
        }
    }
    assert!(count >= 100, "only {count} weights of loaders");
}

/// Each sample beside what it was made from.
#[test]
fn verify_runs_on_every_sample() {
    let Some(folder) = samples() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let text = root().join("fixtures/tiny-llama/heldout.txt");
    let names: std::collections::BTreeSet<String> = golden().into_keys().collect();
    assert!(names.len() >= 25, "{names:?}");
    for name in names {
        let source = match name.as_str() {
            moe if moe.contains("moe") => "tiny_qwen3moe",
            oss if oss.contains("gptoss") => "tiny_gptoss_bf16",
            _ => "tiny_llama",
        };
        let [reference, candidate] = [source, &name].map(|part| with_tokenizer(&folder, part, dir.path()));
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_planish"))
            .arg("verify")
            .args([&reference, &candidate])
            .arg("--text")
            .arg(&text)
            .args(["--chunks", "2", "--ctx", "64", "--json"])
            .output()
            .expect("the command starts");
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        let report: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let drift = report["metrics"]["kld"]["mean"].as_f64().expect("a mean");
        // Two bits cost 0.07 here.
        assert!(drift > 0.0 && drift < 0.2, "{name}: {drift}");
    }
}

/// The folder of a sample, or a copy that has a tokenizer where it has none.
fn with_tokenizer(folder: &Path, name: &str, dir: &Path) -> PathBuf {
    const FILES: [&str; 2] = ["tokenizer.json", "tokenizer_config.json"];
    let (sample, copy) = (folder.join(name), dir.join(name));
    if sample.join(FILES[0]).exists() || copy.exists() {
        return if copy.exists() { copy } else { sample };
    }
    std::fs::create_dir(&copy).expect("a folder");
    for file in std::fs::read_dir(&sample).expect("a sample") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), copy.join(file.file_name())).expect("a copy");
    }
    for file in FILES {
        std::fs::copy(folder.join("tiny_llama").join(file), copy.join(file)).expect("a copy");
    }
    copy
}
