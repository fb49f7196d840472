//! Checkpoints that are not quantized: every logical tensor is one of the file.

use planish_formats::Source;

use super::{Dialect, Error, Reading, Result};
use crate::model::ConfigReader;

/// The dialect of this file.
pub(super) struct Plain;

/// What only quantized checkpoints have.
const PACKED: &[&str] = &[".qweight", ".weight_packed", ".weight_scale_inv", "_proj_blocks"];

impl Dialect for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn methods(&self) -> &'static [&'static str] {
        &[]
    }

    fn read(&self, _: &mut ConfigReader<'_>, source: &dyn Source) -> Result<Reading> {
        let packed = |name: &str| PACKED.iter().any(|end| name.ends_with(end));
        match source.infos().iter().find(|info| packed(&info.name)) {
            Some(info) => Err(Error::NoConfig { tensor: info.name.clone() }),
            None => Ok(Reading::default()),
        }
    }
}
