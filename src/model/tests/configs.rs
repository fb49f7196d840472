//! Reading config.json: the published ones, both dialects, and what must be refused.

use planish_formats::{Dtype, Info, Storage};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Activation, Biases, Config, Error, Head, Result, Rope, Scaling, architecture, release};
use super::{Json, parse};

fn read(json: &Json) -> Result<Config> {
    architecture(json)?.config(json)
}

/// A small Llama with some keys replaced.
fn llama(changes: &Value) -> Json {
    let mut json = parse(
        r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu"}"#,
    );
    for (key, value) in changes.as_object().unwrap() {
        json.insert(key.clone(), value.clone());
    }
    json
}

fn refused(changes: &Value) -> String {
    read(&llama(changes)).unwrap_err().to_string()
}

#[test]
fn published_configurations_are_read() {
    // name, config.json, its tensors in GGUF, (head_dim, kv heads, head, biases of qkv)
    for (json, tensors, shape) in PUBLISHED {
        let json = parse(json);
        let architecture = architecture(&json).unwrap();
        let config = architecture.config(&json).unwrap_or_else(|e| panic!("{json:?}: {e}"));
        assert_eq!((config.head_dim, config.kv_heads, config.head, config.bias.qkv), *shape, "{json:?}");
        // A checkpoint with just what the program wants.
        let model = architecture.program(&config, |_| true).unwrap();
        let sources = model.params().flat_map(|(_, p)| p.from.sources(&p.shape));
        let mut infos: Vec<Info> = sources
            .map(|(name, shape)| Info { name: name.to_owned(), storage: Storage::Plain(Dtype::BF16), shape })
            .collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos.dedup();
        assert_eq!(release(architecture, &config, &infos).unwrap().len(), *tensors, "{json:?}");
    }
}

#[test]
fn both_dialects_say_the_same() {
    let old = json!({"torch_dtype": "bfloat16", "rope_theta": 5e5, "rope_scaling": {"rope_type": "yarn", "factor": 4.0,
        "original_max_position_embeddings": 16}});
    let new = json!({"dtype": "bfloat16", "rope_theta": null, "rope_parameters": {"rope_theta": 5e5,
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}});
    assert_eq!(read(&llama(&old)), read(&llama(&new)));
    // The older name of the kind, and the context beside the object instead of in it.
    let older = json!({"rope_theta": 5e5, "rope_scaling": {"type": "yarn", "factor": 4.0},
        "original_max_position_embeddings": 16});
    assert_eq!(read(&llama(&old)), read(&llama(&older)));
    let plain = json!({"rope_theta": 5e5, "rope_scaling": null});
    assert_eq!(read(&llama(&plain)).unwrap().rope, Some(Rope { theta: 5e5, scaling: Scaling::None }));
}

#[test]
fn switches_are_read() {
    let config = read(&llama(&json!({"attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true,
        "head_dim": 128, "hidden_act": "gelu", "num_key_value_heads": null})))
    .unwrap();
    assert_eq!(config.bias, Biases { qkv: true, out: true, ffn: true, norm: false });
    assert_eq!((config.head, config.head_dim, config.kv_heads), (Head::Tied, 128, 4));
    assert_eq!(config.act, Activation::Gelu);
}

#[test]
fn what_changes_the_maths_and_is_not_understood_is_refused_by_name() {
    let cases = [
        (json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor = 0.5"),
        (json!({"logit_scale": 0.0625}), "logit_scale = 0.0625"),
        (json!({"attn_logit_softcapping": 50.0}), "attn_logit_softcapping = 50.0"),
        (json!({"sliding_window": 4096}), "sliding_window = 4096"),
        (json!({"qk_layernorm": true}), "qk_layernorm = true"),
        (json!({"rope_interleaved": true}), "rope_interleaved = true"),
        (json!({"num_local_experts": 8, "x": "y"}), "num_local_experts = 8, x = \"y\""),
        (json!({"quantization_config": {"bits": 4}}), "quantization_config = {\"bits\":4}"),
    ];
    for (changes, keys) in cases {
        assert_eq!(refused(&changes), format!("config.json: llama does not understand {keys}"));
    }
    let inside = json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "alpha": 3.0}});
    assert_eq!(refused(&inside), "config.json: the rope does not understand rope_scaling.alpha = 3.0");
    // A bias that Mistral's class would not load.
    let mistral = json!({"architectures": ["MistralForCausalLM"], "attention_bias": true});
    assert_eq!(refused(&mistral), "config.json: llama does not understand attention_bias = true");
    // Asking for nothing is no reason to refuse.
    let harmless = json!({"partial_rotary_factor": 1.0, "qk_layernorm": false, "logit_scale": null, "use_cache": true,
        "attention_dropout": 0.5, "eos_token_id": [1, 2], "auto_map": {"A": "b"}, "rope_interleaved": false});
    assert!(read(&llama(&harmless)).is_ok());
}

