//! What becomes of activations before they meet a quantized weight.

use serde::{Deserialize, Serialize};

/// What becomes of activations before they meet a quantized weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activations {
    /// Nothing: the drift is that of the weights.
    #[default]
    #[serde(rename = "weights-only")]
    Exact,
    /// Rounded in blocks as llama.cpp's CPU engine does: the drift is what its users get.
    #[serde(rename = "q8")]
    Q8,
}

impl Activations {
    /// The word that reports have too.
    pub const fn name(self) -> &'static str {
        match self {
            Activations::Exact => "weights-only",
            Activations::Q8 => "q8",
        }
    }
}
