//! Every op of [`Device`] on a GPU against the processor, on one table of cases.
//!
//! The driver is whatever the loader finds: a GPU's, or the interpreter of `tests/ptx` by `LD_LIBRARY_PATH`. Without one the
//! tests say so and pass; `PLANISH_REQUIRE_CUDA=1` makes that a failure.
#![cfg(feature = "cuda")]

use planish_kernels::Isa;
use planish_kernels::cpu::{Activation, Attention, Rotation, Routing, Scoring, Sequences, Turns, Weight};
use planish_kernels::cuda::{Cuda, devices};
use planish_kernels::device::{Cpu, Device, Norm, tolerance};

fn device() -> Option<&'static Cuda> {
    match Cuda::open(0) {
        Ok(cuda) => Some(cuda),
        Err(error) => {
            assert!(std::env::var_os("PLANISH_REQUIRE_CUDA").is_none(), "{error}");
            println!("skipped: {error}");
            None
        }
    }
}

/// Numbers between -1 and 1.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn bf16(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes()).collect()
}

/// An op over values that begin as the same numbers anywhere.
struct Case {
    name: String,
    /// As a share of the largest magnitude of `scale`, or of the result.
    tolerance: f32,
    cpu: Vec<f32>,
    cuda: Vec<f32>,
    scale: f32,
}

struct Table<'a> {
    cpu: Cpu,
    cuda: &'a Cuda,
    cases: Vec<Case>,
}

/// Runs an expression over both devices: `d` is the device, `up` copies numbers there.
macro_rules! both {
    ($table:expr, $name:expr, $tolerance:expr, $scale:expr, |$d:ident| $body:expr) => {{
        let cpu = {
            let $d = &$table.cpu;
            let out = $body.expect("the processor");
            down($d, &out)
        };
        let cuda = {
            let $d = $table.cuda;
            let out = $body.unwrap_or_else(|error| panic!("{}: {error}", $name));
            down($d, &out)
        };
        $table.cases.push(Case { name: $name.to_string(), tolerance: $tolerance, cpu, cuda, scale: $scale });
    }};
}

fn down<D: Device>(device: &D, buf: &D::Buf) -> Vec<f32> {
    let mut out = vec![f32::NAN; device.len(buf)];
    device.download(buf, &mut out).expect("copied back");
    out
}

fn changed<D: Device>(
    device: &D,
    x: &[f32],
    change: impl FnOnce(&mut D::Buf) -> planish_kernels::device::Result<()>,
) -> planish_kernels::device::Result<D::Buf> {
    let mut buf = device.upload(x)?;
    change(&mut buf)?;
    Ok(buf)
}

impl Table<'_> {
    fn check(self, at_least: usize) {
        assert!(self.cases.len() >= at_least, "{} cases", self.cases.len());
        for Case { name, tolerance, cpu, cuda, scale } in &self.cases {
            assert_eq!(cpu.len(), cuda.len(), "{name}");
            let most = cpu.iter().fold(0f32, |most, x| most.max(x.abs())).max(*scale);
            for (i, (a, b)) in cpu.iter().zip(cuda).enumerate() {
                let close = a.to_bits() == b.to_bits() || (a - b).abs() <= tolerance * most;
                assert!(close, "{name} at {i}: {a} on the processor, {b} on the GPU");
            }
        }
    }
}

fn table(cuda: &Cuda) -> Table<'_> {
    Table { cpu: Cpu { isa: Isa::detected() }, cuda, cases: vec![] }
}

