//! The commands from the outside.

use std::path::Path;
use std::process::Command;

use crate::command::{fails, json, text};
use crate::measured::tiny;

#[test]
fn from_text_to_a_weighed_release() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    let (model, heldout) = (tiny(), tiny().join("heldout.txt"));
    let (model, heldout) = (text(&model), text(&heldout));
    let [whole, a, b, merged] = ["whole.gguf", "a.gguf", "b.gguf", "merged.gguf"].map(at);
    let calibrate = |more: &[&str]| json(&[&["calibrate"], more].concat());
    let cut = ["--text", heldout, "--ctx", "64"];
    let run = |more: &[&str]| calibrate(&[&[model], &cut[..], more].concat());
    let made = run(&["--chunks", "5", "-o", text(&whole), "--threads", "2"]);
    assert_eq!(
        (made["weights"].as_u64(), made["chunks"].as_u64(), made["tokens"].as_u64()),
        (Some(28), Some(5), Some(320))
    );
    assert_eq!(made["without"], serde_json::json!(["output.weight"]));
    // In parts, one added to while it is made.
    run(&["--chunks", "2", "-o", text(&a), "--threads", "1", "--save-every", "1"]);
    assert!(!at("a.gguf.journal").exists(), "it is not needed any more");
    run(&["--skip-chunks", "2", "--chunks", "3", "-o", text(&b), "--memory", "1M", "--merge", text(&a)]);
    calibrate(&["--merge", text(&b), "-o", text(&merged)]);
    assert!(std::fs::read(&whole).unwrap() == std::fs::read(&merged).unwrap());
    let output = run(&["--chunks", "1", "--process-output", "-o", text(&at("output.gguf"))]);
    assert_eq!((output["weights"].as_u64(), output["without"].as_array().map(Vec::len)), (Some(29), Some(0)));

    let [weighed, at_once, plain] = ["weighed.gguf", "at-once.gguf", "plain.gguf"].map(at);
    let quantize = |more: &[&str]| json(&[&["quantize", model, "--to", "iq2_m"], more].concat());
    let plan = json(&["plan", model, "--to", "iq2_m", "--imatrix", text(&whole)]);
    let weighed_tensors = plan["tensors"].as_array().unwrap().iter().filter(|t| t["weighed"] == true).count();
    assert_eq!((weighed_tensors, plan["importance"]["weighed"].as_u64()), (28, Some(28)));
    quantize(&["--imatrix", text(&whole), "-o", text(&weighed)]);
    quantize(&["--calibrate", heldout, "--calibrate-ctx", "64", "--calibrate-chunks", "5", "-o", text(&at_once)]);
    json(&["quantize", model, "--to", "q2_k", "-o", text(&plain)]);
    let keys = |path: &Path| json(&["inspect", text(path), "--keys"])["keys"].clone();
    let (by_file, by_text) = (keys(&weighed), keys(&at_once));
    for (key, value) in [("entries_count", "28"), ("chunks_count", "5")] {
        let key = format!("quantize.imatrix.{key}");
        assert_eq!((by_file[&key].as_str(), by_text[&key].as_str()), (Some(value), Some(value)));
    }
    assert!(
        by_file["quantize.imatrix.file"].as_str().unwrap().contains("whole.gguf")
            || by_file["quantize.imatrix.file"].as_str().unwrap().ends_with("...")
    );
    assert!(by_text.get("quantize.imatrix.file").is_none() && by_file.get("quantize.imatrix.dataset").is_some());
    assert!(keys(&plain).get("quantize.imatrix.entries_count").is_none());
    let about = json(&["inspect", text(&whole), "--html", text(&at("heat.html"))]);
    assert_eq!((about["chunks"].as_u64(), about["weights"].as_array().map(Vec::len)), (Some(5), Some(28)));
    assert_eq!(about["weights"][0]["tokens"], serde_json::json!({"least": 320, "most": 320}));
    assert!(std::fs::read_to_string(at("heat.html")).unwrap().contains("<tr><th>blk.3.ffn_up.weight<td><i>"));
    let files = [&weighed, &at_once].map(|path| planish_formats::open(path).expect("a GGUF"));
    assert_eq!(files[0].infos(), files[1].infos());
    for info in files[0].infos() {
        assert!(files[0].view(&info.name).unwrap().bytes == files[1].view(&info.name).unwrap().bytes, "{}", info.name);
    }
}

