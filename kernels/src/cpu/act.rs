//! Activations, in place.

use super::exp::{erfc, exp};
use super::{ROWS, each_isa};
use crate::Isa;
use rayon::prelude::*;

/// An element-wise non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + e^-x)`, also called swish.
    Silu,
    /// `x Phi(x)`, by the error function.
    Gelu,
    /// The tanh approximation of [`Activation::Gelu`], also called `gelu_new`.
    GeluTanh,
    /// `x / (1 + e^-1.702x)`.
    GeluQuick,
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
}

/// Elements a thread takes at a time.
const CHUNK: usize = 1024 * ROWS;

/// `x = activation(x)`, within 1e-6 of the exact value (relative above 1).
pub fn activate(isa: Isa, activation: Activation, x: &mut [f32]) {
    x.par_chunks_mut(CHUNK).for_each(|x| one(isa, activation, x));
}

fn one(isa: Isa, activation: Activation, x: &mut [f32]) {
    match activation {
        Activation::Silu => silu(isa, x),
        Activation::Gelu => gelu(isa, x),
        Activation::GeluTanh => gelu_tanh(isa, x),
        Activation::GeluQuick => gelu_quick(isa, x),
        Activation::Relu => relu(isa, x),
        Activation::Sigmoid => sigmoid(isa, x),
    }
}

each_isa! {
    fn gelu_quick(x: &mut [f32]) {
        for x in x.iter_mut() {
            *x /= 1.0 + exp(-1.702 * *x);
        }
    }
}

each_isa! {
    fn sigmoid(x: &mut [f32]) {
        for x in x.iter_mut() {
            *x = 1.0 / (1.0 + exp(-*x));
        }
    }
}

each_isa! {
    fn silu(x: &mut [f32]) {
        for x in x.iter_mut() {
            *x /= 1.0 + exp(-*x);
        }
    }
}

each_isa! {
    fn gelu(x: &mut [f32]) {
        for x in x.iter_mut() {
            // The tail is computed as such: taking it from 1 would lose it.
            let tail = 0.5 * *x * erfc(x.abs() * std::f32::consts::FRAC_1_SQRT_2);
            *x = if *x < 0.0 { tail } else { *x - tail };
        }
    }
}

each_isa! {
    fn gelu_tanh(x: &mut [f32]) {
        // (1 + tanh u) / 2 = 1 / (1 + e^-2u), with u = sqrt(2 / pi) (x + 0.044715 x^3).
        const TWICE: f32 = 1.595_769_2;
        for x in x.iter_mut() {
            let u = TWICE * (*x + 0.044_715 * *x * *x * *x);
            *x /= 1.0 + exp(-u);
        }
    }
}

each_isa! {
    fn relu(x: &mut [f32]) {
        for x in x.iter_mut() {
            *x = if *x < 0.0 { 0.0 } else { *x };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::isas;

    fn exact(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => {
                let (mut term, z) = (x / std::f64::consts::SQRT_2, x * x / 2.0);
                let mut sum = term;
                for n in 1..150 {
                    term *= -z / f64::from(n);
                    sum += term / f64::from(2 * n + 1);
                }
                let erf = if x.abs() > 7.0 { x.signum() } else { sum * std::f64::consts::FRAC_2_SQRT_PI };
                0.5 * x * (1.0 + erf)
            }
            Activation::GeluTanh => {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                0.5 * x * (1.0 + u.tanh())
            }
            Activation::GeluQuick => x / (1.0 + (-1.702 * x).exp()),
            Activation::Relu => x.max(0.0),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        }
    }

    #[test]
    fn activations_are_exact_to_a_millionth() {
        let x: Vec<f32> = (-3000..=3000).map(|i| i as f32 * 5e-3).chain([-88.0, -1e4, 1e4, 0.0]).collect();
        for activation in [
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::GeluQuick,
            Activation::Relu,
            Activation::Sigmoid,
        ] {
            let results: Vec<Vec<f32>> = isas()
                .map(|isa| {
                    let mut y = x.clone();
                    activate(isa, activation, &mut y);
                    y
                })
                .collect();
            for (&x, &y) in x.iter().zip(&results[0]) {
                let want = exact(activation, f64::from(x));
                let off = (f64::from(y) - want).abs() / want.abs().max(1.0);
                assert!(off < 1e-6, "{activation:?} {x}: {y} {want}");
            }
            assert!(results.iter().all(|y| y == &results[0]), "{activation:?} differs between instruction sets");
        }
    }
}
