//! Causal attention over whole sequences, a strip of queries at a time.

use super::each_isa;
use super::exp::exp;
use super::gemm::{Data, Micro, Operand, Out, Packed, Place, pack_words, scratch, tiles, with_micro};
use crate::Isa;
use rayon::prelude::*;

/// Queries whose scores are in memory at once: whole tiles of every micro-kernel.
const STRIP: usize = 48;

/// The shape of an attention layer.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; query head `h` reads `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// What scores are multiplied by before the softmax, more than 0.
    pub scale: f32,
    /// How many tokens back a query sees, itself included; all of them without.
    pub window: Option<usize>,
}

/// `out[rows, heads * head_dim] = softmax(q k^T * scale) v`, each token over itself and those before it.
///
/// `q` is `[rows, heads * head_dim]`, `k` and `v` are `[rows, kv_heads * head_dim]`; rows are whole sequences of `tokens`.
/// Memory beside the result: a sequence's keys and values of one head and scores of `[48, tokens]`, for each thread.
pub fn attend(isa: Isa, shape: &Attention, tokens: usize, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) {
    let Attention { heads, kv_heads, head_dim, .. } = *shape;
    if q.is_empty() {
        return;
    }
    let (wide, narrow) = (heads * head_dim, kv_heads * head_dim);
    assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "attend: {heads} heads over {kv_heads}");
    let rows = q.len() / wide;
    assert!(tokens > 0 && rows.is_multiple_of(tokens), "attend: {rows} rows in sequences of {tokens}");
    assert_eq!(
        (q.len(), k.len(), v.len(), out.len()),
        (rows * wide, rows * narrow, rows * narrow, rows * wide),
        "attend: q, k, v and out of {rows} rows"
    );
    let out = Out::new(out, wide);
    (0..rows / tokens * kv_heads).into_par_iter().for_each(|task| {
        let (first, kv_head) = (task / kv_heads * tokens, task % kv_heads);
        let keys = &k[first * narrow + kv_head * head_dim..];
        let values = &v[first * narrow + kv_head * head_dim..];
        let group = heads / kv_heads;
        for_group(isa, shape, tokens, keys, values, |head| {
            let head = kv_head * group + head;
            (&q[first * wide + head * head_dim..], out.at(first, head * head_dim))
        });
    });
}

/// One key-value head of one sequence and the query heads that read it.
fn for_group<'a>(
    isa: Isa,
    shape: &Attention,
    tokens: usize,
    keys: &[f32],
    values: &[f32],
    query: impl Fn(usize) -> (&'a [f32], Out<'a>),
) {
    with_micro!(isa, micro => group(micro, isa, shape, tokens, keys, values, query));
}

#[allow(unsafe_code)]
fn group<'a, M: Micro>(
    micro: M,
    isa: Isa,
    shape: &Attention,
    tokens: usize,
    keys: &[f32],
    values: &[f32],
    query: impl Fn(usize) -> (&'a [f32], Out<'a>),
) {
    let Attention { heads, kv_heads, head_dim, .. } = *shape;
    let (wide, narrow) = (heads * head_dim, kv_heads * head_dim);
    let keys = Operand { data: Data::F32(keys), stride: narrow, k: head_dim };
    let values = Operand { data: Data::Columns(values), stride: narrow, k: tokens };
    // Panels of values are as deep as a block of tokens.
    let value_panel = |depth: usize| depth * M::NR;
    let (key_words, value_words) = (pack_words(tokens, head_dim, M::NR), pack_words(head_dim, 1, M::NR) * tokens);
    let scores_words = STRIP * tokens.next_multiple_of(M::NR);
    let strip_words = pack_words(STRIP, head_dim.max(M::WORDS), M::MR);
    scratch(key_words + value_words + scores_words + strip_words, |words| {
        let (packed_keys, words) = words.split_at_mut(key_words);
        let (packed_values, words) = words.split_at_mut(value_words);
        let (scores, strip) = words.split_at_mut(scores_words);
        let scores: &mut [f32] = bytemuck::cast_slice_mut(scores);
        for (panel, out) in packed_keys.chunks_exact_mut(M::NR * head_dim).enumerate() {
            let row = panel * M::NR;
            let place = Place { row, rows: M::NR.min(tokens - row), word: 0, words: head_dim };
            micro.pack(keys, place, M::NR, out);
        }
        for word in (0..tokens).step_by(M::WORDS) {
            let depth = M::WORDS.min(tokens - word);
            let block = &mut packed_values[word * head_dim.next_multiple_of(M::NR)..];
            for (panel, out) in block.chunks_exact_mut(value_panel(depth)).enumerate().take(head_dim.div_ceil(M::NR)) {
                let row = panel * M::NR;
                let place = Place { row, rows: M::NR.min(head_dim - row), word, words: depth };
                micro.pack(values, place, M::NR, out);
            }
        }
        for head in 0..heads / kv_heads {
            let (queries, out) = query(head);
            let queries = Operand { data: Data::F32(queries), stride: wide, k: head_dim };
            for first in (0..tokens).step_by(STRIP) {
                let rows = STRIP.min(tokens - first);
                let end = first + rows;
                // The first block of tokens that any query of the strip sees.
                let oldest = shape.window.map_or(0, |window| (first + 1).saturating_sub(window));
                let start = oldest / M::WORDS * M::WORDS;
                let width = (end - start).next_multiple_of(M::NR);
                let scores = &mut scores[..rows * width];

                pack_strip(micro, queries, first, rows, 0, head_dim, strip);
                let a = Packed { words: strip, rows, depth: head_dim, terms: 1 };
                for (panel, keys) in packed_keys.chunks_exact(M::NR * head_dim).enumerate() {
                    let column = panel * M::NR;
                    if (start..end).contains(&column) {
                        let columns = M::NR.min(tokens - column);
                        let tile = Out::new(&mut scores[..], width).at(0, column - start);
                        tiles(micro, a, keys, columns, tile, false, None);
                    }
                }
                let mut weights = [0f32; STRIP];
                for (i, (row, weight)) in scores.chunks_exact_mut(width).zip(&mut weights).enumerate() {
                    let last = first + i + 1 - start;
                    let oldest = shape.window.map_or(0, |window| (start + last).saturating_sub(window + start));
                    row[..oldest].fill(0.0);
                    row[last..].fill(0.0);
                    *weight = soften(isa, &mut row[oldest..last], shape.scale);
                }

                let scores = Operand { data: Data::F32(scores), stride: width, k: width };
                let out = out.at(first, 0);
                for word in (start..end).step_by(M::WORDS) {
                    let whole = M::WORDS.min(tokens - word);
                    // Panels are packed `whole` deep; tokens after the strip have no weight and are left out.
                    let depth = whole.min(end - word);
                    pack_strip(micro, scores, 0, rows, word - start, depth, strip);
                    let a = Packed { words: strip, rows, depth, terms: 1 };
                    let block = &packed_values[word * head_dim.next_multiple_of(M::NR)..];
                    for panel in 0..head_dim.div_ceil(M::NR) {
                        let column = panel * M::NR;
                        let values = &block[panel * value_panel(whole)..];
                        tiles(micro, a, values, M::NR.min(head_dim - column), out.at(0, column), word > start, None);
                    }
                }
                for (i, weight) in weights[..rows].iter().enumerate() {
                    // SAFETY: this head's part of these rows belongs to this task.
                    let row = unsafe { out.row(i, head_dim) };
                    for out in row.iter_mut() {
                        *out *= weight;
                    }
                }
            }
        }
    });
}