#[test]
fn element_by_element() {
    let Some(cuda) = device() else { return };
    let mut t = table(cuda);
    for n in [1usize, 255, 256, 1000] {
        let (x, y) = (numbers(n, 1), numbers(n, 2));
        both!(t, format!("add {n}"), tolerance::EXACT, 0.0, |d| {
            let y = d.upload(&y).expect("copied");
            changed(d, &x, |x| d.add(x, &y))
        });
        both!(t, format!("multiply {n}"), tolerance::EXACT, 0.0, |d| {
            let y = d.upload(&y).expect("copied");
            changed(d, &x, |x| d.multiply(x, &y))
        });
        both!(t, format!("affine {n}"), tolerance::EXACT, 0.0, |d| changed(d, &x, |x| d.affine(x, 1.7, -0.3)));
        both!(t, format!("clamp {n}"), tolerance::EXACT, 0.0, |d| changed(d, &x, |x| d.clamp(x, -0.25, 0.5)));
        both!(t, format!("softcap {n}"), tolerance::FUNCTION, 0.0, |d| changed(d, &x, |x| d.softcap(x, 0.6)));
        for kind in [
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::GeluQuick,
            Activation::Relu,
            Activation::Sigmoid,
        ] {
            let x: Vec<f32> = x.iter().map(|x| x * 9.0).collect();
            both!(t, format!("{kind:?} {n}"), tolerance::FUNCTION, 0.0, |d| changed(d, &x, |x| d.activate(x, kind)));
        }
    }
    let (x, by, columns) = (numbers(60, 3), numbers(12, 4), numbers(5, 5));
    both!(t, "rows", tolerance::EXACT, 0.0, |d| {
        let by = d.upload(&by).expect("copied");
        changed(d, &x, |x| d.multiply_rows(x, &by))
    });
    both!(t, "columns", tolerance::EXACT, 0.0, |d| {
        let by = d.upload(&columns).expect("copied");
        changed(d, &x, |x| d.multiply_columns(x, &by))
    });
    both!(t, "slice", tolerance::EXACT, 0.0, |d| d.slice(&d.upload(&x).expect("copied"), 10, 3..7));
    both!(t, "copy", tolerance::EXACT, 0.0, |d| d.copy(&d.upload(&x).expect("copied")));
    both!(t, "zeros", tolerance::EXACT, 0.0, |d| d.zeros(77));
    both!(t, "gather", tolerance::EXACT, 0.0, |d| d.gather(&d.upload(&x).expect("copied"), 5, &[3, 0, 11, 3]));
    both!(t, "scatter", tolerance::EXACT, 0.0, |d| {
        let rows = d.upload(&x[..15]).expect("copied");
        changed(d, &[0.5; 60], |out| d.scatter(&rows, 5, &[11, 2, 7], out))
    });
    for (shared, b) in [(false, 24), (true, 4)] {
        let b = numbers(b, 6);
        both!(t, format!("join {shared}"), tolerance::EXACT, 0.0, |d| {
            d.join(&d.upload(&x).expect("copied"), &d.upload(&b).expect("copied"), 2, 6, shared)
        });
    }
    t.check(50);
}

#[test]
fn rows() {
    let Some(cuda) = device() else { return };
    let mut t = table(cuda);
    for width in [1usize, 7, 64, 300] {
        let (x, w, b) = (numbers(width * 5, 1), numbers(width, 2), numbers(width, 3));
        for (centred, weight, bias) in [(false, true, false), (false, false, false), (true, true, true)] {
            both!(t, format!("norm {width} {centred}"), tolerance::FUNCTION, 1.0, |d| {
                let (w, b) = (d.upload(&w).expect("copied"), d.upload(&b).expect("copied"));
                let how = Norm { width, eps: 1e-5, centred };
                d.norm(&d.upload(&x).expect("copied"), how, weight.then_some(&w), bias.then_some(&b))
            });
        }
    }
    let inverse: Vec<f32> = (0..6).map(|i| 10000f32.powf(-(i as f32) / 6.0)).collect();
    let turns = Turns::new(&inverse, 1.25, 9);
    let x = numbers(18 * 3 * 14, 4);
    for rotation in [Rotation::Pairs, Rotation::Halves] {
        both!(t, format!("{rotation:?}"), tolerance::EXACT, 0.0, |d| {
            changed(d, &x, |x| d.rope(x, 3, 14, rotation, &turns))
        });
    }
    let bias = numbers(12, 5);
    for (scoring, bias, groups, top_groups, normalise) in [
        (Scoring::Softmax, None, 1, 1, true),
        (Scoring::Softmax, None, 1, 1, false),
        (Scoring::Sigmoid, Some(&bias[..]), 4, 2, true),
    ] {
        let group_best = groups.min(2);
        let how = Routing { top: 3, scoring, bias, groups, top_groups, group_best, normalise, scale: 1.5 };
        let logits = numbers(12 * 40, 6);
        both!(t, format!("route {scoring:?}"), tolerance::SOFTMAX, 0.0, |d| {
            d.route(&how, 12, &d.upload(&logits).expect("copied"))
        });
    }
    let (x, route) = (numbers(4 * 3 * 10, 7), numbers(4 * 6, 8));
    both!(t, "mix", tolerance::EXACT, 0.0, |d| {
        d.mix(&d.upload(&x).expect("copied"), &d.upload(&route).expect("copied"), 3, 10)
    });
    t.check(15);
}

