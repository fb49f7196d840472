//! Every barrier of the test kernels is taken out, one at a time: each time a detector must notice, in one of the two
//! orders. A kernel with a barrier that nothing misses has one too many.
#![allow(missing_docs)]

mod support;

use support::{Arg, Device, Random, bf16};

type Launch = fn(&mut Device) -> Result<(), planish_ptx::Report>;

fn gram(d: &mut Device) -> Result<(), planish_ptx::Report> {
    let (m, n) = (40, 72);
    let x: Vec<u16> = Random(1).normals(m * n).into_iter().map(bf16).collect();
    let (px, ph) = (d.halves(&x), d.floats(&vec![0.0; n * n]));
    let args = [Arg::Ptr(px), Arg::Ptr(ph), Arg::Int(m as i32), Arg::Int(n as i32), Arg::Float(1.0)];
    d.try_run("xtx_bf16", [3, 3, 1], [16, 16, 1], 0, &args)
}

fn qdq(d: &mut Device) -> Result<(), planish_ptx::Report> {
    let (rows, n) = (2, 256);
    let w: Vec<u16> = Random(4).normals(rows * n).into_iter().map(bf16).collect();
    let (pw, ps, pq) = (d.halves(&w), d.floats(&vec![1.0; n]), d.floats(&vec![1.0; n]));
    let (pe, po) = (d.floats(&vec![0.0; rows]), d.alloc(2 * rows * n));
    let args = [Arg::Ptr(pw), Arg::Ptr(ps), Arg::Ptr(pq), Arg::Ptr(pe), Arg::Ptr(po), Arg::Int(n as i32)];
    d.try_run("qdq_error_bf16", [2, 2, 1], [128, 1, 1], 0, &args)
}

fn kld(d: &mut Device) -> Result<(), planish_ptx::Report> {
    let p = Random(5).normals(2 * 300);
    let (pp, pq, po) = (d.floats(&p), d.floats(&p), d.alloc(8));
    let args = [Arg::Ptr(pp), Arg::Ptr(pq), Arg::Ptr(po), Arg::Int(300)];
    d.try_run("kld_rows", [2, 1, 1], [256, 1, 1], 96, &args)
}

fn block(d: &mut Device) -> Result<(), planish_ptx::Report> {
    let n = 64;
    let (pw, pu) = (d.floats(&Random(7).normals(n * n)), d.floats(&vec![1.0; n * n]));
    let (ps, pe) = (d.floats(&vec![0.3; n]), d.alloc(4 * n * n));
    let args = [
        Arg::Ptr(pw),
        Arg::Ptr(pu),
        Arg::Ptr(ps),
        Arg::Ptr(pe),
        Arg::Int(n as i32),
        Arg::Int(n as i32),
        Arg::Int(0),
        Arg::Int(n as i32),
    ];
    d.try_run("gptq_block", [1, 1, 1], [64, 1, 1], 4 * (n * n) as u32, &args)
}

fn pipeline(d: &mut Device) -> Result<(), planish_ptx::Report> {
    // More rounds than the compiler unrolled: behind the last round a barrier is not needed.
    let k = 16 * 11;
    let (a, b) = (Random(1).normals(16 * k), Random(2).normals(8 * k));
    let half = |v: Vec<f32>| v.into_iter().map(bf16).collect::<Vec<_>>();
    let (pa, pb, pd) = (d.halves(&half(a)), d.halves(&half(b)), d.alloc(512));
    let args = [Arg::Ptr(pa), Arg::Ptr(pb), Arg::Ptr(pd), Arg::Int(k as i32)];
    d.try_run("mma_pipeline", [1, 1, 1], [32, 1, 1], 0, &args)
}

#[test]
fn no_barrier_is_missed_in_vain() {
    let calibration = include_str!("../kernels/calibration.ptx");
    let search = include_str!("../kernels/search.ptx");
    let tensor = include_str!("../kernels/tensor.ptx");
    let cases: [(&str, &str, Launch); 5] = [
        (calibration, "xtx_bf16", gram),
        (calibration, "qdq_error_bf16", qdq),
        (calibration, "kld_rows", kld),
        (search, "gptq_block", block),
        (tensor, "mma_pipeline", pipeline),
    ];
    let mut count = 0;
    for (ptx, kernel, launch) in cases {
        let start = ptx.find(&format!(".entry {kernel}(")).expect(kernel);
        let end = ptx[start..].find("\n}").map_or(ptx.len(), |n| start + n);
        let waits = ["bar.sync", "cp.async.wait_group"];
        let places: Vec<usize> =
            waits.iter().flat_map(|w| ptx[start..end].match_indices(w).map(|(i, _)| start + i)).collect();
        assert!(!places.is_empty(), "{kernel} has no barrier");
        for at in places {
            let line = ptx[..at].lines().count();
            let changed = |by: &str| format!("{}{by} // {}", &ptx[..at], &ptx[at..]);
            let fails = |ptx: &str, reverse| {
                let mut d = Device::new(ptx);
                d.options.reverse = reverse;
                launch(&mut d).is_err()
            };
            // Unrolled loops have code that is never reached.
            if !fails(&changed("trap;"), false) {
                continue;
            }
            let without = changed("");
            let found = fails(&without, false) || fails(&without, true);
            assert!(found, "{kernel} without line {line} passes");
            count += 1;
        }
    }
    assert!(count >= 15, "only {count} barriers were reached");
}
