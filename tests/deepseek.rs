//! DeepSeek-V3: FP8 in blocks read through the dialect, multi-token prediction, and a checkpoint of 671 billion weights.

#[path = "support/lettered.rs"]
mod lettered;
#[path = "support/deepseek.rs"]
mod made;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use planish::checkpoint::read_json;
use planish::dialect::Tensors;
use planish::model::{architecture, release};
use planish::run::{Scratch, Weight};
use planish_formats::{Dtype, Info, Storage, safetensors};
use planish_kernels::Isa;
use serde_json::Value;
use support::installed::{installed, root};

/// Runs the command; its output and the most memory it had, page cache of mapped files included, bytes.
fn run(args: &[&str], paths: &[&Path]) -> (Output, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_planish"));
    let child = command.args(args).args(paths).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("the command starts");
    let status = format!("/proc/{}/status", child.id());
    let watch = std::thread::spawn(move || {
        let mut peak = 0;
        // The high-water mark, until the process is a zombie, whose status has none.
        while let Ok(text) = std::fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let Some(kib) = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()) else {
                break;
            };
            peak = kib * 1024;
            std::thread::sleep(Duration::from_millis(2));
        }
        peak
    });
    let out = child.wait_with_output().expect("the command ends");
    (out, watch.join().expect("a peak"))
}

fn json(out: &Output) -> Value {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("JSON")
}

/// All elements, in bands of so many rows of a piece.
fn values(tensors: &Tensors, tensor: &planish::model::Tensor, band: usize) -> Vec<f32> {
    let weight = Weight::new(tensors, &tensor.gather, &tensor.shape).expect("a weight");
    let (mut out, mut scratch) = (vec![0.0; weight.rows * weight.cols], Scratch::default());
    for piece in (0..weight.rows).step_by(weight.piece_rows) {
        let end = piece + weight.piece_rows;
        for row in (piece..end).step_by(band) {
            let rows = row..end.min(row + band);
            let out = &mut out[rows.start * weight.cols..rows.end * weight.cols];
            weight.read(Isa::Scalar, rows, &mut scratch, out).expect("values");
        }
    }
    out
}

/// E4M3 by its definition.
fn e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7) / 8.0);
    let size = if exponent == 0 { mantissa * 2f32.powi(-6) } else { (1.0 + mantissa) * 2f32.powi(exponent - 7) };
    if code & 128 == 0 { size } else { -size }
}

