//! The product against the naive one, on every instruction set, on one and two threads; and the bf16 packing through
//! an emulation of the instruction.

#![allow(unsafe_code)]

use super::*;
use crate::cpu::gemm::Place;
use crate::cpu::testing::{isas, numbers, threads};
use half::bf16;
use proptest::prelude::*;

fn naive(x: &[f32], m: usize, k: usize, w: &[f32], n: usize, bias: Option<&[f32]>) -> Vec<f64> {
    let dot = |i: usize, j: usize| (0..k).map(|c| f64::from(x[i * k + c]) * f64::from(w[j * k + c])).sum::<f64>();
    (0..m * n).map(|at| dot(at / n, at % n) + bias.map_or(0.0, |bias| f64::from(bias[at % n]))).collect()
}

fn close(got: &[f32], want: &[f64], tolerance: f64) -> Result<(), TestCaseError> {
    close_each(got, want, &vec![tolerance; want.len()])
}

fn close_each(got: &[f32], want: &[f64], tolerance: &[f64]) -> Result<(), TestCaseError> {
    for (i, ((&got, &want), tolerance)) in got.iter().zip(want).zip(tolerance).enumerate() {
        prop_assert!((f64::from(got) - want).abs() <= *tolerance, "{i}: {got} {want}");
    }
    Ok(())
}

/// How far off each element may be if every `x` is off by the share `unit`: that of all magnitudes, and of f32 sums.
fn rounded_by(unit: f64, x: &[f32], m: usize, k: usize, w: &[f32], n: usize) -> Vec<f64> {
    let [x, w] = [x, w].map(|values| values.iter().map(|v| v.abs()).collect::<Vec<f32>>());
    let sums = 1e-5 * (k as f64).sqrt();
    naive(&x, m, k, &w, n, None).into_iter().map(|all| unit * all + sums).collect()
}

/// A bf16 keeps eight bits, two of them sixteen.
const ONE: f64 = 1.0 / 256.0;
const TWO: f64 = ONE * ONE;

fn to_bf16(w: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let bytes = w.iter().flat_map(|&w| bf16::from_f32(w).to_le_bytes()).collect();
    (bytes, w.iter().map(|&w| bf16::from_f32(w).to_f32()).collect())
}

/// `vdpbf16ps` in software, in tiles of the real one.
#[derive(Clone, Copy)]
struct Emulated;

impl Micro for Emulated {
    const MR: usize = 12;
    const NR: usize = 32;
    const WORDS: usize = 64;
    const PAIRS: bool = true;

    unsafe fn tile(self, words: usize, a: *const u32, b: *const u32, c: *mut f32, stride: usize, add: bool) {
        let halves = |word: u32| (f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000));
        for i in 0..Self::MR {
            for j in 0..Self::NR {
                let mut sum = 0f32;
                for w in 0..words {
                    // SAFETY: the caller vouches for the panels.
                    let (a, b) = unsafe { (*a.add(w * Self::MR + i), *b.add(w * Self::NR + j)) };
                    let ((a0, a1), (b0, b1)) = (halves(a), halves(b));
                    sum = a0.mul_add(b0, a1.mul_add(b1, sum));
                }
                // SAFETY: the caller vouches for the tile.
                unsafe {
                    let c = c.add(i * stride + j);
                    *c = if add { *c + sum } else { sum };
                }
            }
        }
    }

    fn pack(self, operand: Operand<'_>, place: Place, width: usize, out: &mut [u32]) {
        crate::cpu::gemm::pack_any(Isa::detected(), operand, Self::PAIRS, place, width, out);
    }
}

