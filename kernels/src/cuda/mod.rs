//! NVIDIA GPUs through their driver, which is looked for at run time.
//!
//! The kernels are in `kernels/cu`; what the driver gets is their PTX, which is part of the binary. cuBLAS multiplies where
//! it is there, and own kernels where it is not.

#![allow(unsafe_code)]

mod blas;
mod launch;
mod modules;
mod ops;
mod probe;
mod staging;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DeviceRepr, DriverError};

pub use probe::{Found, Gpu, devices};

use crate::device::{Error, Result};
use blas::Blas;
use modules::Functions;
use staging::Staging;

/// One GPU, used by this process.
pub struct Cuda {
    name: String,
    /// What is computed goes here, in order.
    stream: Arc<CudaStream>,
    /// Weights are copied here while others are multiplied.
    copies: Arc<CudaStream>,
    staging: Mutex<Staging>,
    functions: Functions,
    blas: Box<dyn Blas>,
    left: Mutex<BTreeMap<&'static str, u64>>,
    gpu: Gpu,
}

/// A value in the GPU's memory.
pub struct Buf {
    data: CudaSlice<f32>,
    len: usize,
}

/// A weight in the GPU's memory.
pub struct Matrix {
    data: CudaSlice<u8>,
    bf16: bool,
}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Cuda {
    /// The GPU number `ordinal`, opened once for the whole process.
    pub fn open(ordinal: usize) -> Result<&'static Cuda> {
        static OPEN: OnceLock<Mutex<BTreeMap<usize, &'static Cuda>>> = OnceLock::new();
        let mut open = OPEN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cuda) = open.get(&ordinal) {
            return Ok(cuda);
        }
        let cuda: &'static Cuda = Box::leak(Box::new(Cuda::start(ordinal)?));
        open.insert(ordinal, cuda);
        Ok(cuda)
    }

    fn start(ordinal: usize) -> Result<Cuda> {
        let name = format!("cuda:{ordinal}");
        let unusable = |why: String| Error::Unusable { device: name.clone(), why };
        let found = devices();
        let Some(gpu) = found.gpus.into_iter().find(|gpu| gpu.ordinal == ordinal) else {
            return Err(unusable(found.problem.unwrap_or_else(|| "there is no device of this number".to_owned())));
        };
        if let Some(why) = gpu.problem {
            return Err(unusable(why));
        }
        // A function that an old driver lacks is a panic of the bindings.
        let started = catch_unwind(AssertUnwindSafe(|| -> Result<Cuda> {
            let driver = |call: &'static str| {
                let name = name.clone();
                move |error: DriverError| Error::Driver { device: name, call: call.to_owned(), why: said(error) }
            };
            let context = CudaContext::new(ordinal).map_err(driver("to make a context"))?;
            let stream = context.new_stream().map_err(driver("to make a stream"))?;
            let copies = context.new_stream().map_err(driver("to make a stream"))?;
            let functions = Functions::load(&context, gpu.capability).map_err(|(file, error)| {
                unusable(format!("its driver refuses the kernels of {file}: {}", said(error)))
            })?;
            let blas = blas::best(&stream);
            let staging = Mutex::new(Staging::default());
            let left = Mutex::default();
            Ok(Cuda { name: name.clone(), stream, copies, staging, functions, blas, left, gpu: gpu.clone() })
        }));
        started.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("its driver is too old");
            Err(unusable(text.to_owned()))
        })
    }

    /// Its number, its name, and what multiplies.
    pub fn described(&self) -> String {
        format!("{} ({}, {})", self.name, self.gpu.name, self.blas.name())
    }

    /// Counts an op that the processor ran in the place of this device.
    pub fn count_on_cpu(&self, op: &'static str) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner).entry(op).or_default() += 1;
    }

    /// What was counted.
    pub fn left_to_cpu(&self) -> Vec<(&'static str, u64)> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.iter().map(|(op, count)| (*op, *count)).collect()
    }

    fn failed(&self, call: &str, error: DriverError) -> Error {
        Error::Driver { device: self.name.clone(), call: call.to_owned(), why: said(error) }
    }

    /// Memory whose contents are anything.
    fn room<T: DeviceRepr>(&self, stream: &Arc<CudaStream>, len: usize) -> Result<CudaSlice<T>> {
        // SAFETY: every kernel writes all of what it is given as a result, and copies fill what they go to.
        unsafe { stream.alloc(len.max(1)) }.map_err(|error| {
            if error.0 != cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return self.failed("to get memory", error);
            }
            let (free, total) = self.stream.context().mem_get_info().unwrap_or((0, self.gpu.memory));
            Error::Memory { device: self.name.clone(), asked: len * size_of::<T>(), free, total }
        })
    }

    fn buf(&self, len: usize) -> Result<Buf> {
        Ok(Buf { data: self.room(&self.stream, len)?, len })
    }
}

/// What the driver says of an error.
fn said(error: DriverError) -> String {
    let text = |text: std::result::Result<&std::ffi::CStr, DriverError>| {
        text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    };
    format!("{} ({})", text(error.error_string()), text(error.error_name()))
}
