//! A stand-in `libcublas.so`: the products that planish asks for, over the memory of the stand-in `libcuda.so`. It
//! checks that leading dimensions fit and that every element lies inside an allocation and has been written.

mod device;
mod matrix;
mod product;

use std::collections::BTreeSet;
use std::ffi::{c_char, c_int, c_longlong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use matrix::{Element, Matrix};
use product::{Gemm, Syrk};

const SUCCESS: c_int = 0;
const NOT_INITIALIZED: c_int = 1;
const INVALID_VALUE: c_int = 7;
const EXECUTION_FAILED: c_int = 13;
const NOT_SUPPORTED: c_int = 15;

static HANDLES: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

fn with(handle: usize, name: &str, body: impl FnOnce() -> c_int) -> c_int {
    let known = HANDLES.lock().unwrap_or_else(PoisonError::into_inner).contains(&handle);
    if !known {
        device::report(&format!("{name}: the handle is not one"));
        return NOT_INITIALIZED;
    }
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(EXECUTION_FAILED)
}

/// Reads a factor of the host; a null pointer has none.
#[expect(unsafe_code, reason = "the C API's pointers")]
fn scalar(p: *const f32) -> Option<f64> {
    // SAFETY: factors are pointers to the host's memory in the default pointer mode, or null.
    (!p.is_null()).then(|| unsafe { p.read_unaligned() }.into())
}

fn size(n: c_int) -> Option<usize> {
    usize::try_from(n).ok()
}

/// 0 is not transposed, 1 transposed, 2 conjugated, which of real numbers is the same.
fn transposed(op: c_int) -> Option<bool> {
    matches!(op, 0..=2).then_some(op != 0)
}

/// What all of the gemm functions take.
struct Call {
    name: &'static str,
    ops: (c_int, c_int),
    sizes: (c_int, c_int, c_int),
    alpha: *const f32,
    a: (u64, c_int, c_int),
    b: (u64, c_int, c_int),
    beta: *const f32,
    c: (u64, c_int, c_int),
    strides: (c_longlong, c_longlong, c_longlong),
    batch: c_int,
}

impl Call {
    fn run(&self) -> c_int {
        let Some((ta, tb)) = transposed(self.ops.0).zip(transposed(self.ops.1)) else { return INVALID_VALUE };
        let (Some(m), Some(n), Some(k)) = (size(self.sizes.0), size(self.sizes.1), size(self.sizes.2)) else {
            device::report(&format!("{}: a size of {:?}", self.name, self.sizes));
            return INVALID_VALUE;
        };
        let (Some(alpha), Some(beta)) = (scalar(self.alpha), scalar(self.beta)) else { return INVALID_VALUE };
        for batch in 0..c_longlong::from(self.batch) {
            let matrix = |name, (address, element, leading): (u64, c_int, c_int), stride, (rows, columns)| {
                let element = Element::numbered(element)?;
                let bytes = batch * stride * if element == Element::F32 { 4 } else { 2 };
                let address = address.wrapping_add_signed(bytes);
                Some(Matrix { name, address, rows, columns, leading: size(leading)?, element })
            };
            let shapes = (if ta { (k, m) } else { (m, k) }, if tb { (n, k) } else { (k, n) });
            let (Some(a), Some(b), Some(c)) = (
                matrix("A", self.a, self.strides.0, shapes.0),
                matrix("B", self.b, self.strides.1, shapes.1),
                matrix("C", self.c, self.strides.2, (m, n)),
            ) else {
                device::report(&format!("{}: elements or leading dimensions that it has not", self.name));
                return NOT_SUPPORTED;
            };
            if a.element != b.element {
                device::report(&format!("{}: A and B are of different types", self.name));
                return NOT_SUPPORTED;
            }
            let gemm = Gemm { transpose_a: ta, transpose_b: tb, alpha, beta, a, b, c, depth: k };
            if let Err(e) = gemm.run() {
                device::report(&format!("{}: m={m} n={n} k={k}, product {batch}: {e}", self.name));
                return INVALID_VALUE;
            }
        }
        SUCCESS
    }
}

/// Exported functions; each takes a handle first.
macro_rules! api {
    ($(fn $name:ident($handle:ident $(, $arg:ident: $ty:ty)* $(,)?) $body:block)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of cuBLAS.")]
            ///
            /// # Safety
            /// Pointers are as cuBLAS says.
            #[unsafe(no_mangle)]
            #[expect(unsafe_code, reason = "the name is what the loader looks for")]
            #[allow(non_snake_case, unreachable_pub, reason = "a C symbol")]
            pub unsafe extern "C" fn $name($handle: usize $(, $arg: $ty)*) -> c_int {
                with($handle, stringify!($name), || $body)
            }
        )*
    };
}

