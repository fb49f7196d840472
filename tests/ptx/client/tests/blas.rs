//! cudarc's cuBLAS over whichever `libcublas.so` the loader finds.
#![allow(missing_docs, unsafe_code, reason = "cuBLAS is unsafe in cudarc")]

use cudarc::cublas::sys::{self, cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cudaDataType_t};
use cudarc::cublas::{CudaBlas, Gemm, GemmConfig, StridedBatchedConfig, result};
use cudarc::driver::{CudaContext, DevicePtr, DevicePtrMut};

fn blas() -> Option<(std::sync::Arc<cudarc::driver::CudaStream>, CudaBlas)> {
    // SAFETY: this loads the library, whose initialisers have no conditions.
    if !unsafe { cudarc::driver::sys::is_culib_present() && sys::is_culib_present() } {
        assert!(std::env::var_os("PLANISH_REQUIRE_CUDA").is_none(), "no libcuda.so or libcublas.so");
        eprintln!("skipped: no libcuda.so or libcublas.so");
        return None;
    }
    let stream = CudaContext::new(0).expect("a device").default_stream();
    let blas = CudaBlas::new(stream.clone()).expect("a handle");
    Some((stream, blas))
}

fn values(n: usize, step: usize) -> Vec<f32> {
    (0..n).map(|i| (i * step % 101) as f32 / 50.0 - 1.0).collect()
}

/// Row by row, `x[m,k] w[n,k]^T`: what a linear layer is.
fn linear(x: &[f32], w: &[f32], m: usize, n: usize, k: usize) -> Vec<f64> {
    let at = |i: usize, j: usize| (0..k).map(|l| f64::from(x[i * k + l]) * f64::from(w[j * k + l])).sum();
    (0..m * n).map(|i| at(i / n, i % n)).collect()
}

fn close(found: &[f32], wanted: &[f64], bound: f64) {
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        assert!((f64::from(*f) - w).abs() <= bound, "{i}: {f} and {w}");
    }
}

#[test]
fn linear_layer_in_f32() {
    let Some((stream, blas)) = blas() else { return };
    let (m, n, k) = (7, 5, 11);
    let (x, w) = (values(m * k, 7), values(n * k, 13));
    let (xd, wd) = (stream.clone_htod(&x).expect("upload"), stream.clone_htod(&w).expect("upload"));
    let mut y = stream.alloc_zeros::<f32>(m * n).expect("memory");
    // cuBLAS sees row-major x[m,k] as a k by m matrix: y^T = w x^T.
    let config = GemmConfig {
        transa: cublasOperation_t::CUBLAS_OP_T,
        transb: cublasOperation_t::CUBLAS_OP_N,
        m: n as i32,
        n: m as i32,
        k: k as i32,
        alpha: 1.0,
        lda: k as i32,
        ldb: k as i32,
        beta: 0.0,
        ldc: n as i32,
    };
    // SAFETY: the buffers are as large as the sizes say.
    unsafe { blas.gemm(config, &wd, &xd, &mut y) }.expect("a product");
    close(&stream.clone_dtoh(&y).expect("download"), &linear(&x, &w, m, n, k), 1e-5);

    // A leading dimension that is too small, and a matrix that is larger than its memory.
    // SAFETY: the stand-in refuses; a real cuBLAS refuses the first, and the second is only asked of the stand-in.
    unsafe {
        assert!(blas.gemm(GemmConfig { lda: k as i32 - 1, ..config }, &wd, &xd, &mut y).is_err());
        if stream.context().name().expect("a name").starts_with("interpreter") {
            assert!(blas.gemm(GemmConfig { n: m as i32 + 1, ..config }, &wd, &xd, &mut y).is_err());
        }
    }
}

