//! Operations of several threads, state spaces and addresses, in hand-written PTX.
#![allow(missing_docs)]

mod support;

use planish_ptx::{Kind, Report};
use support::{Arg, Device};

/// A kernel with `out` in `%rd1`, the thread in `%r0`, and `out + 4 thread` in `%rd2`.
fn module(globals: &str, body: &str) -> String {
    format!(
        ".version 8.1\n.target sm_80\n.address_size 64\n{globals}\n.visible .entry k(.param .u64 out)\n{{\n\
         .reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<30>; .reg .f32 %f<9>; .reg .b64 %rd<20>;\n\
         ld.param.u64 %rd1, [out]; mov.u32 %r0, %tid.x; mad.wide.u32 %rd2, %r0, 4, %rd1;\n{body}\nret;\n}}\n"
    )
}

fn try_run(globals: &str, body: &str, blocks: u32, threads: u32, reverse: bool) -> Result<Vec<u32>, Report> {
    let mut d = Device::new(&module(globals, body));
    d.options.reverse = reverse;
    let out = d.upload(&vec![0; 4 * 1024]);
    d.try_run("k", [blocks, 1, 1], [threads, 1, 1], 0, &[Arg::Ptr(out)])?;
    let bytes = d.bytes(out, 4 * threads as usize);
    Ok(bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect())
}

/// What each thread wrote to its place, the same in both orders.
fn run(globals: &str, body: &str, threads: u32) -> Vec<u32> {
    let [a, b] = [false, true].map(|r| try_run(globals, body, 1, threads, r).unwrap_or_else(|e| panic!("{body}: {e}")));
    assert_eq!(a, b, "{body}: another order gives another result");
    a
}

fn fault(body: &str, threads: u32, kind: Kind, message: &str) {
    let r = try_run("", body, 1, threads, false).expect_err(body);
    assert_eq!(r.kind, kind, "{body}: {r}");
    assert!(r.message.contains(message), "{body}: {r}");
}

#[test]
fn shuffles() {
    let put = "st.global.u32 [%rd2], %r1;";
    let lane = |op: &str| run("", &format!("shfl.sync.{op}; {put}"), 32);
    let expect = |f: &dyn Fn(u32) -> u32| (0..32).map(f).collect::<Vec<_>>();
    assert_eq!(lane("up.b32 %r1, %r0, 3, 0, -1"), expect(&|l| if l < 3 { l } else { l - 3 }));
    assert_eq!(lane("down.b32 %r1, %r0, 5, 31, -1"), expect(&|l| if l + 5 > 31 { l } else { l + 5 }));
    assert_eq!(lane("bfly.b32 %r1, %r0, 6, 31, -1"), expect(&|l| l ^ 6));
    assert_eq!(lane("idx.b32 %r1, %r0, 7, 31, -1"), expect(&|_| 7));
    // Segments of eight lanes: the mask of the segment is in bits 8 to 12.
    assert_eq!(lane("idx.b32 %r1, %r0, 2, 0x181f, -1"), expect(&|l| l / 8 * 8 + 2));
    let valid = "shfl.sync.down.b32 %r1|%p1, %r0, 30, 31, -1; selp.u32 %r1, 1, 0, %p1; st.global.u32 [%rd2], %r1;";
    assert_eq!(run("", valid, 32), expect(&|l| u32::from(l < 2)));
}

