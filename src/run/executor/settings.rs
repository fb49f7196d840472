//! How a program is run.

use planish_kernels::Isa;
use planish_kernels::cpu::Precision;

use super::Activations;
use crate::run::Place;

/// How a program is run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Instruction set of the kernels.
    pub isa: Isa,
    /// How products are computed.
    pub precision: Precision,
    /// How attention multiplies. Rounding there moves the outputs as much as all other rounding together: good enough to
    /// calibrate by, not to measure by.
    pub attention: Precision,
    /// What becomes of activations before they meet a quantized weight.
    pub activations: Activations,
    /// Bytes of hidden states to keep in memory; more go to a temporary file.
    pub memory: usize,
    /// Where ops run.
    pub place: Place,
}

impl Default for Settings {
    fn default() -> Self {
        let precision = Precision::F32;
        Settings {
            isa: Isa::detected(),
            precision,
            attention: precision,
            activations: Activations::Exact,
            memory: 1 << 30,
            place: Place::Cpu,
        }
    }
}

impl Settings {
    /// The precision, or f32 where this machine does not have it.
    pub fn computed_in(&self) -> Precision {
        if self.precision.native(self.isa) { self.precision } else { Precision::F32 }
    }
}
