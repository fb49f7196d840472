//! What stands in for a block type where a row is not a whole number of its blocks.

#![allow(clippy::enum_glob_use, reason = "tables of all types read better without a prefix")]

use planish_formats::GgmlType;

/// The type that llama.cpp takes instead of `ty` for rows of another length; `None` where it has none and gives up.
/// Types of one element a block always fit.
pub fn fallback(ty: GgmlType) -> Option<GgmlType> {
    use GgmlType::*;
    match ty {
        IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_XS => Some(IQ4_NL),
        Q2_K | Q3_K | Q2_0 | TQ1_0 | TQ2_0 => Some(Q4_0),
        Q4_K => Some(Q5_0),
        Q5_K => Some(Q5_1),
        Q6_K => Some(Q8_0),
        Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | IQ4_NL | MXFP4 => Some(F16),
        Q1_0 | NVFP4 | Q8_1 | Q8_K | F32 | F16 | BF16 | F64 | I8 | I16 | I32 | I64 => None,
    }
}

/// `ty` itself if rows of `cols` elements are whole blocks of it, else its [`fallback`], else F16. `None` where the type
/// neither fits nor has a fallback.
pub fn fit(ty: GgmlType, cols: usize) -> Option<GgmlType> {
    if fits(ty, cols) {
        return Some(ty);
    }
    let next = fallback(ty)?;
    Some(if fits(next, cols) { next } else { GgmlType::F16 })
}

/// Whether rows of `cols` elements are whole blocks of `ty`.
pub(super) fn fits(ty: GgmlType, cols: usize) -> bool {
    cols.is_multiple_of(ty.block_len())
}

/// Whether a tensor of weights can be of this type. Integers are for indices, Q8_1 and Q8_K for activations only.
pub(super) fn holds_weights(ty: GgmlType) -> bool {
    use GgmlType::*;
    match ty {
        F32 | F16 | BF16 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q2_K | Q3_K | Q4_K | Q5_K | Q6_K | IQ1_S | IQ1_M
        | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_NL | IQ4_XS | TQ1_0 | TQ2_0 | MXFP4 | NVFP4 | Q1_0
        | Q2_0 => true,
        Q8_1 | Q8_K | F64 | I8 | I16 | I32 | I64 => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_ends_in_f16() {
        assert_eq!(fit(GgmlType::Q4_K, 512), Some(GgmlType::Q4_K));
        assert_eq!(fit(GgmlType::Q4_K, 96), Some(GgmlType::Q5_0));
        assert_eq!(fit(GgmlType::Q4_K, 48), Some(GgmlType::F16));
        assert_eq!(fit(GgmlType::Q8_0, 48), Some(GgmlType::F16));
        assert_eq!(fit(GgmlType::BF16, 7), Some(GgmlType::BF16));
        assert_eq!(fit(GgmlType::Q1_0, 64), None);
    }

    #[test]
    fn a_fallback_is_finer_and_needs_no_second_step() {
        for &ty in GgmlType::ALL {
            let Some(next) = fallback(ty) else { continue };
            assert!(next.block_len() < ty.block_len(), "{}", ty.name());
            let bits = |t: GgmlType| t.block_bytes() as f64 / t.block_len() as f64;
            assert!(bits(next) >= bits(ty), "{} -> {}", ty.name(), next.name());
            assert!(next == GgmlType::F16 || fallback(next) == Some(GgmlType::F16), "{}", ty.name());
        }
    }
}
