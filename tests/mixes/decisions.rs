//! What overrides, shapes and names do, on a model of a few tensors.

use planish::plan::{
    Candidate, Choice, Facts, Overrides, Recipe, RecipeError, Why, choose, needs_importance, output_order, recipe,
    require_importance,
};
use planish_formats::{Dtype, GgmlType, Storage};

fn facts() -> Facts {
    Facts { arch: "llama".into(), layers: 16, heads: 8, kv_heads: 4, ..Facts::default() }
}

fn tensor(name: &str, shape: &[usize]) -> Candidate {
    Candidate { name: name.into(), shape: shape.to_vec(), storage: Storage::Plain(Dtype::BF16) }
}

fn model() -> Vec<Candidate> {
    let mut all: Vec<Candidate> =
        ["token_embd", "output"].iter().map(|n| tensor(&format!("{n}.weight"), &[512, 256])).collect();
    for i in 0..16 {
        for name in ["attn_v", "attn_q", "ffn_down"] {
            all.push(tensor(&format!("blk.{i}.{name}.weight"), &[256, 256]));
        }
        all.push(tensor(&format!("blk.{i}.attn_norm.weight"), &[256]));
    }
    all
}

fn of<'a>(tensors: &[Candidate], choices: &'a [Choice], name: &str) -> &'a Choice {
    &choices[tensors.iter().position(|t| t.name == name).expect("a tensor of this name")]
}

/// The types of one class, layer by layer.
fn types(tensors: &[Candidate], choices: &[Choice], class: &str) -> Vec<&'static str> {
    (0..16).map(|i| of(tensors, choices, &format!("blk.{i}.{class}.weight")).ty.name()).collect()
}

fn decide(name: &str, overrides: &Overrides, tensors: &[Candidate]) -> Vec<Choice> {
    choose(&recipe(name).expect("a recipe"), overrides, &facts(), tensors).expect("decides")
}

#[test]
fn reasons_are_told() {
    let tensors = model();
    let choices = decide("q4_k_m", &Overrides::default(), &tensors);
    let why = |name: &str| of(&tensors, &choices, name).why.clone();
    assert_eq!(why("blk.0.attn_norm.weight"), Why::Kept);
    assert_eq!(why("blk.0.attn_q.weight"), Why::Default);
    assert_eq!(why("output.weight"), Why::Rule("output".into()));
    assert_eq!(why("blk.0.attn_v.weight"), Why::Rule("attn_v|attn_qkv|attn_kv_b, layers more_bits".into()));
    assert_eq!(why("blk.0.ffn_down.weight"), Why::Rule("ffn_down, layers more_bits, arch not falcon".into()));
    assert_eq!(of(&tensors, &choices, "blk.0.attn_norm.weight").ty, GgmlType::BF16);
}

#[test]
fn the_order_given_does_not_matter() {
    let tensors = model();
    let expected = decide("q3_k_m", &Overrides::default(), &tensors);
    assert_eq!(types(&tensors, &expected, "attn_v")[..3], ["Q5_K", "Q5_K", "Q4_K"]);
    let reversed: Vec<Candidate> = tensors.iter().rev().cloned().collect();
    let mut choices = decide("q3_k_m", &Overrides::default(), &reversed);
    choices.reverse();
    assert_eq!(choices, expected);
}

#[test]
fn tensors_are_written_by_layer_then_name() {
    let names = [
        "blk.10.a.weight",
        "blk.2.b.weight",
        "blk.2.a.weight",
        "token_embd.weight",
        "v.blk.0.a.weight",
        "blk.x.weight",
        "output.weight",
        "blk.0.a.weight",
    ];
    let sorted: Vec<&str> = output_order(&names).into_iter().map(|i| names[i]).collect();
    let expected = [
        "blk.x.weight",
        "output.weight",
        "token_embd.weight",
        "v.blk.0.a.weight",
        "blk.0.a.weight",
        "blk.2.a.weight",
        "blk.2.b.weight",
        "blk.10.a.weight",
    ];
    assert_eq!(sorted, expected);
}

#[test]
fn an_overridden_tensor_is_not_counted() {
    let tensors = model();
    let overrides =
        Overrides { tensors: vec![Overrides::tensor(r"BLK\.0\..*_V=q8_0").expect("parses")], ..Overrides::default() };
    let choices = decide("q3_k_m", &overrides, &tensors);
    assert_eq!(types(&tensors, &choices, "attn_v")[..4], ["Q8_0", "Q5_K", "Q5_K", "Q4_K"]);
    assert_eq!(of(&tensors, &choices, "blk.0.attn_v.weight").why, Why::Override);
}

