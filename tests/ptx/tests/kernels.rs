//! Kernels of the kinds that planish runs, on ragged shapes, against f64. In both orders.
#![allow(missing_docs)]

mod support;

use support::{Arg, Device, Random, bf16, error, from_bf16};

const CALIBRATION: &str = include_str!("../kernels/calibration.ptx");
const SEARCH: &str = include_str!("../kernels/search.ptx");
const TENSOR: &str = include_str!("../kernels/tensor.ptx");

/// Runs a check forwards and backwards: a result that depends on the order is wrong.
fn both(ptx: &str, check: impl Fn(&mut Device)) {
    for reverse in [false, true] {
        let mut d = Device::new(ptx);
        d.options.reverse = reverse;
        check(&mut d);
    }
}

fn at_most(what: &str, found: f64, bound: f64) {
    assert!(found <= bound, "{what}: {found:.2e} is more than {bound:.0e}");
}

#[test]
fn gram_matrix() {
    both(CALIBRATION, |d| {
        for (m, n) in [(100, 72), (33, 31), (16, 64), (1, 1)] {
            let x: Vec<u16> = Random(1).normals(m * n).into_iter().map(bf16).collect();
            let (px, ph) = (d.halves(&x), d.floats(&vec![0.0; n * n]));
            let g = n.div_ceil(32) as u32;
            let alpha = 2.0 / m as f32;
            let args = [Arg::Ptr(px), Arg::Ptr(ph), Arg::Int(m as i32), Arg::Int(n as i32), Arg::Float(alpha)];
            d.run("xtx_bf16", [g, g, 1], [16, 16, 1], 0, &args);
            let v = |r: usize, c: usize| f64::from(from_bf16(x[r * n + c]));
            let wanted: Vec<f64> =
                (0..n * n).map(|i| (0..m).map(|r| v(r, i / n) * v(r, i % n)).sum::<f64>() * f64::from(alpha)).collect();
            at_most("xtx_bf16", error(&d.read_floats(ph, n * n), &wanted), 1e-6);
        }
    });
}

#[test]
fn mean_of_absolute_values() {
    both(CALIBRATION, |d| {
        let (m, n) = (101, 70);
        // Values that binary16 holds exactly.
        let x: Vec<f32> = Random(2).normals(m * n).into_iter().map(|v| (v * 64.0).round() / 64.0).collect();
        let half = |v: f32| {
            let u = v.to_bits();
            if v == 0.0 {
                0
            } else {
                (u >> 16 & 0x8000) as u16 | (((u >> 13) & 0x3ffff) as i32 - (112 << 10)) as u16 & 0x7fff
            }
        };
        let px = d.halves(&x.iter().map(|&v| half(v)).collect::<Vec<_>>());
        let po = d.alloc(4 * n);
        let args = [Arg::Ptr(px), Arg::Ptr(po), Arg::Int(m as i32), Arg::Int(n as i32), Arg::Float(1.0 / m as f32)];
        d.run("absmean_f16", [n.div_ceil(4) as u32, 1, 1], [128, 1, 1], 0, &args);
        let wanted: Vec<f64> =
            (0..n).map(|c| (0..m).map(|r| f64::from(x[r * n + c].abs())).sum::<f64>() / m as f64).collect();
        at_most("absmean_f16", error(&d.read_floats(po, n), &wanted), 1e-6);
    });
}

#[test]
fn sums_of_squares() {
    both(CALIBRATION, |d| {
        let (m, n) = (100, 72);
        let x: Vec<u16> = Random(3).normals(m * n).into_iter().map(bf16).collect();
        let (px, po) = (d.halves(&x), d.floats(&vec![0.0; n]));
        let args = [Arg::Ptr(px), Arg::Ptr(po), Arg::Int(m as i32), Arg::Int(n as i32), Arg::Int(16)];
        d.run("sumsq_bf16", [n.div_ceil(64) as u32, m.div_ceil(16) as u32, 1], [64, 1, 1], 0, &args);
        let wanted: Vec<f64> =
            (0..n).map(|c| (0..m).map(|r| f64::from(from_bf16(x[r * n + c])).powi(2)).sum()).collect();
        at_most("sumsq_bf16", error(&d.read_floats(po, n), &wanted), 1e-6);
    });
}

