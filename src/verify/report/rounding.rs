//! How a release's weights were rounded, as `quantize --method --json` tells it.

use serde::{Deserialize, Serialize};

/// The account of a whole release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rounding {
    /// Every matrix, in the order of execution.
    pub tensors: Vec<RoundedTensor>,
    /// Every scale that was found, in the order of execution.
    pub scales: Vec<RoundedScale>,
    /// Layers that an interrupted run had done: they are not among the tensors.
    pub resumed_layers: usize,
}

/// One matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundedTensor {
    /// Its GGUF name.
    pub tensor: String,
    /// The type that it became.
    #[serde(rename = "type")]
    pub storage: String,
    /// The square error of its outputs, rounded to nearest, as a share of all there is to lose.
    pub loss_nearest: f64,
    /// The same as the method rounded it.
    pub loss: f64,
    /// What was added to the diagonal of the second moments, as a share of its mean; 0 where nothing was inverted.
    pub damping: f64,
    /// Input channels without activations.
    pub dead_channels: usize,
    /// Whether rounding to nearest took the place of the method's result, since it lost less.
    pub fell_back: bool,
    /// Whether the type's codes stand for several weights, so that it was rounded to nearest.
    pub whole_blocks: bool,
    /// Wall time, seconds.
    pub seconds: f64,
}

/// One scale of channels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundedScale {
    /// The GGUF name of what was divided.
    pub maker: String,
    /// The loss of all readers, rounded to nearest, without the scale.
    pub loss_before: f64,
    /// With it.
    pub loss_after: f64,
}

impl RoundedTensor {
    /// What is out of the ordinary, a few words each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = vec![];
        if self.whole_blocks {
            remarks.push("codes of several weights: rounded to nearest".to_owned());
        }
        if self.fell_back {
            remarks.push("rounded to nearest, which loses less".to_owned());
        }
        if self.dead_channels > 0 {
            remarks.push(format!("{} channels without activations", self.dead_channels));
        }
        remarks
    }
}