#[test]
fn the_first_pattern_wins() {
    let tensors = model();
    let both = ["attn=q8_0", "blk.3=q5_1"].map(|s| Overrides::tensor(s).expect("parses"));
    let choices = decide("q4_k_m", &Overrides { tensors: both.to_vec(), ..Overrides::default() }, &tensors);
    assert_eq!(of(&tensors, &choices, "blk.3.attn_q.weight").ty, GgmlType::Q8_0);
    assert_eq!(of(&tensors, &choices, "blk.3.ffn_down.weight").ty, GgmlType::Q5_1);
    assert_eq!(of(&tensors, &choices, "blk.3.attn_norm.weight").why, Why::Kept);
    let [a, b] = both;
    let choices = decide("q4_k_m", &Overrides { tensors: vec![b, a], ..Overrides::default() }, &tensors);
    assert_eq!(of(&tensors, &choices, "blk.3.attn_q.weight").ty, GgmlType::Q5_1);
}

#[test]
fn pure_knows_no_rules_but_overrides() {
    let tensors = model();
    let overrides = Overrides {
        pure: true,
        tensors: vec![Overrides::tensor("attn_v=q6_k").expect("parses")],
        ..Overrides::default()
    };
    let choices = decide("q4_k_m", &overrides, &tensors);
    assert_eq!(types(&tensors, &choices, "ffn_down"), ["Q4_K"; 16]);
    assert_eq!(types(&tensors, &choices, "attn_v"), ["Q6_K"; 16]);
    assert_eq!(of(&tensors, &choices, "output.weight").ty, GgmlType::Q4_K);
}

#[test]
fn output_and_embedding() {
    let mut tensors = model();
    let left = decide("q4_k_m", &Overrides { leave_output: true, ..Overrides::default() }, &tensors);
    assert_eq!(of(&tensors, &left, "output.weight"), &kept(GgmlType::BF16));

    let overrides = Overrides { output: Some(GgmlType::Q8_0), embedding: Some(GgmlType::Q5_0), ..Overrides::default() };
    let choices = decide("q4_k_m", &overrides, &tensors);
    assert_eq!(of(&tensors, &choices, "output.weight").why, Why::Output);
    assert_eq!(of(&tensors, &choices, "output.weight").ty, GgmlType::Q8_0);
    assert_eq!(of(&tensors, &choices, "token_embd.weight").why, Why::Embedding);
    assert_eq!(of(&tensors, &choices, "token_embd.weight").ty, GgmlType::Q5_0);

    // A single embedding is output and embedding: the embedding's type wins, and the output's without it.
    tensors.retain(|t| t.name != "output.weight");
    assert_eq!(of(&tensors, &decide("q4_k_m", &overrides, &tensors), "token_embd.weight").ty, GgmlType::Q5_0);
    let overrides = Overrides { embedding: None, ..overrides };
    assert_eq!(of(&tensors, &decide("q4_k_m", &overrides, &tensors), "token_embd.weight").why, Why::Output);
    assert_eq!(
        of(&tensors, &decide("q4_k_m", &Overrides::default(), &tensors), "token_embd.weight").ty,
        GgmlType::Q6_K
    );
}

fn kept(ty: GgmlType) -> Choice {
    Choice { ty, wanted: ty, why: Why::Kept }
}

#[test]
fn overrides_hold_for_plain_floats_too() {
    let tensors = model();
    let overrides = Overrides { tensors: vec![Overrides::tensor("ffn=q8_0").expect("parses")], ..Overrides::default() };
    let choices = decide("bf16", &overrides, &tensors);
    assert_eq!(types(&tensors, &choices, "ffn_down"), ["Q8_0"; 16]);
    assert_eq!(types(&tensors, &choices, "attn_q"), ["BF16"; 16]);
}

#[test]
fn rows_that_do_not_fit_fall_back() {
    let tensors = [
        tensor("blk.0.attn_q.weight", &[64, 96]),
        tensor("blk.0.attn_k.weight", &[64, 48]),
        tensor("token_embd.weight", &[64, 48]),
    ];
    let choices = decide("q4_k_s", &Overrides { embedding: Some(GgmlType::Q6_K), ..Overrides::default() }, &tensors);
    let fallback = |ty, wanted, cols, why| Choice { ty, wanted, why: Why::Fallback { cols, wanted: Box::new(why) } };
    assert_eq!(choices[0], fallback(GgmlType::Q5_0, GgmlType::Q4_K, 96, Why::Default));
    assert_eq!(choices[1], fallback(GgmlType::F16, GgmlType::Q4_K, 48, Why::Default));
    assert_eq!(choices[2], fallback(GgmlType::F16, GgmlType::Q6_K, 48, Why::Embedding));

    let refused = choose(&recipe("q1_0").expect("a recipe"), &Overrides::default(), &facts(), &tensors[..1]);
    let expected = RecipeError::NoFallback { tensor: "blk.0.attn_q.weight".into(), ty: GgmlType::Q1_0, cols: 96 };
    assert_eq!(refused, Err(expected));
}