#[test]
fn lanes_that_part_and_meet_again() {
    let body = "and.b32 %r1, %r0, 1; setp.eq.u32 %p1, %r1, 0; @%p1 bra even; mul.lo.u32 %r2, %r0, 10; bra join;\n\
                even: mul.lo.u32 %r2, %r0, 100;\njoin: shfl.sync.bfly.b32 %r3, %r2, 1, 31, -1; st.global.u32 [%rd2], %r3;";
    let wanted: Vec<u32> = (0..32).map(|l| if l % 2 == 0 { 10 * (l + 1) } else { 100 * (l - 1) }).collect();
    assert_eq!(run("", body, 32), wanted);
    // Each half shuffles for itself, with its own mask.
    let body = "setp.lt.u32 %p1, %r0, 16; @%p1 bra low; shfl.sync.bfly.b32 %r3, %r0, 8, 31, 0xffff0000; bra join;\n\
                low: shfl.sync.bfly.b32 %r3, %r0, 1, 31, 0x0000ffff;\njoin: st.global.u32 [%rd2], %r3;";
    let wanted: Vec<u32> = (0..32).map(|l| if l < 16 { l ^ 1 } else { l ^ 8 }).collect();
    assert_eq!(run("", body, 32), wanted);
    // A loop that each lane leaves after as many rounds as its number.
    let body = "mov.u32 %r1, 0; mov.u32 %r2, 0;\nloop: setp.ge.u32 %p1, %r1, %r0; @%p1 bra done;\n\
                add.u32 %r2, %r2, %r1; add.u32 %r1, %r1, 1; bra loop;\n\
                done: bar.warp.sync -1; st.global.u32 [%rd2], %r2;";
    let wanted: Vec<u32> = (0..32).map(|l: u32| l * l.saturating_sub(1) / 2).collect();
    assert_eq!(run("", body, 32), wanted);
}

#[test]
fn votes_matches_and_reductions() {
    let test = "and.b32 %r4, %r0, 3; setp.eq.u32 %p1, %r4, 1;";
    let ballot = run("", &format!("{test} vote.sync.ballot.b32 %r1, %p1, -1; st.global.u32 [%rd2], %r1;"), 32);
    assert_eq!(ballot, vec![0x2222_2222; 32]);
    for (op, wanted) in [("all", 0), ("any", 1), ("uni", 0)] {
        let text =
            format!("{test} vote.sync.{op}.pred %p2, %p1, -1; selp.u32 %r1, 1, 0, %p2; st.global.u32 [%rd2], %r1;");
        assert_eq!(run("", &text, 32), vec![wanted; 32], "{op}");
    }
    let same = run("", &format!("{test} match.any.sync.b32 %r1, %r4, -1; st.global.u32 [%rd2], %r1;"), 32);
    assert_eq!(same, (0..32).map(|l| 0x1111_1111 << (l % 4)).collect::<Vec<_>>());
    for (op, wanted) in [("add.s32", 496), ("min.s32", 0), ("max.u32", 31), ("or.b32", 31), ("xor.b32", 0)] {
        let text = format!("redux.sync.{op} %r1, %r0, -1; st.global.u32 [%rd2], %r1;");
        assert_eq!(run("", &text, 32), vec![wanted; 32], "{op}");
    }
}

#[test]
fn barriers() {
    let shared = ".shared .align 4 .b32 tile[128];";
    // 128 threads in reverse through shared memory.
    let body = "mov.u32 %r5, tile; shl.b32 %r6, %r0, 2; add.u32 %r7, %r5, %r6; st.shared.u32 [%r7], %r0; bar.sync 0;\n\
                sub.u32 %r8, 508, %r6; add.u32 %r8, %r5, %r8; ld.shared.u32 %r9, [%r8]; st.global.u32 [%rd2], %r9;";
    assert_eq!(run(shared, body, 128), (0..128).rev().collect::<Vec<_>>());
    let count =
        "and.b32 %r1, %r0, 1; setp.eq.u32 %p1, %r1, 1; barrier.red.popc.u32 %r2, 0, %p1; st.global.u32 [%rd2], %r2;";
    assert_eq!(run("", count, 96), vec![48; 96]);
    // Two pairs of warps, each with a barrier of its own.
    let pairs = "shr.u32 %r1, %r0, 6; add.u32 %r1, %r1, 1; barrier.sync %r1, 64; st.global.u32 [%rd2], %r1;";
    assert_eq!(run("", pairs, 128), (0..128).map(|t| t / 64 + 1).collect::<Vec<_>>());
    fault("setp.lt.u32 %p1, %r0, 20; @%p1 bra end; bar.sync 0;\nend:", 64, Kind::Barrier, "exited threads");
    let apart = "setp.lt.u32 %p1, %r0, 16; @%p1 bra a; bar.sync 0; bra b;\na: bar.sync 0;\nb:";
    fault(apart, 32, Kind::Barrier, "divergent code");
}