#[test]
fn what_deepseek_does_not_compute_is_refused_by_name() {
    let published = |class: &str| {
        PUBLISHED.iter().map(|(json, ..)| parse(json)).find(|json| json["architectures"][0] == class).unwrap()
    };
    let refused = |class: &str, key: &str, value: Value| {
        let mut json = published(class);
        json.insert(key.to_owned(), value);
        read(&json).unwrap_err().to_string()
    };
    let (second, third) = ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM");
    for (class, key, value) in [
        (second, "topk_method", json!("noaux_tc")),
        (second, "scoring_func", json!("sigmoid")),
        (second, "norm_topk_prob", json!(true)),
        (third, "topk_method", json!("greedy")),
        (third, "scoring_func", json!("softmax")),
        (third, "rope_interleave", json!(false)),
        (third, "attention_bias", json!(true)),
        (third, "moe_layer_freq", json!(2)),
        (third, "n_group", json!(7)),
        (third, "num_key_value_heads", json!(8)),
        (third, "qk_rope_head_dim", json!(63)),
        (third, "first_k_dense_replace", json!(-1)),
    ] {
        let message = refused(class, key, value.clone());
        assert!(message.starts_with(&format!("config.json: `{key}` is {value}, expected ")), "{message}");
    }
    // To choose from all groups is to have none.
    let mut json = published(third);
    json.insert("topk_group".to_owned(), json!(8));
    let routing = read(&json).unwrap().experts.unwrap().routing;
    assert_eq!((routing.groups, routing.top_groups, routing.group_best), (1, 1, 2));
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    let cases = [
        (json!({"hidden_size": null}), "config.json: `hidden_size` is missing"),
        (json!({"rms_norm_eps": null}), "config.json: `rms_norm_eps` is missing"),
        (
            json!({"num_attention_heads": 0}),
            "config.json: `num_attention_heads` is 0, expected a whole number from 1 to 1073741824",
        ),
        (
            json!({"hidden_size": -64}),
            "config.json: `hidden_size` is -64, expected a whole number from 1 to 1073741824",
        ),
        (
            json!({"vocab_size": "many"}),
            "config.json: `vocab_size` is \"many\", expected a whole number from 1 to 1073741824",
        ),
        (
            json!({"hidden_size": 66}),
            "config.json: `hidden_size` is 66, expected a multiple of num_attention_heads = 4",
        ),
        (
            json!({"num_key_value_heads": 3}),
            "config.json: `num_key_value_heads` is 3, expected a divisor of num_attention_heads = 4",
        ),
        (
            json!({"num_hidden_layers": 1000000000}),
            "config.json: `num_hidden_layers` is 1000000000, expected at most 10000 layers",
        ),
        (
            json!({"head_dim": 1000000}),
            "config.json: `head_dim` is 1000000, expected a size that makes heads of an even width up to 16384",
        ),
        (json!({"rms_norm_eps": 0}), "config.json: `rms_norm_eps` is 0, expected a number above 0"),
        (json!({"rope_theta": 1e300}), "config.json: `rope_theta` is 1e+300, expected a number above 0"),
        (json!({"rope_theta": 1.0}), "config.json: `rope_theta` is 1.0, expected a number above 1"),
        (
            json!({"hidden_act": "xielu"}),
            "config.json: `hidden_act` is \"xielu\", expected silu, gelu, gelu_new or relu",
        ),
        (
            json!({"rope_scaling": {"rope_type": "mrope"}}),
            "config.json: `rope_scaling.rope_type` is \"mrope\", expected default, linear, dynamic, yarn, longrope or llama3",
        ),
        (json!({"rope_scaling": {"type": "linear"}}), "config.json: `rope_scaling.factor` is missing"),
        (
            json!({"rope_parameters": {"rope_theta": 1e4}, "rope_scaling": {"type": "linear", "factor": 2}}),
            "config.json: `rope_scaling` is {\"type\":\"linear\",\"factor\":2}, expected either rope_scaling or rope_parameters, not both",
        ),
        (
            json!({"tie_word_embeddings": "yes"}),
            "config.json: `tie_word_embeddings` is \"yes\", expected true or false",
        ),
    ];
    for (changes, message) in cases {
        assert_eq!(refused(&changes), message);
    }
    let qwen = json!({"architectures": ["Qwen2ForCausalLM"], "layer_types": ["sliding_attention", "full_attention"]});
    assert!(refused(&qwen).contains("use_sliding_window"), "{}", refused(&qwen));
    let mut json = llama(&json!({"architectures": ["Qwen2ForCausalLM"]}));
    json.remove("num_key_value_heads");
    assert_eq!(read(&json).unwrap_err().to_string(), "config.json: `num_key_value_heads` is missing");
}

