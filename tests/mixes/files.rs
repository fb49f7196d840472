//! A recipe file of one's own, and what is said of a wrong one.

use planish::plan::{Candidate, Class, Facts, Overrides, Recipe, Why, choose};
use planish_formats::{Dtype, GgmlType, Storage};

const OWN: &str = r#"
name = "mine"
about = "what I want"
file_type = 15
default = "q4_k"
use = ["odd-output", "attention"]

[[rule]]
name = 'blk\.[01]\.'
tensor = "ffn_up|ffn_gate"
type = "Q8_0"

[[rule]]
tensor = "attn_output"
layers = "first 2 | last 1/4"
not_layers = "last 1"
type = "Q6_K"

[[lift]]
tensor = "any"
name = "down"
from = ["Q4_K"]
type = "Q5_K"
"#;

#[test]
fn a_recipe_of_ones_own() {
    let recipe = Recipe::parse(OWN, "mine.toml").expect("parses");
    assert_eq!((recipe.name.as_str(), recipe.file_type, recipe.default), ("mine", 15, GgmlType::Q4_K));
    assert_eq!(recipe.rules.last().map(|r| r.classes.as_slice()), Some([Class::AttnOutput].as_slice()));
    let facts = Facts { arch: "llama".into(), layers: 8, heads: 8, kv_heads: 8, ..Facts::default() };
    let tensors: Vec<Candidate> = (0..8)
        .flat_map(|i| ["attn_output", "ffn_up", "ffn_down"].map(|n| format!("blk.{i}.{n}.weight")))
        .map(|name| Candidate { name, shape: vec![8, 256], storage: Storage::Plain(Dtype::F16) })
        .collect();
    let choices = choose(&recipe, &Overrides::default(), &facts, &tensors).expect("decides");
    let of = |n: usize| -> Vec<&str> { choices.iter().skip(n).step_by(3).map(|c| c.ty.name()).collect() };
    assert_eq!(of(0), ["Q6_K", "Q6_K", "Q4_K", "Q4_K", "Q4_K", "Q4_K", "Q6_K", "Q4_K"]);
    assert_eq!(of(1), ["Q8_0", "Q8_0", "Q4_K", "Q4_K", "Q4_K", "Q4_K", "Q4_K", "Q4_K"]);
    assert_eq!(of(2), ["Q5_K"; 8]);
    assert_eq!(choices[2].why, Why::Rule("any, name down".into()));
}

/// What is said of [`OWN`] with one text in the place of another.
fn said(from: &str, to: &str) -> String {
    assert!(OWN.contains(from), "{from}");
    Recipe::parse(&OWN.replacen(from, to, 1), "mine.toml").expect_err(to).to_string()
}

#[test]
fn errors_name_the_line() {
    for (from, to, place, message) in [
        ("about =", "abuot =", 3, "unknown field `abuot`"),
        ("layers =", "layer =", 15, "unknown field `layer`"),
        ("file_type = 15\n", "", 1, "missing field `file_type`"),
        ("file_type = 15", "file_type = -1", 4, "invalid value"),
        ("\"mine\"", "\" \"", 2, "the name is empty"),
        ("name = \"mine\"", "name = mine", 2, ""),
        ("\"q4_k\"", "\"q4\"", 5, "no type \"q4\""),
        ("\"q4_k\"", "\"q8_k\"", 5, "Q8_K is not a type for weights"),
        ("\"attention\"", "\"attn\"", 6, "no set \"attn\"; there are: attention, glm5-next, odd-output, output"),
        ("ffn_up|", "ffn_pu|", 10, "no tensor class \"ffn_pu\"; there are: any, output, token_embd, attn_qkv"),
        ("ffn_gate\"", "ffn_gate|\"", 10, "no tensor class \"\""),
        (r"blk\.[01]\.", "blk(", 9, "unclosed group"),
        ("first 2", "first two", 15, "no layers \"first two\"; known are more_bits, first N"),
        ("last 1/4", "last 4/1", 15, "no layers \"last 4/1\""),
        ("tensor = \"attn_output\"\n", "", 13, "a rule says what it is for"),
        ("tensor = \"attn_output\"", "tensor = \"output\"", 13, "can never match: these tensors are in no layer"),
        ("from = [\"Q4_K\"]\n", "", 19, "a lift says which types it takes the place of"),
        ("not_layers = \"last 1\"", "from = [\"Q4_K\"]", 16, "`from` is for lifts"),
        ("type = \"Q6_K\"", "type = \"Q6_K\"\ntype = \"Q5_K\"", 18, "duplicate key"),
    ] {
        let said = said(from, to);
        let expected = format!("mine.toml, line {place}: {message}");
        assert!(said.starts_with(&expected), "{to:?}\n said: {said}\n expected: {expected}");
    }
}

#[test]
fn a_rule_that_is_never_reached_is_an_error() {
    let more = |rule: &str| Recipe::parse(&format!("{OWN}\n[[rule]]\n{rule}"), "mine.toml");
    let shadowed =
        "tensor = 'ffn_down|attn_k'\ntype = 'Q5_K'\n\n[[rule]]\ntensor = 'attn_k'\nlayers = 'first 1'\ntype = 'Q6_K'\n";
    let error = more(shadowed).expect_err("shadowed").to_string();
    assert_eq!(error, "mine.toml, line 29: never reached: rules before it take all of its tensors");
    assert!(more(&shadowed.replace("'attn_k'", "'attn_k|attn_q'")).is_ok());
    assert!(more("tensor = 'output'\ntype = 'Q5_K'\n").is_ok());
}

#[test]
fn the_example_in_the_documentation_is_one() {
    let source = include_str!("../../src/plan/recipe.rs");
    let example = source.split("/// ```toml\n").nth(1).and_then(|rest| rest.split("/// ```\n").next());
    let lines = example.expect("an example").lines().map(|l| l.trim_start_matches("///").trim_start());
    let recipe = Recipe::parse(&lines.collect::<Vec<_>>().join("\n"), "the example").expect("parses");
    assert_eq!((recipe.name.as_str(), recipe.lifts.len()), ("mine", 4));
}
