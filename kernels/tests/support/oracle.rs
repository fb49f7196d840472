//! Stock llama.cpp's codecs, from its prebuilt `libggml-base`.
//!
#![allow(unsafe_code)]

use std::ffi::{CString, c_int, c_void};

#[path = "../../../tests/support/installed.rs"]
mod installed;

use installed::{libraries, library};
use libloading::Library;

type Chunk = unsafe extern "C" fn(c_int, *const f32, *mut c_void, i64, i64, i64, *const f32) -> usize;
type Decode = unsafe extern "C" fn(*const c_void, *mut f32, i64);

/// GGML's type ids and the functions that decode them.
const TYPES: &[(&str, c_int, &str)] = &[
    ("F32", 0, ""),
    ("F16", 1, "ggml_fp16_to_fp32_row"),
    ("BF16", 30, "ggml_bf16_to_fp32_row"),
    ("Q4_0", 2, "dequantize_row_q4_0"),
    ("Q4_1", 3, "dequantize_row_q4_1"),
    ("Q5_0", 6, "dequantize_row_q5_0"),
    ("Q5_1", 7, "dequantize_row_q5_1"),
    ("Q8_0", 8, "dequantize_row_q8_0"),
    ("Q2_K", 10, "dequantize_row_q2_K"),
    ("Q3_K", 11, "dequantize_row_q3_K"),
    ("Q4_K", 12, "dequantize_row_q4_K"),
    ("Q5_K", 13, "dequantize_row_q5_K"),
    ("Q6_K", 14, "dequantize_row_q6_K"),
    ("IQ4_NL", 20, "dequantize_row_iq4_nl"),
    ("IQ4_XS", 23, "dequantize_row_iq4_xs"),
    ("IQ3_XXS", 18, "dequantize_row_iq3_xxs"),
    ("IQ3_S", 21, "dequantize_row_iq3_s"),
    ("IQ2_XXS", 16, "dequantize_row_iq2_xxs"),
    ("IQ2_XS", 17, "dequantize_row_iq2_xs"),
    ("IQ2_S", 22, "dequantize_row_iq2_s"),
    ("IQ1_S", 19, "dequantize_row_iq1_s"),
    ("IQ1_M", 29, "dequantize_row_iq1_m"),
    ("TQ1_0", 34, "dequantize_row_tq1_0"),
    ("TQ2_0", 35, "dequantize_row_tq2_0"),
    ("MXFP4", 39, "dequantize_row_mxfp4"),
    ("NVFP4", 40, "dequantize_row_nvfp4"),
    ("Q1_0", 41, "dequantize_row_q1_0"),
    ("Q2_0", 42, "dequantize_row_q2_0"),
];

/// The loaded library.
pub(crate) struct Oracle {
    library: Library,
    chunk: Chunk,
}

impl Oracle {
    /// The oracle, where it is installed.
    pub(crate) fn load() -> Option<Oracle> {
        let path = library(&libraries()?, "libggml-base")?;
        // SAFETY: llama.cpp's library has no initialisers that touch this program.
        let library = unsafe { Library::new(path) }.ok()?;
        // SAFETY: the signature in ggml.h.
        let chunk = *unsafe { library.get::<Chunk>(b"ggml_quantize_chunk\0") }.ok()?;
        Some(Oracle { library, chunk })
    }

    /// Encodes rows of `cols` elements into `out`.
    pub(crate) fn encode(&self, name: &str, rows: &[f32], cols: usize, importance: Option<&[f32]>, out: &mut [u8]) {
        let &(_, id, _) = TYPES.iter().find(|t| t.0 == name).expect("a type that the oracle knows");
        assert!(importance.is_none_or(|w| w.len() == cols));
        let importance = importance.map_or(std::ptr::null(), <[f32]>::as_ptr);
        let n = (rows.len() / cols) as i64;
        // SAFETY: the pointers cover what the arguments say; `out` is checked below.
        let written =
            unsafe { (self.chunk)(id, rows.as_ptr(), out.as_mut_ptr().cast(), 0, n, cols as i64, importance) };
        assert_eq!(written, out.len());
    }

    /// Decodes whole blocks.
    pub(crate) fn decode(&self, name: &str, bytes: &[u8], out: &mut [f32]) {
        let &(_, _, function) = TYPES.iter().find(|t| t.0 == name).expect("a type that the oracle knows");
        if function.is_empty() {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = f32::from_le_bytes(*bytes);
            }
            return;
        }
        let function = CString::new(function).expect("a name");
        // SAFETY: the signature in ggml-quants.h.
        let decode = unsafe { self.library.get::<Decode>(function.as_bytes_with_nul()) }.expect("a decoder");
        assert!(bytes.as_ptr().addr().is_multiple_of(4), "the library wants aligned blocks");
        // SAFETY: the callers give as many bytes as `out` has elements' worth of blocks.
        unsafe { decode(bytes.as_ptr().cast(), out.as_mut_ptr(), out.len() as i64) };
    }
}