#[test]
fn error_of_four_bits() {
    both(CALIBRATION, |d| {
        let (rows, n) = (8, 256);
        let mut r = Random(4);
        let w: Vec<u16> = (0..rows * n).map(|_| bf16(r.normal() * 0.05)).collect();
        let s: Vec<f32> = (0..n).map(|_| r.uniform() * 0.4 + 1.0).collect();
        let q: Vec<f32> = (0..n).map(|_| r.uniform() * 0.5 + 0.5).collect();
        let (pw, ps, pq) = (d.halves(&w), d.floats(&s), d.floats(&q));
        let (pe, po) = (d.floats(&vec![0.0; rows]), d.alloc(2 * rows * n));
        let args = [Arg::Ptr(pw), Arg::Ptr(ps), Arg::Ptr(pq), Arg::Ptr(pe), Arg::Ptr(po), Arg::Int(n as i32)];
        d.run("qdq_error_bf16", [n as u32 / 128, rows as u32, 1], [128, 1, 1], 0, &args);
        let (mut wanted, mut rounded) = (vec![0f64; rows], vec![0u16; rows * n]);
        for row in 0..rows {
            for g in 0..n / 128 {
                let c = g * 128..g * 128 + 128;
                let v: Vec<f32> = c.clone().map(|c| from_bf16(w[row * n + c]) * s[c]).collect();
                let (lo, hi) = v.iter().fold((f32::MAX, f32::MIN), |(a, b), &v| (a.min(v), b.max(v)));
                let step = (hi - lo).max(1e-5) / 15.0;
                let zero = (-(lo / step).round_ties_even()).clamp(0.0, 15.0);
                for (c, v) in c.zip(v) {
                    let q4 = ((v / step).round_ties_even() + zero).clamp(0.0, 15.0);
                    let back = (q4 - zero) * step / s[c];
                    rounded[row * n + c] = bf16(back);
                    let e = f64::from(back - from_bf16(w[row * n + c]));
                    wanted[row] += e * e * f64::from(q[c]);
                }
            }
        }
        at_most("qdq_error_bf16", error(&d.read_floats(pe, rows), &wanted), 1e-6);
        assert_eq!(d.read_halves(po, rows * n), rounded, "bit by bit");
    });
}

#[test]
fn divergence_of_rows() {
    both(CALIBRATION, |d| {
        let (rows, v) = (4, 1001);
        let mut r = Random(5);
        let p: Vec<f32> = (0..rows * v).map(|_| r.normal() * 3.0).collect();
        let q: Vec<f32> = p.iter().map(|x| x + r.normal() * 0.1).collect();
        let (pp, pq, po) = (d.floats(&p), d.floats(&q), d.alloc(4 * rows));
        let args = [Arg::Ptr(pp), Arg::Ptr(pq), Arg::Ptr(po), Arg::Int(v as i32)];
        d.run("kld_rows", [rows as u32, 1, 1], [256, 1, 1], 3 * 8 * 4, &args);
        let log_softmax = |x: &[f32]| {
            let max = f64::from(x.iter().copied().fold(f32::MIN, f32::max));
            let lse = x.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln() + max;
            x.iter().map(|&x| f64::from(x) - lse).collect::<Vec<f64>>()
        };
        let wanted: Vec<f64> = (0..rows)
            .map(|i| {
                let (a, b) = (log_softmax(&p[i * v..(i + 1) * v]), log_softmax(&q[i * v..(i + 1) * v]));
                a.iter().zip(&b).map(|(a, b)| a.exp() * (a - b)).sum()
            })
            .collect();
        // The divergence is a small difference of large f32 sums.
        at_most("kld_rows", error(&d.read_floats(po, rows), &wanted), 1e-3);
    });
}

