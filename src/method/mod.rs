//! How the weights of a matrix become points of a grid. [`METHODS`] lists the ways.
//!
//! A method sees one matrix `[out, in]`, the codec of the type it becomes, and what calibration has found of the matrix's
//! inputs: their second moments `H = sum x^T x` over all tokens. What is lost by a matrix `Q` in place of `W` is
//! `sum over tokens |x (W - Q)^T|^2 = trace((W - Q) H (W - Q)^T)`: the square error of its outputs.

mod awq;
mod descent;
mod error;
mod gptq;
mod loss;
mod moments;
mod nearest;

pub use awq::{Channels, Reader, Scaling, scaling};
pub use error::{Error, Result};
pub use gptq::Gptq;
pub use loss::loss;
pub use moments::Moments;
pub use nearest::Nearest;
use planish_kernels::Isa;
use planish_kernels::block::Codec;

/// One matrix to be rounded.
pub struct Task<'a> {
    /// Instruction set of the kernels.
    pub isa: Isa,
    /// Its name, for messages.
    pub name: &'a str,
    /// Elements a row.
    pub cols: usize,
    /// The type that it becomes.
    pub codec: &'a dyn Codec,
    /// What flows into it.
    pub moments: &'a Moments,
}

/// What became of a matrix.
#[derive(Clone, Debug)]
pub struct Rounded {
    /// Blocks of the codec, row after row.
    pub blocks: Vec<u8>,
    /// What they decode to, `[out, in]`.
    pub values: Vec<f32>,
    /// What there is to tell.
    pub account: Account,
}

/// How the rounding of a matrix went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Account {
    /// The loss as a share of `trace(W H W^T)`.
    pub loss: f64,
    /// The same, had every weight been rounded to the nearest point by its importance.
    pub nearest: f64,
    /// What was added to the diagonal of `H`, as a share of its mean; 0 where nothing is inverted.
    pub damping: f64,
    /// Input channels through which nothing flowed.
    pub dead: usize,
    /// Whether rounding to nearest took the place of what the method had made, since it lost less.
    pub fell_back: bool,
}

/// A way to round.
pub trait Method: Sync {
    /// The name that `--method` takes.
    fn name(&self) -> &'static str;
    /// Rounds `weights`, `[out, in]`.
    fn round(&self, task: &Task<'_>, weights: &[f32]) -> Result<Rounded>;
}

/// All ways to round.
pub static METHODS: &[&dyn Method] = &[&Nearest, &Gptq::DEFAULT];

#[cfg(test)]
mod tests;
