//! Second moments of what flows into a matrix.

use planish_kernels::Isa;
use planish_kernels::cpu::{self, Precision};
use planish_kernels::device::{self, Device};

/// `H = sum over tokens of x^T x`, `[in, in]`, and how many tokens.
#[derive(Clone, Debug)]
pub struct Moments {
    width: usize,
    /// On and below the diagonal while sums are made; then all of it.
    sums: Vec<f32>,
    tokens: usize,
}

impl Moments {
    /// Of rows of `width` channels, none yet.
    pub fn new(width: usize) -> Moments {
        Moments { width, sums: vec![0.0; width * width], tokens: 0 }
    }

    /// Adds the rows of `x`, `[tokens, in]`.
    pub fn add(&mut self, isa: Isa, x: &[f32], precision: Precision) {
        let tokens = x.len() / self.width.max(1);
        cpu::gram(isa, x, tokens, self.width, &mut self.sums, precision);
        self.tokens += tokens;
    }

    /// [`Moments::add`] on a device, in f32.
    pub fn add_on<D: Device>(&mut self, device: &D, x: &[f32]) -> device::Result<()> {
        let mut sums = device.upload(&self.sums)?;
        device.gram(&device.upload(x)?, self.width, &mut sums)?;
        device.download(&sums, &mut self.sums)?;
        self.tokens += x.len() / self.width.max(1);
        Ok(())
    }

    /// What was seen is all: fills the half above the diagonal.
    #[must_use]
    pub fn whole(mut self) -> Moments {
        cpu::mirror(&mut self.sums, self.width);
        self
    }

    /// Channels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Tokens that were seen.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// `[in, in]`, row after row.
    pub fn matrix(&self) -> &[f32] {
        &self.sums
    }

    /// The sum of squares of each channel.
    pub fn diagonal(&self) -> Vec<f32> {
        self.sums.iter().step_by(self.width + 1).copied().collect()
    }

    /// The first channel whose sum of squares is not finite.
    pub fn not_finite(&self) -> Option<usize> {
        self.sums.chunks(self.width.max(1)).position(|row| row.iter().any(|sum| !sum.is_finite()))
    }

    /// The moments of `x / scale`.
    #[must_use]
    pub fn divided(&self, scale: &[f32]) -> Moments {
        let mut sums = self.sums.clone();
        for (row, a) in sums.chunks_mut(self.width).zip(scale) {
            row.iter_mut().zip(scale).for_each(|(sum, b)| *sum /= a * b);
        }
        Moments { sums, ..*self }
    }
}
