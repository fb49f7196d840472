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
    /// Factors that divide the rope's frequencies, `[head_dim / 2]`.
    RopeFreqs "rope_freqs",
    /// Norm before attention, `[hidden]`.
    AttnNorm "attn_norm",
    /// Query projection, `[heads * head_dim, hidden]`.
    AttnQ "attn_q",
    /// Key projection, `[kv_heads * head_dim, hidden]`.
    AttnK "attn_k",
    /// Value projection, `[kv_heads * head_dim, hidden]`.
    AttnV "attn_v",
    /// Query, key and value in one, `[(heads + 2 * kv_heads) * head_dim, hidden]`.
    AttnQkv "attn_qkv",
    /// Norm of each query head, `[head_dim]`.
    AttnQNorm "attn_q_norm",
    /// Norm of each key head, `[head_dim]`.
    AttnKNorm "attn_k_norm",
    /// Output projection of attention, `[hidden, heads * head_dim]`.
    AttnOut "attn_output",
    /// Norm before the feed-forward part, `[hidden]`.
    FfnNorm "ffn_norm",
    /// The gate, `[ffn, hidden]`.
    FfnGate "ffn_gate",
    /// The way up, `[ffn, hidden]`.
    FfnUp "ffn_up",
    /// The way down, `[hidden, ffn]`.
    FfnDown "ffn_down",
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
            | Role::RopeFreqs
            | Role::AttnNorm
            | Role::AttnQNorm
            | Role::AttnKNorm
            | Role::FfnNorm
            | Role::OutputNorm => true,
            Role::TokenEmbd
            | Role::AttnQ
            | Role::AttnK
            | Role::AttnV
            | Role::AttnQkv
            | Role::AttnOut
            | Role::FfnGate
            | Role::FfnUp
            | Role::FfnDown
            | Role::Output => false,
        }
    }
}
