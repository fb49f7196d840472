//! Models made for the purpose, as GGUF files of a few rows a tensor.

use std::fs;
use std::path::Path;

use planish::plan::{Candidate, Facts};
use planish_formats::{Dtype, Storage};

/// A model to make: names and shapes as the rules ask about them, tensors of two rows.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    pub(crate) arch: &'static str,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) experts: usize,
    pub(crate) cols: usize,
    pub(crate) tied: bool,
    pub(crate) attention: &'static [&'static str],
}

const SPLIT: &[&str] = &["attn_q", "attn_k", "attn_v", "attn_output"];
const FUSED: &[&str] = &["attn_qkv", "attn_output"];
const LATENT: &[&str] = &["attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_kv_b", "attn_output"];
/// Some layers with fused and some with split projections, as hybrids have.
const MIXED: &[&str] = &["attn_qkv", "attn_q", "attn_k", "attn_v", "attn_output"];

/// Names that some rule about what is kept is for, or nearly.
const RARE: &[&str] = &[
    "attn_q_norm.weight",
    "attn_q.bias",
    "attn_rel_b.weight",
    "attn_gate.weight",
    "ssm_in.weight",
    "ssm_conv1d.weight",
    "ssm_beta.weight",
    "ssm_f_a.weight",
    "shortconv.conv.weight",
    "shortconv.in_proj.weight",
    "ffn_gate_tid2eid.weight",
    "ffn_gate_inp_shexp.weight",
    "altup_proj.weight",
    "laurel_l.weight",
    "per_layer_model_proj.weight",
    "indexer.k_proj.weight",
    "indexer.attn_k.weight",
    "indexer_compressor_gate.weight",
    "hc_attn_fn.weight",
    "nextn.eh_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "time_mix_key.weight",
    "vision.patch_embd.weight",
    "vision.rel_pos_h.weight",
    "sam.neck.0.weight",
];

/// Without these llama.cpp does not open bailingmoe3, which mixes attention with recurrence.
const HYBRID_KEYS: &[(&str, u32)] = &[
    ("attention.key_length_mla", 32),
    ("attention.value_length_mla", 32),
    ("attention.kv_lora_rank", 32),
    ("ssm.conv_kernel", 4),
    ("kda.head_dim", 32),
    ("expert_feed_forward_length", 32),
    ("expert_shared_count", 1),
    ("expert_gating_func", 2),
    ("leading_dense_block_count", 1),
];

pub(crate) const LLAMA: Model =
    Model { arch: "llama", layers: 16, heads: 8, kv_heads: 8, experts: 0, cols: 256, tied: false, attention: SPLIT };

pub(crate) const MODELS: &[Model] = &[
    LLAMA,
    Model { tied: true, kv_heads: 2, ..LLAMA },
    Model { layers: 4, kv_heads: 1, ..LLAMA },
    Model { layers: 21, kv_heads: 3, ..LLAMA },
    Model { layers: 80, kv_heads: 1, ..LLAMA },
    Model { layers: 80, ..LLAMA },
    Model { arch: "qwen2", layers: 80, ..LLAMA },
    Model { arch: "qwen2", layers: 80, kv_heads: 4, tied: true, ..LLAMA },
    Model { arch: "deci", layers: 80, kv_heads: 1, ..LLAMA },
    Model { arch: "olmo", layers: 80, ..LLAMA },
    Model { arch: "jais2", layers: 68, kv_heads: 1, ..LLAMA },
    Model { arch: "qwen3", layers: 80, kv_heads: 1, ..LLAMA },
    Model { experts: 8, kv_heads: 2, ..LLAMA },
    Model { experts: 8, layers: 9, tied: true, ..LLAMA },
    Model { experts: 4, layers: 16, ..LLAMA },
    Model { experts: 2, layers: 10, attention: LATENT, ..LLAMA },
    Model { cols: 96, ..LLAMA },
    Model { cols: 96, layers: 8, tied: true, experts: 8, kv_heads: 1, ..LLAMA },
    Model { cols: 48, layers: 8, kv_heads: 2, ..LLAMA },
    Model { cols: 64, layers: 8, kv_heads: 2, ..LLAMA },
    Model { cols: 384, layers: 8, kv_heads: 2, tied: true, ..LLAMA },
    Model { arch: "falcon", layers: 32, kv_heads: 1, attention: FUSED, ..LLAMA },
    Model { arch: "falcon", layers: 8, tied: true, experts: 8, ..LLAMA },
    Model { arch: "gpt2", attention: FUSED, layers: 12, tied: true, ..LLAMA },
    Model { layers: 20, attention: MIXED, kv_heads: 1, ..LLAMA },
    Model { arch: "bailingmoe3", layers: 4, experts: 8, attention: LATENT, ..LLAMA },
    Model { arch: "bert", layers: 4, attention: FUSED, ..LLAMA },
];

