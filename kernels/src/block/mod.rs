//! Block codecs: `f32` rows to the bytes of a GGML type and back. One file a type; [`CODECS`] lists them.

use crate::Isa;

/// One type's encoder and decoder.
///
/// Laws, tested for every entry of [`CODECS`]: every [`Isa`] gives the same bytes; the bytes are llama.cpp's (its
/// x86-64 baseline build, which does not contract `a * b + c`); decoding is exact.
pub trait Codec: Sync {
    /// llama.cpp's name of the type: `Q4_K`.
    fn name(&self) -> &'static str;
    /// Elements a block.
    fn block_len(&self) -> usize;
    /// Bytes a block.
    fn block_bytes(&self) -> usize;
    /// The type to take for rows that are not a whole number of blocks; `None` where blocks of one element always fit.
    fn fallback(&self) -> Option<&'static str>;
    /// Whether `encode` looks at importance.
    fn weighs(&self) -> bool;
    /// Whether it refuses to encode without importance.
    fn needs_importance(&self) -> bool {
        false
    }

    /// Encodes whole rows of `cols` elements.
    ///
    /// `importance` holds one weight a column (`cols` of them), shared by all rows. `out` takes exactly the bytes of
    /// `rows`. Values must be finite: callers check, since only they can name the tensor.
    fn encode(&self, isa: Isa, rows: &[f32], cols: usize, importance: Option<&[f32]>, out: &mut [u8]);

    /// Decodes whole blocks into `out.len()` elements.
    fn decode(&self, isa: Isa, bytes: &[u8], out: &mut [f32]);
}

/// All codecs.
pub static CODECS: &[&dyn Codec] = &[];

/// The codec of this name, in any case.
pub fn codec(name: &str) -> Option<&'static dyn Codec> {
    CODECS.iter().copied().find(|c| c.name().eq_ignore_ascii_case(name))
}