/// albert-base-v2's own config.json with some keys replaced.
fn albert(changes: &Value) -> Result<Config> {
    let mut json = parse(
        r#"{"architectures": ["AlbertForMaskedLM"], "attention_probs_dropout_prob": 0, "bos_token_id": 2,
            "classifier_dropout_prob": 0.1, "down_scale_factor": 1, "embedding_size": 128, "eos_token_id": 3, "gap_size": 0,
            "hidden_act": "gelu_new", "hidden_dropout_prob": 0, "hidden_size": 768, "initializer_range": 0.02,
            "inner_group_num": 1, "intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
            "model_type": "albert", "net_structure_type": 0, "num_attention_heads": 12, "num_hidden_groups": 1,
            "num_hidden_layers": 12, "num_memory_blocks": 0, "pad_token_id": 0, "type_vocab_size": 2, "vocab_size": 30000}"#,
    );
    json.extend(changes.as_object().unwrap().clone());
    read(&json)
}

#[test]
fn encoders_say_what_they_share_and_where_positions_begin() {
    let config = albert(&json!({})).unwrap();
    let encoder = config.encoder.unwrap();
    assert_eq!((encoder.embedding, encoder.groups, encoder.first_position, config.context), (128, 1, 0, 512));
    for (changes, key) in [
        (json!({"inner_group_num": 2}), "inner_group_num"),
        (json!({"num_hidden_groups": 5}), "num_hidden_groups"),
        (json!({"down_scale_factor": 2}), "down_scale_factor"),
        (json!({"position_embedding_type": "relative_key"}), "position_embedding_type"),
        (json!({"is_decoder": true}), "is_decoder"),
    ] {
        let message = albert(&changes).unwrap_err().to_string();
        assert!(message.contains(key), "{message}");
    }
    let roberta = |changes: Value| {
        let class = json!({"architectures": ["RobertaModel"], "max_position_embeddings": 514, "pad_token_id": 1});
        let mut json = class.as_object().unwrap().clone();
        json.extend(changes.as_object().unwrap().clone());
        albert(&Value::Object(json)).map(|config| (config.context, config.encoder.unwrap().first_position))
    };
    // Beside its own, what ALBERT left is not RoBERTa's.
    assert!(roberta(json!({})).unwrap_err().to_string().contains("embedding_size"));
    let own = |changes: Value| {
        let mut json = json!({"embedding_size": null, "down_scale_factor": null, "gap_size": null,
            "net_structure_type": null, "num_hidden_groups": null, "num_memory_blocks": null, "inner_group_num": null});
        json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        roberta(json)
    };
    assert_eq!(own(json!({})).unwrap(), (512, 2));
    assert_eq!(own(json!({"pad_token_id": 0})).unwrap(), (513, 1));
    assert!(own(json!({"max_position_embeddings": 2})).unwrap_err().to_string().contains("more than 2"));
    assert!(own(json!({"pad_token_id": u64::MAX})).is_err());
}

