//! cudarc's safe layer over whichever `libcuda.so` the loader finds. Without one the tests say that they are skipped.
#![allow(missing_docs, unsafe_code, reason = "launches are unsafe in cudarc")]

use std::sync::Arc;

use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

const CALIBRATION: &str = include_str!("../../kernels/calibration.ptx");

fn context() -> Option<Arc<CudaContext>> {
    // SAFETY: this loads the library, whose initialisers have no conditions.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        assert!(std::env::var_os("PLANISH_REQUIRE_CUDA").is_none(), "no libcuda.so");
        eprintln!("skipped: no libcuda.so");
        return None;
    }
    Some(CudaContext::new(0).expect("a device"))
}

fn bf16(v: f32) -> u16 {
    let u = v.to_bits();
    ((u + 0x7fff + (u >> 16 & 1)) >> 16) as u16
}

#[test]
fn a_kernel_from_upload_to_download() {
    let Some(ctx) = context() else { return };
    let module = ctx.load_module(Ptx::from_src(CALIBRATION)).expect("a module");
    let f = module.load_function("xtx_bf16").expect("a function");
    let (m, n) = (130usize, 100usize);
    let x: Vec<u16> = (0..m * n).map(|i| bf16((i * 7919 % 1000) as f32 / 500.0 - 1.0)).collect();
    for stream in [ctx.default_stream(), ctx.new_stream().expect("a stream")] {
        let xd = stream.clone_htod(&x).expect("upload");
        let mut hd = stream.alloc_zeros::<f32>(n * n).expect("memory");
        let g = n.div_ceil(32) as u32;
        let (mi, ni, alpha) = (m as i32, n as i32, 2.0f32 / m as f32);
        let mut b = stream.launch_builder(&f);
        b.arg(&xd).arg(&mut hd).arg(&mi).arg(&ni).arg(&alpha);
        let config = LaunchConfig { grid_dim: (g, g, 1), block_dim: (16, 16, 1), shared_mem_bytes: 0 };
        // SAFETY: the arguments are the kernel's, and the buffers as large as it reads and writes.
        unsafe { b.launch(config) }.expect("a launch");
        stream.synchronize().expect("the stream");
        let h = stream.clone_dtoh(&hd).expect("download");
        let v = |r: usize, c: usize| f64::from(f32::from_bits((x[r * n + c] as u32) << 16));
        for (i, &h) in h.iter().enumerate() {
            let wanted = (0..m).map(|r| v(r, i / n) * v(r, i % n)).sum::<f64>() * f64::from(alpha);
            assert!((f64::from(h) - wanted).abs() < 1e-5, "{i}: {h} and {wanted}");
        }
    }
}

#[test]
fn the_device_tells_what_it_is() {
    let Some(ctx) = context() else { return };
    assert!(!ctx.name().expect("a name").is_empty());
    let (major, _) = ctx.compute_capability().expect("a capability");
    assert!(major >= 7);
    let (free, total) = ctx.mem_get_info().expect("memory");
    assert!(free <= total && total > 0);
}

#[test]
fn streams_events_and_pinned_memory() {
    let Some(ctx) = context() else { return };
    let (one, two) = (ctx.new_stream().expect("a stream"), ctx.new_stream().expect("a stream"));
    // SAFETY: filled before it is read.
    let mut host = unsafe { ctx.alloc_pinned::<f32>(1000) }.expect("pinned memory");
    for (i, v) in host.as_mut_slice().expect("the host's").iter_mut().enumerate() {
        *v = i as f32;
    }
    let mut device = one.alloc_zeros::<f32>(1000).expect("memory");
    one.memcpy_htod(&host, &mut device).expect("upload");
    let event = one.record_event(None).expect("an event");
    two.wait(&event).expect("a wait");
    let back = two.clone_dtoh(&device).expect("download");
    two.synchronize().expect("the stream");
    assert_eq!(back[999], 999.0);
    let copy = two.clone_dtod(&device).expect("a copy");
    assert_eq!(two.clone_dtoh(&copy).expect("download"), back);
}

#[test]
fn broken_modules_and_names_are_errors() {
    let Some(ctx) = context() else { return };
    let broken = CALIBRATION.replace("fma.rn.f32", "fma.what.f99");
    let e = ctx.load_module(Ptx::from_src(broken)).expect_err("broken PTX");
    assert_eq!(e.0, CUresult::CUDA_ERROR_INVALID_PTX);
    let newer = CALIBRATION.replace(".version 8.1", ".version 99.0");
    let e = ctx.load_module(Ptx::from_src(newer)).expect_err("PTX of the future");
    assert_eq!(e.0, CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    let module = ctx.load_module(Ptx::from_src(CALIBRATION)).expect("a module");
    let e = module.load_function("absent").expect_err("no such kernel");
    assert_eq!(e.0, CUresult::CUDA_ERROR_NOT_FOUND);
    assert_eq!(e.error_name().expect("a name").to_str(), Ok("CUDA_ERROR_NOT_FOUND"));
}

#[test]
fn launches_beyond_the_device_are_errors() {
    let Some(ctx) = context() else { return };
    let module = ctx.load_module(Ptx::from_src(CALIBRATION)).expect("a module");
    let stream = ctx.default_stream();
    let f = module.load_function("sumsq_bf16").expect("a function");
    let x = stream.alloc_zeros::<u16>(64).expect("memory");
    let mut out = stream.alloc_zeros::<f32>(64).expect("memory");
    let (m, n, rows) = (1i32, 64i32, 1i32);
    for (block, shared) in [((2048, 1, 1), 0), ((64, 1, 1), 200 << 10)] {
        let mut b = stream.launch_builder(&f);
        b.arg(&x).arg(&mut out).arg(&m).arg(&n).arg(&rows);
        let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: block, shared_mem_bytes: shared };
        // SAFETY: the launch is refused before the kernel runs.
        let e = unsafe { b.launch(config) }.expect_err("too much");
        assert_eq!(e.0, CUresult::CUDA_ERROR_INVALID_VALUE);
    }
    let e = stream.alloc_zeros::<u8>(1 << 50).expect_err("too much memory");
    assert_eq!(e.0, CUresult::CUDA_ERROR_OUT_OF_MEMORY);
}
