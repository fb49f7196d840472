//! The ops of a forward pass and of calibration, wherever they run.
//!
//! [`Cpu`] is the reference. Another device gives the same numbers within each op's tolerance, which
//! [`tolerance`] states and `tests/device.rs` holds it to.

mod cpu;
mod error;
pub mod tolerance;

pub use cpu::Cpu;
pub use error::{Error, Result};

use std::ops::Range;

use crate::cpu::{Activation, Attention, Rotation, Routing, Sequences, Turns, Weight};

/// The shape of a row-wise normalisation.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Elements that are normalised together.
    pub width: usize,
    /// Added under the root.
    pub eps: f32,
    /// Whether the mean is taken off first.
    pub centred: bool,
}

/// Where ops run. Values are row-major f32 and live on the device; shapes are the caller's contract, as in [`crate::cpu`].
pub trait Device: Sync {
    /// A value.
    type Buf: Send;
    /// A weight `[out, in]`.
    type Matrix: Send;

    /// What it is called.
    fn name(&self) -> &str;

    /// Copies to the device.
    fn upload(&self, x: &[f32]) -> Result<Self::Buf>;
    /// Copies all of `x` back.
    fn download(&self, x: &Self::Buf, out: &mut [f32]) -> Result<()>;
    /// Elements of a value.
    fn len(&self, x: &Self::Buf) -> usize;
    /// The same numbers again.
    fn copy(&self, x: &Self::Buf) -> Result<Self::Buf>;
    /// Copies a weight to the device. May still be under way on return; ops that read it wait.
    fn matrix(&self, weight: Weight<'_>) -> Result<Self::Matrix>;

    /// `x[m, k] w[rows, k]^T + bias[rows]`: `[m, rows]`, of these rows of the weight.
    fn matmul(
        &self,
        x: &Self::Buf,
        m: usize,
        k: usize,
        w: &Self::Matrix,
        rows: Range<usize>,
        bias: Option<&Self::Buf>,
    ) -> Result<Self::Buf>;
    /// Normalises each piece of `x`; then times `weight[width]`, then plus `bias[width]`.
    fn norm(&self, x: &Self::Buf, how: Norm, weight: Option<&Self::Buf>, bias: Option<&Self::Buf>)
    -> Result<Self::Buf>;
    /// See [`crate::cpu::rope`].
    fn rope(&self, x: &mut Self::Buf, heads: usize, dim: usize, rotation: Rotation, turns: &Turns) -> Result<()>;
    /// See [`crate::cpu::attend`], in f32.
    fn attend(
        &self,
        shape: &Attention<'_>,
        sequences: Sequences<'_>,
        q: &Self::Buf,
        k: &Self::Buf,
        v: &Self::Buf,
    ) -> Result<Self::Buf>;
    /// `x += y`.
    fn add(&self, x: &mut Self::Buf, y: &Self::Buf) -> Result<()>;
    /// `x *= y`.
    fn multiply(&self, x: &mut Self::Buf, y: &Self::Buf) -> Result<()>;
    /// Row `i` of `x` times `by[i]`.
    fn multiply_rows(&self, x: &mut Self::Buf, by: &Self::Buf) -> Result<()>;
    /// Every row of `x` times `by`.
    fn multiply_columns(&self, x: &mut Self::Buf, by: &Self::Buf) -> Result<()>;
    /// `x = scale x + shift`.
    fn affine(&self, x: &mut Self::Buf, scale: f32, shift: f32) -> Result<()>;
    /// Not under `low` nor over `high`; NaN stays.
    fn clamp(&self, x: &mut Self::Buf, low: f32, high: f32) -> Result<()>;
    /// `cap tanh(x / cap)`.
    fn softcap(&self, x: &mut Self::Buf, cap: f32) -> Result<()>;
    /// The non-linearity of each element.
    fn activate(&self, x: &mut Self::Buf, kind: Activation) -> Result<()>;
    /// Elements `take` of every piece of `per` elements, side by side.
    fn slice(&self, x: &Self::Buf, per: usize, take: Range<usize>) -> Result<Self::Buf>;
    /// `heads` pieces of each row of `a`, each before one of `b`; if `shared`, before the one piece that `b` has.
    fn join(&self, a: &Self::Buf, b: &Self::Buf, rows: usize, heads: usize, shared: bool) -> Result<Self::Buf>;
    /// See [`crate::cpu::route`].
    fn route(&self, how: &Routing<'_>, experts: usize, logits: &Self::Buf) -> Result<Self::Buf>;
    /// See [`crate::cpu::mix`].
    fn mix(&self, x: &Self::Buf, route: &Self::Buf, top: usize, width: usize) -> Result<Self::Buf>;
    /// These rows of `x`, `width` wide.
    fn gather(&self, x: &Self::Buf, width: usize, rows: &[usize]) -> Result<Self::Buf>;
    /// Row `i` of `x` becomes row `rows[i]` of `out`.
    fn scatter(&self, x: &Self::Buf, width: usize, rows: &[usize], out: &mut Self::Buf) -> Result<()>;
    /// `[len]` of zeros.
    fn zeros(&self, len: usize) -> Result<Self::Buf>;
    /// For each `rows` rows of `x`, the sum of squares of each column, in the order of the rows, in f64:
    /// `[len / (rows * width), width]`.
    fn sum_squares(&self, x: &Self::Buf, width: usize, rows: usize) -> Result<Vec<f64>>;
    /// The same of magnitudes.
    fn sum_magnitudes(&self, x: &Self::Buf, width: usize, rows: usize) -> Result<Vec<f64>>;
    /// `h[n, n] += x[rows, n]^T x`, on and below the diagonal.
    fn gram(&self, x: &Self::Buf, n: usize, h: &mut Self::Buf) -> Result<()>;
}
