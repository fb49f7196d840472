//! Calibration in parts, so that what was done before an interruption is not done again.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::calibrate::{Calibration, Error, calibrate};
use super::fingerprint::{add_ids, add_source, hex};
use crate::imatrix::{self, Imatrix};

/// [`calibrate`], `every` chunks at a time. After each part the sums so far are written to `journal`, and where that file
/// stands already and is of the same run, its chunks are not run again. The sums are those of one run, bit for bit.
///
/// `progress` is told the chunks that are done before each part, then as by [`calibrate`] what of the part is. `journal`
/// stays behind: the caller removes it when the result is safe.
pub fn calibrate_in_parts(
    job: &Calibration<'_>,
    every: usize,
    journal: &Path,
    progress: &mut dyn FnMut(usize, usize, usize),
) -> Result<Imatrix, Error> {
    let mark = mark(job);
    let chunk_size = u32::try_from(job.tokens).unwrap_or(u32::MAX);
    let fresh = || Imatrix { datasets: vec![mark.clone()], chunk_size, ..Imatrix::default() };
    let mut sums = if journal.exists() { Imatrix::read(journal)? } else { fresh() };
    if sums.datasets != [mark.as_str()] {
        sums = fresh();
    }
    let total = job.ids.len() / job.tokens.max(1);
    while (sums.chunks as usize) < total {
        let done = sums.chunks as usize;
        let part = total.min(done + every.max(1)) - done;
        let ids = &job.ids[done * job.tokens..(done + part) * job.tokens];
        let entries = calibrate(&Calibration { ids, ..*job }, &mut |layer, of| progress(done, layer, of))?;
        let part = Imatrix { chunks: part as u32, chunk_size, entries, datasets: vec![] };
        let in_file = |problem| imatrix::Error::Bad { path: journal.to_owned(), problem };
        sums.merge(&part).map_err(in_file)?;
        sums.write(journal)?;
    }
    Ok(sums)
}

/// Tells a run from every other: the ids, the program's weights, the files and what is looked at.
fn mark(job: &Calibration<'_>) -> String {
    let mut hasher = Sha256::new();
    hasher.update([u8::from(job.head), u8::from(job.every_expert)]);
    add_ids(&mut hasher, job.ids, job.tokens);
    add_source(&mut hasher, job.source);
    hex(hasher)
}
