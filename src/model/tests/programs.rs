//! Registry, width check, groups, and what a checkpoint's list of tensors may be.

use planish_formats::{Dtype, Info, Storage};

use super::super::{
    ARCHITECTURES, Carry, Caveat, Error, Gather, Group, Mask, Model, Op, Param, Role, Scribe, Turn, architecture,
    groups, paired_row, release, widths,
};
use super::installed::{installed, shared};
use super::{Case, Tensors, case, cases, listed, object, root, stem};

fn named(name: &str) -> Case {
    case(&root().join("fixtures/golden-logits").join(name))
}

fn program(case: &Case) -> Model {
    case.architecture.program(&case.config, |name| case.checkpoint.bytes.contains_key(name)).unwrap()
}

#[test]
fn every_file_is_registered_and_every_architecture_has_a_model() {
    for path in listed("src/model/arch") {
        let name = stem(&path);
        assert!(name == "mod" || ARCHITECTURES.iter().any(|a| a.name == name), "{name}.rs is not in ARCHITECTURES");
    }
    for a in ARCHITECTURES {
        assert!(root().join(format!("src/model/arch/{}.rs", a.name)).is_file(), "{}", a.name);
        assert!(cases().any(|case| case.architecture.name == a.name), "{} has no golden logits", a.name);
        assert!(!a.hf.is_empty() && !a.roots.is_empty(), "{}", a.name);
    }
}

#[test]
fn the_readme_has_the_table() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let rows = super::super::support().into_iter().map(|[name, models, gguf]| {
        let gguf = if gguf.is_empty() { "none: safetensors alone".to_owned() } else { format!("`{gguf}`") };
        format!("| `{name}` | {models} | {gguf} |\n")
    });
    let table = format!("| architecture | models | GGUF |\n|---|---|---|\n{}\n", rows.collect::<String>());
    assert!(readme.contains(&table), "README.md lacks\n{table}");
    let rows = super::super::MULTIMODAL.iter().map(|m| format!("| `{}` | {} |", m.name, m.models));
    rows.for_each(|row| assert!(readme.contains(&row), "README.md lacks {row}"));
}

/// Published configurations have keys that the tiny ones have not.
#[test]
fn towers_of_published_models_are_read() {
    let mut seen = 0;
    for (text, ..) in super::configs::PUBLISHED {
        let json = super::parse(text);
        let Some(class) = super::super::multimodal(&json) else { continue };
        let tower = class.tower(&json, |_| true).unwrap_or_else(|e| panic!("{}: {e}", class.name));
        // LLaVA's last layer is not asked.
        let layers = ["23", "27", "32"];
        assert!(layers.contains(&tower.fact("clip.vision.block_count").as_str()), "{}", class.name);
        seen += 1;
    }
    assert!(seen >= 3);
}

#[test]
fn pairs_bring_the_two_halves_of_a_head_together() {
    let rows: Vec<usize> = (0..16).map(|row| paired_row(row, 8)).collect();
    assert_eq!(rows, [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]);
}

#[test]
fn over_gguf_ropes_turn_pairs_where_rows_are_in_pairs() {
    for case in cases() {
        let paired = ["llama", "mixtral", "granite", "minicpm", "cohere", "glm4", "deepseek2", "deepseek3"];
        let paired = paired.contains(&case.architecture.name);
        let model = program(&case).over_gguf();
        let want = if paired { Turn::Pairs } else { Turn::Halves };
        for op in model.stacks.iter().flat_map(|s| &s.layers).flat_map(|l| &l.ops) {
            assert!(!matches!(op, Op::Rope { turn, .. } if *turn != want), "{}", case.name);
        }
        assert!(model.params().all(|(_, p)| p.from == Gather::Whole(p.name.clone())), "{}", case.name);
    }
}

#[test]
fn windows_are_where_the_configuration_puts_them() {
    let masks = |name: &str| -> Vec<Mask> {
        let ops = program(&named(name)).stacks.remove(0).layers.into_iter().flat_map(|l| l.ops);
        ops.filter_map(|op| if let Op::Attend { mask, .. } = op { Some(mask) } else { None }).collect()
    };
    assert_eq!(masks("llama-gqa"), [Mask::Causal; 2]);
    assert_eq!(masks("mistral-window"), [Mask::Window(8); 2]);
    assert_eq!(masks("qwen2-window"), [Mask::Causal, Mask::Window(6)]);
}

#[test]
fn caveats_say_where_llama_cpp_departs() {
    let caveats = |name: &str| {
        let case = named(name);
        case.architecture.caveats(&case.config)
    };
    assert_eq!(caveats("llama-gqa"), []);
    assert_eq!(caveats("mistral-window"), [Caveat::Window { tokens: 8 }]);
    assert_eq!(caveats("phi3-long"), [Caveat::LongRope { tokens: 32 }]);
    assert_eq!(caveats("llama-rope-dynamic"), [Caveat::DynamicRope { tokens: 64 }]);
}