#[test]
fn what_is_never_quantized() {
    let tensors = [
        tensor("blk.0.ffn_gate_inp.weight", &[8, 256]),
        tensor("blk.0.attn_q_norm.weight", &[8, 256]),
        tensor("blk.0.attn_q.bias", &[8, 256]),
        tensor("cls.weight", &[1, 256]),
        tensor("position_embd.weight", &[8, 256]),
        tensor("blk.0.time_mix_lerp_fused.weight", &[5, 1, 1, 256]),
        tensor("scale.weight", &[]),
    ];
    for choice in decide("q4_k_m", &Overrides { pure: true, ..Overrides::default() }, &tensors) {
        assert_eq!(choice, kept(GgmlType::BF16));
    }
    let near = [tensor("pos.position_embd.weight.weight", &[8, 256]), tensor("position_embd2.weight", &[8, 256])];
    let choices = decide("q8_0", &Overrides::default(), &near);
    assert_eq!((&choices[0].why, &choices[1].why), (&Why::Kept, &Why::Default));

    let odd = Candidate { storage: Storage::Plain(Dtype::F8_E4M3), ..tensor("output_norm.weight", &[256]) };
    let error = choose(&recipe("q8_0").expect("a recipe"), &Overrides::default(), &facts(), &[odd]);
    assert_eq!(
        error.expect_err("no type in GGUF").to_string(),
        "tensor output_norm.weight is not quantized, and GGUF has no type for its F8_E4M3"
    );
}

#[test]
fn an_architecture_may_keep_its_own() {
    let tensors =
        ["hc_attn_fn", "ssm_beta", "attn_q_a", "attn_q"].map(|n| tensor(&format!("blk.0.{n}.weight"), &[8, 256]));
    let types = |arch: &str| -> Vec<&str> {
        let facts = Facts { arch: arch.into(), ..facts() };
        let choices = choose(&recipe("q4_k_s").expect("a recipe"), &Overrides::default(), &facts, &tensors);
        choices.expect("decides").iter().map(|c| c.ty.name()).collect()
    };
    assert_eq!(types("glm5-next"), ["BF16", "BF16", "Q8_0", "Q4_K"]);
    assert_eq!(types("llama"), ["Q4_K"; 4]);
}

#[test]
fn importance_is_asked_for() {
    let tensors = model();
    let without = recipe("iq2_xs").expect("a recipe");
    let choices = decide("iq2_xs", &Overrides::default(), &tensors);
    assert!(needs_importance(&without, &tensors, &choices).iter().all(|n| n.starts_with("blk.")));
    let error = require_importance(&without, &facts(), &tensors, &choices).expect_err("no importance");
    assert_eq!(
        error.to_string(),
        "recipe iq2_xs needs importance for 30 of the tensors, the first being blk.0.attn_q.weight"
    );
    let with = Facts { importance: true, ..facts() };
    assert_eq!(require_importance(&without, &with, &tensors, &choices), Ok(()));
    // Q2_K only where the mix says so.
    for (name, needs) in [("q2_k", false), ("q2_k_s", true)] {
        let choices = decide(name, &Overrides::default(), &tensors);
        assert_eq!(!needs_importance(&recipe(name).expect("a recipe"), &tensors, &choices).is_empty(), needs, "{name}");
    }
}

#[test]
fn with_experts_layers_are_those_in_the_name() {
    let own = "name = 'own'\nfile_type = 7\ndefault = 'Q8_0'\n[[rule]]\ntensor = 'ffn_down'\nlayers = 'first 2'\ntype = 'Q4_K'\n";
    let own = Recipe::parse(own, "own.toml").expect("parses");
    let tensors: Vec<Candidate> = (0..4)
        .flat_map(|i| ["exps", "shexp"].map(|kind| tensor(&format!("blk.{i}.ffn_down_{kind}.weight"), &[4, 8, 256])))
        .collect();
    let early = |recipe: &Recipe, experts| {
        let facts = Facts { experts, layers: 4, ..facts() };
        let choices = choose(recipe, &Overrides::default(), &facts, &tensors).expect("decides");
        choices.iter().filter(|c| c.ty == GgmlType::Q4_K).count()
    };
    assert_eq!((early(&own, 8), early(&own, 0)), (4, 2));

    let astray = [tensor("enc.ffn_down.weight", &[8, 256])];
    let facts = Facts { experts: 8, ..facts() };
    let error = choose(&own, &Overrides::default(), &facts, &astray).expect_err("no layer");
    assert_eq!(error, RecipeError::NoLayer { tensor: "enc.ffn_down.weight".into(), layers: 16 });
}

#[test]
fn bad_overrides_are_refused() {
    for (spec, message) in [
        ("attn_v", "\"attn_v\" is not REGEX=TYPE: there is no ="),
        ("=q4_k", "\"=q4_k\" is not REGEX=TYPE: the regex is empty"),
        ("attn=q4", "\"attn=q4\" is not REGEX=TYPE: no type \"q4\""),
        ("attn=i32", "\"attn=i32\" is not REGEX=TYPE: I32 is not a type for weights"),
        ("att(n=q4_k", "\"att(n=q4_k\" is not REGEX=TYPE: unclosed group"),
    ] {
        assert_eq!(Overrides::tensor(spec).expect_err(spec).to_string(), message);
    }
    let integers = Overrides { output: Some(GgmlType::I8), ..Overrides::default() };
    let refused = choose(&recipe("q8_0").expect("a recipe"), &integers, &facts(), &model());
    assert_eq!(refused, Err(RecipeError::NotForWeights { ty: GgmlType::I8 }));
}
