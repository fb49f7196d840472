//! Linear layers: activations times the transpose of a weight as checkpoints store it.

use super::each_isa;
use super::gemm::{Micro, Operand, Out, product, rounded, scratch, with_micro};
use crate::Isa;
use rayon::prelude::*;

/// A weight `[out, in]`, row-major.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// As f32.
    F32(&'a [f32]),
    /// As little-endian bf16 at any address: a checkpoint's mapping serves as it is.
    Bf16(&'a [u8]),
}

/// How a product may be computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32 activations and sums. The reference: the same bits everywhere.
    #[default]
    F32,
    /// With a [`Weight::Bf16`], activations as the sum of two bf16, which keeps 16 bits of each; products and sums in
    /// f32. An f32 weight is multiplied in f32.
    Bf16Split,
    /// Activations and f32 weights rounded to bf16; products and sums in f32. The fastest.
    Bf16,
}

impl Precision {
    /// `f32`, `bf16-split` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16Split => "bf16-split",
            Precision::Bf16 => "bf16",
        }
    }

    /// Whether this machine has the instruction that makes it differ from [`Precision::F32`]. Without it (or with a
    /// lower [`Isa`]) f32 arithmetic serves, which is more exact and slower.
    pub fn native(self, isa: Isa) -> bool {
        match self {
            Precision::F32 => true,
            #[cfg(target_arch = "x86_64")]
            Precision::Bf16Split | Precision::Bf16 => super::gemm::DotBf16::new(isa).is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Precision::Bf16Split | Precision::Bf16 => {
                let _ = isa;
                false
            }
        }
    }
}

/// `out[m, n] = x[m, k] weight[n, k]^T + bias[n]`.
///
/// A row of `out` depends on its row of `x` alone, not on how many are multiplied at once.
#[allow(clippy::too_many_arguments)]
pub fn matmul(
    isa: Isa,
    x: &[f32],
    m: usize,
    k: usize,
    weight: Weight<'_>,
    n: usize,
    bias: Option<&[f32]>,
    out: &mut [f32],
    precision: Precision,
) {
    let elements = match weight {
        Weight::F32(weight) => weight.len(),
        Weight::Bf16(bytes) => bytes.len() / 2,
    };
    assert_eq!((x.len(), elements, out.len()), (m * k, n * k, m * n), "matmul: x, weight and out of {m} x {k} x {n}");
    assert!(bias.is_none_or(|bias| bias.len() == n), "matmul: bias of {n}");
    if k == 0 {
        out.chunks_exact_mut(n.max(1)).for_each(|row| match bias {
            Some(bias) => row.copy_from_slice(bias),
            None => row.fill(0.0),
        });
        return;
    }
    let b = match weight {
        Weight::F32(weight) => Operand::rows(weight, k),
        Weight::Bf16(bytes) => Operand::bf16(bytes, k),
    };
    #[cfg(target_arch = "x86_64")]
    if let (Weight::Bf16(_), Precision::Bf16Split, Some(micro)) = (weight, precision, super::gemm::DotBf16::new(isa)) {
        return split(isa, micro, x, m, k, b, n, bias, out);
    }
    let out = Out::new(out, n);
    with_micro!(isa, precision, micro => product(micro, &[Operand::rows(x, k)], m, b, n, bias, out, false, false));
}

/// The product by a micro-kernel of bf16 pairs, with what rounding `x` has lost as a second term.
#[cfg(any(target_arch = "x86_64", test))]
#[allow(clippy::too_many_arguments)]
fn split<M: Micro>(
    isa: Isa,
    micro: M,
    x: &[f32],
    m: usize,
    k: usize,
    b: Operand<'_>,
    n: usize,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    scratch(x.len().div_ceil(2), |spare| {
        let lost = &mut bytemuck::cast_slice_mut::<u32, u8>(spare)[..2 * x.len()];
        lost.par_chunks_mut(2 * k).zip(x.par_chunks(k)).for_each(|(lost, x)| lost_to_bf16(isa, x, lost));
        let terms = [Operand::rows(x, k), Operand::bf16(lost, k)];
        product(micro, &terms, m, b, n, bias, Out::new(out, n), false, false);
    });
}

each_isa! {
    /// What rounding to bf16 loses, as little-endian bf16.
    fn lost_to_bf16(x: &[f32], lost: &mut [u8]) {
        for (lost, &x) in lost.as_chunks_mut::<2>().0.iter_mut().zip(x) {
            let high = f32::from_bits(u32::from(rounded(x)) << 16);
            *lost = rounded(x - high).to_le_bytes();
        }
    }
}

#[cfg(test)]
#[path = "matmul_tests.rs"]
mod tests;