/// A group as `weights <- absorber[rows]`.
fn line(group: &Group) -> String {
    let weights: Vec<&str> = group.weights.iter().map(|w| w.role.gguf()).collect();
    let absorb = group.absorb.as_ref().map_or("nothing".to_owned(), |a| {
        let bias = if a.bias.is_some() { " with bias" } else { "" };
        format!("{}[{:?}]{bias}", a.weight.role.gguf(), a.rows)
    });
    format!("{} <- {absorb}", weights.join(" "))
}

fn lines(name: &str, layer: usize) -> Vec<String> {
    groups(&program(&named(name)).stacks[0].layers[layer]).iter().map(line).collect()
}

#[test]
fn groups_follow_from_the_program() {
    let grouped = ["attn_q attn_k attn_v <- attn_norm[0..64]", "attn_output <- nothing"];
    let ffn = ["ffn_gate ffn_up <- ffn_norm[0..64]", "ffn_down <- ffn_up[0..96]"];
    assert_eq!(lines("llama-gqa", 1), [grouped, ffn].concat());
    // With as many key heads as query heads the values absorb what attention's output reads.
    assert_eq!(lines("llama-tied", 1)[1], "attn_output <- attn_v[0..64]");
    assert_eq!(lines("llama-biases", 2)[3], "ffn_down <- ffn_up[0..96] with bias");
    // The last third of a fused matrix; nothing passes a gelu.
    let gpt2 = [
        "attn_qkv <- attn_norm[0..64] with bias",
        "attn_output <- attn_qkv[128..192] with bias",
        "ffn_up <- ffn_norm[0..64] with bias",
        "ffn_down <- nothing",
    ];
    assert_eq!(lines("gpt2", 2), gpt2);
    // Latents as the checkpoint's linears read them: those are normed, and values pass to attention's output.
    let layer = &program(&named("deepseek3")).expanded().stacks[0].layers[1];
    let latent = [
        "attn_q_a attn_kv_a_mqa <- attn_norm[0..64]",
        "attn_q_b <- attn_q_a_norm[0..64]",
        "attn_k_b attn_v_b <- attn_kv_a_norm[0..32]",
        "attn_output <- attn_v_b[0..64]",
    ];
    assert_eq!(groups(layer).iter().map(line).collect::<Vec<_>>(), [&latent, &ffn[..]].concat());
    // Norms after the sums: what a layer reads was made in another, and a normed sum is the residual stream as well.
    let (attention, ffn) =
        (["attn_q attn_k attn_v <- nothing", "attn_output <- attn_v[0..64] with bias"], "ffn_up <- nothing");
    assert_eq!(lines("bert", 1), [attention[0], attention[1], ffn, "ffn_down <- nothing"]);
    assert_eq!(lines("albert-groups", 4), lines("bert", 1));
    // A tied head is the embedding: no scale of its columns stays its own.
    assert_eq!(lines("llama-gqa", 3), ["output <- output_norm[0..64]"]);
    assert_eq!(lines("llama-tied", 3), ["token_embd <- nothing"]);
    assert!(lines("llama-base", 3).is_empty());
}

#[test]
fn ops_that_do_not_fit_are_errors() {
    type Write<'a> = &'a dyn Fn(&mut Scribe);
    let refused = |write: Write| {
        let layer = Scribe::layer("l.", Some(0), write);
        match widths(&layer, |carry| (carry == Carry::Hidden).then_some(64)) {
            Err(Error::Width { op, what, .. }) => format!("{op}: {what}"),
            other => panic!("{other:?}"),
        }
    };
    let x = |s: &mut Scribe| s.carried(Carry::Hidden);
    let cases: [(Write, &str); 7] = [
        (&|s| _ = s.carried(Carry::Logits), "0: nothing left Logits"),
        (
            &|s| {
                let x = x(s);
                s.linear(x, Role::AttnQ, "q", [64, 32], false);
            },
            "1: blk.0.attn_q.weight: given width 64, needs 32",
        ),
        (
            &|s| {
                let x = x(s);
                s.rms(x, Role::AttnNorm, "n", 48, 1e-5);
            },
            "1: blk.0.attn_norm.weight: given width 64, needs a multiple of 48",
        ),
        (
            &|s| {
                let x = x(s);
                s.op(Op::Slice { x, per: 0, from: 0, to: 1 });
            },
            "1: a slice: given width 64, needs a multiple of 0",
        ),
        (
            &|s| {
                let x = x(s);
                s.op(Op::Slice { x, per: 32, from: 8, to: 33 });
            },
            "1: a slice takes 8..33 of 32",
        ),
        (
            &|s| {
                let x = x(s);
                let y = s.linear(x, Role::FfnUp, "u", [32, 64], true);
                s.add(x, y);
            },
            "2: the second operand: given width 32, needs 64",
        ),
        (
            &|s| {
                let x = x(s);
                let w = s.weight(Role::AttnQ, "q", &[8, 64]);
                s.op(Op::Linear { x, w, bias: Some(s.bias(Role::AttnQ, "q", 9)) });
            },
            "1: blk.0.attn_q.bias: [9], needs [8]",
        ),
    ];
    for (write, message) in cases {
        assert_eq!(refused(write), message);
    }
}

