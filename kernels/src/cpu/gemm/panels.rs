//! The loops around a micro-kernel: blocks of `k`, panels of columns across threads, panels of rows within.

#![allow(unsafe_code)]

use super::{Data, Micro, Operand, Place};
use rayon::prelude::*;
use std::cell::Cell;
use std::marker::PhantomData;

/// Rows multiplied by one packed panel of columns before the next is packed.
const ROWS: usize = 3072;
/// Columns that a thread takes at a time: packed, they and [`STRIP`] rows are 600 KiB, which second-level caches hold or
/// the third feeds fast enough.
const COLUMNS: usize = 96;
/// Rows that meet all panels of those columns before the next.
const STRIP: usize = 96;
/// Below this many multiply-adds another thread does not pay.
const PARALLEL: usize = 1 << 18;
/// The largest tile of any micro-kernel.
const TILE: usize = 12 * 32;

/// An output matrix whose tiles several threads write, each its own.
#[derive(Clone, Copy)]
pub(crate) struct Out<'a> {
    start: *mut f32,
    len: usize,
    /// Elements between two rows.
    stride: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: the writers below keep to disjoint tiles, and every tile is checked against `len`.
unsafe impl Send for Out<'_> {}
// SAFETY: as above; nothing is read that the same thread did not write.
unsafe impl Sync for Out<'_> {}

impl<'a> Out<'a> {
    pub(crate) fn new(data: &'a mut [f32], stride: usize) -> Self {
        Out { start: data.as_mut_ptr(), len: data.len(), stride, life: PhantomData }
    }

    /// The matrix that begins at this row and column.
    pub(crate) fn at(self, row: usize, column: usize) -> Self {
        let skip = row * self.stride + column;
        assert!(skip <= self.len);
        // SAFETY: checked to stay inside.
        Out { start: unsafe { self.start.add(skip) }, len: self.len - skip, ..self }
    }

    /// Part of a row.
    ///
    /// # Safety
    /// No other thread uses these elements, and the caller holds no other slice of them.
    pub(crate) unsafe fn row(self, row: usize, columns: usize) -> &'a mut [f32] {
        let at = row * self.stride;
        assert!(columns == 0 || at + columns <= self.len);
        // SAFETY: checked to stay inside; the caller vouches for exclusiveness.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), columns) }
    }
}

/// Rows of an operand, or of its terms, as panels over one block of `k`.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a> {
    pub words: &'a [u32],
    /// Rows that exist.
    pub rows: usize,
    /// Words of `k` in a panel of one term.
    pub depth: usize,
    /// Terms that add up to the operand.
    pub terms: usize,
}

/// Words that `rows` rows take in panels of `width`.
pub(crate) fn pack_words(rows: usize, depth: usize, width: usize) -> usize {
    rows.div_ceil(width) * width * depth
}

/// A reused buffer of this thread. Taken out while in use: a thread that waits inside rayon may start another product.
pub(crate) fn scratch<R>(words: usize, work: impl FnOnce(&mut [u32]) -> R) -> R {
    thread_local! { static SPARE: Cell<Vec<Vec<u32>>> = const { Cell::new(Vec::new()) } }
    let mut buffer = SPARE.with(|spare| {
        let mut buffers = spare.take();
        let buffer = buffers.pop().unwrap_or_default();
        spare.set(buffers);
        buffer
    });
    if buffer.len() < words {
        buffer.resize(words, 0);
    }
    let result = work(&mut buffer[..words]);
    SPARE.with(|spare| {
        let mut buffers = spare.take();
        buffers.push(buffer);
        spare.set(buffers);
    });
    result
}

/// One panel of columns (`columns` of them exist) times every panel of `a`, into `out`, which begins at that panel.
///
/// With `diagonal`, row `i` has only its columns up to `i - diagonal`; `out` is left alone beyond them.
pub(crate) fn tiles<M: Micro>(
    micro: M,
    a: Packed<'_>,
    b: &[u32],
    columns: usize,
    out: Out<'_>,
    add: bool,
    diagonal: Option<isize>,
) {
    let panel = M::MR * a.depth;
    assert!(b.len() >= M::NR * a.depth && a.words.len() >= a.rows.div_ceil(M::MR) * panel * a.terms);
    const { assert!(M::MR * M::NR <= TILE && STRIP.is_multiple_of(M::MR) && COLUMNS.is_multiple_of(M::NR)) };
    for (p, words) in a.words.chunks_exact(panel * a.terms).enumerate() {
        let first = p * M::MR;
        let Some(rows) = a.rows.checked_sub(first).map(|rows| rows.min(M::MR)).filter(|&rows| rows > 0) else { break };
        // How many columns of row `i` of this tile are wanted.
        let wanted = |i: usize| match diagonal {
            None => columns,
            Some(diagonal) => ((first + i) as isize - diagonal + 1).clamp(0, columns as isize) as usize,
        };
        if wanted(rows - 1) == 0 {
            continue;
        }
        let inside = rows == M::MR && wanted(0) == M::NR;
        let multiply = |c: *mut f32, stride: usize, add: bool| {
            for (t, words) in words.chunks_exact(panel).enumerate() {
                // SAFETY: panel lengths were checked; the tile is a whole one, in `out` or on the stack.
                unsafe { micro.tile(a.depth, words.as_ptr(), b.as_ptr(), c, stride, add || t > 0) };
            }
        };
        if inside {
            let tile = out.at(first, 0);
            assert!((M::MR - 1) * tile.stride + M::NR <= tile.len);
            multiply(tile.start, tile.stride, add);
        } else {
            // The same sums in the same order, beside the matrix.
            let mut tile = [0f32; TILE];
            // SAFETY: this tile is ours alone, and `row` is called for one row at a time.
            let each_row = |i: usize| unsafe { out.row(first + i, wanted(i)) };
            if add {
                for (i, tile) in tile.chunks_exact_mut(M::NR).enumerate().take(rows) {
                    let row = each_row(i);
                    tile[..row.len()].copy_from_slice(row);
                }
            }
            multiply(tile.as_mut_ptr(), M::NR, add);
            for (i, tile) in tile.chunks_exact(M::NR).enumerate().take(rows) {
                let row = each_row(i);
                row.copy_from_slice(&tile[..row.len()]);
            }
        }
    }
}

