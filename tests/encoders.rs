//! Encoders from the outside: masked tokens, vectors, and layers that share their weights.

#[path = "support/command.rs"]
mod command;
#[path = "support/lettered.rs"]
mod lettered;
#[path = "support/schema.rs"]
mod schema;

use std::path::{Path, PathBuf};

use command::{planish, text};
use lettered::lettered;
use serde_json::Value;

/// A tiny model with a tokenizer, and a text in its letters.
fn tiny(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let (model, corpus) = (dir.join(name), dir.join("corpus.txt"));
    lettered(&root.join("golden-logits").join(name), &model);
    let prose = std::fs::read_to_string(root.join("tiny-llama/heldout.txt")).expect("a text");
    let letters: String = prose.chars().filter(|c| matches!(c, '\n' | ' '..='}')).take(4000).collect();
    std::fs::write(&corpus, letters).expect("written");
    (model, corpus)
}

/// The report of `candidate`, which holds the schema.
fn verified(reference: &Path, candidate: &Path, corpus: &Path) -> Value {
    let args = ["verify", text(reference), text(candidate), "--text", text(corpus), "--ctx", "32", "--json"];
    let out = planish(&args);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).expect("a report");
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(schema).expect("a schema")).expect("JSON");
    assert_eq!(schema::violations(&schema, &report), Vec::<String>::new());
    report
}

fn packed(model: &Path, target: &str) -> PathBuf {
    let folder = model.with_extension(target);
    let out = planish(&["quantize", text(model), "--to", target, "--group-size", "32", "-o", text(&folder)]);
    assert!(out.status.success(), "{target}: {}", String::from_utf8_lossy(&out.stderr));
    folder
}

#[test]
fn masked_tokens_drift_by_bits() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["bert-masked", "bert-published", "roberta-masked", "distilbert-masked", "albert-masked"] {
        let (model, corpus) = tiny(dir.path(), name);
        let same = verified(&model, &model, &corpus);
        let kld = |report: &Value| report["metrics"]["kld"]["mean"].as_f64().expect("a mean");
        assert_eq!((kld(&same), same["metrics"]["kld"]["max"].as_f64()), (0.0, Some(0.0)), "{name}");
        assert_eq!(same["metrics"]["top1"], 1.0, "{name}");
        assert_eq!(same["protocol"]["name"], "masked", "{name}");
        let (tokens, sequences) = (&same["metrics"]["tokens"], &same["protocol"]["sequences"]);
        let [tokens, sequences] = [tokens, sequences].map(|number| number.as_u64().expect("a number"));
        // A seventh of 32 is 4 or 5.
        assert!(sequences > 100 && (4 * sequences..5 * sequences).contains(&tokens), "{name}: {tokens} {sequences}");
        let drifts =
            ["w8a16", "w4a16", "gptq-int2"].map(|target| kld(&verified(&model, &packed(&model, target), &corpus)));
        println!("{name:18} {drifts:?}");
        assert!(drifts[0] > 0.0 && drifts.is_sorted_by(|a, b| a < b), "{name}: {drifts:?}");
    }
}

#[test]
fn masks_stand_where_nothing_else_can() {
    let dir = tempfile::tempdir().expect("a folder");
    let (model, corpus) = tiny(dir.path(), "bert-masked");
    let args = ["verify", text(&model), text(&model), "--text", text(&corpus), "--ctx", "32"];
    for more in [&["--full"][..], &["--stride", "8"]] {
        let out = planish(&[&args[..], more].concat());
        assert_eq!(out.status.code(), Some(4), "{more:?}");
    }
    std::fs::remove_file(model.join("tokenizer_config.json")).expect("removed");
    let out = planish(&args);
    let message = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(4) && message.contains("mask_token"), "{message}");
}

#[test]
fn vectors_are_gated_by_their_cosines() {
    let dir = tempfile::tempdir().expect("a folder");
    let (model, corpus) = tiny(dir.path(), "bert");
    let release = dir.path().join("small.gguf");
    assert!(planish(&["quantize", text(&model), "--to", "q4_0", "-o", text(&release)]).status.success());
    let report = verified(&model, &release, &corpus);
    let embeddings = &report["embeddings"];
    let number = |name: &str| embeddings[name].as_f64().expect("a number");
    assert!(number("min") < number("p1") && number("p1") < number("median") && number("mean") < 1.0, "{embeddings}");
    assert_eq!((&report["metrics"], &embeddings["pooling"]), (&Value::Null, &"mean".into()));
    let worst = embeddings["worst"].as_array().expect("a list");
    assert_eq!((worst.len(), &worst[0]["cosine"]), (20, &embeddings["min"]));

    let same = verified(&model, &model, &corpus);
    for name in ["mean", "median", "p10", "p5", "p1", "min"] {
        assert_eq!(same["embeddings"][name], 1.0, "{name}");
    }
    assert!(same["layers"].as_array().expect("layers").iter().all(|layer| layer["relative_error"] == 0.0));

    let args = ["verify", text(&model), text(&release), "--text", text(&corpus), "--ctx", "32"];
    let judged = |gate: &[&str]| planish(&[&args[..], gate].concat()).status.code();
    assert_eq!(judged(&["--min-cosine", "0.5"]), Some(0));
    assert_eq!(judged(&["--min-cosine", "0.99999"]), Some(1));
    assert_eq!(judged(&["--gate", "cosine.mean>=0.99999"]), Some(1));
    assert_eq!(judged(&["--gate", "kld.mean<=1"]), Some(1), "nothing of the kind was measured");
    assert_eq!(judged(&["--min-cosine", "2"]), Some(2));

    // The same release is no worse than itself; a coarser one is.
    let baseline = dir.path().join("baseline.json");
    let out = planish(&[&args[..], &["--json"]].concat());
    std::fs::write(&baseline, out.stdout).expect("written");
    assert_eq!(judged(&["--baseline", text(&baseline)]), Some(0));
    let coarse = dir.path().join("coarse.gguf");
    assert!(planish(&["quantize", text(&model), "--to", "q2_k", "--pure", "-o", text(&coarse)]).status.success());
    let html = dir.path().join("page.html");
    let args = ["verify", text(&model), text(&coarse), "--text", text(&corpus), "--ctx", "32", "--html", text(&html)];
    let baseline = ["--baseline", text(&baseline), "--worse", "cosine.min=0"];
    let code = planish(&[&args[..], &baseline].concat()).status.code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
    let page = std::fs::read_to_string(html).expect("a page");
    assert!(page.contains("Worst texts") && page.contains("Cosine mean"));
}