#[test]
fn scale_search() {
    both(SEARCH, |d| {
        let blocks = 101;
        let mut r = Random(6);
        let x = r.normals(32 * blocks);
        let w: Vec<f32> = (0..32 * blocks).map(|_| r.uniform() * 0.5 + 0.75).collect();
        let (px, pw) = (d.floats(&x), d.floats(&w));
        let (ps, pm, pq) = (d.alloc(4 * blocks), d.alloc(4 * blocks), d.alloc(32 * blocks));
        let args = [Arg::Ptr(px), Arg::Ptr(pw), Arg::Ptr(ps), Arg::Ptr(pm), Arg::Ptr(pq), Arg::Int(blocks as i32)];
        d.run("q4k_search", [blocks.div_ceil(4) as u32, 1, 1], [128, 1, 1], 0, &args);
        let (s, m, q) = (d.read_floats(ps, blocks), d.read_floats(pm, blocks), d.bytes(pq, 32 * blocks));
        for b in 0..blocks {
            let of = |f: &dyn Fn(usize) -> f64| (32 * b..32 * b + 32).map(f).sum::<f64>();
            let cost = |s: f64, m: f64| {
                of(&|i| {
                    let level = ((f64::from(x[i]) + m) / s).round_ties_even().clamp(0.0, 15.0);
                    f64::from(w[i]) * (s * level - m - f64::from(x[i])).powi(2)
                })
            };
            let best = search(&x[32 * b..32 * b + 32], &w[32 * b..32 * b + 32]);
            let found = cost(f64::from(s[b]), f64::from(m[b]));
            // Near ties may fall either way in f32; a worse grid may not be chosen.
            assert!(found <= best * 1.001 + 1e-12, "block {b}: {found} and {best}");
            for i in 32 * b..32 * b + 32 {
                let level = ((x[i] + m[b]) / s[b]).round_ties_even().clamp(0.0, 15.0) as u8;
                assert_eq!(q[i], level, "weight {i}");
            }
        }
    });
}

/// The error of the best of the kernel's grids, in f64, after rounding with it.
fn search(x: &[f32], w: &[f32]) -> f64 {
    let x: Vec<f64> = x.iter().map(|&v| v.into()).collect();
    let w: Vec<f64> = w.iter().map(|&v| v.into()).collect();
    let lo = x.iter().copied().fold(0.0, f64::min);
    let hi = x.iter().copied().fold(f64::MIN, f64::max);
    let (sw, sx): (f64, f64) = (w.iter().sum(), w.iter().zip(&x).map(|(w, x)| w * x).sum());
    let mut best = (f64::MAX, 0.0, 0.0);
    for k in -1..=20 {
        let inverse = if k < 0 { 15.0 } else { -0.9 + 0.1 * f64::from(k) + 15.0 } / (hi - lo);
        let l: Vec<f64> = x.iter().map(|x| (inverse * (x - lo)).round_ties_even().clamp(0.0, 15.0)).collect();
        let sum = |f: &dyn Fn(usize) -> f64| (0..32).map(f).sum::<f64>();
        let (sl, sl2, sxl) = (sum(&|i| w[i] * l[i]), sum(&|i| w[i] * l[i] * l[i]), sum(&|i| w[i] * l[i] * x[i]));
        let det = sw * sl2 - sl * sl;
        if det <= 0.0 {
            continue;
        }
        let (mut s, mut m) = ((sw * sxl - sx * sl) / det, (sl2 * sx - sl * sxl) / det);
        if m > 0.0 {
            (m, s) = (0.0, sxl / sl2);
        }
        let e = sum(&|i| w[i] * (s * l[i] + m - x[i]).powi(2));
        if e < best.0 {
            best = (e, s, m);
        }
    }
    let (_, s, m) = best;
    (0..32).map(|i| w[i] * (s * ((x[i] - m) / s).round_ties_even().clamp(0.0, 15.0) + m - x[i]).powi(2)).sum()
}

#[test]
fn gptq_inside_a_block() {
    both(SEARCH, |d| {
        let (rows, n, nb) = (50, 64, 64);
        let mut r = Random(7);
        let mut w: Vec<f32> = r.normals(rows * n);
        let mut u = vec![0f32; n * n];
        for i in 0..n {
            for j in i..n {
                u[i * n + j] = if i == j { 1.0 + r.uniform() * 0.3 } else { r.uniform() * 0.1 };
            }
        }
        let sc: Vec<f32> = (0..rows).map(|_| 0.3 + r.uniform() * 0.1).collect();
        let (pw, pu, ps, pe) = (d.floats(&w), d.floats(&u), d.floats(&sc), d.alloc(4 * rows * nb));
        let args = [
            Arg::Ptr(pw),
            Arg::Ptr(pu),
            Arg::Ptr(ps),
            Arg::Ptr(pe),
            Arg::Int(rows as i32),
            Arg::Int(n as i32),
            Arg::Int(0),
            Arg::Int(nb as i32),
        ];
        d.run("gptq_block", [rows.div_ceil(32) as u32, 1, 1], [32, 1, 1], 4 * (nb * nb) as u32, &args);
        for row in 0..rows {
            let wr = &mut w[row * n..row * n + n];
            for i in 0..nb {
                let q = sc[row] * (wr[i] / sc[row]).round_ties_even().clamp(-8.0, 7.0);
                let e = (wr[i] - q) / u[i * n + i];
                for j in i + 1..nb {
                    wr[j] = (-e).mul_add(u[i * n + j], wr[j]);
                }
                wr[i] = q;
            }
        }
        assert_eq!(d.read_floats(pw, rows * n), w, "bit by bit");
    });
}