#[test]
fn an_unknown_architecture_is_named_with_the_nearest() {
    let ministral = llama(&json!({"architectures": ["MinistralForCausalLM"], "num_local_experts": 8}));
    let error = read(&ministral).unwrap_err();
    let message = "unknown architecture MinistralForCausalLM; the nearest known is MistralForCausalLM, which does not \
                   understand num_local_experts = 8";
    assert_eq!(error.to_string(), message);
    assert_eq!(read(&parse("{}")), Err(Error::NoArchitecture));
    let by_type = llama(&json!({"architectures": null}));
    assert_eq!(architecture(&by_type).unwrap().name, "llama");
}

#[test]
fn llama_cpp_s_limits_are_refused() {
    let held = |changes: Value| {
        let json = llama(&changes);
        let architecture = architecture(&json).unwrap();
        release(architecture, &architecture.config(&json).unwrap(), &Vec::<Info>::new()).unwrap_err().to_string()
    };
    let rope = json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4});
    let message = held(json!({"architectures": ["Qwen2ForCausalLM"], "rope_scaling": rope}));
    assert_eq!(message, "GGUF cannot hold this qwen2 model: its graphs for Qwen have no `llama3` scaling of the rope");
    let message = held(json!({"hidden_act": "relu"}));
    assert_eq!(message, "GGUF cannot hold this llama model: its graph for `llama` has no activation but SiLU");
    let yarn = json!({"rope_type": "yarn", "factor": 4, "truncate": false});
    let message = held(json!({"rope_scaling": yarn}));
    assert!(message.ends_with("its YaRN ramp begins and ends at whole dimensions"), "{message}");
    // Its own numbers may be spelled out: what is missing then is the checkpoint.
    let yarn = json!({"rope_type": "yarn", "factor": 4, "beta_fast": 32, "beta_slow": 1.0});
    let message = held(json!({"rope_scaling": yarn}));
    assert!(message.starts_with("the checkpoint lacks"), "{message}");
}

/// Any JSON value, likelier one that comes close to making sense.
fn value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![Just(0i64), Just(-1), Just(1), Just(i64::MAX), 1..70_000i64];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number.prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9_]{0,8}".prop_map(Value::from),
        Just(json!({"rope_type": "yarn", "factor": 1e-30, "original_max_position_embeddings": 1})),
        Just(json!({"rope_type": "llama3", "factor": 1e30, "low_freq_factor": 1e-30, "high_freq_factor": 1e30})),
        Just(json!({"type": "dynamic", "factor": 1})),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::from))
}

proptest! {
    /// No value of any key makes anything panic, or a program that does not fit.
    #[test]
    fn no_configuration_panics(
        class in prop::sample::select(vec!["LlamaForCausalLM", "MistralModel", "Qwen2ForCausalLM", "Qwen3Model", "GPT2Model"]),
        changes in prop::collection::vec((prop::sample::select(KEYS), value()), 0..4),
    ) {
        let mut json = llama(&json!({"architectures": [class], "n_embd": 64, "n_head": 4, "n_layer": 2,
            "n_positions": 32, "head_dim": 16}));
        for (key, value) in changes {
            json.insert(key.to_owned(), value);
        }
        let architecture = architecture(&json).unwrap();
        if let Ok(config) = architecture.config(&json) && config.layers < 100 {
            architecture.program(&config, |_| true).unwrap();
            if let Some(rope) = &config.rope {
                prop_assert_eq!(rope.frequencies(config.head_dim).inverse.len(), config.head_dim / 2);
            }
        }
    }
}

const KEYS: &[&str] = &[
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "head_dim",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "layer_types",
    "attention_bias",
    "mlp_bias",
    "tie_word_embeddings",
    "n_embd",
    "n_head",
    "n_layer",
    "n_positions",
    "n_inner",
    "activation_function",
    "original_max_position_embeddings",
    "hidden_act",
];

