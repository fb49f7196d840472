//! Codecs with parameters, one of each kind, for rows of some length.

use planish_kernels::block::Codec;
use planish_kernels::group::{FloatGroup, Floats, IntGroup, ScaleType, Tool, Zero};

/// Integers whose groups fit rows of `cols` elements.
pub(crate) fn ints(cols: usize) -> Vec<IntGroup> {
    let all = [
        (4, Zero::Middle, 32, ScaleType::F16, Tool::Gptq),
        (4, Zero::AboveLowest, 32, ScaleType::F16, Tool::Gptq),
        (4, Zero::Anywhere, 128, ScaleType::F16, Tool::Awq),
        (4, Zero::Anywhere, 64, ScaleType::Bf16, Tool::CompressedTensors),
        (4, Zero::Middle, 128, ScaleType::Bf16, Tool::CompressedTensors),
        (8, Zero::Middle, cols, ScaleType::Bf16, Tool::CompressedTensors),
        (2, Zero::Anywhere, 16, ScaleType::F16, Tool::Gptq),
        (2, Zero::Middle, 32, ScaleType::F32, Tool::CompressedTensors),
        (3, Zero::Middle, cols, ScaleType::F32, Tool::Gptq),
        (5, Zero::Anywhere, 24, ScaleType::F32, Tool::CompressedTensors),
        (6, Zero::AboveLowest, 48, ScaleType::Bf16, Tool::Gptq),
        (7, Zero::Middle, 8, ScaleType::F16, Tool::Awq),
        (8, Zero::Anywhere, 32, ScaleType::F16, Tool::Gptq),
    ];
    let fits = all.into_iter().filter(|(_, _, len, _, _)| cols.is_multiple_of(*len));
    fits.map(|(bits, zero, len, scale, tool)| IntGroup::new(bits, zero, len, scale, tool)).collect()
}

/// Floats whose groups fit rows of `cols` elements.
pub(crate) fn floats(cols: usize) -> Vec<FloatGroup> {
    let all = [
        (Floats::Fp8(ScaleType::Bf16), cols),
        (Floats::Fp8(ScaleType::F32), 32),
        (Floats::Fp8Scaled(0.0007), cols),
        (Floats::Mxfp8, 32),
        (Floats::Mxfp4, 32),
        (Floats::Nvfp4(26880.0), 16),
    ];
    let fits = all.into_iter().filter(|(_, len)| cols.is_multiple_of(*len));
    fits.map(|(floats, len)| FloatGroup::new(floats, len)).collect()
}

/// Both.
pub(crate) fn groups(cols: usize) -> Vec<Box<dyn Codec>> {
    let ints = ints(cols).into_iter().map(|group| Box::new(group) as Box<dyn Codec>);
    ints.chain(floats(cols).into_iter().map(|group| Box::new(group) as Box<dyn Codec>)).collect()
}
