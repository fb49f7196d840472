//! Attention over whole sequences, a strip of queries at a time.

use super::combine::capped;
use super::exp::exp;
use super::gemm::{Data, Micro, Operand, Out, Packed, Place, pack_words, scratch, tiles, with_micro};
use super::{Precision, each_isa};
use crate::Isa;
use rayon::prelude::*;

/// Queries whose scores are in memory at once: whole tiles of every micro-kernel.
const STRIP: usize = 48;

/// The shape of an attention layer.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; query head `h` reads `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Elements of a query or key head.
    pub head_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// What scores are multiplied by before the softmax, more than 0.
    pub scale: f32,
    /// Whether a query sees itself and the tokens before it, rather than all keys of its sequence.
    pub causal: bool,
    /// How many tokens back a causal query sees, itself included; all of them without.
    pub window: Option<usize>,
    /// What scores are kept softly below, after the scale.
    pub cap: Option<f32>,
    /// One a query head: it times how far back the key is, in tokens, is taken from the score then.
    pub slopes: Option<&'a [f32]>,
    /// One more score for each query head, which has no value.
    pub sinks: Option<&'a [f32]>,
    /// Added to scores by how far the key `u` is from the query `t`, `[heads, queries + keys - 1]`: the element
    /// `u + queries - 1 - t` of the head.
    pub bias: Option<&'a [f32]>,
}

/// How rows divide into sequences.
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    /// Queries of each.
    pub queries: usize,
    /// Keys and values of each; as many as queries if they are causal.
    pub keys: usize,
    /// How many of its keys each sequence really has, at least one; what follows is not seen. All of them without.
    pub lengths: Option<&'a [usize]>,
}

impl Sequences<'_> {
    /// Of so many tokens that attend to each other.
    pub fn of(tokens: usize) -> Sequences<'static> {
        Sequences { queries: tokens, keys: tokens, lengths: None }
    }
}

/// `out[rows, heads * value_dim] = softmax(q k^T * scale) v`, each query over the keys that it sees.
///
/// `q` is `[rows, heads * head_dim]`, `k` `[key rows, kv_heads * head_dim]`, `v` `[key rows, kv_heads * value_dim]`; rows
/// are whole sequences.
/// Memory beside the result: a sequence's keys and values of one head and scores of `[48, keys]`, for each thread.
///
/// [`Precision::Bf16`] rounds what is multiplied; the other two multiply in f32.
#[allow(clippy::too_many_arguments)]
pub fn attend(
    isa: Isa,
    shape: &Attention<'_>,
    sequences: Sequences<'_>,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    precision: Precision,
) {
    let Attention { heads, kv_heads, head_dim, value_dim, .. } = *shape;
    if q.is_empty() {
        return;
    }
    let (wide, narrow) = (heads * head_dim, kv_heads * head_dim);
    let (out_wide, value_narrow) = (heads * value_dim, kv_heads * value_dim);
    assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "attend: {heads} heads over {kv_heads}");
    let Sequences { queries, keys, lengths } = sequences;
    let rows = q.len() / wide;
    assert!(queries > 0 && rows.is_multiple_of(queries), "attend: {rows} rows in sequences of {queries}");
    let count = rows / queries;
    assert_eq!(
        (q.len(), k.len(), v.len(), out.len()),
        (rows * wide, count * keys * narrow, count * keys * value_narrow, rows * out_wide),
        "attend: q, k, v and out of {count} sequences"
    );
    assert!(keys > 0 && (keys == queries || !shape.causal), "attend: {keys} keys for {queries} queries");
    assert!(
        shape.causal || (shape.window.is_none() && shape.slopes.is_none()),
        "attend: only causal queries look back"
    );
    assert!(lengths.is_none_or(|l| l.len() == count && l.iter().all(|l| (1..=keys).contains(l))), "attend: lengths");
    for of_heads in [shape.slopes, shape.sinks].into_iter().flatten() {
        assert_eq!(of_heads.len(), heads, "attend: one a head");
    }
    assert!(
        shape.bias.is_none_or(|bias| bias.len() == heads * (queries + keys - 1)),
        "attend: one a distance and head"
    );
    let out = Out::new(out, out_wide);
    (0..count * kv_heads).into_par_iter().for_each(|task| {
        let (sequence, kv_head) = (task / kv_heads, task % kv_heads);
        let (first, first_key) = (sequence * queries, sequence * keys);
        let tokens = Tokens { queries, keys, seen: lengths.map_or(keys, |lengths| lengths[sequence]) };
        let keys = &k[first_key * narrow + kv_head * head_dim..];
        let values = &v[first_key * value_narrow + kv_head * value_dim..];
        let group = heads / kv_heads;
        let of_head = |head: usize| {
            let head = kv_head * group + head;
            (head, &q[first * wide + head * head_dim..], out.at(first, head * value_dim))
        };
        for_group(isa, shape, tokens, keys, values, of_head, precision);
    });
}

