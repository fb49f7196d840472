//! Deterministic inputs, the same on every machine: integer arithmetic and exact operations only.

/// A splitmix64 stream.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0.0 .. 1.0`, 24 bits.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 16777216.0
    }

    /// Close to Gaussian with deviation 1: twelve uniforms, no library function.
    pub(crate) fn gaussian(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    /// `n` Gaussians of this deviation.
    pub(crate) fn gaussians(&mut self, n: usize, deviation: f32) -> Vec<f32> {
        (0..n).map(|_| self.gaussian() * deviation).collect()
    }
}

/// Cuts to bfloat16's values.
pub(crate) fn bf16(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| f32::from_bits(v.to_bits() & 0xffff_0000)).collect()
}
