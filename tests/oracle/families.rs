//! The tiny model of every architecture in stock llama.cpp: its GGUF loads, and gives the logits of transformers; so does
//! our own run of the same file.

use std::path::Path;
use std::process::Command;

use planish::checkpoint::{About, Checkpoint, read_json};
use planish::dialect::Tensors;
use planish::model::{Objective, architecture, gguf_keys, release};
use planish::run::executor::{Executor, Input, Settings};
use planish::run::{Scratch, Subject, Weight};
use planish_formats::{Dtype, Info, Storage, gguf, open};
use planish_kernels::{Isa, block};

use crate::lettered::{lettered, models};
use crate::llama::{Model, oracle};

/// How far its logits may be from transformers': it has tables of gelu in F16.
const TOLERANCE: f32 = 1e-2;
/// Models that llama.cpp computes otherwise, and we say so: windows that it ignores, a ramp whose ends it rounds, a rope for
/// long texts in every context as long, and another choice of groups of experts.
const CAVEATS: &[&str] = &["mistral-window", "qwen2-window", "phi3", "gptoss", "phi3-long", "deepseek2"];
/// Models 64 wide whose tied head reads what is scaled by the root of that.
const TIED: &[&str] = &["t5"];
/// Families whose tokens go to experts: where those are close, rounding sends a token to others.
const ROUTED: &[&str] = &["moe", "mixtral", "deepseek"];

/// What a model is run on.
struct Inputs {
    /// Of the encoder, if there is one.
    source: Option<Vec<i32>>,
    ids: Vec<i32>,
}

impl Inputs {
    fn of(folder: &Path) -> Inputs {
        let golden = open(&folder.join("logits.safetensors")).expect("logits");
        let ids = |name: &str| -> Vec<i32> {
            let ids = golden.view(name).expect("ids").bytes.as_chunks::<8>().0.iter();
            ids.map(|id| i64::from_le_bytes(*id) as i32).collect()
        };
        Inputs { source: golden.info("source").map(|_| ids("source")), ids: ids("ids") }
    }

    /// What stock llama.cpp makes of them.
    fn logits(&self, model: &Model, exact: bool) -> Vec<f32> {
        let rows = match &self.source {
            Some(source) => model.pair_logits(source, &self.ids, exact),
            None if exact => model.exact_logits(&self.ids),
            None => model.decode_logits(&self.ids),
        };
        rows.concat()
    }
}

/// Writes every tensor of the folder's GGUF as F32. Gives what the model should say: logits, or an encoder's hidden states.
fn write(folder: &Path, path: &Path) -> Option<(Inputs, Vec<f32>)> {
    let config = read_json(&folder.join("config.json")).expect("config.json");
    let architecture = architecture(&config).expect("an architecture");
    let settings = architecture.config(&config).expect("a configuration");
    let source = Tensors::plain(open(&folder.join("model.safetensors")).expect("weights"));
    let tensors = release(architecture, &settings, source.infos()).ok()?;
    let model = architecture.program(&settings, |name| source.info(name).is_some()).expect("a program");
    let outputs = match model.objective {
        Objective::Causal | Objective::Seq2Seq => "logits",
        Objective::Masked => "hidden",
        Objective::Hidden if settings.encoder.is_some() => "hidden",
        Objective::Hidden => return None,
    };
    let mut kv = gguf_keys(architecture, &settings).expect("keys");
    let name = kv.str("general.architecture").expect("a name").to_owned();
    kv.set("tokenizer.ggml.model", "no_vocab");
    kv.set(format!("{name}.vocab_size"), settings.vocab as u32);
    if let Some(encoder) = &settings.encoder {
        kv.set("tokenizer.ggml.token_type_count", encoder.token_types.max(1) as u32);
    }
    let info = |t: &planish::model::Tensor| Info {
        name: t.name.clone(),
        storage: Storage::Plain(Dtype::F32),
        shape: t.shape.clone(),
    };
    let infos: Vec<Info> = tensors.iter().map(info).collect();
    let sink = gguf::create(path, &kv, &infos, None).expect("a file");
    for (i, (tensor, info)) in tensors.iter().zip(&infos).enumerate() {
        let weight = Weight::new(&source, &tensor.gather, &tensor.shape).expect("a weight");
        let mut values = vec![0.0; weight.rows * weight.cols];
        for (piece, out) in values.chunks_mut(weight.piece_rows * weight.cols).enumerate() {
            let first = piece * weight.piece_rows;
            let rows = first..first + weight.piece_rows;
            weight.read(Isa::Scalar, rows, &mut Scratch::default(), out).expect("values");
        }
        let codec = block::codec(info.storage.name()).expect("a codec");
        let mut bytes = vec![0; info.storage.bytes(&info.shape).expect("whole blocks")];
        codec.encode(Isa::Scalar, &values, *tensor.shape.last().expect("a row"), None, &mut bytes);
        sink.write_at(i, 0, &bytes).expect("written");
    }
    sink.finish().expect("a whole file");
    let golden = open(&folder.join("logits.safetensors")).expect("logits");
    let logits = golden.view(outputs).expect("outputs").bytes.as_chunks::<4>().0.iter();
    Some((Inputs::of(folder), logits.map(|x| f32::from_le_bytes(*x)).collect()))
}

