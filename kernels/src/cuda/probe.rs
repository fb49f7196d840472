//! What is there, found without a call that could panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};

use super::said;

/// What was found of NVIDIA's GPUs.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The newest CUDA that the driver serves, `12.4`; `None` without a driver.
    pub driver: Option<String>,
    /// In the order of their numbers.
    pub gpus: Vec<Gpu>,
    /// Why there are none.
    pub problem: Option<String>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// Its number.
    pub ordinal: usize,
    /// What NVIDIA calls it.
    pub name: String,
    /// Compute capability, major times 10 plus minor.
    pub capability: i32,
    /// Bytes.
    pub memory: usize,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

/// The least compute capability that the kernels are for.
const LEAST: i32 = 70;
/// The least driver, as it counts: it reads PTX ISA 8.1.
const DRIVER: i32 = 12010;

/// Looks for a driver and what it knows.
pub fn devices() -> Found {
    // SAFETY: loading the driver's library runs its initialisers only; the library is the system's.
    if !unsafe { sys::is_culib_present() } {
        return none("no NVIDIA driver: libcuda.so is not found");
    }
    // What the driver lacks is a panic of the bindings.
    catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|_| none("the NVIDIA driver lacks functions that are needed"))
}

fn none(problem: &str) -> Found {
    Found { problem: Some(problem.to_owned()), ..Found::default() }
}

fn look() -> Found {
    let mut version = 0;
    // SAFETY: the number is written to a variable that lives.
    let known = unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().is_ok();
    let driver = known.then(|| format!("{}.{}", version / 1000, version % 1000 / 10));
    let problem = |why: String| Found { driver: driver.clone(), gpus: vec![], problem: Some(why) };
    if let Err(error) = result::init() {
        return problem(format!("the NVIDIA driver does not start: {}", said(error)));
    }
    let count = match result::device::get_count() {
        Ok(0) => return problem("the NVIDIA driver knows of no device".to_owned()),
        Ok(count) => count,
        Err(error) => return problem(format!("the NVIDIA driver does not count its devices: {}", said(error))),
    };
    let gpus = (0..count).map(|ordinal| gpu(ordinal, known.then_some(version))).collect();
    Found { driver, gpus, problem: None }
}

fn gpu(ordinal: i32, driver: Option<i32>) -> Gpu {
    let mut gpu = Gpu { ordinal: ordinal as usize, name: String::new(), capability: 0, memory: 0, problem: None };
    let device = match result::device::get(ordinal) {
        Ok(device) => device,
        Err(error) => return Gpu { problem: Some(said(error)), ..gpu },
    };
    gpu.name = result::device::get_name(device).unwrap_or_default();
    // SAFETY: the device was given by the driver just now.
    let (number, memory) = unsafe {
        let number = |which| result::device::get_attribute(device, which).unwrap_or(0);
        let major = number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
        let minor = number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
        (10 * major + minor, result::device::total_mem(device).unwrap_or(0))
    };
    (gpu.capability, gpu.memory) = (number, memory);
    if number < LEAST {
        let (major, minor) = (number / 10, number % 10);
        gpu.problem = Some(format!("compute capability {major}.{minor}, and 7.0 (Volta) is the least"));
    } else if driver.is_some_and(|driver| driver < DRIVER) {
        gpu.problem = Some("the NVIDIA driver is too old: version 530 (CUDA 12.1) is the least".to_owned());
    }
    gpu
}