#[test]
fn products() {
    let Some(cuda) = device() else { return };
    let mut t = table(cuda);
    for (m, n, k) in [(1, 1, 1), (3, 65, 17), (70, 64, 33), (65, 130, 100), (2, 5, 300)] {
        let (x, w, bias) = (numbers(m * k, 1), numbers((n + 2) * k, 2), numbers(n, 3));
        let halves = bf16(&w);
        for (kind, weight) in [("f32", Weight::F32(&w)), ("bf16", Weight::Bf16(&halves))] {
            for biased in [false, true] {
                // Of terms below 1 in magnitude.
                both!(t, format!("{kind} {m} {n} {k}"), tolerance::PRODUCT, k as f32, |d| {
                    let bias = d.upload(&bias).expect("copied");
                    let (x, w) = (d.upload(&x).expect("copied"), d.matrix(weight).expect("copied"));
                    d.matmul(&x, m, k, &w, 1..n + 1, biased.then_some(&bias))
                });
            }
        }
    }
    for (tokens, n) in [(1, 1), (40, 7), (33, 70), (100, 130)] {
        let (x, h) = (numbers(tokens * n, 4), vec![0.5; n * n]);
        both!(t, format!("gram {tokens} {n}"), tolerance::PRODUCT, tokens as f32, |d| {
            let x = d.upload(&x).expect("copied");
            changed(d, &h, |h| d.gram(&x, n, h))
        });
    }
    t.check(20);
    let x = numbers(3 * 11 * 70, 9);
    let cpu = Cpu { isa: Isa::detected() };
    let (a, b) = (cpu.upload(&x).expect("copied"), cuda.upload(&x).expect("copied"));
    // f64 sums in one order: the same bits.
    assert_eq!(cpu.sum_squares(&a, 70, 11).expect("sums"), cuda.sum_squares(&b, 70, 11).expect("sums"));
    assert_eq!(cpu.sum_magnitudes(&a, 70, 11).expect("sums"), cuda.sum_magnitudes(&b, 70, 11).expect("sums"));
}

#[test]
fn attention() {
    let Some(cuda) = device() else { return };
    let mut t = table(cuda);
    let (slopes, sinks) = (numbers(4, 1), numbers(4, 2));
    let plain = Attention {
        heads: 4,
        kv_heads: 2,
        head_dim: 20,
        value_dim: 12,
        scale: 0.3,
        causal: true,
        window: None,
        cap: None,
        slopes: None,
        sinks: None,
        bias: None,
    };
    let bias = numbers(4 * 81, 3);
    let shapes = [
        ("causal", plain),
        ("window", Attention { window: Some(5), ..plain }),
        ("wide", Attention { head_dim: 70, value_dim: 40, ..plain }),
        ("cap", Attention { cap: Some(0.7), ..plain }),
        ("slopes", Attention { slopes: Some(&slopes), ..plain }),
        ("sinks", Attention { sinks: Some(&sinks), window: Some(9), ..plain }),
        ("all", Attention { causal: false, ..plain }),
        ("bias", Attention { causal: false, bias: Some(&bias), ..plain }),
    ];
    for (name, shape) in shapes {
        let (tokens, count) = (41, 2);
        let rows = tokens * count;
        let q = numbers(rows * shape.heads * shape.head_dim, 4);
        let k = numbers(rows * shape.kv_heads * shape.head_dim, 5);
        let v = numbers(rows * shape.kv_heads * shape.value_dim, 6);
        both!(t, name, tolerance::SOFTMAX, 1.0, |d| {
            let (q, k, v) = (d.upload(&q).expect("q"), d.upload(&k).expect("k"), d.upload(&v).expect("v"));
            d.attend(&shape, Sequences::of(tokens), &q, &k, &v)
        });
    }
    let crossed = Sequences { queries: 3, keys: 37, lengths: Some(&[1, 37]) };
    let shape = Attention { causal: false, ..plain };
    let (q, k, v) = (numbers(6 * 80, 7), numbers(74 * 40, 8), numbers(74 * 24, 9));
    both!(t, "across", tolerance::SOFTMAX, 1.0, |d| {
        let (q, k, v) = (d.upload(&q).expect("q"), d.upload(&k).expect("k"), d.upload(&v).expect("v"));
        d.attend(&shape, crossed, &q, &k, &v)
    });
    t.check(9);
}

#[test]
fn what_is_there_is_told() {
    let found = devices();
    assert_eq!(found.gpus.is_empty(), found.problem.is_some(), "{found:?}");
    assert!(Cuda::open(99).is_err());
}