impl Model {
    pub(crate) fn tensors(&self) -> Vec<Candidate> {
        let f32s = Storage::Plain(Dtype::F32);
        let mut all = Vec::new();
        let mut add = |name: String, shape: &[usize]| {
            all.push(Candidate { name, shape: shape.to_vec(), storage: f32s });
        };
        let matrix = [2, self.cols];
        add("token_embd.weight".into(), &matrix);
        add("per_layer_token_embd.weight".into(), &matrix);
        add("output_norm.weight".into(), &[self.cols]);
        add("position_embd.weight".into(), &matrix);
        add("token_types.weight".into(), &matrix);
        add("cls.weight".into(), &[1, self.cols]);
        add("cls.output.weight".into(), &matrix);
        add("rope_freqs.table".into(), &matrix);
        if !self.tied {
            add("output.weight".into(), &matrix);
        }
        for i in 0..self.layers {
            let hybrid = self.attention == MIXED;
            for name in self.attention.iter().filter(|n| !hybrid || (**n == "attn_qkv") == (i % 4 != 3)) {
                add(format!("blk.{i}.{name}.weight"), &matrix);
            }
            if i < 2 {
                add(format!("blk.{i}.attn_norm.weight"), &[self.cols]);
                add(format!("blk.{i}.attn_k_b.weight"), &[self.heads, 1, self.cols]);
                add(format!("blk.{i}.attn_v_b.weight"), &[self.heads, 1, self.cols]);
                for name in RARE {
                    add(format!("blk.{i}.{name}"), &matrix);
                }
            }
            let experts = self.experts > 0 && i > 0;
            for name in ["ffn_up", "ffn_gate", "ffn_down"] {
                if experts {
                    add(format!("blk.{i}.{name}_exps.weight"), &[self.experts, 1, self.cols]);
                    add(format!("blk.{i}.{name}_shexp.weight"), &matrix);
                } else {
                    add(format!("blk.{i}.{name}.weight"), &matrix);
                }
            }
            if experts {
                add(format!("blk.{i}.ffn_gate_inp.weight"), &matrix);
            }
        }
        all
    }

    pub(crate) fn facts(&self, importance: bool) -> Facts {
        let &Model { arch, layers, heads, kv_heads, experts, .. } = self;
        Facts { arch: arch.into(), layers, heads, kv_heads, experts, importance }
    }

    /// Writes it as a GGUF of F32 tensors.
    pub(crate) fn write(&self, path: &Path) {
        let tensors = self.tensors();
        let number = |key: &str, value: usize| (format!("{}.{key}", self.arch), Value::U32(value as u32));
        let epsilon = |key: &str| (format!("{}.attention.{key}", self.arch), Value::F32(1e-5));
        let mut keys = vec![
            ("general.architecture".to_owned(), Value::Text(self.arch)),
            number("context_length", 128),
            number("embedding_length", self.cols),
            number("block_count", self.layers),
            number("feed_forward_length", self.cols),
            number("attention.head_count", self.heads),
            number("attention.head_count_kv", self.kv_heads),
            number("vocab_size", 2),
            epsilon("layer_norm_rms_epsilon"),
            epsilon("layer_norm_epsilon"),
        ];
        if self.experts > 0 {
            keys.extend([number("expert_count", self.experts), number("expert_used_count", 2)]);
        }
        if self.arch == "bailingmoe3" {
            keys.extend(HYBRID_KEYS.iter().map(|&(key, value)| number(key, value as usize)));
            keys.push((format!("{}.kda.gate_lower_bound", self.arch), Value::F32(-5.0)));
        }
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((tensors.len() as u64).to_le_bytes());
        out.extend((keys.len() as u64).to_le_bytes());
        for (key, value) in keys {
            text(&mut out, &key);
            match value {
                Value::U32(v) => [4u32.to_le_bytes(), v.to_le_bytes()].iter().for_each(|b| out.extend(b)),
                Value::F32(v) => [6u32.to_le_bytes(), v.to_le_bytes()].iter().for_each(|b| out.extend(b)),
                Value::Text(v) => {
                    out.extend(8u32.to_le_bytes());
                    text(&mut out, v);
                }
            }
        }
        let mut offset = 0u64;
        for t in &tensors {
            text(&mut out, &t.name);
            out.extend((t.shape.len() as u32).to_le_bytes());
            t.shape.iter().rev().for_each(|&d| out.extend((d as u64).to_le_bytes()));
            out.extend(0u32.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (t.shape.iter().product::<usize>() * 4).next_multiple_of(32) as u64;
        }
        let mut state = 1u32;
        for t in &tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            for _ in 0..t.shape.iter().product::<usize>() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                out.extend((state as f32 / u32::MAX as f32 - 0.5).to_le_bytes());
            }
        }
        fs::write(path, out).expect("writes");
    }
}

enum Value {
    U32(u32),
    F32(f32),
    Text(&'static str),
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