#[test]
fn atomics() {
    let once = |op: &str, threads| {
        let mut d = Device::new(&module("", op));
        let out = d.upload(&5u32.to_le_bytes());
        d.run("k", [2, 1, 1], [threads, 1, 1], 0, &[Arg::Ptr(out)]);
        u32::from_le_bytes(d.bytes(out, 4).try_into().expect("four"))
    };
    assert_eq!(once("red.global.add.u32 [%rd1], 3;", 40), 5 + 2 * 40 * 3);
    assert_eq!(once("atom.global.max.s32 %r1, [%rd1], %r0;", 64), 63);
    assert_eq!(once("atom.global.min.s32 %r1, [%rd1], -7;", 3), (-7i32) as u32);
    assert_eq!(once("atom.global.inc.u32 %r1, [%rd1], 9;", 7), (5 + 14) % 10);
    assert_eq!(once("atom.global.cas.b32 %r1, [%rd1], 5, 77;", 32), 77);
    assert_eq!(once("atom.global.exch.b32 %r1, [%rd1], 8;", 32), 8);
    let f = once("mov.f32 %f1, 0f3F800000; red.global.add.f32 [%rd1], %f1;", 32);
    assert_eq!(f32::from_bits(f), 64.0);
    let shared = ".shared .align 4 .b32 n;";
    let body = "setp.ne.u32 %p1, %r0, 0; @!%p1 st.shared.u32 [n], 0; bar.sync 0; atom.shared.add.u32 %r1, [n], 2;\n\
                bar.sync 0; ld.shared.u32 %r2, [n]; st.global.u32 [%rd2], %r2;";
    assert_eq!(run(shared, body, 64), vec![128; 64]);
}

#[test]
fn spaces_and_addresses() {
    // A local array indexed at run time, by way of a generic address.
    let local = ".local .align 8 .b8 depot[32]; mov.u64 %rd3, depot; cvta.local.u64 %rd4, %rd3; and.b32 %r1, %r0, 7;\n\
                 mad.wide.u32 %rd5, %r1, 4, %rd4; st.u32 [%rd5], %r0; ld.u32 %r2, [%rd5]; st.global.u32 [%rd2], %r2;";
    assert_eq!(run("", local, 64), (0..64).collect::<Vec<_>>());
    fault(".local .b32 a[4]; mov.u64 %rd3, a; st.local.u32 [%rd3+16], %r0;", 1, Kind::OutOfBounds, "local store");

    let shared = ".shared .align 16 .b8 raw[64];";
    let body = "mov.u32 %r1, raw; shl.b32 %r2, %r0, 1; add.u32 %r3, %r1, %r2; cvt.u16.u32 %h1, %r0; st.shared.u16 [%r3], %h1;\n\
                bar.warp.sync -1; mov.u64 %rd3, raw; cvta.shared.u64 %rd4, %rd3; mad.wide.u32 %rd5, %r0, 2, %rd4;\n\
                ld.u16 %h2, [%rd5]; cvt.u32.u16 %r4, %h2; st.global.u32 [%rd2], %r4;";
    assert_eq!(run(shared, body, 32), (0..32).collect::<Vec<_>>());

    let constants = ".const .align 4 .b32 table[4] = {10, 20, 0x1e, -1};\n.global .align 8 .b8 bytes[4] = {1, 2, 3, 4};\n\
                     .global .align 4 .f32 half = 0f3F000000;";
    let body = "and.b32 %r1, %r0, 3; mov.u64 %rd3, table; mad.wide.u32 %rd3, %r1, 4, %rd3; ld.const.u32 %r2, [%rd3];\n\
                mov.u64 %rd4, bytes; cvt.u64.u32 %rd5, %r1; add.s64 %rd4, %rd4, %rd5; ld.global.nc.u8 %r3, [%rd4];\n\
                ld.global.f32 %f1, [half]; cvt.rn.f32.u32 %f2, %r3; fma.rn.f32 %f2, %f2, %f1, %f1; cvt.rni.s32.f32 %r4, %f2;\n\
                add.s32 %r2, %r2, %r4; st.global.u32 [%rd2], %r2;";
    let wanted: Vec<u32> = (0..8).map(|t| [11, 22, 32, 1][t % 4]).collect();
    assert_eq!(run(constants, body, 8), wanted);

    let vector = "st.global.v4.u32 [%rd1], {%r0, 7, 8, 9}; ld.global.v2.u32 {%r1, %r2}, [%rd1+8]; add.u32 %r1, %r1, %r2;\n\
                  st.global.u32 [%rd1], %r1;";
    assert_eq!(run("", vector, 1), [17]);
    fault("st.global.u32 [%rd1+2], %r0;", 1, Kind::Misaligned, "misaligned store of 4 bytes");
    fault("ld.global.u32 %r1, [%rd1+4096];", 1, Kind::OutOfBounds, "4096 bytes into an allocation of 4096");
    let constant = "mov.u64 %rd3, t; st.global.u32 [%rd3], %r0;";
    let r = try_run(".const .b32 t = 1;", constant, 1, 1, false).expect_err("a write of a constant");
    assert!(r.message.contains("constant memory"), "{r}");
}

