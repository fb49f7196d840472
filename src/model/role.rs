//! What a tensor is for: the vocabulary of GGUF names, recipes and reports.

macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident $gguf:literal,)*) => {
        /// What a tensor is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Role { $($(#[$doc])* $role,)* }

        impl Role {
            /// All of them.
            pub const ALL: &[Role] = &[$(Role::$role),*];

            /// The stem of its GGUF name: `attn_q` of `blk.0.attn_q.weight`.
            pub const fn gguf(self) -> &'static str {
                match self { $(Role::$role => $gguf),* }
            }
        }
    };
}
roles! {
    /// Token embedding, `[vocab, hidden]`; also the head where the two are tied.
    TokenEmbd "token_embd",
    /// Learned position embedding, `[context, hidden]`.
    PosEmbd "position_embd",
    /// Embedding of the kinds of text (first, second), `[kinds, hidden]`.
    TokenTypes "token_types",
    /// What brings a narrow embedding to the width of the layers, `[hidden, embedding]`.
    EmbdMapping "embd_mapping",
    /// Factors that divide the rope's frequencies, `[head_dim / 2]`.
    RopeFreqs "rope_freqs",
    /// The same for texts longer than the context before it was stretched.
    RopeLong "rope_factors_long",
    /// The same for shorter ones.
    RopeShort "rope_factors_short",
    /// Norm of the embedding, `[hidden]`.
    TokenEmbdNorm "token_embd_norm",
    /// Norm before attention, `[hidden]`.
    AttnNorm "attn_norm",
    /// A second one, where attention and the feed-forward part read different norms of one value, `[hidden]`.
    AttnNorm2 "attn_norm_2",
    /// Norm of what attention adds, `[hidden]`.
    AttnPostNorm "post_attention_norm",
    /// Query projection, `[heads * head_dim, hidden]`.
    AttnQ "attn_q",
    /// Key projection, `[kv_heads * head_dim, hidden]`.
    AttnK "attn_k",
    /// Value projection, `[kv_heads * head_dim, hidden]`.
    AttnV "attn_v",
    /// Query, key and value in one, `[(heads + 2 * kv_heads) * head_dim, hidden]`.
    AttnQkv "attn_qkv",
    /// The way down to latent queries, `[q_rank, hidden]` (MLA).
    AttnQA "attn_q_a",
    /// Norm of latent queries, `[q_rank]`.
    AttnQANorm "attn_q_a_norm",
    /// The way up from latent queries, `[heads * head_dim, q_rank]`.
    AttnQB "attn_q_b",
    /// The way down to what keys and values are made of, and the part of keys that turns, `[kv_rank + rope, hidden]`.
    AttnKvAMqa "attn_kv_a_mqa",
    /// Norm of what keys and values are made of, `[kv_rank]`.
    AttnKvANorm "attn_kv_a_norm",
    /// From each query head to what keys are made of, `[heads, kv_rank, nope]`.
    AttnKB "attn_k_b",
    /// From what values are made of to each head, `[heads, value, kv_rank]`.
    AttnVB "attn_v_b",
    /// Norm of each query head, `[head_dim]`.
    AttnQNorm "attn_q_norm",
    /// Norm of each key head, `[head_dim]`.
    AttnKNorm "attn_k_norm",
    /// Scores that have no value, `[heads]`.
    AttnSinks "attn_sinks",
    /// Output projection of attention, `[hidden, heads * head_dim]`.
    AttnOut "attn_output",
    /// The same where GGUF has encoders and decoders.
    AttnO "attn_o",
    /// Norm of the residual stream after attention, `[hidden]`.
    AttnOutNorm "attn_output_norm",
    /// What is added to scores by distance, `[buckets, heads]`.
    AttnRelB "attn_rel_b",
    /// Norm before a decoder's attention to what the encoder made, `[hidden]`.
    CrossNorm "cross_attn_norm",
    /// Its query projection, `[heads * head_dim, hidden]`.
    CrossQ "cross_attn_q",
    /// Its key projection, `[heads * head_dim, hidden]`.
    CrossK "cross_attn_k",
    /// Its value projection, `[heads * head_dim, hidden]`.
    CrossV "cross_attn_v",
    /// Its output projection, `[hidden, heads * head_dim]`.
    CrossO "cross_attn_o",
    /// Norm of the residual stream after it, `[hidden]`.
    CrossOutNorm "cross_attn_output_norm",
    /// Norm before the feed-forward part, `[hidden]`.
    FfnNorm "ffn_norm",
    /// Norm of what the feed-forward part adds, `[hidden]`.
    FfnPostNorm "post_ffw_norm",
    /// The gate, `[ffn, hidden]`.
    FfnGate "ffn_gate",
    /// The way up, `[ffn, hidden]`.
    FfnUp "ffn_up",
    /// The way down, `[hidden, ffn]`.
    FfnDown "ffn_down",
    /// The router, `[experts, hidden]`.
    FfnGateInp "ffn_gate_inp",
    /// What is added to the router's scores where experts are chosen, `[experts]`.
    ExpProbsB "exp_probs_b",
    /// The gates of all experts, `[experts, ffn, hidden]`.
    FfnGateExps "ffn_gate_exps",
    /// The ways up of all experts, `[experts, ffn, hidden]`.
    FfnUpExps "ffn_up_exps",
    /// The ways down of all experts, `[experts, hidden, ffn]`.
    FfnDownExps "ffn_down_exps",
    /// What weighs the shared expert, `[1, hidden]`.
    FfnGateInpShexp "ffn_gate_inp_shexp",
    /// The gate of the shared expert, `[ffn, hidden]`.
    FfnGateShexp "ffn_gate_shexp",
    /// The way up of the shared expert, `[ffn, hidden]`.
    FfnUpShexp "ffn_up_shexp",
    /// The way down of the shared expert, `[hidden, ffn]`.
    FfnDownShexp "ffn_down_shexp",
    /// Norm of the residual stream after the feed-forward part, `[hidden]`.
    LayerOutNorm "layer_output_norm",
    /// The linear before a head of masked tokens, `[embedding, hidden]`.
    MaskedDense "masked_dense",
    /// The norm after it, `[embedding]`.
    MaskedNorm "masked_norm",
    /// Norm before the head, `[hidden]`.
    OutputNorm "output_norm",
    /// The head, `[vocab, hidden]`.
    Output "output",
}

