//! The ops of a forward pass on the CPU, over row-major `f32`.
//!
//! Every op here gives the same bits on every instruction set and for any number of threads, with one exception that
//! its caller asks for by name: [`Precision::Bf16`] and [`Precision::Bf16Split`] use `vdpbf16ps` where the machine has
//! it. Sums run in an order that the shape alone decides.
//!
//! Sizes are the caller's contract: an op panics on slices that do not fit each other.

mod act;
mod attend;
mod cholesky;
mod combine;
mod embed;
mod exp;
mod gemm;
mod gram;
mod head;
mod matmul;
mod norm;
mod outer;
mod rope;
mod route;
mod squares;
mod subtract;
#[cfg(test)]
mod testing;

pub use act::{Activation, activate};
pub use attend::{Attention, Sequences, attend};
pub use cholesky::{NotPositive, factor, mirror};
pub use combine::{add, affine, clamp, multiply, multiply_columns, multiply_rows, softcap};
pub use embed::embed;
pub use gram::gram;
pub use head::{Drift, Likelihood};
pub use matmul::{Precision, Weight, matmul};
pub use norm::{layer_norm, rms_norm};
pub use outer::subtract_outer;
pub use rope::{Rotation, Turns, rope};
pub use route::{Routing, Scoring, mix, route};
pub use squares::sum_squares;
pub use subtract::{Strided, subtract_product};

/// Writes a function whose body is compiled once for each instruction set, with the same arithmetic in each: the
/// compiler vectorises it, and never contracts or reorders floating point.
macro_rules! each_isa {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code)]
        $vis fn $name(isa: $crate::Isa, $($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $type),*) $(-> $result)? { body($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $type),*) $(-> $result)? { body($($arg),*) }
            match isa {
                // SAFETY: the instruction set was detected.
                #[cfg(target_arch = "x86_64")]
                $crate::Isa::Avx512 if isa.available() => unsafe { avx512($($arg),*) },
                // SAFETY: the instruction set was detected.
                #[cfg(target_arch = "x86_64")]
                $crate::Isa::Avx512 | $crate::Isa::Avx2 if $crate::Isa::Avx2.available() => unsafe { avx2($($arg),*) },
                $crate::Isa::Scalar | $crate::Isa::Avx2 | $crate::Isa::Avx512 => body($($arg),*),
            }
        }
    };
}
pub(crate) use each_isa;

/// Rows a thread takes at a time in the row-wise ops.
const ROWS: usize = 16;
