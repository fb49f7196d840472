//! Devices that the stand-in plays when its environment says so, each in a process of its own. A real driver is left
//! alone: these tests are of the stand-in.
#![allow(missing_docs, unsafe_code, reason = "launches are unsafe in cudarc")]

use std::process::{Command, Output};

use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaContext, DriverError, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

const TWINS: &str = include_str!("../../kernels/faults/twins.ptx");
const FAULT: &str = include_str!("../../kernels/faults/bound_off_by_one.ptx");

fn is_stand_in() -> bool {
    // SAFETY: this loads the library, whose initialisers have no conditions.
    let present = unsafe { cudarc::driver::sys::is_culib_present() };
    let stand_in = present && CudaContext::new(0).is_ok_and(|c| c.name().is_ok_and(|n| n.starts_with("interpreter")));
    if !stand_in {
        assert!(std::env::var_os("PLANISH_REQUIRE_CUDA").is_none() || present, "no libcuda.so");
        eprintln!("skipped: no stand-in libcuda.so");
    }
    stand_in
}

/// Runs one of the ignored tests below with these variables.
fn child(test: &str, variables: &[(&str, &str)]) -> Output {
    let exe = std::env::current_exe().expect("this test");
    let out = Command::new(exe)
        .args(["--ignored", "--exact", test, "--nocapture"])
        .envs(variables.iter().copied())
        .output()
        .expect("a process");
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{test}: {text}{}", String::from_utf8_lossy(&out.stdout));
    assert!(String::from_utf8_lossy(&out.stdout).contains("1 passed"), "{test} did not run");
    out
}

#[test]
fn the_environment_decides() {
    if !is_stand_in() {
        return;
    }
    child("no_device", &[("PLANISH_PTX_DEVICES", "0")]);
    child("little_memory", &[("PLANISH_PTX_MEMORY", "1000000")]);
    child("old_driver", &[("PLANISH_PTX_DRIVER", "11080")]);
    child("old_device", &[("PLANISH_PTX_CAPABILITY", "61")]);
    child("endless", &[("PLANISH_PTX_LIMIT", "1000")]);
}

#[test]
fn reports_go_to_the_file_that_is_named() {
    if !is_stand_in() {
        return;
    }
    let path = std::env::temp_dir().join(format!("planish-ptx-report-{}", std::process::id()));
    for order in ["forward", "reversed"] {
        let out = child(
            "out_of_bounds",
            &[("PLANISH_PTX_REPORT", path.to_str().expect("a path")), ("PLANISH_PTX_ORDER", order)],
        );
        let report = std::fs::read_to_string(&path).expect("a report");
        std::fs::remove_file(&path).expect("the report");
        assert!(
            report.starts_with("OutOfBounds: kernel `round_to`, block [6, 0, 0], thread [8, 0, 0], PTX line "),
            "{report}"
        );
        assert!(report.contains("global load out of bounds: 4 bytes at 0x"), "{report}");
        assert!(String::from_utf8_lossy(&out.stderr).contains(report.trim()), "stderr has it too");
    }
}

fn round(ptx: &str, n: usize) -> Result<Vec<f32>, DriverError> {
    let ctx = CudaContext::new(0)?;
    let f = ctx.load_module(Ptx::from_src(ptx))?.load_function("round_to")?;
    let stream = ctx.default_stream();
    let x = stream.clone_htod(&vec![0.3f32; n])?;
    let mut out = stream.alloc_zeros::<f32>(n)?;
    let count = n as i32;
    let mut b = stream.launch_builder(&f);
    b.arg(&x).arg(&mut out).arg(&count);
    let grid = (n as u32).div_ceil(32);
    let config = LaunchConfig { grid_dim: (grid, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the arguments are the kernel's; what it does wrong the stand-in catches.
    unsafe { b.launch(config) }?;
    stream.clone_dtoh(&out)
}

#[test]
#[ignore = "run by the_environment_decides"]
fn no_device() {
    assert_eq!(CudaContext::new(0).expect_err("no device").0, CUresult::CUDA_ERROR_NO_DEVICE);
}

#[test]
#[ignore = "run by the_environment_decides"]
fn little_memory() {
    let ctx = CudaContext::new(0).expect("a device");
    let stream = ctx.default_stream();
    let most = stream.alloc_zeros::<u8>(900_000).expect("memory");
    let e = stream.alloc_zeros::<u8>(200_000).expect_err("no more");
    assert_eq!(e.0, CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    drop(most);
    stream.alloc_zeros::<u8>(200_000).expect("memory is free again");
}

#[test]
#[ignore = "run by the_environment_decides"]
fn old_driver() {
    // NVRTC 12.1 writes PTX 8.1; a driver of CUDA 11.8 reads 7.8.
    assert_eq!(round(TWINS, 64).expect_err("too new").0, CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    round(&TWINS.replace(".version 8.1", ".version 7.8"), 64).expect("old enough");
}

#[test]
#[ignore = "run by the_environment_decides"]
fn old_device() {
    assert_eq!(round(TWINS, 64).expect_err("sm_70").0, CUresult::CUDA_ERROR_INVALID_PTX);
}

#[test]
#[ignore = "run by the_environment_decides"]
fn endless() {
    assert_eq!(round(TWINS, 6400).expect_err("a limit").0, CUresult::CUDA_ERROR_LAUNCH_TIMEOUT);
}

#[test]
#[ignore = "run by reports_go_to_the_file_that_is_named"]
fn out_of_bounds() {
    assert_eq!(round(FAULT, 200).expect_err("planted").0, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
}
