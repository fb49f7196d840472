//! A checkpoint of the shape of DeepSeek-V3, made of holes: FP8 in blocks of 128, a layer of multi-token prediction after the
//! last, an index and files of at most 4.3 GB.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

const HIDDEN: usize = 7168;
pub const EXPERTS: usize = 256;
const FILE: u64 = 4_300_000_000;

/// Names, dtypes and shapes, `layers` of them of which the first `dense` have no experts, and one more.
fn tensors(layers: usize, dense: usize) -> Vec<(String, &'static str, Vec<usize>)> {
    let mut tensors = vec![];
    let mut plain = |name: String, dtype, shape: &[usize]| tensors.push((name, dtype, shape.to_vec()));
    plain("model.embed_tokens.weight".to_owned(), "BF16", &[129_280, HIDDEN]);
    for layer in 0..=layers {
        let at = format!("model.layers.{layer}.");
        let mut linears = vec![
            ("self_attn.q_a_proj".to_owned(), [1536, HIDDEN]),
            ("self_attn.q_b_proj".to_owned(), [128 * 192, 1536]),
            ("self_attn.kv_a_proj_with_mqa".to_owned(), [576, HIDDEN]),
            ("self_attn.kv_b_proj".to_owned(), [128 * 256, 512]),
            ("self_attn.o_proj".to_owned(), [HIDDEN, 128 * 128]),
        ];
        let gated = |linears: &mut Vec<(String, [usize; 2])>, of: &str, ffn: usize| {
            linears.push((format!("{of}gate_proj"), [ffn, HIDDEN]));
            linears.push((format!("{of}up_proj"), [ffn, HIDDEN]));
            linears.push((format!("{of}down_proj"), [HIDDEN, ffn]));
        };
        if layer < dense {
            gated(&mut linears, "mlp.", 18432);
        } else {
            plain(format!("{at}mlp.gate.weight"), "BF16", &[EXPERTS, HIDDEN]);
            plain(format!("{at}mlp.gate.e_score_correction_bias"), "F32", &[EXPERTS]);
            gated(&mut linears, "mlp.shared_experts.", 2048);
            for expert in 0..EXPERTS {
                gated(&mut linears, &format!("mlp.experts.{expert}."), 2048);
            }
        }
        for (name, [rows, cols]) in linears {
            plain(format!("{at}{name}.weight"), "F8_E4M3", &[rows, cols]);
            plain(format!("{at}{name}.weight_scale_inv"), "F32", &[rows.div_ceil(128), cols.div_ceil(128)]);
        }
        let norms = [
            ("input_layernorm", HIDDEN),
            ("post_attention_layernorm", HIDDEN),
            ("self_attn.q_a_layernorm", 1536),
            ("self_attn.kv_a_layernorm", 512),
        ];
        for (name, width) in norms {
            plain(format!("{at}{name}.weight"), "BF16", &[width]);
        }
        if layer == layers {
            plain(format!("{at}embed_tokens.weight"), "BF16", &[129_280, HIDDEN]);
            plain(format!("{at}shared_head.head.weight"), "BF16", &[129_280, HIDDEN]);
            plain(format!("{at}eh_proj.weight"), "BF16", &[HIDDEN, 2 * HIDDEN]);
            for name in ["enorm", "hnorm", "shared_head.norm"] {
                plain(format!("{at}{name}.weight"), "BF16", &[HIDDEN]);
            }
        }
    }
    plain("model.norm.weight".to_owned(), "BF16", &[HIDDEN]);
    plain("lm_head.weight".to_owned(), "BF16", &[129_280, HIDDEN]);
    tensors
}

/// Bytes of all tensors, and how many there are. `tokenizer` is the folder of a tokenizer.
pub fn checkpoint(folder: &Path, layers: usize, dense: usize, tokenizer: &Path) -> (u64, usize) {
    std::fs::create_dir(folder).expect("a folder");
    let mut files: Vec<(Map<String, Value>, u64)> = vec![(Map::new(), 0)];
    let (mut total, mut weight_map) = (0, vec![]);
    for (name, dtype, shape) in tensors(layers, dense) {
        let width = match dtype {
            "F32" => 4,
            "BF16" => 2,
            _ => 1,
        };
        let bytes = width * shape.iter().product::<usize>() as u64;
        if files.last().is_some_and(|(_, at)| at + bytes > FILE) {
            files.push((Map::new(), 0));
        }
        let at = files.len();
        let (header, end) = files.last_mut().expect("a file");
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [*end, *end + bytes]}));
        *end += bytes;
        total += bytes;
        weight_map.push((name, at));
    }
    let (count, tensors) = (files.len(), weight_map.len());
    let file_name = |i: usize| format!("model-{i:05}-of-{count:06}.safetensors");
    for (i, (header, bytes)) in files.into_iter().enumerate() {
        let header = Value::Object(header).to_string();
        let mut file = File::create(folder.join(file_name(i + 1))).expect("a file");
        file.write_all(&(header.len() as u64).to_le_bytes()).expect("a header");
        file.write_all(header.as_bytes()).expect("a header");
        file.set_len(8 + header.len() as u64 + bytes).expect("a hole");
    }
    let weight_map: Map<String, Value> =
        weight_map.into_iter().map(|(name, file)| (name, file_name(file).into())).collect();
    let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
    std::fs::write(folder.join("model.safetensors.index.json"), format!("{index:#}")).expect("an index");
    // As published, but for the sizes.
    let mut config = json!({
        "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "aux_loss_alpha": 0.001, "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1, "first_k_dense_replace": dense,
        "hidden_act": "silu", "hidden_size": HIDDEN, "initializer_range": 0.02, "intermediate_size": 18432,
        "kv_lora_rank": 512, "max_position_embeddings": 163_840, "model_type": "deepseek_v3",
        "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": EXPERTS,
        "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 128, "num_experts_per_tok": 8,
        "num_hidden_layers": layers, "num_key_value_heads": 128, "num_nextn_predict_layers": 1, "pretraining_tp": 1,
        "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000,
        "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "seq_aux": true, "tie_word_embeddings": false,
    });
    let more = json!({
        "quantization_config": {
            "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128],
        },
        "rope_scaling": {
            "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 4096, "type": "yarn",
        },
        "topk_group": 4, "topk_method": "noaux_tc", "torch_dtype": "bfloat16", "transformers_version": "4.33.1",
        "use_cache": true, "v_head_dim": 128, "vocab_size": 129_280,
    });
    for (key, value) in more.as_object().expect("an object") {
        config[key] = value.clone();
    }
    std::fs::write(folder.join("config.json"), config.to_string()).expect("a configuration");
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tokenizer.join(file), folder.join(file)).expect("a tokenizer");
    }
    (total, tensors)
}