/// A small checkpoint whose linears are FP8 in blocks of this size, and the same multiplied out.
fn twins(folder: &Path, block: [usize; 2]) -> [Tensors; 2] {
    let root = root().join("fixtures/golden-logits/deepseek3");
    let source = planish_formats::open(&root.join("model.safetensors")).expect("weights");
    let mut files: [(Vec<Info>, Vec<Vec<u8>>); 2] = [(vec![], vec![]), (vec![], vec![])];
    let mut put = |file: usize, name: &str, dtype, shape: &[usize], bytes: Vec<u8>| {
        files[file].0.push(Info { name: name.to_owned(), storage: Storage::Plain(dtype), shape: shape.to_vec() });
        files[file].1.push(bytes);
    };
    let le = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|x| x.to_le_bytes()).collect() };
    for (at, info) in source.infos().iter().enumerate() {
        let bytes = source.view(&info.name).expect("a tensor").bytes;
        let (Storage::Plain(dtype), [rows, cols]) = (info.storage, [info.shape[0], *info.shape.last().expect("a row")])
        else {
            panic!("{}", info.name)
        };
        if !info.name.contains("proj") {
            (0..2).for_each(|file| put(file, &info.name, dtype, &info.shape, bytes.to_vec()));
            continue;
        }
        // Any codes but those of NaN.
        let codes: Vec<u8> = (0..rows * cols).map(|i| (i * 167 + at * 31 + i / cols * 5) as u8).collect();
        let codes: Vec<u8> = codes.into_iter().map(|code| if code & 127 == 127 { code - 1 } else { code }).collect();
        let across = cols.div_ceil(block[1]);
        let scales: Vec<f32> = (0..rows.div_ceil(block[0]) * across).map(|i| 0.001 * (1 + i + at) as f32).collect();
        let scale = |i: usize| scales[i / cols / block[0] * across + i % cols / block[1]];
        let out: Vec<f32> = codes.iter().enumerate().map(|(i, code)| e4m3(*code) * scale(i)).collect();
        let (name, shape) = (format!("{}_scale_inv", info.name), [rows.div_ceil(block[0]), across]);
        put(0, &name, Dtype::F32, &shape, le(&scales));
        put(0, &info.name, Dtype::F8_E4M3, &info.shape, codes);
        put(1, &info.name, Dtype::F32, &info.shape, le(&out));
    }
    let mut config = read_json(&root.join("config.json")).expect("config.json");
    let quantization = serde_json::json!({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": block});
    let mut file = 0;
    files.map(|(infos, data)| {
        let path = folder.join(format!("{file}.safetensors"));
        write(&path, &infos, &data);
        config.remove("quantization_config");
        if file == 0 {
            config.insert("quantization_config".to_owned(), quantization.clone());
        }
        file += 1;
        let opened = Tensors::open(planish_formats::open(&path).expect("weights"), &config);
        opened.unwrap_or_else(|unread| panic!("{}", unread.error))
    })
}

#[test]
fn fp8_in_blocks_is_its_own_twin_multiplied_out() {
    let config = read_json(&root().join("fixtures/golden-logits/deepseek3/config.json")).expect("config.json");
    let architecture = architecture(&config).expect("an architecture");
    let settings = architecture.config(&config).expect("a configuration");
    // DeepSeek's blocks, of which these matrices cut the last, and some that lie across heads and columns.
    for block in [[128, 128], [40, 24]] {
        let dir = tempfile::tempdir().expect("a folder");
        let [packed, plain] = twins(dir.path(), block);
        let mut quantized = vec![];
        for tensor in release(architecture, &settings, packed.infos()).expect("tensors") {
            let weight = Weight::new(&packed, &tensor.gather, &tensor.shape).expect("a weight");
            let want = values(&plain, &tensor, weight.piece_rows);
            for band in [1, 3, weight.step, weight.piece_rows] {
                assert_eq!(values(&packed, &tensor, band), want, "{} in bands of {band}", tensor.name);
            }
            quantized.extend(weight.storage().quantized().then_some(tensor.name));
        }
        assert_eq!(quantized.len(), 21, "{quantized:?}");
        assert!(quantized.contains(&"blk.1.attn_k_b.weight".to_owned()));
    }
}

/// The small model with a tokenizer, and a layer after its last that predicts the token after the next.
fn with_ahead(dir: &Path) -> PathBuf {
    let (from, to) = (root().join("fixtures/golden-logits/deepseek3-yarn"), dir.join("model"));
    lettered::lettered(&from, &to);
    let source = planish_formats::open(&from.join("model.safetensors")).expect("weights");
    let mut infos: Vec<Info> = source.infos().to_vec();
    let mut data: Vec<Vec<u8>> =
        infos.iter().map(|info| source.view(&info.name).expect("a tensor").bytes.to_vec()).collect();
    let mut more = vec![];
    for (info, bytes) in infos.iter().zip(&data) {
        let name = match info.name.as_str() {
            "model.embed_tokens.weight" => "embed_tokens.weight".to_owned(),
            "lm_head.weight" => "shared_head.head.weight".to_owned(),
            "model.norm.weight" => "shared_head.norm.weight".to_owned(),
            name => match name.strip_prefix("model.layers.1.") {
                Some(name) => name.to_owned(),
                None => continue,
            },
        };
        more.push((Info { name: format!("model.layers.2.{name}"), ..info.clone() }, bytes.clone()));
    }
    for (name, shape) in [("eh_proj", vec![64, 128]), ("enorm", vec![64]), ("hnorm", vec![64])] {
        let info = Info { name: format!("model.layers.2.{name}.weight"), storage: Storage::Plain(Dtype::BF16), shape };
        let bytes = info.bytes().expect("a size");
        more.push((info, [0x80, 0x3f].into_iter().cycle().take(bytes).collect()));
    }
    for (info, bytes) in more {
        infos.push(info);
        data.push(bytes);
    }
    drop(source);
    write(&to.join("model.safetensors"), &infos, &data);
    to
}

fn write(path: &Path, infos: &[Info], data: &[Vec<u8>]) {
    let sink = safetensors::create(path, infos, None).expect("a file");
    for (at, bytes) in data.iter().enumerate() {
        sink.write_at(at, 0, bytes).expect("bytes");
    }
    sink.finish().expect("a file");
}

#[test]
fn multi_token_prediction_is_kept_in_folders_and_left_out_of_ggufs_and_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let (source, folder) = (with_ahead(dir.path()), dir.path().join("w4a16"));
    let args = ["quantize", "--to", "w4a16", "--group-size", "32", "--json", "-o"];
    let told = json(&run(&args, &[&folder, &source]).0);
    assert!(told["warnings"].to_string().contains("(MTP), model.layers.2."), "{}", told["warnings"]);
    assert!(told["warnings"].to_string().contains("copied, not quantized"), "{}", told["warnings"]);
    let [before, after] = [&source.join("model.safetensors"), &folder.join("model.safetensors")]
        .map(|path| planish_formats::open(path).expect("weights"));
    let ahead = before.infos().iter().filter(|info| info.name.starts_with("model.layers.2."));
    let mut kept = 0;
    for info in ahead {
        let (a, b) = (before.view(&info.name).expect("a tensor"), after.view(&info.name).expect("the same"));
        assert_eq!((a.bytes, a.info), (b.bytes, b.info), "{}", info.name);
        kept += 1;
    }
    assert_eq!(kept, 44);
    let config = read_json(&folder.join("config.json")).expect("config.json");
    let ignored = config["quantization_config"]["ignore"].to_string();
    for module in ["eh_proj", "self_attn.kv_b_proj", "mlp.shared_experts.up_proj"] {
        assert!(ignored.contains(&format!("\"model.layers.2.{module}\"")), "{ignored}");
    }
    // What GGUF splits is one linear.
    let names = ["weight_packed", "weight_scale", "weight_shape"];
    assert!(names.iter().all(|part| after.view(&format!("model.layers.1.self_attn.kv_b_proj.{part}")).is_ok()));
}