/// The same inputs under the same names give the same bytes, and the keys say what they were.
#[test]
fn provenance_is_what_sha256sum_says() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    let (model, heldout) = (tiny(), tiny().join("heldout.txt"));
    let cut = ["--calibrate-ctx", "64", "--calibrate-chunks", "1"];
    let quantize = |name: &str, more: &[&str]| {
        let file = at(name);
        let args = [&["quantize", text(&model), "--to", "q4_0", "-o", text(&file)], more].concat();
        json(&args);
        file
    };
    let once = quantize("a.gguf", &[&["--provenance", "--calibrate", text(&heldout)], &cut[..]].concat());
    let again = quantize("b.gguf", &[&["--provenance", "--calibrate", text(&heldout)], &cut[..]].concat());
    assert!(std::fs::read(&once).unwrap() == std::fs::read(&again).unwrap());
    let keys = planish_formats::open(&once).expect("a GGUF");
    let planish_formats::Meta::Gguf(keys) = keys.meta() else { panic!("no keys") };
    assert_eq!(keys.str("planish.version"), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(keys.str("planish.recipe"), Some("q4_0"));
    for (key, file) in [("source", "model.safetensors"), ("calibration", "heldout.txt")] {
        let lines = keys.strings(&format!("planish.{key}.sha256")).expect("hashes");
        let sum = Command::new("sha256sum").arg(model.join(file)).output().expect("coreutils").stdout;
        let sum = String::from_utf8(sum).expect("text");
        assert_eq!(lines, [format!("{}  {file}", &sum[..64])]);
    }
    let plain = planish_formats::open(&quantize("c.gguf", &[])).expect("a GGUF");
    let planish_formats::Meta::Gguf(plain) = plain.meta() else { panic!("no keys") };
    assert!(plain.iter().all(|(key, _)| !key.starts_with("planish.")), "only where it is asked for");
}

#[test]
fn mistakes_are_told_before_any_work() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    let (model, heldout) = (tiny(), tiny().join("heldout.txt"));
    let (model, heldout, out) = (text(&model), text(&heldout), at("out.gguf"));
    let out = text(&out);
    let (status, message) = fails(&["quantize", model, "--to", "iq2_m", "-o", out]);
    assert!(status == 3 && message.contains("needs importance") && message.contains("--calibrate"), "{message}");
    // Types without an encoding that does without, even where mixes let the tensor be.
    let (status, message) = fails(&["quantize", model, "--to", "q4_k_m", "--embedding-type", "iq2_xs", "-o", out]);
    assert!(status == 3 && message.contains("token_embd.weight"), "{message}");
    let (status, message) = fails(&["quantize", model, "--to", "q4_k_m", "--imatrix", heldout, "-o", out]);
    assert!(status == 3 && message.contains("heldout.txt: neither a GGUF"), "{message}");
    let (status, _) = fails(&["quantize", model, "--to", "q4_k_m", "--imatrix", "no-such-file", "-o", out]);
    assert_eq!(status, 74);
    let (status, message) = fails(&["calibrate", model]);
    assert!(status == 2 && message.contains("--text"), "{message}");
    assert_eq!(fails(&["calibrate", "--text", heldout]).0, 2);
    let (status, message) = fails(&["calibrate", model, "--text", heldout, "--skip-chunks", "9999", "-o", out]);
    assert!(status == 3 && message.contains("hint: give longer texts"), "{message}");
    std::fs::write(at("there.gguf"), "precious").unwrap();
    let (status, message) = fails(&["calibrate", model, "--text", heldout, "-o", text(&at("there.gguf"))]);
    assert!(status == 74 && message.contains("exists already"), "{message}");
    assert_eq!(std::fs::read(at("there.gguf")).unwrap(), b"precious");
    assert!(!at("out.gguf").exists());
}
