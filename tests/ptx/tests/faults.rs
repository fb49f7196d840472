//! Planted errors: each must be found, by the detector that is for it; the healthy twins must pass. Errors of a value
//! rather than of an access (a shuffle too short, truncation) are found by comparing with the twin.
#![allow(missing_docs)]

mod support;

use planish_ptx::{Kind, Report};
use support::{Arg, Device, Random};

const TWINS: &str = include_str!("../kernels/faults/twins.ptx");

macro_rules! ptx {
    ($name:literal) => {
        include_str!(concat!("../kernels/faults/", $name, ".ptx"))
    };
}

/// Runs a kernel of the twins' shapes; what it wrote, or the report.
fn run(ptx: &str, kernel: &str, reverse: bool) -> Result<Vec<f32>, Report> {
    let mut d = Device::new(ptx);
    d.options.reverse = reverse;
    let x = Random(11).normals(20 * 100 + 56);
    let px = d.floats(&x);
    let (out, grid, block, args) = match kernel {
        "rows" => (128, 1, 128, vec![Arg::Int(20), Arg::Int(100)]),
        "range" => (6, 3, 128, vec![Arg::Int(300)]),
        "columns" => (100, 3, 128, vec![Arg::Int(20), Arg::Int(100)]),
        "round_to" => (200, 7, 32, vec![Arg::Int(200)]),
        "quads" => (256, 2, 32, vec![Arg::Int(64)]),
        _ => (32, 1, 32, vec![]),
    };
    let po = if kernel == "columns" { d.floats(&vec![0.0; out]) } else { d.alloc(4 * out) };
    let mut all = vec![Arg::Ptr(px), Arg::Ptr(po)];
    all.extend(args);
    d.try_run(kernel, [grid, 1, 1], [block, 1, 1], 0, &all)?;
    Ok(d.read_floats(po, out))
}

/// The report of a planted error, in both orders of blocks and threads.
fn found(ptx: &str, kernel: &str, kind: Kind, message: &str) {
    for reverse in [false, true] {
        let Err(r) = run(ptx, kernel, reverse) else { panic!("{kernel}: the planted error passes") };
        assert_eq!(r.kind, kind, "{r}");
        assert!(r.message.contains(message), "{r}");
        assert_eq!(r.kernel, kernel);
        let (line, text) = r.instruction.as_ref().unwrap_or_else(|| panic!("no instruction: {r}"));
        let source = ptx.lines().nth(*line as usize - 1).unwrap_or_default();
        let opcode = text.split_whitespace().find(|w| !w.starts_with('@')).unwrap_or_default();
        assert!(source.contains(opcode), "line {line} is `{source}`: {r}");
        assert!(r.place.is_some(), "{r}");
    }
}

#[test]
fn healthy_twins_pass() {
    for kernel in ["rows", "range", "columns", "round_to", "neighbours", "quads"] {
        let forward = run(TWINS, kernel, false).unwrap_or_else(|r| panic!("{r}"));
        let backward = run(TWINS, kernel, true).unwrap_or_else(|r| panic!("{r}"));
        assert!(forward.iter().all(|v| v.is_finite()), "{kernel}");
        for (a, b) in forward.iter().zip(&backward) {
            // Atomics add in another order.
            assert!((a - b).abs() < 1e-5, "{kernel}: {a} and {b}");
        }
    }
}

#[test]
fn missing_barriers() {
    // Threads that run late race with those that ran before; threads that run early read what is not there yet.
    for (ptx, kernel) in [(ptx!("no_barrier_before_read"), "rows"), (ptx!("no_barrier_before_sum"), "range")] {
        let kinds = [false, true].map(|reverse| run(ptx, kernel, reverse).expect_err("planted").kind);
        assert!(kinds.iter().all(|k| matches!(k, Kind::Uninitialised | Kind::SharedRace)), "{kernel}: {kinds:?}");
        assert!(kinds.contains(&Kind::Uninitialised), "{kernel}: {kinds:?}");
    }
    found(ptx!("no_barrier_before_write"), "rows", Kind::SharedRace, "shared race: thread");
    found(ptx!("no_syncwarp"), "neighbours", Kind::SharedRace, "no __syncwarp between");
}

#[test]
fn barriers_in_branches() {
    found(ptx!("barrier_for_some"), "range", Kind::Barrier, "");
    found(ptx!("barrier_in_a_branch"), "range", Kind::Barrier, "");
}

#[test]
fn accesses_out_of_bounds() {
    let m = "global load out of bounds: 4 bytes at";
    for reverse in [false, true] {
        let mut d = Device::new(ptx!("bound_off_by_one"));
        d.options.reverse = reverse;
        let px = d.floats(&Random(1).normals(200));
        let po = d.alloc(800);
        let args = [Arg::Ptr(px), Arg::Ptr(po), Arg::Int(200)];
        let r = d.try_run("round_to", [7, 1, 1], [32, 1, 1], 0, &args).expect_err("planted");
        assert_eq!((r.kind, r.address), (Kind::OutOfBounds, Some(px + 800)), "{r}");
        assert!(r.message.contains(m) && r.message.contains("an allocation of 800 bytes"), "{r}");
        assert_eq!(r.place, Some(([6, 0, 0], [8, 0, 0])), "{r}");
    }
    found(ptx!("shared_too_small"), "range", Kind::OutOfBounds, "shared store out of bounds: 4 bytes at");
    found(ptx!("misaligned"), "quads", Kind::Misaligned, "misaligned load of 16 bytes");
}

#[test]
fn memory_that_nothing_wrote() {
    found(ptx!("reads_nothing"), "round_to", Kind::Uninitialised, "read of uninitialised global memory");
}

#[test]
fn races_between_blocks() {
    found(ptx!("plain_sum"), "columns", Kind::GlobalRace, "global race: block number");
}

#[test]
fn warp_operations() {
    found(ptx!("lane_leaves"), "range", Kind::WarpSync, "waits for exited lane 31");
    found(ptx!("mask_without_itself"), "range", Kind::WarpSync, "which lacks lane");
}

#[test]
fn asynchronous_copies() {
    found(ptx!("async_unwaited"), "copied", Kind::Unwaited, "has not waited for");
    found(ptx!("async_overwritten"), "copied", Kind::SharedRace, "shared race");
}

#[test]
fn wrong_values() {
    for (ptx, kernel) in [(ptx!("half_a_shuffle"), "range"), (ptx!("truncated"), "round_to")] {
        let (right, wrong) = (run(TWINS, kernel, false), run(ptx, kernel, false));
        let (right, wrong) = (right.expect("the twin"), wrong.expect("no detector's error"));
        assert!(right.iter().zip(&wrong).any(|(a, b)| (a - b).abs() > 0.01), "{kernel}: the error shows nowhere");
    }
}