/// Published config.json files, as their authors wrote them, with the number of tensors of their GGUF.
pub(super) type Published = (&'static str, usize, (usize, usize, Head, bool));
pub(super) const PUBLISHED: &[Published] = &[
    // Llama 3.2 1B
    (
        r#"{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
            "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu",
            "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192,
            "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
            "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
            "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
            "tie_word_embeddings": true, "torch_dtype": "bfloat16", "transformers_version": "4.45.0.dev0",
            "use_cache": true, "vocab_size": 128256}"#,
        147,
        (64, 8, Head::Tied, false),
    ),
    // Llama 1 7B, as first converted
    (
        r#"{"architectures": ["LLaMAForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
            "hidden_size": 4096, "intermediate_size": 11008, "initializer_range": 0.02, "max_sequence_length": 2048,
            "max_position_embeddings": 2048, "model_type": "llama", "num_attention_heads": 32,
            "num_hidden_layers": 32, "pad_token_id": 0, "rms_norm_eps": 1e-06, "torch_dtype": "float16",
            "transformers_version": "4.27.0.dev0", "use_cache": true, "vocab_size": 32000}"#,
        291,
        (128, 32, Head::Own, false),
    ),
    // SmolLM2 135M Instruct
    (
        r#"{"architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
            "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
            "intermediate_size": 1536, "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false,
            "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
            "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": false,
            "rope_scaling": null, "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
            "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}},
            "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 49152}"#,
        272,
        (64, 3, Head::Tied, false),
    ),
    // DeepSeek Coder 6.7B
    (
        r#"{"architectures": ["LlamaForCausalLM"], "bos_token_id": 32013, "eos_token_id": 32014, "hidden_act": "silu",
            "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008,
            "max_position_embeddings": 16384, "model_type": "llama", "num_attention_heads": 32,
            "num_hidden_layers": 32, "num_key_value_heads": 32, "pretraining_tp": 1, "rms_norm_eps": 1e-06,
            "rope_scaling": {"factor": 4.0, "type": "linear"}, "rope_theta": 100000, "tie_word_embeddings": false,
            "torch_dtype": "bfloat16", "transformers_version": "4.33.1", "use_cache": true, "vocab_size": 32256}"#,
        291,
        (128, 32, Head::Own, false),
    ),
    // Mistral 7B v0.1
    (
        r#"{"architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
            "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
            "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0,
            "sliding_window": 4096, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
            "transformers_version": "4.34.0.dev0", "use_cache": true, "vocab_size": 32000}"#,
        291,
        (128, 8, Head::Own, false),
    ),
    // Qwen2.5 0.5B Instruct
    (
        r#"{"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
            "eos_token_id": 151645, "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02,
            "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 21,
            "model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true,
            "torch_dtype": "bfloat16", "transformers_version": "4.43.1", "use_cache": true,
            "use_sliding_window": false, "vocab_size": 151936}"#,
        290,
        (64, 2, Head::Tied, true),
    ),
    // DeepSeek R1 Distill Qwen 1.5B
    (
        r#"{"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
            "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 1536, "initializer_range": 0.02,
            "intermediate_size": 8960, "max_position_embeddings": 131072, "max_window_layers": 21,
            "model_type": "qwen2", "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06, "rope_theta": 10000, "sliding_window": 4096, "tie_word_embeddings": false,
            "torch_dtype": "bfloat16", "transformers_version": "4.44.0", "use_cache": true, "use_mrope": false,
            "use_sliding_window": false, "vocab_size": 151936}"#,
        339,
        (128, 2, Head::Own, true),
    ),
    // DeepSeek V3
    (
        r#"{"architectures": ["DeepseekV3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
            "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"}, "aux_loss_alpha": 0.001,
            "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1, "first_k_dense_replace": 3, "hidden_act": "silu",
            "hidden_size": 7168, "initializer_range": 0.02, "intermediate_size": 18432, "kv_lora_rank": 512,
            "max_position_embeddings": 163840, "model_type": "deepseek_v3", "moe_intermediate_size": 2048,
            "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true,
            "num_attention_heads": 128, "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128,
            "num_nextn_predict_layers": 1, "pretraining_tp": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06, "rope_scaling": {"beta_fast": 32, "beta_slow": 1,
            "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096,
            "type": "yarn"}, "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
            "seq_aux": true, "tie_word_embeddings": false, "topk_group": 4, "topk_method": "noaux_tc",
            "torch_dtype": "bfloat16", "transformers_version": "4.33.1", "use_cache": true, "v_head_dim": 128,
            "vocab_size": 129280}"#,
        1086,
        (192, 128, Head::Own, false),
    ),
    // DeepSeek V2-Lite
    (
        r#"{"architectures": ["DeepseekV2ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
            "aux_loss_alpha": 0.001, "bos_token_id": 100000, "eos_token_id": 100001, "first_k_dense_replace": 1,
            "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 10944,
            "kv_lora_rank": 512, "max_position_embeddings": 163840, "model_type": "deepseek_v2",
            "moe_intermediate_size": 1408, "moe_layer_freq": 1, "n_group": 1, "n_routed_experts": 64,
            "n_shared_experts": 2, "norm_topk_prob": false, "num_attention_heads": 16, "num_experts_per_tok": 6,
            "num_hidden_layers": 27, "num_key_value_heads": 16, "pretraining_tp": 1, "q_lora_rank": null,
            "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06, "rope_scaling": {"beta_fast": 32,
            "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
            "original_max_position_embeddings": 4096, "type": "yarn"}, "rope_theta": 10000,
            "routed_scaling_factor": 1.0, "scoring_func": "softmax", "seq_aux": true, "tie_word_embeddings": false,
            "topk_group": 1, "topk_method": "greedy", "torch_dtype": "bfloat16", "transformers_version": "4.33.1",
            "use_cache": true, "v_head_dim": 128, "vocab_size": 102400}"#,
        404,
        (192, 16, Head::Own, false),
    ),
    // Qwen3 0.6B
    (
        r#"{"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
            "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
            "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072,
            "max_position_embeddings": 40960, "max_window_layers": 28, "model_type": "qwen3",
            "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
            "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null, "tie_word_embeddings": true,
            "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": true,
            "use_sliding_window": false, "vocab_size": 151936}"#,
        310,
        (128, 8, Head::Tied, false),
    ),
    // GPT-2 small
    (
        r#"{"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
            "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
            "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12,
            "n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1, "summary_activation": null,
            "summary_first_dropout": 0.1, "summary_proj_to_labels": true, "summary_type": "cls_index",
            "summary_use_proj": true, "task_specific_params": {"text-generation": {"do_sample": true,
            "max_length": 50}}, "vocab_size": 50257}"#,
        148,
        (64, 12, Head::Tied, true),
    ),
    // LLaVA 1.5 7B: the nested configuration has only what differs
    (
        r#"{"architectures": ["LlavaForConditionalGeneration"], "ignore_index": -100, "image_token_index": 32000,
            "model_type": "llava", "pad_token_id": 32001, "projector_hidden_act": "gelu", "text_config":
            {"_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"],
            "max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05, "torch_dtype": "float16",
            "vocab_size": 32064}, "tie_word_embeddings": false, "torch_dtype": "float16",
            "transformers_version": "4.36.0.dev0", "vision_config": {"hidden_size": 1024, "image_size": 336,
            "intermediate_size": 4096, "model_type": "clip_vision_model", "num_attention_heads": 16,
            "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768, "vocab_size": 32000},
            "vision_feature_layer": -2, "vision_feature_select_strategy": "default", "vocab_size": 32064}"#,
        291,
        (128, 32, Head::Own, false),
    ),
    // Gemma 3 4B
    (
        r#"{"architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999, "eoi_token_index": 256000,
            "eos_token_id": [1, 106], "image_token_index": 262144, "initializer_range": 0.02, "mm_tokens_per_image": 256,
            "model_type": "gemma3", "text_config": {"hidden_size": 2560, "intermediate_size": 10240,
            "model_type": "gemma3_text", "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024}, "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0",
            "vision_config": {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
            "model_type": "siglip_vision_model", "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14,
            "vision_use_head": false}}"#,
        444,
        (256, 4, Head::Tied, false),
    ),
    // Qwen2-VL 2B: the language model's keys lie beside the tower's
    (
        r#"{"architectures": ["Qwen2VLForConditionalGeneration"], "attention_dropout": 0.0, "bos_token_id": 151643,
            "eos_token_id": 151645, "vision_start_token_id": 151652, "vision_end_token_id": 151653,
            "vision_token_id": 151654, "image_token_id": 151655, "video_token_id": 151656, "hidden_act": "silu",
            "hidden_size": 1536, "initializer_range": 0.02, "intermediate_size": 8960,
            "max_position_embeddings": 32768, "max_window_layers": 28, "model_type": "qwen2_vl",
            "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
            "transformers_version": "4.41.2", "use_cache": true, "use_sliding_window": false, "vision_config":
            {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_chans": 3, "hidden_size": 1536,
            "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14, "temporal_patch_size": 2},
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}, "vocab_size": 151936}"#,
        338,
        (128, 2, Head::Tied, true),
    ),
];