/// The error of `release` once `change` was made to the tensors of a model.
fn refused(name: &str, change: impl Fn(&mut Vec<Info>)) -> String {
    let mut case = named(name);
    change(&mut case.checkpoint.infos);
    release(case.architecture, &case.config, &case.checkpoint.infos).unwrap_err().to_string()
}

fn tensor(name: &str) -> Info {
    Info { name: name.to_owned(), storage: Storage::Plain(Dtype::F32), shape: vec![4] }
}

#[test]
fn a_checkpoint_must_have_what_config_json_says_and_no_more() {
    let lost = "model.layers.1.mlp.up_proj.weight";
    let message = refused("llama-gqa", |infos| infos.retain(|i| i.name != lost));
    assert_eq!(message, format!("the checkpoint lacks {lost}"));
    let message = refused("llama-gqa", |infos| infos.retain(|i| i.name != "lm_head.weight"));
    assert_eq!(message, "the checkpoint lacks lm_head.weight");
    let message = refused("llama-gqa", Vec::clear);
    assert!(message.ends_with("and 13 more"), "{message}");

    let message = refused("gpt2", |infos| {
        infos.iter_mut().filter(|i| i.name.ends_with("h.0.mlp.c_fc.weight")).for_each(|i| i.shape.reverse());
    });
    assert_eq!(message, "transformer.h.0.mlp.c_fc.weight: shape [256, 64], but config.json makes it [64, 256]");

    let adapter = "model.layers.0.self_attn.q_proj.lora_A.weight";
    let message = refused("llama-gqa", |infos| infos.push(tensor(adapter)));
    assert_eq!(message, format!("the checkpoint has tensors that llama has no use for: {adapter}"));
    // A bias that the configuration does not know of would change the model if it were left out.
    let bias = "model.layers.0.self_attn.o_proj.bias";
    assert!(refused("qwen2", |infos| infos.push(tensor(bias))).ends_with(bias));
}

#[test]
fn constants_that_old_versions_saved_are_no_surprise() {
    let mut case = named("llama-tied");
    case.checkpoint.infos.push(tensor("model.layers.0.self_attn.rotary_emb.inv_freq"));
    case.checkpoint.infos.push(tensor("lm_head.weight"));
    let tensors = release(case.architecture, &case.config, &case.checkpoint.infos).unwrap();
    assert!(tensors.iter().all(|t| t.role != Role::Output));
    // Masks of GPT-2 are in this one's file already.
    let case = named("gpt2-bare");
    assert!(case.checkpoint.bytes.contains_key("h.1.attn.bias"));
    assert!(release(case.architecture, &case.config, &case.checkpoint.infos).is_ok());
}

/// Checkpoints that were not made for these tests.
#[test]
fn checkpoints_at_hand_are_released() {
    let folders = [
        (Some(root().join("fixtures/tiny-llama")), 39),
        (shared("golden/tiny_llama"), 21),
        (installed("smollm2"), 272),
    ];
    for (folder, count) in folders {
        let Some(folder) = folder else { continue };
        let json = object(&folder.join("config.json"));
        let architecture = architecture(&json).unwrap();
        let config = architecture.config(&json).unwrap();
        let infos = Tensors::read(&folder.join("model.safetensors")).infos;
        let tensors = release(architecture, &config, &infos).unwrap();
        assert_eq!(tensors.len(), count, "{}", folder.display());
        assert!(tensors.iter().all(|t| t.shape.len() == 1 || !t.keep_f32));
    }
}

#[test]
fn no_two_parameters_share_a_name_unless_they_are_one() {
    for case in cases() {
        let model = program(&case);
        let params: Vec<&Param> = model.params().map(|(_, p)| p).collect();
        for (i, p) in params.iter().enumerate() {
            assert!(params[..i].iter().all(|q| q.name != p.name || q == p), "{}: {}", case.name, p.name);
        }
    }
}