impl Role {
    /// Whether llama.cpp keeps it in F32 whatever its shape.
    pub const fn keeps_f32(self) -> bool {
        match self {
            Role::PosEmbd
            | Role::TokenTypes
            | Role::RopeFreqs
            | Role::RopeLong
            | Role::RopeShort
            | Role::TokenEmbdNorm
            | Role::AttnNorm
            | Role::AttnNorm2
            | Role::AttnOutNorm
            | Role::LayerOutNorm
            | Role::MaskedNorm
            | Role::AttnPostNorm
            | Role::AttnSinks
            | Role::AttnRelB
            | Role::CrossNorm
            | Role::CrossOutNorm
            | Role::FfnPostNorm
            | Role::FfnGateInp
            | Role::FfnGateInpShexp
            | Role::ExpProbsB
            | Role::AttnQANorm
            | Role::AttnKvANorm
            | Role::AttnQNorm
            | Role::AttnKNorm
            | Role::FfnNorm
            | Role::OutputNorm => true,
            Role::TokenEmbd
            | Role::EmbdMapping
            | Role::MaskedDense
            | Role::AttnQ
            | Role::AttnK
            | Role::AttnV
            | Role::AttnQkv
            | Role::AttnQA
            | Role::AttnQB
            | Role::AttnKvAMqa
            | Role::AttnKB
            | Role::AttnVB
            | Role::AttnOut
            | Role::AttnO
            | Role::CrossQ
            | Role::CrossK
            | Role::CrossV
            | Role::CrossO
            | Role::FfnGate
            | Role::FfnUp
            | Role::FfnDown
            | Role::FfnGateExps
            | Role::FfnUpExps
            | Role::FfnDownExps
            | Role::FfnGateShexp
            | Role::FfnUpShexp
            | Role::FfnDownShexp
            | Role::Output => false,
        }
    }
}
