//! Where a release came from, as keys: the tool, the mix, and the SHA-256 of everything that was read.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use planish_formats::gguf::Kv;
use planish_formats::{Error, Result};
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::plan::{Job, Quantization};

/// What beside the checkpoint went into a release.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ingredients<'a> {
    /// The importance matrix.
    pub imatrix: Option<&'a Path>,
    /// Texts that it was calibrated on.
    pub texts: &'a [PathBuf],
    /// How weights were rounded on them, as `--method` names it.
    pub method: Option<&'a str>,
}

/// The `planish.*` keys of a release: `planish.version`, `planish.recipe`; `planish.source.sha256` and, where there were
/// texts, `planish.calibration.sha256`, one `HASH  NAME` a file as sha256sum prints them; `planish.imatrix.sha256` and
/// `planish.method`. They depend on what the files hold and are called, not on where they lie.
///
/// Reads every file from front to back.
pub fn keys(job: &Job, ingredients: &Ingredients<'_>) -> Result<Kv> {
    let mut kv = Kv::new();
    kv.set("planish.version", env!("CARGO_PKG_VERSION"));
    kv.set("planish.recipe", job.recipe.name.as_str());
    kv.set("planish.source.sha256", lines(&job.checkpoint.source.files())?);
    if let Some(imatrix) = ingredients.imatrix {
        kv.set("planish.imatrix.sha256", sha256(imatrix)?);
    }
    if !ingredients.texts.is_empty() {
        kv.set("planish.calibration.sha256", lines(ingredients.texts)?);
    }
    if let Some(method) = ingredients.method {
        kv.set("planish.method", method);
    }
    Ok(kv)
}

/// The same facts of a quantized folder, as the JSON that lies in it: what config.json does not know, some readers refuse.
///
/// Reads every file from front to back.
pub fn json(plan: &Quantization, ingredients: &Ingredients<'_>) -> Result<Value> {
    let mut json = json!({
        "planish.version": env!("CARGO_PKG_VERSION"),
        "planish.recipe": plan.target.name,
        "planish.source.sha256": lines(&plan.checkpoint.source.files())?,
    });
    if let Some(imatrix) = ingredients.imatrix {
        json["planish.imatrix.sha256"] = sha256(imatrix)?.into();
    }
    if !ingredients.texts.is_empty() {
        json["planish.calibration.sha256"] = lines(ingredients.texts)?.into();
    }
    if let Some(method) = ingredients.method {
        json["planish.method"] = method.into();
    }
    Ok(json)
}

fn lines(files: &[PathBuf]) -> Result<Vec<String>> {
    let line = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(format!("{}  {name}", sha256(file)?))
    };
    files.par_iter().map(line).collect()
}

/// In hexadecimal.
fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path, "cannot open"))?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(Error::io(path, "cannot read"))? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sha256sum() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(lines(&[path]).unwrap(), [format!("{expected}  abc")]);
    }
}
