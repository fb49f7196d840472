//! How far another device's result may be from [`super::Cpu`]'s, as a share of the largest magnitude that its numbers
//! could have: sums run in another order, and the functions of a GPU are not correctly rounded.

/// Ops that only move or combine two numbers: not at all.
pub const EXACT: f32 = 0.0;
/// Functions of one element, and normalisation.
pub const FUNCTION: f32 = 3e-6;
/// Products, as a share of the sum of the magnitudes of their terms.
pub const PRODUCT: f32 = 2e-6;
/// Attention and routing weights.
pub const SOFTMAX: f32 = 1e-5;