/// `cublasCreate_v2` of cuBLAS.
///
/// # Safety
/// `out` is writable.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the C API's pointers")]
#[allow(non_snake_case, unreachable_pub, reason = "a C symbol")]
pub unsafe extern "C" fn cublasCreate_v2(out: *mut usize) -> c_int {
    if out.is_null() {
        return INVALID_VALUE;
    }
    if !device::present() {
        return NOT_INITIALIZED;
    }
    let mut handles = HANDLES.lock().unwrap_or_else(PoisonError::into_inner);
    let id = handles.last().map_or(0x2000, |last| last + 16);
    handles.insert(id);
    // SAFETY: the caller promises that it is writable.
    unsafe { out.write_unaligned(id) };
    SUCCESS
}

/// `cublasGetStatusString` of cuBLAS.
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the name is what the loader looks for")]
#[allow(non_snake_case, unreachable_pub, reason = "a C symbol")]
pub extern "C" fn cublasGetStatusString(status: c_int) -> *const c_char {
    match status {
        SUCCESS => c"CUBLAS_STATUS_SUCCESS",
        NOT_INITIALIZED => c"CUBLAS_STATUS_NOT_INITIALIZED",
        INVALID_VALUE => c"CUBLAS_STATUS_INVALID_VALUE",
        EXECUTION_FAILED => c"CUBLAS_STATUS_EXECUTION_FAILED",
        NOT_SUPPORTED => c"CUBLAS_STATUS_NOT_SUPPORTED",
        _ => c"CUBLAS_STATUS_INTERNAL_ERROR",
    }
    .as_ptr()
}

const F32: c_int = 0;

