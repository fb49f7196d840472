//! A look at what linear layers read, on the way.

use super::Result;
use crate::model::{Layer, Value};

/// Looks at the values that linear layers read.
pub trait Tap {
    /// `x` is what `value` of `layer` is for some whole sequences, `[rows, width]`. Sequences come in order.
    fn value(&mut self, layer: &Layer, value: Value, x: &[f32]) -> Result<()>;

    /// The rows of `value` of `layer` that one expert's or one head's matrices read, for the same sequences.
    fn expert(&mut self, layer: &Layer, value: Value, rows: &ExpertRows<'_>) -> Result<()>;

    /// Whether [`Tap::expert`] is shown what every expert would read of every token, whoever the token goes to. The
    /// tokens themselves go their way as always.
    fn every_expert(&self) -> bool {
        false
    }

    /// Whether [`Tap::squares`] does in the place of [`Tap::value`].
    fn wants_squares(&self) -> bool {
        false
    }

    /// The sum of squares of each channel of `value` in each of some whole sequences, `[sequences, width]`, which have
    /// `tokens` tokens each. Sequences come in order.
    fn squares(&mut self, layer: &Layer, value: Value, sums: &[f64], tokens: usize) -> Result<()> {
        let _ = (layer, value, sums, tokens);
        Ok(())
    }
}

/// What an expert, or a head, reads.
pub struct ExpertRows<'a> {
    /// Which of the stack.
    pub expert: usize,
    /// `[rows, width]`.
    pub x: &'a [f32],
    /// The token of each row, counted over the sequences that run together.
    pub tokens: &'a [usize],
    /// How many of the tokens go to this expert: all of the rows, unless every expert is shown every token.
    pub routed: usize,
}