#[test]
fn latents_are_calibrated_rounded_and_scaled() {
    let dir = tempfile::tempdir().expect("a folder");
    let (model, text) = (with_ahead(dir.path()), root().join("fixtures/tiny-llama/heldout.txt"));
    let (model, text) = (model.to_str().expect("UTF-8"), text.to_str().expect("UTF-8"));
    let at = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let command = |args: &[&str]| json(&run(&[args, &["--json"]].concat(), &[]).0);
    let calibration = ["--calibrate", text, "--calibrate-ctx", "64", "--calibrate-chunks", "16"];
    let drift = |made: &str| {
        let report = command(&["verify", model, made, "--text", text, "--ctx", "64", "--chunks", "8"]);
        report["metrics"]["kld"]["mean"].as_f64().expect("a drift")
    };

    // Every weight has its importance, the transposed ones that of the queries that meet them.
    let (imatrix, weighed) = (at("imatrix.gguf"), at("weighed.gguf"));
    command(&["calibrate", model, "--text", text, "--ctx", "64", "--chunks", "8", "-o", &imatrix]);
    let seen = planish::imatrix::Imatrix::read(Path::new(&imatrix)).expect("an importance matrix");
    for (name, channels) in [("attn_k_b", 4 * 32), ("attn_v_b", 4 * 32), ("attn_kv_a_mqa", 64), ("attn_q_b", 64)] {
        assert_eq!(seen.entries[&format!("blk.1.{name}.weight")].sums().len(), channels, "{name}");
    }
    let told = command(&["quantize", model, "--to", "iq4_nl", "--imatrix", &imatrix, "-o", &weighed]);
    assert_eq!(
        (&told["importance"]["missing"], &told["importance"]["unused"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
    assert!(drift(&weighed) < 0.8);

    // Onto the grids of GGUF, and of a folder whose linears the checkpoint has in one and the program in two.
    for (to, more, best) in [("q4_0", &[][..], 0.9), ("w4a16", &["--group-size", "32"][..], 0.6)] {
        let made = ["nearest", "gptq", "awq+gptq"].map(|method| {
            let output = at(&format!("{to}-{}", method.replace('+', "-")));
            let args = ["quantize", model, "--to", to, "--method", method, "-o", &output];
            let told = command(&[&args[..], &calibration[..], more].concat());
            let tensors = told["rounding"]["tensors"].as_array().expect("an account").iter();
            let rounded: Vec<&str> = tensors.filter_map(|tensor| tensor["tensor"].as_str()).collect();
            assert!(["attn_k_b", "attn_v_b"].iter().all(|name| rounded.contains(&&*format!("blk.1.{name}.weight"))));
            if method.starts_with("awq") {
                let scales = told["rounding"]["scales"].as_array().expect("scales").iter();
                let makers: Vec<&str> = scales.filter_map(|scale| scale["maker"].as_str()).collect();
                assert!(makers.contains(&"blk.1.attn_q_a_norm.weight"), "{makers:?}");
                // Only in the checkpoint do all that read the latent have columns that can be scaled.
                assert!(to == "w4a16" || !makers.contains(&"blk.1.attn_kv_a_norm.weight"), "{makers:?}");
            }
            drift(&output)
        });
        println!("{to}: nearest, gptq, awq+gptq drift by {made:.4?}");
        assert!(made[1] < best * made[0] && made[2] < best * made[0], "{to}: {made:?}");
    }
}

/// The published tokenizer if it is installed, else any.
fn tokenizer() -> PathBuf {
    installed("tokenizers/deepseek_v3").unwrap_or_else(|| root().join("fixtures/tiny-llama"))
}

#[test]
fn a_checkpoint_of_671_billion_weights_is_planned_in_little_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("v3");
    let (bytes, count) = made::checkpoint(&folder, 61, 3, &tokenizer());
    assert!(bytes > 680_000_000_000 && count > 90_000, "{bytes} bytes, {count} tensors");
    let start = Instant::now();
    let (out, peak) = run(&["plan", "--to", "q4_k_m", "--json"], &[&folder]);
    let elapsed = start.elapsed();
    let plan = json(&out);
    println!("{count} tensors, {} GB: planned in {elapsed:.2?} with {} MB", bytes / 1_000_000_000, peak >> 20);
    assert_eq!(plan["architecture"], "deepseek2");
    assert_eq!(plan["weights"], 671_026_419_200u64);
    let tensors = plan["tensors"].as_array().expect("tensors");
    assert_eq!(tensors.len(), 1086);
    let of = |name: &str| tensors.iter().find(|tensor| tensor["name"] == name).expect("a tensor");
    assert_eq!(
        (&of("blk.3.attn_k_b.weight")["to"], &of("blk.60.ffn_down_exps.weight")["to"]),
        (&"Q5_0".into(), &"Q6_K".into())
    );
    let warnings = plan["warnings"].to_string();
    assert!(warnings.contains("predict tokens further ahead (MTP), model.layers.61."), "{warnings}");
    assert!(peak > 1 << 20 && peak < 300_000_000, "{peak} bytes");
}

#[test]
#[ignore = "minutes of arithmetic, and 8 GB on the disk"]
fn its_first_layer_of_experts_is_quantized_in_little_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let (folder, output) = (dir.path().join("v3"), dir.path().join("v3.gguf"));
    let (bytes, _) = made::checkpoint(&folder, 2, 1, &tokenizer());
    let (out, peak) = run(&["quantize", "--to", "q4_k_m", "--json", "-o"], &[&output, &folder]);
    let told = json(&out);
    let anon = told["peak_anon_bytes"].as_u64().expect("a peak");
    println!(
        "{} MB of FP8: {} s, {} MB anonymous, {} MB with the page cache",
        bytes >> 20,
        told["seconds"],
        anon >> 20,
        peak >> 20
    );
    assert!(anon > 1 << 20 && anon < 1_500_000_000, "{anon} bytes");
}