#[test]
fn batches_by_stride() {
    let Some((stream, blas)) = blas() else { return };
    let (m, n, k, batch) = (3, 4, 6, 5);
    let (x, w) = (values(batch * m * k, 7), values(batch * n * k, 13));
    let (xd, wd) = (stream.clone_htod(&x).expect("upload"), stream.clone_htod(&w).expect("upload"));
    let mut y = stream.alloc_zeros::<f32>(batch * m * n).expect("memory");
    let gemm = GemmConfig {
        transa: cublasOperation_t::CUBLAS_OP_T,
        transb: cublasOperation_t::CUBLAS_OP_N,
        m: n as i32,
        n: m as i32,
        k: k as i32,
        alpha: 1.0,
        lda: k as i32,
        ldb: k as i32,
        beta: 0.0,
        ldc: n as i32,
    };
    let config = StridedBatchedConfig {
        gemm,
        batch_size: batch as i32,
        stride_a: (n * k) as i64,
        stride_b: (m * k) as i64,
        stride_c: (m * n) as i64,
    };
    // SAFETY: the buffers are as large as the sizes say.
    unsafe { blas.gemm_strided_batched(config, &wd, &xd, &mut y) }.expect("products");
    let found = stream.clone_dtoh(&y).expect("download");
    for i in 0..batch {
        let wanted = linear(&x[i * m * k..(i + 1) * m * k], &w[i * n * k..(i + 1) * n * k], m, n, k);
        close(&found[i * m * n..(i + 1) * m * n], &wanted, 1e-5);
    }
}

#[test]
fn bf16_factors_and_f32_sums() {
    let Some((stream, blas)) = blas() else { return };
    let (m, n, k) = (6, 9, 20);
    let (x, w) = (values(m * k, 7), values(n * k, 13));
    let short = |v: &[f32]| v.iter().map(|v| (v.to_bits() >> 16) as u16).collect::<Vec<_>>();
    let wide = |v: &[u16]| v.iter().map(|&v| f32::from_bits(u32::from(v) << 16)).collect::<Vec<_>>();
    let (x, w) = (short(&x), short(&w));
    let (xd, wd) = (stream.clone_htod(&x).expect("upload"), stream.clone_htod(&w).expect("upload"));
    let mut y = stream.clone_htod(&vec![1f32; m * n]).expect("upload");
    let (alpha, beta) = (1f32, 1f32);
    {
        let (a, _ga) = wd.device_ptr(&stream);
        let (b, _gb) = xd.device_ptr(&stream);
        let (c, _gc) = y.device_ptr_mut(&stream);
        let bf16 = cudaDataType_t::CUDA_R_16BF;
        // SAFETY: the buffers are as large as the sizes say.
        unsafe {
            result::gemm_ex(
                *blas.handle(),
                cublasOperation_t::CUBLAS_OP_T,
                cublasOperation_t::CUBLAS_OP_N,
                n as i32,
                m as i32,
                k as i32,
                (&raw const alpha).cast(),
                a as *const _,
                bf16,
                k as i32,
                b as *const _,
                bf16,
                k as i32,
                (&raw const beta).cast(),
                c as *mut _,
                cudaDataType_t::CUDA_R_32F,
                n as i32,
                cublasComputeType_t::CUBLAS_COMPUTE_32F,
                cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .expect("a product");
    }
    let wanted: Vec<f64> = linear(&wide(&x), &wide(&w), m, n, k).iter().map(|v| v + 1.0).collect();
    close(&stream.clone_dtoh(&y).expect("download"), &wanted, 1e-5);
}

#[test]
fn one_triangle_of_a_gram_matrix() {
    let Some((stream, blas)) = blas() else { return };
    let (m, n) = (9, 5);
    let x = values(m * n, 7);
    let xd = stream.clone_htod(&x).expect("upload");
    let mut h = stream.clone_htod(&vec![0.5f32; n * n]).expect("upload");
    let (alpha, beta) = (2f32, 1f32);
    {
        let (a, _ga) = xd.device_ptr(&stream);
        let (c, _gc) = h.device_ptr_mut(&stream);
        // Row-major x[m,n] is an n by m matrix to cuBLAS, and H = x x^T of it.
        // SAFETY: the buffers are as large as the sizes say.
        unsafe {
            sys::cublasSsyrk_v2(
                *blas.handle(),
                sys::cublasFillMode_t::CUBLAS_FILL_MODE_LOWER,
                cublasOperation_t::CUBLAS_OP_N,
                n as i32,
                m as i32,
                &raw const alpha,
                a as *const _,
                n as i32,
                &raw const beta,
                c as *mut _,
                n as i32,
            )
        }
        .result()
        .expect("a product");
    }
    let found = stream.clone_dtoh(&h).expect("download");
    for column in 0..n {
        for row in 0..n {
            let sum: f64 = (0..m).map(|r| f64::from(x[r * n + row]) * f64::from(x[r * n + column])).sum();
            let wanted = if row >= column { 2.0 * sum + 0.5 } else { 0.5 };
            let v = f64::from(found[column * n + row]);
            assert!((v - wanted).abs() < 1e-5, "{row}, {column}: {v} and {wanted}");
        }
    }
}