/// The logits, or an encoder's hidden states, of our own run.
fn run(path: &Path, inputs: &Inputs) -> Vec<f32> {
    let checkpoint = Checkpoint::open(path).expect("a GGUF");
    let subject = Subject::of(&checkpoint).expect("a model");
    let unsigned = |ids: &Vec<i32>| -> Vec<u32> { ids.iter().map(|&id| id as u32).collect() };
    let all: Vec<Vec<u32>> = inputs.source.iter().chain([&inputs.ids]).map(unsigned).collect();
    let read: Vec<Input<'_>> = all.iter().map(|ids| Input { ids, tokens: ids.len(), lengths: None }).collect();
    let (ids, source) = (&inputs.ids, &checkpoint.source);
    let mut executor = Executor::over(&subject.model, source, &read, Settings::default()).expect("a run");
    while executor.step().expect("a step").is_some() {}
    let rows: Vec<usize> = (0..ids.len()).collect();
    let Some(head) = executor.head(&rows).expect("a head") else {
        let mut hidden = vec![0.0; ids.len() * executor.width()];
        executor.hidden(0..ids.len(), &mut hidden).expect("hidden states");
        return hidden;
    };
    let tile = head.tile(0..head.vocab(), None).expect("the whole vocabulary");
    let mut logits = vec![];
    head.logits(&tile, 0..ids.len(), &mut logits).expect("logits");
    logits
}

fn gguf_name(path: &Path) -> String {
    let checkpoint = Checkpoint::open(path).expect("a GGUF");
    let About::Gguf(kv) = &checkpoint.about else { panic!("{} is no GGUF", path.display()) };
    kv.str("general.architecture").expect("a name").to_owned()
}

/// The largest; NaN if there is one.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let far = |far: f32, off: f32| if off > far || off.is_nan() { off } else { far };
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, far)
}

#[test]
fn every_family_loads_in_llama_cpp_and_gives_the_logits_of_transformers() {
    let Some(oracle) = oracle() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (mut seen, mut far) = (0, vec![]);
    for folder in models() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let path = dir.path().join(format!("{name}.gguf"));
        let Some((ids, want)) = write(&folder, &path) else { continue };
        let model = match Model::load(oracle, &path) {
            Ok(model) => model,
            Err(why) => {
                far.push(format!("{name}: {why}"));
                continue;
            }
        };
        let bidirectional = gguf_name(&path) == "bert";
        let mut got = if bidirectional { model.hidden(&ids.ids).concat() } else { ids.logits(&model, true) };
        if TIED.contains(&name.as_str()) {
            // It does not scale what such a head reads, and we say so.
            got = got.iter().map(|logit| logit / 8.0).collect();
        }
        assert_eq!(got.len(), want.len(), "{name}");
        let off = distance(&got, &want);
        let ours = distance(&run(&path, &ids), &want);
        println!("{name:24} llama.cpp {off:.2e} planish {ours:.2e}");
        if ours.is_nan() || ours > 1e-3 {
            far.push(format!("{name}: our run of the GGUF is off by {ours}"));
        }
        if CAVEATS.contains(&name.as_str()) {
            continue;
        }
        if off.is_nan() || off > TOLERANCE {
            far.push(format!("{name}: off by {off}"));
        }
        seen += 1;
    }
    assert!(far.is_empty(), "{far:#?}");
    assert!(seen >= 25, "only {seen} models");
}

#[test]
fn every_family_loads_quantized() {
    let Some(oracle) = oracle() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (mut seen, mut wrong) = (0, vec![]);
    for folder in models() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        // The folder names the model, and llama.cpp asks more of the vocabulary of one that is called phi3.
        let (model, path) = (dir.path().join(&name).join("tiny"), dir.path().join(format!("{name}.gguf")));
        lettered(&folder, &model);
        let made = Command::new(env!("CARGO_BIN_EXE_planish"))
            .args(["quantize".as_ref(), model.as_os_str(), "--to".as_ref(), "q4_k_m".as_ref(), "-o".as_ref()])
            .arg(&path)
            .output()
            .expect("the command starts");
        if made.status.code() == Some(4) {
            println!("{name:24} {}", String::from_utf8_lossy(&made.stderr).lines().next().unwrap_or_default());
            continue;
        }
        assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
        let golden = open(&folder.join("logits.safetensors")).expect("logits");
        let ids = Inputs::of(&folder);
        let stock = match Model::load(oracle, &path) {
            Ok(stock) => stock,
            Err(why) => {
                wrong.push(format!("{name}: {why}"));
                continue;
            }
        };
        seen += 1;
        if golden.info("logits").is_none() && gguf_name(&path) != "bert" {
            continue;
        }
        // Of the same file: what is left is that it rounds activations.
        let bidirectional = gguf_name(&path) == "bert";
        let ours = run(&path, &ids);
        let mut got = if bidirectional { stock.hidden(&ids.ids).concat() } else { ids.logits(&stock, false) };
        if TIED.contains(&name.as_str()) {
            got = got.iter().map(|logit| logit / 8.0).collect();
        }
        let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x * x)).sum::<f64>();
        let off = squares(&mut got.iter().zip(&ours).map(|(a, b)| a - b)) / squares(&mut ours.iter().copied());
        println!("{name:24} {:.4}", off.sqrt());
        let most = if ROUTED.iter().any(|family| name.contains(family)) { 0.5 } else { 0.05 };
        if off.sqrt() > most && !CAVEATS.contains(&name.as_str()) {
            wrong.push(format!("{name}: off by {} of the whole", off.sqrt()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen >= 36, "only {seen} models");
}

#[test]
fn long_texts_turn_by_the_table_for_them() {
    let Some(oracle) = oracle() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.gguf");
    let folder = models().into_iter().find(|folder| folder.ends_with("phi3-long")).expect("a model with LongRoPE");
    let (ids, _) = write(&folder, &path).expect("a GGUF");
    // The short table is for 32 tokens.
    let ids = Inputs { source: None, ids: [&ids.ids[..], &ids.ids].concat() };
    let model = Model::load(oracle, &path).expect("it loads");
    let off = distance(&ids.logits(&model, true), &run(&path, &ids));
    assert!(off <= TOLERANCE, "off by {off}");
}
