//! The pass over the weights: every thread takes the next band of rows, encodes it and writes it at its place.
//!
//! A band is a piece of one tensor small enough to stay in a core's cache. Bands are handed out in file order, so the
//! source is read front to back; they may finish in any order, since every one has its place in the output. What a
//! band becomes depends on nothing but its weights: any number of threads gives the same file.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use planish_formats::{Layout, Sink, Storage};
use planish_kernels::{Isa, block, first_beyond, first_non_finite};

use super::share::share;
use super::{Error, PeakAnon, Result, Scratch, Weight};
use crate::dialect::Tensors;
use crate::plan::Planned;

/// Weights in a band that is decoded and encoded: 256 KiB as f32.
const BAND: usize = 1 << 16;
/// Encoders work on as many rows at once where rows are wide.
const BAND_ROWS: usize = 16;
/// Weights in a band whose bytes are copied as they are.
const COPY_BAND: usize = 1 << 22;
/// Below this size no type's scale can overflow f16: not even where one weight is a whole block's scale.
const SAFE: f32 = 16384.0;

/// How a job is run.
pub struct Run<'a> {
    /// What is read.
    pub source: &'a Tensors,
    /// What becomes of it, in the order of the sink's tensors.
    pub tensors: &'a [Planned],
    /// Number of threads.
    pub threads: usize,
    /// Instruction set of the encoders.
    pub isa: Isa,
    /// Set by somebody who wants to stop.
    pub cancel: &'a AtomicBool,
    /// Told the weights done since the last call, from any thread.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// What a run did.
pub struct Outcome {
    /// The files, under their final names.
    pub files: Vec<PathBuf>,
    /// Their size in bytes.
    pub bytes: u64,
    /// Wall time.
    pub elapsed: Duration,
    /// Peak of anonymous memory in bytes.
    pub peak_anon_bytes: u64,
}

impl Outcome {
    /// Of what was begun at `start`.
    pub(super) fn new(files: Vec<PathBuf>, start: Instant, peak: &PeakAnon) -> Outcome {
        let bytes = files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum();
        Outcome { files, bytes, elapsed: start.elapsed(), peak_anon_bytes: peak.bytes() }
    }
}

/// Encodes all tensors into `sink` and gives it its final name.
pub fn quantize(run: &Run, sink: Box<dyn Sink>) -> Result<Outcome> {
    quantize_after(run, sink, |_| Ok(BTreeSet::new()))
}

/// [`quantize`], but for the tensors that `first` writes itself, and whose places it gives back.
pub fn quantize_after<E: From<Error>>(
    run: &Run,
    sink: Box<dyn Sink>,
    first: impl FnOnce(&dyn Sink) -> Result<BTreeSet<usize>, E>,
) -> Result<Outcome, E> {
    let (start, peak) = (Instant::now(), PeakAnon::start());
    let written = first(sink.as_ref())?;
    encode(run, sink.as_ref(), &written)?;
    let files = sink.finish().map_err(Error::from)?;
    Ok(Outcome::new(files, start, &peak))
}

/// Encodes all tensors but those at the places `written`.
fn encode(run: &Run, sink: &dyn Sink, written: &BTreeSet<usize>) -> Result<()> {
    let weights = (run.tensors.iter())
        .map(|tensor| Weight::new(run.source, &tensor.gather, &tensor.shape))
        .collect::<Result<Vec<_>>>()?;
    let mut bands = bands(run.tensors, &weights);
    bands.retain(|band| !written.contains(&band.tensor));
    let worker = || Worker { run, sink, scratch: Scratch::default(), rows: vec![], out: vec![] };
    share(run.threads, bands.len(), run.cancel, worker, |worker, at| {
        let band = &bands[at];
        worker.band(band, &weights[band.tensor])
    })
}

/// Some rows of one tensor.
struct Band {
    tensor: usize,
    rows: Range<usize>,
}

fn bands(tensors: &[Planned], weights: &[Weight]) -> Vec<Band> {
    let mut bands = vec![];
    for (tensor, (planned, weight)) in tensors.iter().zip(weights).enumerate() {
        if weight.cols == 0 {
            continue;
        }
        let copied = weight.storage() == planned.choice.ty.storage();
        let band = (if copied { COPY_BAND } else { BAND } / weight.cols).max(BAND_ROWS);
        let step = band.next_multiple_of(weight.step);
        for piece in (0..weight.rows).step_by(weight.piece_rows.max(1)) {
            let end = weight.rows.min(piece + weight.piece_rows);
            bands.extend((piece..end).step_by(step).map(|row| Band { tensor, rows: row..end.min(row + step) }));
        }
    }
    bands
}

/// One thread's view of the run, and its buffers.
struct Worker<'a> {
    run: &'a Run<'a>,
    sink: &'a dyn Sink,
    scratch: Scratch,
    rows: Vec<f32>,
    out: Vec<u8>,
}