#[test]
fn waiting_for_ever() {
    let body = "setp.eq.u32 %p1, %r0, 0; @%p1 bra a; shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1; bra b;\n\
                a: bar.warp.sync -1;\nb:";
    fault(body, 32, Kind::WarpSync, "lanes of warp 0 at PTX lines");
    let mut d = Device::new(&module("", "again: bra again;"));
    d.options.limit = 100_000;
    let r = d.try_run("k", [1, 1, 1], [1, 1, 1], 0, &[Arg::Ptr(0)]).expect_err("a loop");
    assert_eq!(r.kind, Kind::Timeout, "{r}");
    fault("trap;", 1, Kind::Trap, "trap");
}

#[test]
fn freed_memory() {
    let mut d = Device::new(&module("", "ld.global.u32 %r1, [%rd1+8];"));
    let p = d.upload(&[0; 64]);
    assert!(d.heap.free(p));
    let r = d.try_run("k", [1, 1, 1], [1, 1, 1], 0, &[Arg::Ptr(p)]).expect_err("use after free");
    assert!(r.message.contains("8 bytes into an allocation of 64 bytes that was freed"), "{r}");
    assert!(!d.heap.free(p), "freed twice");
}

#[test]
fn launches() {
    let mut d = Device::new(&module("", "").replace("(.param .u64 out)", "(.param .u64 out) .maxntid 64, 1, 1"));
    let mut refused = |grid, block, shared, message: &str| {
        let r = d.try_run("k", grid, block, shared, &[Arg::Ptr(0)]).expect_err(message);
        assert_eq!(r.kind, Kind::Launch);
        assert!(r.message.contains(message), "{r}");
    };
    refused([1, 1, 1], [65, 1, 1], 0, "compiled for 64");
    refused([1, 1, 1], [32, 64, 1], 0, "a block of");
    refused([0, 1, 1], [32, 1, 1], 0, "a grid of");
    refused([1, 70000, 1], [32, 1, 1], 0, "65535 are the most");
    refused([1, 1, 1], [32, 1, 1], 49 * 1024, "bytes of shared memory");
    let kernel = &d.module.kernels["k"];
    let config = planish_ptx::Config { grid: [1; 3], block: [1; 3], dynamic_shared: 0 };
    let short = planish_ptx::launch(kernel, &mut d.heap, &[], config, &[0; 4], &d.options).expect_err("arguments");
    assert!(short.message.contains("4 bytes of arguments, the kernel takes 8"), "{short}");
}