/// Of one sequence.
#[derive(Clone, Copy)]
struct Tokens {
    queries: usize,
    keys: usize,
    /// Keys that are there.
    seen: usize,
}

/// One key-value head of one sequence and the query heads that read it.
fn for_group<'a>(
    isa: Isa,
    shape: &Attention<'_>,
    tokens: Tokens,
    keys: &[f32],
    values: &[f32],
    query: impl Fn(usize) -> (usize, &'a [f32], Out<'a>),
    precision: Precision,
) {
    with_micro!(isa, precision, micro => group(micro, isa, shape, tokens, keys, values, query));
}

#[allow(unsafe_code)]
fn group<'a, M: Micro>(
    micro: M,
    isa: Isa,
    shape: &Attention<'_>,
    Tokens { queries: asked, keys: tokens, seen }: Tokens,
    keys: &[f32],
    values: &[f32],
    query: impl Fn(usize) -> (usize, &'a [f32], Out<'a>),
) {
    let Attention { heads, kv_heads, head_dim, value_dim, .. } = *shape;
    let (wide, narrow) = (heads * head_dim, kv_heads * head_dim);
    let keys = Operand { data: Data::F32(keys), stride: narrow, k: head_dim };
    let values = Operand { data: Data::Columns(values), stride: kv_heads * value_dim, k: tokens };
    // Words of a head, of all tokens, and tokens of a block of words.
    let per_word = if M::PAIRS { 2 } else { 1 };
    let (head_words, token_words) = (head_dim.div_ceil(per_word), tokens.div_ceil(per_word));
    let block = M::WORDS * per_word;
    // Panels of values are as deep as a block of tokens.
    let value_panel = |depth: usize| depth * M::NR;
    let (key_words, value_words) = (pack_words(tokens, head_words, M::NR), pack_words(value_dim, token_words, M::NR));
    let scores_words = STRIP * tokens.next_multiple_of(M::NR);
    let strip_words = pack_words(STRIP, head_words.max(M::WORDS), M::MR);
    scratch(key_words + value_words + scores_words + strip_words, |words| {
        let (packed_keys, words) = words.split_at_mut(key_words);
        let (packed_values, words) = words.split_at_mut(value_words);
        let (scores, strip) = words.split_at_mut(scores_words);
        let scores: &mut [f32] = bytemuck::cast_slice_mut(scores);
        for (panel, out) in packed_keys.chunks_exact_mut(M::NR * head_words).enumerate() {
            let row = panel * M::NR;
            let place = Place { row, rows: M::NR.min(tokens - row), word: 0, words: head_words };
            micro.pack(keys, place, M::NR, out);
        }
        for word in (0..token_words).step_by(M::WORDS) {
            let depth = M::WORDS.min(token_words - word);
            let block = &mut packed_values[word * value_dim.next_multiple_of(M::NR)..];
            for (panel, out) in block.chunks_exact_mut(value_panel(depth)).enumerate().take(value_dim.div_ceil(M::NR)) {
                let row = panel * M::NR;
                let place = Place { row, rows: M::NR.min(value_dim - row), word, words: depth };
                micro.pack(values, place, M::NR, out);
            }
        }
        for head in 0..heads / kv_heads {
            let (head, queries, out) = query(head);
            let queries = Operand { data: Data::F32(queries), stride: wide, k: head_dim };
            for first in (0..asked).step_by(STRIP) {
                let rows = STRIP.min(asked - first);
                let end = if shape.causal { seen.min(first + rows) } else { seen };
                // The first block of tokens that any query of the strip sees.
                let oldest = shape.window.map_or(0, |window| (first + 1).saturating_sub(window));
                let start = oldest / block * block;
                let width = (end - start).next_multiple_of(M::NR);
                let scores = &mut scores[..rows * width];

                pack_strip(micro, queries, first, rows, 0, head_words, strip);
                let a = Packed { words: strip, rows, depth: head_words, terms: 1 };
                for (panel, keys) in packed_keys.chunks_exact(M::NR * head_words).enumerate() {
                    let column = panel * M::NR;
                    if (start..end).contains(&column) {
                        let columns = M::NR.min(tokens - column);
                        let tile = Out::new(&mut scores[..], width).at(0, column - start);
                        tiles(micro, a, keys, columns, tile, false, None);
                    }
                }
                let mut weights = [0f32; STRIP];
                for (i, (row, weight)) in scores.chunks_exact_mut(width).zip(&mut weights).enumerate() {
                    let query = first + i;
                    let last = if shape.causal { end.min(query + 1) } else { end } - start;
                    let oldest = shape.window.map_or(0, |window| (start + last).saturating_sub(window + start));
                    row[..oldest].fill(0.0);
                    row[last..].fill(0.0);
                    let distances = asked + tokens - 1;
                    let bias = shape.bias.map(|bias| &bias[head * distances..][start + oldest + asked - 1 - query..]);
                    *weight = shape.weigh(isa, head, bias, &mut row[oldest..last]);
                }

                let scores = Operand { data: Data::F32(scores), stride: width, k: width };
                let (out, start_word) = (out.at(first, 0), start / per_word);
                for word in (start_word..end.div_ceil(per_word)).step_by(M::WORDS) {
                    let whole = M::WORDS.min(token_words - word);
                    // Panels are packed `whole` deep; tokens after the strip have no weight and are left out.
                    let depth = whole.min(end.div_ceil(per_word) - word);
                    pack_strip(micro, scores, 0, rows, word - start_word, depth, strip);
                    let a = Packed { words: strip, rows, depth, terms: 1 };
                    let block = &packed_values[word * value_dim.next_multiple_of(M::NR)..];
                    for panel in 0..value_dim.div_ceil(M::NR) {
                        let column = panel * M::NR;
                        let (values, columns) = (&block[panel * value_panel(whole)..], M::NR.min(value_dim - column));
                        tiles(micro, a, values, columns, out.at(0, column), word > start_word, None);
                    }
                }
                for (i, weight) in weights[..rows].iter().enumerate() {
                    // SAFETY: this head's part of these rows belongs to this task.
                    let row = unsafe { out.row(i, value_dim) };
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

impl Attention<'_> {
    /// Makes what the softmax weighs values by, but for a factor, of the scores of one query, oldest key first; returns
    /// the factor.
    fn weigh(&self, isa: Isa, head: usize, bias: Option<&[f32]>, row: &mut [f32]) -> f32 {
        let sink = self.sinks.map_or(f32::NEG_INFINITY, |sinks| sinks[head]);
        if self.cap.is_none() && self.slopes.is_none() && self.sinks.is_none() && bias.is_none() {
            return soften(isa, row, self.scale, sink);
        }
        adjust(isa, row, self.scale, self.cap, self.slopes.map_or(0.0, |slopes| slopes[head]));
        if let Some(bias) = bias {
            row.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
        }
        soften(isa, row, 1.0, sink)
    }
}

each_isa! {
    /// Scale, cap and slope, for the scores of one query, oldest key first.
    fn adjust(row: &mut [f32], scale: f32, cap: Option<f32>, slope: f32) {
        let last = row.len().saturating_sub(1);
        for (i, x) in row.iter_mut().enumerate() {
            *x *= scale;
            if let Some(cap) = cap {
                *x = capped(*x, cap);
            }
            *x -= slope * (last - i) as f32;
        }
    }
}

each_isa! {
    /// `row = e^(scale (row - max))`, `sink` among the scores; returns one over the sum.
    fn soften(row: &mut [f32], scale: f32, sink: f32) -> f32 {
        const LANES: usize = 16;
        let (blocks, rest) = row.as_chunks::<LANES>();
        let mut most = [f32::NEG_INFINITY; LANES];
        for block in blocks {
            for (most, &x) in most.iter_mut().zip(block) {
                *most = if x > *most { x } else { *most };
            }
        }
        let most = most.iter().chain(rest).fold(sink, |most, &x| if x > most { x } else { most });
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
        1.0 / (sums.iter().sum::<f32>() + exp((sink - most) * scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{isas, numbers, threads};
    use proptest::prelude::*;

    fn naive(shape: &Attention<'_>, sequences: Sequences<'_>, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f64> {
        let Attention { heads, kv_heads, head_dim, value_dim, .. } = *shape;
        let Sequences { queries, keys, lengths } = sequences;
        let mut out = vec![0f64; q.len() / head_dim * value_dim];
        for row in 0..q.len() / (heads * head_dim) {
            let (first, t) = (row / queries * keys, row % queries);
            let seen = lengths.map_or(keys, |lengths| lengths[row / queries]);
            for h in 0..heads {
                let kv = |u: usize| (first + u) * kv_heads + h / (heads / kv_heads);
                let at = (row * heads + h) * head_dim;
                let oldest = shape.window.map_or(0, |window| (t + 1).saturating_sub(window));
                let score = |u: usize| {
                    let dot: f64 =
                        (0..head_dim).map(|d| f64::from(q[at + d]) * f64::from(k[kv(u) * head_dim + d])).sum();
                    let score = dot * f64::from(shape.scale);
                    let score = shape.cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
                    let distance = h * (queries + keys - 1) + u + queries - 1 - t;
                    let score = score + shape.bias.map_or(0.0, |bias| f64::from(bias[distance]));
                    (score - shape.slopes.map_or(0.0, |slopes| f64::from(slopes[h]) * (t - u) as f64)).exp()
                };
                let end = if shape.causal { seen.min(t + 1) } else { seen };
                let scores: Vec<f64> = (oldest..end).map(score).collect();
                let sink = shape.sinks.map_or(0.0, |sinks| f64::from(sinks[h]).exp());
                let sum: f64 = scores.iter().sum::<f64>() + sink;
                for d in 0..value_dim {
                    let mix = |(i, s): (usize, &f64)| s * f64::from(v[kv(oldest + i) * value_dim + d]);
                    out[(row * heads + h) * value_dim + d] = scores.iter().enumerate().map(mix).sum::<f64>() / sum;
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
            value_dim in 1usize..24, cap in proptest::option::of(0.5f32..4.0), sloped: bool, sunk: bool,
            window in proptest::option::of(1usize..400), seed: u64, biased: bool,
            across in proptest::option::of(1usize..200), padded: bool,
        ) {
            let heads = kv_heads * group;
            let (causal, keys) = (across.is_none(), across.unwrap_or(tokens));
            let window = window.filter(|_| causal);
            let sloped = sloped && causal;
            let lengths: Vec<usize> = (0..batch).map(|i| 1 + (seed as usize % 977 + i * 7) % keys).collect();
            let sequences = Sequences { queries: tokens, keys, lengths: (padded && !causal).then_some(&lengths) };
            let bias = numbers(heads * (tokens + keys - 1), seed ^ 0xb);
            let (slopes, sinks) = (numbers(heads, seed ^ 7), numbers(heads, seed ^ 9));
            let slopes: Vec<f32> = slopes.iter().map(|x| x.abs() * 0.1).collect();
            let shape = Attention {
                heads, kv_heads, head_dim, value_dim, scale: 0.4, causal, window, cap,
                slopes: sloped.then_some(&slopes), sinks: sunk.then_some(&sinks), bias: biased.then_some(&bias),
            };
            let q = numbers(batch * tokens * heads * head_dim, seed);
            let k = numbers(batch * keys * kv_heads * head_dim, seed ^ 1 << 20);
            let v = numbers(batch * keys * kv_heads * value_dim, seed ^ 1 << 30);
            let run = |isa, precision| {
                let mut out = vec![f32::NAN; batch * tokens * heads * value_dim];
                attend(isa, &shape, sequences, &q, &k, &v, &mut out, precision);
                out
            };
            let first = threads(1, || run(Isa::Scalar, Precision::F32));
            let want = naive(&shape, sequences, &q, &k, &v);
            for (got, want) in first.iter().zip(&want) {
                prop_assert!((f64::from(*got) - want).abs() < 2e-5, "{got} {want}");
            }
            for isa in isas() {
                prop_assert!(threads(2, || run(isa, Precision::F32)) == first, "{isa:?}");
            }
            // Of rounded queries, keys and values, only what they are weighed by is rounded once more, by up to 2^-9 of it.
            let coarse = threads(2, || run(Isa::detected(), Precision::Bf16));
            if Precision::Bf16.native(Isa::detected()) {
                let rounded = |x: &[f32]| -> Vec<f32> {
                    x.iter().map(|&x| f32::from_bits(u32::from(super::super::gemm::rounded(x)) << 16)).collect()
                };
                let (q, k, v) = (rounded(&q), rounded(&k), rounded(&v));
                let bound = f64::from(v.iter().fold(0f32, |most, v| most.max(v.abs()))) / 512.0 + 2e-5;
                for (got, want) in coarse.iter().zip(naive(&shape, sequences, &q, &k, &v)) {
                    prop_assert!((f64::from(*got) - want).abs() < bound, "{got} {want} {bound}");
                }
            } else {
                prop_assert!(coarse == first);
            }
            prop_assert!(threads(1, || run(Isa::detected(), Precision::Bf16)) == coarse);
        }
    }
}