impl Worker<'_> {
    fn band(&mut self, band: &Band, weight: &Weight) -> Result<()> {
        let planned = &self.run.tensors[band.tensor];
        let storage = planned.choice.ty.storage();
        let not_weights = || Error::NotWeights { tensor: planned.name.clone(), found: storage.name().into() };
        let row_bytes = storage.bytes(&[weight.cols]).ok_or_else(not_weights)?;
        let offset = band.rows.start * row_bytes;
        let unchanged = (weight.storage() == storage).then(|| weight.bytes(band.rows.clone())).flatten();
        if let Some(bytes) = unchanged {
            self.check_copied(planned, weight, band, bytes)?;
            self.sink.write_at(band.tensor, offset, bytes)?;
        } else {
            self.rows.resize(band.rows.len() * weight.cols, 0.0);
            self.out.resize(band.rows.len() * row_bytes, 0);
            weight.read(self.run.isa, band.rows.clone(), &mut self.scratch, &mut self.rows)?;
            let large = first_beyond(self.run.isa, &self.rows, SAFE).is_some();
            if large {
                self.check_finite(planned, weight, band)?;
            }
            let codec = block::codec(storage.name()).ok_or_else(not_weights)?;
            self.encode(codec, planned, weight.cols, band.rows.start);
            if large {
                self.check_range(codec, planned, weight, band)?;
            }
            self.sink.write_at(band.tensor, offset, &self.out)?;
        }
        (self.run.progress)((band.rows.len() * weight.cols) as u64);
        Ok(())
    }

    /// Encodes the rows, the first of which is row `first` of the tensor, each weighed as its matrix is.
    fn encode(&mut self, codec: &dyn block::Codec, planned: &Planned, cols: usize, first: usize) {
        let Some(importance) = &planned.importance else {
            codec.encode(self.run.isa, &self.rows, cols, None, &mut self.out);
            return;
        };
        // Rows of one matrix.
        let height = planned.shape.iter().rev().nth(1).copied().unwrap_or(1).max(1);
        let row_bytes = cols / codec.block_len() * codec.block_bytes();
        let (mut rows, mut out, mut row) = (&self.rows[..], &mut self.out[..], first);
        while !rows.is_empty() {
            let count = (height - row % height).min(rows.len() / cols);
            let (these, rest) = rows.split_at(count * cols);
            let (bytes, left) = out.split_at_mut(count * row_bytes);
            let weights = importance.chunks(cols).cycle().nth(row / height);
            codec.encode(self.run.isa, these, cols, weights, bytes);
            (rows, out, row) = (rest, left, row + count);
        }
    }

    /// Weights that are copied are looked at all the same, as f32 in pieces.
    fn check_copied(&mut self, planned: &Planned, weight: &Weight, band: &Band, bytes: &[u8]) -> Result<()> {
        let Some(Storage::Plain(dtype)) = weight.storage().whole() else { return Ok(()) };
        let Some(codec) = block::codec(dtype.name()) else { return Ok(()) };
        let at = band.rows.start * weight.cols;
        for (piece, bytes) in bytes.chunks(BAND / 8 * codec.block_bytes()).enumerate() {
            self.rows.resize(bytes.len() / codec.block_bytes(), 0.0);
            codec.decode(self.run.isa, bytes, &mut self.rows);
            if let Some(i) = first_non_finite(self.run.isa, &self.rows) {
                return Err(not_finite(planned, at + piece * (BAND / 8) + i, self.rows[i]));
            }
        }
        Ok(())
    }

    fn check_finite(&self, planned: &Planned, weight: &Weight, band: &Band) -> Result<()> {
        match first_non_finite(self.run.isa, &self.rows) {
            None => Ok(()),
            Some(i) => Err(not_finite(planned, band.rows.start * weight.cols + i, self.rows[i])),
        }
    }

    /// Scales are f16 in most types: what is large enough to overflow one is decoded again and looked at.
    fn check_range(&mut self, codec: &dyn block::Codec, planned: &Planned, weight: &Weight, band: &Band) -> Result<()> {
        let mut decoded = vec![0.0; self.rows.len()];
        codec.decode(self.run.isa, &self.out, &mut decoded);
        let Some(i) = first_non_finite(self.run.isa, &decoded) else { return Ok(()) };
        // The weight to blame is the largest of its block.
        let block = i / codec.block_len() * codec.block_len();
        let largest =
            (block..block + codec.block_len()).max_by(|a, b| self.rows[*a].abs().total_cmp(&self.rows[*b].abs()));
        let i = largest.unwrap_or(i);
        let (row, column) = place(planned, band.rows.start * weight.cols + i);
        Err(Error::Overflow { tensor: planned.name.clone(), row, column, value: self.rows[i], ty: codec.name() })
    }
}

fn place(planned: &Planned, element: usize) -> (usize, usize) {
    let cols = planned.shape.last().copied().unwrap_or(1).max(1);
    (element / cols, element % cols)
}

fn not_finite(planned: &Planned, element: usize, value: f32) -> Error {
    let (row, column) = place(planned, element);
    Error::NotFinite { tensor: planned.name.clone(), row, column, value }
}

/// Bytes that the buffers of `threads` threads take at most: a band as f32, encoded, and decoded for a second look.
pub fn buffer_bytes(tensors: &[Planned], threads: usize) -> u64 {
    let widest = tensors.iter().filter_map(|tensor| tensor.shape.last()).max().copied().unwrap_or(0);
    (threads * 3 * size_of::<f32>() * BAND.max(BAND_ROWS * widest)) as u64
}

/// Refuses to start where no file can get this name: its folder is missing, or something stands there that it may not
/// replace.
pub fn check_name(path: &Path, force: bool) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(Error::NoFolder { path: path.to_owned(), folder: folder.to_owned() });
    }
    if path.is_dir() {
        return Err(Error::IsAFolder { path: path.to_owned() });
    }
    if path.exists() && !force {
        return Err(Error::Exists { path: path.to_owned() });
    }
    Ok(())
}

/// Refuses to start where the result has no room or stands there already.
pub fn check_room(layout: &Layout, force: bool) -> Result<()> {
    layout.files().try_for_each(|(path, _)| check_name(path, force))?;
    let Some((first, _)) = layout.files().next() else { return Ok(()) };
    let (needed, free) = (layout.bytes(), planish_formats::free_space(first)?);
    if free < needed {
        return Err(Error::NoSpace { path: first.to_owned(), needed, free });
    }
    Ok(())
}
