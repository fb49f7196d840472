//! Linear layers: activations times the transpose of a weight as checkpoints store it.

use super::gemm::{Micro, Operand, Out, product, with_micro};
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

/// How a product with a [`Weight::Bf16`] may be computed. An f32 weight is always multiplied in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32 activations and sums. The reference: the same bits everywhere.
    #[default]
    F32,
    /// Activations as the sum of two bf16, which keeps 16 bits of each; products and sums in f32.
    Bf16Split,
    /// Activations rounded to bf16; products and sums in f32.
    Bf16,
}

impl Precision {
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
    if let (Weight::Bf16(_), Precision::Bf16 | Precision::Bf16Split, Some(micro)) =
        (weight, precision, super::gemm::DotBf16::new(isa))
    {
        return pairs(micro, x, m, k, b, n, bias, out, precision == Precision::Bf16Split);
    }
    let out = Out::new(out, n);
    with_micro!(isa, micro => product(micro, &[Operand::rows(x, k)], m, b, n, bias, out, false, false));
}

/// The product by a micro-kernel of bf16 pairs.
#[cfg(any(target_arch = "x86_64", test))]
#[allow(clippy::too_many_arguments)]
fn pairs<M: Micro>(
    micro: M,
    x: &[f32],
    m: usize,
    k: usize,
    b: Operand<'_>,
    n: usize,
    bias: Option<&[f32]>,
    out: &mut [f32],
    split: bool,
) {
    let mut high = vec![0u8; x.len() * 2];
    let mut low = vec![0u8; if split { x.len() * 2 } else { 0 }];
    high.par_chunks_mut(2 * k).zip(x.par_chunks(k)).for_each(|(high, x)| narrow(x, high));
    if split {
        low.par_chunks_mut(2 * k).zip(high.par_chunks(2 * k)).zip(x.par_chunks(k)).for_each(|((low, high), x)| {
            let rest = |(x, high): (&f32, &[u8])| x - widen([high[0], high[1]]);
            let rest: Vec<f32> = x.iter().zip(high.chunks_exact(2)).map(rest).collect();
            narrow(&rest, low);
        });
    }
    let terms = [Operand::bf16(&high, k), Operand::bf16(&low, k)];
    let terms = if split { &terms[..] } else { &terms[..1] };
    product(micro, terms, m, b, n, bias, Out::new(out, n), false, false);
}

/// Rounds to bf16, half to even.
#[cfg(any(target_arch = "x86_64", test))]
fn narrow(x: &[f32], out: &mut [u8]) {
    for (out, x) in out.chunks_exact_mut(2).zip(x) {
        out.copy_from_slice(&half::bf16::from_f32(*x).to_le_bytes());
    }
}

#[cfg(any(target_arch = "x86_64", test))]
fn widen(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

#[cfg(test)]
#[path = "matmul_tests.rs"]
mod tests;