#[test]
fn a_gguf_of_any_family_is_held_against_its_checkpoint() {
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["bert", "bert-masked", "bert-published", "roberta", "xlmr-masked", "distilbert"] {
        let (model, corpus) = tiny(dir.path(), name);
        let release = dir.path().join(format!("{name}.gguf"));
        let out = planish(&["convert", text(&model), "--to", "f32", "-o", text(&release)]);
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        let dropped = String::from_utf8_lossy(&out.stderr).contains("not in the GGUF");
        // Poolers and heads; this one has neither.
        assert_eq!(dropped, name != "distilbert", "{name}");
        let report = verified(&model, &release, &corpus);
        assert_eq!(report["embeddings"]["min"], 1.0, "{name}");
        let folder = dir.path().join(format!("{name}-back"));
        let out = planish(&["convert", text(&release), "--to", "hf", "-o", text(&folder)]);
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(verified(&model, &folder, &corpus)["embeddings"]["min"], 1.0, "{name}");
    }
}

#[test]
fn pooling_goes_to_the_gguf_and_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let (model, corpus) = tiny(dir.path(), "bert");
    let modules = r#"[{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "1_Pooling"}]"#;
    std::fs::write(model.join("modules.json"), modules).expect("written");
    std::fs::create_dir(model.join("1_Pooling")).expect("made");
    std::fs::write(model.join("1_Pooling/config.json"), r#"{"pooling_mode_cls_token": true}"#).expect("written");
    let (release, back) = (dir.path().join("cls.gguf"), dir.path().join("back"));
    assert!(planish(&["convert", text(&model), "--to", "f32", "-o", text(&release)]).status.success());
    assert!(planish(&["convert", text(&release), "--to", "hf", "-o", text(&back)]).status.success());
    for candidate in [&release, &back, &packed(&model, "w8a16")] {
        assert_eq!(verified(&model, candidate, &corpus)["embeddings"]["pooling"], "cls", "{}", candidate.display());
    }
    // Another way of pooling is another model; one that nobody has is refused.
    std::fs::write(back.join("1_Pooling/config.json"), r#"{"pooling_mode": "lasttoken"}"#).expect("written");
    let args = ["verify", text(&model), text(&back), "--text", text(&corpus), "--ctx", "32"];
    assert_eq!(planish(&args).status.code(), Some(5));
    std::fs::write(model.join("1_Pooling/config.json"), r#"{"pooling_mode_max_tokens": true}"#).expect("written");
    let out = planish(&["plan", text(&model), "--to", "q8_0"]);
    assert_eq!(out.status.code(), Some(4), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn shared_layers_are_written_once_and_measured_over_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let (model, corpus) = tiny(dir.path(), "albert-masked");
    let folder = packed(&model, "w8a16");
    let packed = planish_formats::open(&folder.join("model.safetensors")).expect("weights");
    let of = |ends: &str| packed.infos().iter().filter(|info| info.name.ends_with(ends)).count();
    // One layer's six matrices, whatever its repetitions.
    assert_eq!((of("weight_packed"), of("weight_scale")), (6, 6));

    let matrix = dir.path().join("imatrix.gguf");
    let args =
        ["calibrate", text(&model), "--text", text(&corpus), "--ctx", "32", "--chunks", "5", "-o", text(&matrix)];
    let out = planish(&args);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let file = planish::imatrix::Imatrix::read(&matrix).expect("an importance matrix");
    let counts = file.entries["blk.0.attn_q.weight"].counts();
    // Three layers are one layer three times.
    assert_eq!(counts, [3 * 5 * 32]);

    let gguf = planish(&["quantize", text(&model), "--to", "q8_0", "-o", text(&dir.path().join("a.gguf"))]);
    let message = String::from_utf8_lossy(&gguf.stderr);
    assert!(gguf.status.code() == Some(4) && message.contains("safetensors"), "{message}");
    let output = dir.path().join("method");
    let method = ["--method", "gptq", "--calibrate", text(&corpus), "--calibrate-ctx", "32", "-o", text(&output)];
    let out = planish(&[&["quantize", text(&model), "--to", "w8a16", "--group-size", "32"][..], &method].concat());
    let message = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(4) && message.contains("several layers"), "{message}");
    assert!(!output.exists());
}