#[test]
fn narrowing_is_rounding_to_bf16() {
    let odd = [f32::NAN, f32::INFINITY, -f32::INFINITY, f32::MAX, 1e-45, -0.0, f32::from_bits(0x7fff_ffff)];
    let many = (0..1 << 20).map(|i: u32| f32::from_bits(i.wrapping_mul(2_654_435_761)));
    for x in many.chain(odd) {
        assert_eq!(crate::cpu::gemm::rounded(x), bf16::from_f32(x).to_bits(), "{x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn f32_and_bf16_weights(m in 0usize..30, k in 0usize..560, n in 0usize..105, biased: bool, seed: u64) {
        let (x, w, bias) = (numbers(m * k, seed), numbers(n * k, seed ^ 7), numbers(n, seed ^ 9));
        let bias = biased.then_some(&bias[..]);
        let (bytes, rounded) = to_bf16(&w);
        let tolerance = 1e-5 * (k as f64).sqrt() + 1e-6;
        for (weight, values) in [(Weight::F32(&w), &w), (Weight::Bf16(&bytes), &rounded)] {
            let run = |isa| {
                let mut out = vec![f32::NAN; m * n];
                matmul(isa, &x, m, k, weight, n, bias, &mut out, Precision::F32);
                out
            };
            let oracle = run(Isa::Scalar);
            close(&oracle, &naive(&x, m, k, values, n, bias), tolerance)?;
            for isa in isas() {
                for count in [1, 2] {
                    prop_assert!(threads(count, || run(isa)) == oracle, "{isa:?}, {count} threads");
                }
            }
        }
    }

    #[test]
    fn bf16_pairs_pack_and_add_up(m in 1usize..40, k in 1usize..300, n in 1usize..100, biased: bool, seed: u64) {
        let (x, w, bias) = (numbers(m * k, seed), numbers(n * k, seed ^ 7), numbers(n, seed ^ 9));
        let bias = biased.then_some(&bias[..]);
        let (bytes, rounded) = to_bf16(&w);
        let run = |w, two| {
            let mut out = vec![f32::NAN; m * n];
            if two {
                split(Isa::detected(), Emulated, &x, m, k, w, n, bias, &mut out);
            } else {
                product(Emulated, &[Operand::rows(&x, k)], m, w, n, bias, Out::new(&mut out, n), false, false);
            }
            out
        };
        let (_, coarse) = to_bf16(&x);
        let want = naive(&coarse, m, k, &rounded, n, bias);
        close(&run(Operand::bf16(&bytes, k), false), &want, 1e-5 * (k as f64).sqrt())?;
        close(&run(Operand::rows(&w, k), false), &want, 1e-5 * (k as f64).sqrt())?;
        let tolerance = rounded_by(TWO, &x, m, k, &rounded, n);
        close_each(&run(Operand::bf16(&bytes, k), true), &naive(&x, m, k, &rounded, n, bias), &tolerance)?;
    }

    /// Whatever this machine has; where it lacks `vdpbf16ps` this is the fallback.
    #[test]
    fn every_precision_is_near(m in 1usize..40, k in 1usize..300, n in 1usize..100, seed: u64) {
        let (x, w) = (numbers(m * k, seed), numbers(n * k, seed ^ 7));
        let (bytes, rounded) = to_bf16(&w);
        let want = naive(&x, m, k, &rounded, n, None);
        for (precision, unit) in [(Precision::F32, 0.0), (Precision::Bf16Split, TWO), (Precision::Bf16, ONE)] {
            let tolerance = rounded_by(unit, &x, m, k, &rounded, n);
            for isa in isas() {
                for weight in [Weight::Bf16(&bytes), Weight::F32(&rounded)] {
                    let mut out = vec![f32::NAN; m * n];
                    matmul(isa, &x, m, k, weight, n, None, &mut out, precision);
                    close_each(&out, &want, &tolerance)?;
                }
            }
        }
    }
}

#[test]
fn rows_do_not_depend_on_their_neighbours() {
    let (m, k, n) = (1600, 260, 20);
    let (x, w) = (numbers(m * k, 3), numbers(n * k, 4));
    let run = |rows: std::ops::Range<usize>| {
        let mut out = vec![0.0; rows.len() * n];
        let x = &x[rows.start * k..rows.end * k];
        matmul(Isa::detected(), x, rows.len(), k, Weight::F32(&w), n, None, &mut out, Precision::F32);
        out
    };
    let all = run(0..m);
    for rows in [0..1, 799..812, 1599..1600] {
        assert_eq!(run(rows.clone()), all[rows.start * n..rows.end * n], "{rows:?}");
    }
}