fn product(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
    (0..16 * 8).map(|i| (0..k).map(|l| a[i / 8 * k + l] * b[l * 8 + i % 8]).sum()).collect()
}

#[test]
fn products_of_a_warp() {
    both(TENSOR, |d| {
        let mut r = Random(8);
        let a: Vec<u16> = r.normals(256).into_iter().map(bf16).collect();
        let b: Vec<u16> = r.normals(128).into_iter().map(bf16).collect();
        let (pa, pb, pd) = (d.halves(&a), d.halves(&b), d.alloc(4 * 128));
        d.run("mma_bf16", [1, 1, 1], [32, 1, 1], 0, &[Arg::Ptr(pa), Arg::Ptr(pb), Arg::Ptr(pd)]);
        let wide = |v: &[u16]| v.iter().map(|&v| f64::from(from_bf16(v))).collect::<Vec<_>>();
        at_most("mma_bf16", error(&d.read_floats(pd, 128), &product(&wide(&a), &wide(&b), 16)), 1e-7);

        let (x, y) = (r.normals(128), r.normals(64));
        let (px, py, pz) = (d.floats(&x), d.floats(&y), d.alloc(4 * 128));
        d.run("mma_tf32", [1, 1, 1], [32, 1, 1], 0, &[Arg::Ptr(px), Arg::Ptr(py), Arg::Ptr(pz)]);
        let short = |v: &[f32]| {
            v.iter().map(|v| f64::from(f32::from_bits(v.to_bits().wrapping_add(0x1000) & !0x1fff))).collect::<Vec<_>>()
        };
        at_most("mma_tf32", error(&d.read_floats(pz, 128), &product(&short(&x), &short(&y), 8)), 1e-7);
    });
}

#[test]
fn pipeline_of_asynchronous_copies() {
    both(TENSOR, |d| {
        for k in [16usize, 32, 112] {
            let mut r = Random(9);
            let a: Vec<u16> = r.normals(16 * k).into_iter().map(bf16).collect();
            let b: Vec<u16> = r.normals(8 * k).into_iter().map(bf16).collect();
            let (pa, pb, pd) = (d.halves(&a), d.halves(&b), d.alloc(4 * 128));
            let args = [Arg::Ptr(pa), Arg::Ptr(pb), Arg::Ptr(pd), Arg::Int(k as i32)];
            d.run("mma_pipeline", [1, 1, 1], [32, 1, 1], 0, &args);
            let wide = |v: &[u16]| v.iter().map(|&v| f64::from(from_bf16(v))).collect::<Vec<_>>();
            at_most("mma_pipeline", error(&d.read_floats(pd, 128), &product(&wide(&a), &wide(&b), k)), 1e-6);
        }
    });
}

#[test]
fn gram_matrix_by_wmma() {
    both(TENSOR, |d| {
        let (m, n) = (96, 64);
        let x: Vec<u16> = Random(10).normals(m * n).into_iter().map(bf16).collect();
        let (px, ph) = (d.halves(&x), d.floats(&vec![0.0; n * n]));
        let g = n as u32 / 16;
        let args = [Arg::Ptr(px), Arg::Ptr(ph), Arg::Int(m as i32), Arg::Int(n as i32)];
        d.run("xtx_wmma", [g, g, 1], [32, 1, 1], 0, &args);
        let v = |r: usize, c: usize| f64::from(from_bf16(x[r * n + c]));
        let wanted: Vec<f64> = (0..n * n).map(|i| (0..m).map(|r| v(r, i / n) * v(r, i % n)).sum::<f64>()).collect();
        at_most("xtx_wmma", error(&d.read_floats(ph, n * n), &wanted), 1e-6);
    });
}
