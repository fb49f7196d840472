//! Products: cuBLAS where it is there, else own kernels.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cudarc::cublas::{CudaBlas, result, sys};
use cudarc::driver::{CudaSlice, CudaStream, CudaView, DevicePtr, DevicePtrMut};

use super::launch::{Arg, Size};
use super::{Cuda, Matrix};
use crate::device::{Error, Result};

/// The products that everything is made of, in f32.
pub(super) trait Blas: Send + Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// `out[m, n] = x[m, k] w[n, k]^T`, of the rows of the weight from `first` on.
    #[allow(clippy::too_many_arguments)]
    fn gemm(
        &self,
        cuda: &Cuda,
        x: &CudaSlice<f32>,
        w: &Matrix,
        first: usize,
        out: &mut CudaSlice<f32>,
        m: usize,
        n: usize,
        k: usize,
    ) -> Result<()>;

    /// `h[n, n] += x[tokens, n]^T x`, on and below the diagonal.
    fn syrk(&self, cuda: &Cuda, x: &CudaSlice<f32>, h: &mut CudaSlice<f32>, tokens: usize, n: usize) -> Result<()>;
}

/// cuBLAS, if its library is found.
pub(super) fn best(stream: &Arc<CudaStream>) -> Box<dyn Blas> {
    // SAFETY: loading the library runs its initialisers only; it is the system's.
    if !unsafe { sys::is_culib_present() } {
        return Box::new(Own);
    }
    match catch_unwind(AssertUnwindSafe(|| CudaBlas::new(stream.clone()))) {
        Ok(Ok(blas)) => Box::new(CuBlas(blas)),
        Ok(Err(_)) | Err(_) => Box::new(Own),
    }
}

/// The kernels of `gemm.cu`.
struct Own;

impl Matrix {
    fn rows(&self, first: usize, n: usize, k: usize) -> CudaView<'_, u8> {
        let size = if self.bf16 { 2 } else { 4 };
        self.data.slice(first * k * size..(first + n) * k * size)
    }
}

impl Blas for Own {
    fn name(&self) -> &'static str {
        "own products"
    }

    fn gemm(
        &self,
        cuda: &Cuda,
        x: &CudaSlice<f32>,
        w: &Matrix,
        first: usize,
        out: &mut CudaSlice<f32>,
        m: usize,
        n: usize,
        k: usize,
    ) -> Result<()> {
        let grid = (n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1);
        let part = w.rows(first, n, k);
        let (m, n, k) = (Arg::U32(m as u32), Arg::U32(n as u32), Arg::U32(k as u32));
        let args = &mut [Arg::In(x), Arg::Bytes(&part), Arg::Null, Arg::Out(out), m, n, k];
        cuda.launch(if w.bf16 { "gemm_bf16" } else { "gemm_f32" }, Size { grid, block: 256, shared: 0 }, args)
    }

    fn syrk(&self, cuda: &Cuda, x: &CudaSlice<f32>, h: &mut CudaSlice<f32>, tokens: usize, n: usize) -> Result<()> {
        let tiles = n.div_ceil(64) as u32;
        let args = &mut [Arg::In(x), Arg::Out(h), Arg::U32(tokens as u32), Arg::U32(n as u32)];
        cuda.launch("syrk", Size { grid: (tiles, tiles, 1), block: 256, shared: 0 }, args)
    }
}

/// cuBLAS, whose matrices are stored by columns: ours are its transposes.
struct CuBlas(CudaBlas);

impl CuBlas {
    fn failed(cuda: &Cuda, call: &str, error: result::CublasError) -> Error {
        Error::Driver { device: cuda.name.clone(), call: call.to_owned(), why: format!("{:?}", error.0) }
    }
}

impl Blas for CuBlas {
    fn name(&self) -> &'static str {
        "cuBLAS"
    }

    fn gemm(
        &self,
        cuda: &Cuda,
        x: &CudaSlice<f32>,
        w: &Matrix,
        first: usize,
        out: &mut CudaSlice<f32>,
        m: usize,
        n: usize,
        k: usize,
    ) -> Result<()> {
        let part = w.rows(first, n, k);
        let wide = if w.bf16 {
            // cuBLAS multiplies f32 by f32 only.
            let mut wide = cuda.room::<f32>(&cuda.stream, n * k)?;
            let args = &mut [Arg::Bytes(&part), Arg::Out(&mut wide), Arg::U64((n * k) as u64)];
            cuda.launch("widen", Size::each(n * k), args)?;
            Some(wide)
        } else {
            None
        };
        let (stream, alpha, beta) = (&cuda.stream, 1f32, 0f32);
        let (weight, _wait_weight) = match &wide {
            Some(wide) => wide.device_ptr(stream),
            None => part.device_ptr(stream),
        };
        let (x, _wait_x) = x.device_ptr(stream);
        let (out, _wait_out) = out.device_ptr_mut(stream);
        let (none, turned) = (sys::cublasOperation_t::CUBLAS_OP_N, sys::cublasOperation_t::CUBLAS_OP_T);
        let (m, n, k) = (m as i32, n as i32, k as i32);
        // SAFETY: out^T[n, m] = w[n, k] x^T[k, m]; the three have these sizes, and live until the stream is through.
        let done = unsafe {
            result::sgemm(
                *self.0.handle(),
                turned,
                none,
                n,
                m,
                k,
                &raw const alpha,
                weight as *const f32,
                k,
                x as *const f32,
                k,
                &raw const beta,
                out as *mut f32,
                n,
            )
        };
        done.map_err(|error| Self::failed(cuda, "cublasSgemm", error))
    }

    fn syrk(&self, cuda: &Cuda, x: &CudaSlice<f32>, h: &mut CudaSlice<f32>, tokens: usize, n: usize) -> Result<()> {
        let (stream, one) = (&cuda.stream, 1f32);
        let (x, _wait_x) = x.device_ptr(stream);
        let (h, _wait_h) = h.device_ptr_mut(stream);
        let (n, tokens) = (n as i32, tokens as i32);
        // SAFETY: what is below the diagonal by rows is above it by columns; both have these sizes.
        let done = unsafe {
            sys::cublasSsyrk_v2(
                *self.0.handle(),
                sys::cublasFillMode_t::CUBLAS_FILL_MODE_UPPER,
                sys::cublasOperation_t::CUBLAS_OP_N,
                n,
                tokens,
                &raw const one,
                x as *const f32,
                n,
                &raw const one,
                h as *mut f32,
                n,
            )
        };
        done.result().map_err(|error| Self::failed(cuda, "cublasSsyrk", error))
    }
}
