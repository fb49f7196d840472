//! How fast the interpreter is: run by hand, with `--ignored --nocapture`.
#![allow(missing_docs)]

mod support;

use support::{Arg, Device, Random, bf16};

#[test]
#[ignore = "a measurement"]
fn instructions_a_second() {
    let tell = |name: &str, d: &Device, start: std::time::Instant| {
        let s = start.elapsed().as_secs_f64();
        println!(
            "{name}: {} instructions in {:.0} ms, {:.0} M/s",
            d.instructions,
            s * 1e3,
            d.instructions as f64 / s / 1e6
        );
    };
    let mut d = Device::new(include_str!("../kernels/calibration.ptx"));
    let (m, n) = (512, 160);
    let x: Vec<u16> = Random(1).normals(m * n).into_iter().map(bf16).collect();
    let (px, ph) = (d.halves(&x), d.floats(&vec![0.0; n * n]));
    let start = std::time::Instant::now();
    let args = [Arg::Ptr(px), Arg::Ptr(ph), Arg::Int(m as i32), Arg::Int(n as i32), Arg::Float(1.0)];
    d.run("xtx_bf16", [5, 5, 1], [16, 16, 1], 0, &args);
    tell("xtx_bf16", &d, start);

    let mut d = Device::new(include_str!("../kernels/calibration.ptx"));
    let (rows, v) = (16, 20_000);
    let p = Random(5).normals(rows * v);
    let (pp, pq, po) = (d.floats(&p), d.floats(&p), d.alloc(4 * rows));
    let start = std::time::Instant::now();
    d.run(
        "kld_rows",
        [rows as u32, 1, 1],
        [256, 1, 1],
        96,
        &[Arg::Ptr(pp), Arg::Ptr(pq), Arg::Ptr(po), Arg::Int(v as i32)],
    );
    tell("kld_rows", &d, start);

    let mut d = Device::new(include_str!("../kernels/search.ptx"));
    let blocks = 500;
    let (px, pw) = (d.floats(&Random(6).normals(32 * blocks)), d.floats(&vec![1.0; 32 * blocks]));
    let (ps, pm, pq) = (d.alloc(4 * blocks), d.alloc(4 * blocks), d.alloc(32 * blocks));
    let args = [Arg::Ptr(px), Arg::Ptr(pw), Arg::Ptr(ps), Arg::Ptr(pm), Arg::Ptr(pq), Arg::Int(blocks as i32)];
    let start = std::time::Instant::now();
    d.run("q4k_search", [blocks as u32 / 4, 1, 1], [128, 1, 1], 0, &args);
    tell("q4k_search", &d, start);
}