fn pack_strip<M: Micro>(
    micro: M,
    operand: Operand<'_>,
    first: usize,
    rows: usize,
    word: usize,
    words: usize,
    out: &mut [u32],
) {
    for (panel, out) in out.chunks_exact_mut(M::MR * words).enumerate().take(rows.div_ceil(M::MR)) {
        let row = panel * M::MR;
        micro.pack(operand, Place { row: first + row, rows: M::MR.min(rows - row), word, words }, M::MR, out);
    }
}

each_isa! {
    /// `row = e^(scale (row - max))`; returns one over the sum.
    fn soften(row: &mut [f32], scale: f32) -> f32 {
        const LANES: usize = 16;
        let (blocks, rest) = row.as_chunks::<LANES>();
        let mut most = [f32::NEG_INFINITY; LANES];
        for block in blocks {
            for (most, &x) in most.iter_mut().zip(block) {
                *most = if x > *most { x } else { *most };
            }
        }
        let most = most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, &x| if x > most { x } else { most });
        let (blocks, rest) = row.as_chunks_mut::<LANES>();
        let mut sums = [0f32; LANES];
        for block in blocks {
            for (sum, x) in sums.iter_mut().zip(block) {
                *x = exp((*x - most) * scale);
                *sum += *x;
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *x = exp((*x - most) * scale);
            *sum += *x;
        }
        1.0 / sums.iter().sum::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{isas, numbers, threads};
    use proptest::prelude::*;

    fn naive(shape: &Attention, tokens: usize, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f64> {
        let Attention { heads, kv_heads, head_dim, .. } = *shape;
        let mut out = vec![0f64; q.len()];
        for row in 0..q.len() / (heads * head_dim) {
            let (first, t) = (row / tokens * tokens, row % tokens);
            for h in 0..heads {
                let kv = |u: usize| ((first + u) * kv_heads + h / (heads / kv_heads)) * head_dim;
                let at = (row * heads + h) * head_dim;
                let oldest = shape.window.map_or(0, |window| (t + 1).saturating_sub(window));
                let score = |u: usize| {
                    let dot: f64 = (0..head_dim).map(|d| f64::from(q[at + d]) * f64::from(k[kv(u) + d])).sum();
                    (dot * f64::from(shape.scale)).exp()
                };
                let scores: Vec<f64> = (oldest..=t).map(score).collect();
                let sum: f64 = scores.iter().sum();
                for d in 0..head_dim {
                    let mix = |(i, s): (usize, &f64)| s * f64::from(v[kv(oldest + i) + d]);
                    out[at + d] = scores.iter().enumerate().map(mix).sum::<f64>() / sum;
                }
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn attention_agrees(
            batch in 1usize..3, tokens in 1usize..300, kv_heads in 1usize..3, group in 1usize..3, head_dim in 1usize..24,
            window in proptest::option::of(1usize..400), seed: u64,
        ) {
            let heads = kv_heads * group;
            let shape = Attention { heads, kv_heads, head_dim, scale: 0.4, window };
            let q = numbers(batch * tokens * heads * head_dim, seed);
            let k = numbers(batch * tokens * kv_heads * head_dim, seed ^ 1 << 20);
            let v = numbers(batch * tokens * kv_heads * head_dim, seed ^ 1 << 30);
            let run = |isa| {
                let mut out = vec![f32::NAN; q.len()];
                attend(isa, &shape, tokens, &q, &k, &v, &mut out);
                out
            };
            let first = threads(1, || run(Isa::Scalar));
            for (got, want) in first.iter().zip(naive(&shape, tokens, &q, &k, &v)) {
                prop_assert!((f64::from(*got) - want).abs() < 2e-5, "{got} {want}");
            }
            for isa in isas() {
                prop_assert!(threads(2, || run(isa)) == first, "{isa:?}");
            }
        }
    }
}