/// The rows of `place`, `width` a panel, of all terms.
fn pack_panels<M: Micro>(micro: M, terms: &[Operand<'_>], place: Place, width: usize, out: &mut [u32]) {
    let Place { row, rows, word, words } = place;
    // Where rows run fastest, what panels take of a few words lies side by side.
    let turned = terms.iter().any(|term| matches!(term.data, Data::Columns(_)));
    let at_once = if turned { 16 } else { words };
    for first in (0..words).step_by(at_once.max(1)) {
        let some = at_once.min(words - first);
        for (i, panel) in out.chunks_exact_mut(width * words * terms.len()).enumerate() {
            let before = i * width;
            let place = Place { row: row + before, rows: width.min(rows - before), word: word + first, words: some };
            for (term, out) in terms.iter().zip(panel.chunks_exact_mut(width * words)) {
                micro.pack(*term, place, width, &mut out[first * width..(first + some) * width]);
            }
        }
    }
}

/// `out[rows, columns] = a b^T + bias`, or `+=` where `add`. The terms of `a` add up. With `lower`, only the elements on
/// and below the diagonal.
#[allow(clippy::too_many_arguments)]
pub(crate) fn product<M: Micro>(
    micro: M,
    a: &[Operand<'_>],
    rows: usize,
    b: Operand<'_>,
    columns: usize,
    bias: Option<&[f32]>,
    out: Out<'_>,
    add: bool,
    lower: bool,
) {
    let words = if M::PAIRS { b.k.div_ceil(2) } else { b.k };
    let threads = if rows * columns * words < PARALLEL { 1 } else { rayon::current_num_threads() };
    // Even blocks of whole panels.
    let block = rows.div_ceil(rows.div_ceil(ROWS).max(1)).next_multiple_of(M::MR).max(M::MR);
    for row in (0..rows).step_by(block) {
        let part = block.min(rows - row);
        for word in (0..words).step_by(M::WORDS) {
            let depth = M::WORDS.min(words - word);
            let last = word + depth >= words;
            scratch(pack_words(part, depth, M::MR) * a.len(), |packed| {
                let pack = |(i, out): (usize, &mut [u32])| {
                    let first = i * STRIP;
                    let place = Place { row: row + first, rows: STRIP.min(part - first), word, words: depth };
                    pack_panels(micro, a, place, M::MR, out);
                };
                let strip = STRIP * depth * a.len();
                if threads > 1 {
                    packed.par_chunks_mut(strip).enumerate().for_each(pack);
                } else {
                    packed.chunks_mut(strip).enumerate().for_each(pack);
                }
                let a = Packed { words: packed, rows: part, depth, terms: a.len() };
                let run = |chunk: usize| {
                    let columns = chunk * COLUMNS..columns.min((chunk + 1) * COLUMNS);
                    scratch(pack_words(columns.len(), depth, M::NR), |packed| {
                        let panels = || columns.clone().step_by(M::NR);
                        let width = |column: usize| M::NR.min(columns.end - column);
                        let place = Place { row: columns.start, rows: columns.len(), word, words: depth };
                        pack_panels(micro, &[b], place, M::NR, packed);
                        for (strip, words) in a.words.chunks(STRIP * depth * a.terms).enumerate() {
                            let first = strip * STRIP;
                            let a = Packed { words, rows: STRIP.min(part - first), ..a };
                            let row = row + first;
                            for (column, panel) in panels().zip(packed.chunks_exact(M::NR * depth)) {
                                let diagonal = lower.then_some(column as isize - row as isize);
                                tiles(micro, a, panel, width(column), out.at(row, column), add || word > 0, diagonal);
                            }
                        }
                    });
                    if let (true, Some(bias)) = (last, bias) {
                        for i in row..row + part {
                            // SAFETY: these columns are this task's alone.
                            let row = unsafe { out.at(i, columns.start).row(0, columns.len()) };
                            row.iter_mut().zip(&bias[columns.clone()]).for_each(|(out, bias)| *out += bias);
                        }
                    }
                };
                let chunks = columns.div_ceil(COLUMNS);
                if threads > 1 {
                    (0..chunks).into_par_iter().for_each(run);
                } else {
                    (0..chunks).for_each(run);
                }
            });
        }
    }
}
