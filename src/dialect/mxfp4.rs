//! gpt-oss: experts in MXFP4, `X_blocks` and `X_scales` for what the BF16 checkpoint has as `X [experts, in, out]`.
//!
//! Each expert is stored `[out, in]`, the transpose of what it was. Sources: `gpt_oss/torch/weights.py` of gpt-oss,
//! `integrations/mxfp4.py` of transformers.

use planish_formats::{Dtype, Source};

use super::packed::{Packed, find, of_type, shape};
use super::{Dialect, Element, Reading, Result, pass_over};
use crate::model::ConfigReader;

/// The dialect of this file.
pub(super) struct Mxfp4;

/// Weights that share an exponent.
const GROUP: usize = 32;

impl Dialect for Mxfp4 {
    fn name(&self) -> &'static str {
        "mxfp4"
    }

    fn methods(&self) -> &'static [&'static str] {
        &["mxfp4"]
    }

    fn read(&self, config: &mut ConfigReader<'_>, source: &dyn Source) -> Result<Reading> {
        pass_over(config, &["quant_method", "modules_to_not_convert", "dequantize"]);
        let mut reading = Reading::default();
        for codes in source.infos() {
            let Some(name) = codes.name.strip_suffix("_blocks") else { continue };
            of_type(codes, &[Dtype::U8], "U8")?;
            let [experts, rows, groups, bytes] = codes.shape[..] else {
                return Err(shape(codes, "[experts, out, in / 32, 16]".to_owned()));
            };
            let cols = groups.checked_mul(GROUP).filter(|_| bytes == GROUP / 2);
            let Some(cols) = cols else { return Err(shape(codes, "blocks of 16 bytes".to_owned())) };
            let scales = find(source, &format!("{name}_scales"), &codes.name)?;
            let usual = Packed::new(Element::Fp4, [rows, cols], &codes.name, &scales.name);
            let packed = Packed { block: [1, GROUP], matrices: Some(experts), transposed: true, ..usual };
            reading.packed.push((name.to_owned(), packed));
        }
        Ok(reading)
    }
}