api! {
    fn cublasDestroy_v2(handle) {
        HANDLES.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle);
        SUCCESS
    }
    fn cublasSetStream_v2(handle, _stream: usize) { SUCCESS }
    fn cublasSetMathMode(handle, _mode: c_int) { SUCCESS }
    fn cublasSetAtomicsMode(handle, _mode: c_int) { SUCCESS }
    fn cublasSetWorkspace_v2(handle, _workspace: u64, _bytes: usize) { SUCCESS }
    fn cublasSetPointerMode_v2(handle, mode: c_int) {
        // Factors in device memory are not read.
        if mode == 0 { SUCCESS } else { NOT_SUPPORTED }
    }
    fn cublasSgemm_v2(
        handle, ta: c_int, tb: c_int, m: c_int, n: c_int, k: c_int, alpha: *const f32, a: u64, lda: c_int, b: u64,
        ldb: c_int, beta: *const f32, c: u64, ldc: c_int,
    ) {
        Call {
            name: "cublasSgemm", ops: (ta, tb), sizes: (m, n, k), alpha, a: (a, F32, lda), b: (b, F32, ldb), beta,
            c: (c, F32, ldc), strides: (0, 0, 0), batch: 1,
        }.run()
    }
    fn cublasSgemmStridedBatched(
        handle, ta: c_int, tb: c_int, m: c_int, n: c_int, k: c_int, alpha: *const f32, a: u64, lda: c_int,
        sa: c_longlong, b: u64, ldb: c_int, sb: c_longlong, beta: *const f32, c: u64, ldc: c_int, sc: c_longlong,
        batch: c_int,
    ) {
        Call {
            name: "cublasSgemmStridedBatched", ops: (ta, tb), sizes: (m, n, k), alpha, a: (a, F32, lda),
            b: (b, F32, ldb), beta, c: (c, F32, ldc), strides: (sa, sb, sc), batch,
        }.run()
    }
    fn cublasSgemmEx(
        handle, ta: c_int, tb: c_int, m: c_int, n: c_int, k: c_int, alpha: *const f32, a: u64, at: c_int, lda: c_int,
        b: u64, bt: c_int, ldb: c_int, beta: *const f32, c: u64, ct: c_int, ldc: c_int,
    ) {
        Call {
            name: "cublasSgemmEx", ops: (ta, tb), sizes: (m, n, k), alpha, a: (a, at, lda), b: (b, bt, ldb), beta,
            c: (c, ct, ldc), strides: (0, 0, 0), batch: 1,
        }.run()
    }
    fn cublasGemmEx(
        handle, ta: c_int, tb: c_int, m: c_int, n: c_int, k: c_int, alpha: *const c_void, a: u64, at: c_int,
        lda: c_int, b: u64, bt: c_int, ldb: c_int, beta: *const c_void, c: u64, ct: c_int, ldc: c_int,
        compute: c_int, _algorithm: c_int,
    ) {
        if !f32_sums(compute) {
            return NOT_SUPPORTED;
        }
        Call {
            name: "cublasGemmEx", ops: (ta, tb), sizes: (m, n, k), alpha: alpha.cast(), a: (a, at, lda),
            b: (b, bt, ldb), beta: beta.cast(), c: (c, ct, ldc), strides: (0, 0, 0), batch: 1,
        }.run()
    }
    fn cublasGemmStridedBatchedEx(
        handle, ta: c_int, tb: c_int, m: c_int, n: c_int, k: c_int, alpha: *const c_void, a: u64, at: c_int,
        lda: c_int, sa: c_longlong, b: u64, bt: c_int, ldb: c_int, sb: c_longlong, beta: *const c_void, c: u64,
        ct: c_int, ldc: c_int, sc: c_longlong, batch: c_int, compute: c_int, _algorithm: c_int,
    ) {
        if !f32_sums(compute) {
            return NOT_SUPPORTED;
        }
        Call {
            name: "cublasGemmStridedBatchedEx", ops: (ta, tb), sizes: (m, n, k), alpha: alpha.cast(),
            a: (a, at, lda), b: (b, bt, ldb), beta: beta.cast(), c: (c, ct, ldc), strides: (sa, sb, sc), batch,
        }.run()
    }
    fn cublasSsyrk_v2(
        handle, fill: c_int, op: c_int, n: c_int, k: c_int, alpha: *const f32, a: u64, lda: c_int, beta: *const f32,
        c: u64, ldc: c_int,
    ) {
        let (Some(transpose), Some(n), Some(k)) = (transposed(op), size(n), size(k)) else { return INVALID_VALUE };
        let (Some(lda), Some(ldc)) = (size(lda), size(ldc)) else { return INVALID_VALUE };
        let (Some(alpha), Some(beta)) = (scalar(alpha), scalar(beta)) else { return INVALID_VALUE };
        let matrix = |name, address, rows, columns, leading| Matrix {
            name, address, rows, columns, leading, element: Element::F32,
        };
        // 0 is the lower triangle, 1 the upper.
        if !matches!(fill, 0 | 1) {
            return INVALID_VALUE;
        }
        let (rows, columns) = if transpose { (k, n) } else { (n, k) };
        let syrk = Syrk {
            upper: fill == 1, transpose, alpha, beta, a: matrix("A", a, rows, columns, lda),
            c: matrix("C", c, n, n, ldc), depth: k,
        };
        match syrk.run() {
            Ok(()) => SUCCESS,
            Err(e) => {
                device::report(&format!("cublasSsyrk: n={n} k={k}: {e}"));
                INVALID_VALUE
            }
        }
    }
}

/// Sums in f32: `CUBLAS_COMPUTE_32F`, its pedantic form, and those that round factors to bf16, f16 or tf32.
fn f32_sums(compute: c_int) -> bool {
    let known = matches!(compute, 68 | 69 | 74 | 75 | 77);
    if !known {
        device::report(&format!("cuBLAS compute type {compute} is not one with sums in f32"));
    }
    known
}
