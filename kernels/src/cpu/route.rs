//! Which experts a token goes to, and the sum of what they say.

use super::exp::exp;
use super::{ROWS, each_isa};
use crate::Isa;
use rayon::prelude::*;

/// How scores are made of a router's logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// Softmax over all experts.
    Softmax,
    /// Sigmoid of each.
    Sigmoid,
}

/// How tokens are given to experts.
#[derive(Clone, Copy, Debug)]
pub struct Routing<'a> {
    /// Experts a token goes to, at least 1.
    pub top: usize,
    /// How scores are made.
    pub scoring: Scoring,
    /// Added to the scores where experts are chosen: one an expert.
    pub bias: Option<&'a [f32]>,
    /// Groups of neighbours, of which only the best `top_groups` are chosen from.
    pub groups: usize,
    /// See `groups`.
    pub top_groups: usize,
    /// A group is as good as the sum of so many of its largest scores.
    pub group_best: usize,
    /// Whether the chosen scores are divided by their sum.
    pub normalise: bool,
    /// Multiplies them last.
    pub scale: f32,
}

/// For each row of `logits[rows, experts]` the numbers of the chosen experts, best first, then their weights:
/// `out[rows, 2 top]`. Of equal scores the first counts as better.
pub fn route(isa: Isa, how: &Routing<'_>, experts: usize, logits: &[f32], out: &mut [f32]) {
    let Routing { top, groups, group_best, .. } = *how;
    assert!((1..=experts).contains(&top) && groups > 0 && experts.is_multiple_of(groups), "route: {top} of {experts}");
    assert!((1..=experts / groups).contains(&group_best), "route: groups of {}", experts / groups);
    assert!(how.top_groups * (experts / groups) >= top, "route: {top} of {} groups", how.top_groups);
    assert_eq!(logits.len() / experts * 2 * top, out.len(), "route: logits and out");
    assert!(how.bias.is_none_or(|bias| bias.len() == experts), "route: bias of {experts}");
    out.par_chunks_mut(2 * top * ROWS).zip(logits.par_chunks(experts * ROWS)).for_each(|(out, logits)| {
        let mut scores = vec![0.0; experts];
        let mut chosen = vec![0.0; experts];
        for (out, logits) in out.chunks_exact_mut(2 * top).zip(logits.chunks_exact(experts)) {
            scores.copy_from_slice(logits);
            match how.scoring {
                Scoring::Softmax => softmax(isa, &mut scores),
                Scoring::Sigmoid => scores.iter_mut().for_each(|x| *x = 1.0 / (1.0 + exp(-*x))),
            }
            one(how, &scores, &mut chosen, out);
        }
    });
}

fn one(how: &Routing<'_>, scores: &[f32], chosen: &mut [f32], out: &mut [f32]) {
    chosen.copy_from_slice(scores);
    if let Some(bias) = how.bias {
        chosen.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
    }
    if how.top_groups < how.groups {
        let of = scores.len() / how.groups;
        let mut best: Vec<f32> = chosen
            .chunks_exact(of)
            .map(|group| {
                let mut group = group.to_vec();
                (0..how.group_best).map(|_| take_best(&mut group).1).sum()
            })
            .collect();
        let kept: Vec<usize> = (0..how.top_groups).map(|_| take_best(&mut best).0).collect();
        let groups = chosen.chunks_exact_mut(of).enumerate();
        groups.filter(|(g, _)| !kept.contains(g)).for_each(|(_, group)| group.fill(f32::NEG_INFINITY));
    }
    let (numbers, weights) = out.split_at_mut(how.top);
    for (number, weight) in numbers.iter_mut().zip(weights.iter_mut()) {
        let expert = take_best(chosen).0;
        (*number, *weight) = (expert as f32, scores[expert]);
    }
    let sum: f32 = weights.iter().sum();
    let divisor = if how.normalise { sum + 1e-20 } else { 1.0 };
    for weight in weights.iter_mut() {
        *weight = *weight / divisor * how.scale;
    }
}

/// The first of the largest, which is not found again.
fn take_best(x: &mut [f32]) -> (usize, f32) {
    let mut best = 0;
    for (i, value) in x.iter().enumerate() {
        if x[best].is_nan() || *value > x[best] {
            best = i;
        }
    }
    // What was taken is NaN: nothing is larger, and anything is taken instead.
    (best, std::mem::replace(&mut x[best], f32::NAN))
}

each_isa! {
    fn softmax(row: &mut [f32]) {
        let most = row.iter().fold(f32::NEG_INFINITY, |most, &x| if x > most { x } else { most });
        let mut sum = 0f32;
        for x in row.iter_mut() {
            *x = exp(*x - most);
            sum += *x;
        }
        for x in row.iter_mut() {
            *x /= sum;
        }
    }
}

/// `out[rows, width]`: the slots of each row of `x[rows, top * width]`, each times its weight in `route[rows, 2 top]`,
/// added in order.
pub fn mix(isa: Isa, x: &[f32], route: &[f32], top: usize, width: usize, out: &mut [f32]) {
    assert_eq!((x.len(), route.len() * width), (out.len() * top, 2 * top * out.len()), "mix: rows of {width}");
    let rows = out.par_chunks_mut(width.max(1)).zip(x.par_chunks(top * width.max(1))).zip(route.par_chunks(2 * top));
    rows.for_each(|((out, x), route)| {
        out.fill(0.0);
        for (slot, weight) in x.chunks_exact(width.max(1)).zip(&route[top..]) {
            add_times(isa, out, slot, *weight);
        }
    });
}

each_isa! {
    fn add_times(out: &mut [f32], x: &[f32], by: f32) {
        for (out, x) in out.iter_mut().zip(x) {
            *out += x * by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{isas, numbers, threads};
    use proptest::prelude::*;

    /// By sorting.
    fn naive(how: &Routing<'_>, logits: &[f32]) -> Vec<(usize, f64)> {
        let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        let score = |x: &f32| match how.scoring {
            Scoring::Softmax => f64::from(*x).exp() / sum,
            Scoring::Sigmoid => 1.0 / (1.0 + (-f64::from(*x)).exp()),
        };
        let scores: Vec<f64> = logits.iter().map(score).collect();
        let chosen: Vec<f64> =
            scores.iter().enumerate().map(|(i, x)| x + how.bias.map_or(0.0, |bias| f64::from(bias[i]))).collect();
        let of = logits.len() / how.groups;
        let mut groups: Vec<usize> = (0..how.groups).collect();
        let quality = |g: &usize| -> f64 {
            let mut group = chosen[g * of..(g + 1) * of].to_vec();
            group.sort_by(|a, b| b.total_cmp(a));
            group[..how.group_best].iter().sum()
        };
        groups.sort_by(|a, b| quality(b).total_cmp(&quality(a)));
        let open = &groups[..how.top_groups];
        let mut experts: Vec<usize> = (0..logits.len()).filter(|e| open.contains(&(e / of))).collect();
        experts.sort_by(|a, b| chosen[*b].total_cmp(&chosen[*a]));
        experts.truncate(how.top);
        let sum: f64 = experts.iter().map(|e| scores[*e]).sum();
        let divisor = if how.normalise { sum } else { 1.0 };
        experts.into_iter().map(|e| (e, scores[e] / divisor * f64::from(how.scale))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn tokens_go_where_they_should(
            rows in 1usize..40, groups in 1usize..5, of in 2usize..6, top in 1usize..5, top_groups in 1usize..5,
            group_best in 1usize..3, sigmoid: bool, biased: bool, normalise: bool, seed: u64,
        ) {
            let top_groups = top_groups.min(groups);
            let top = top.min(top_groups * of);
            let bias = numbers(groups * of, seed ^ 3);
            let scoring = if sigmoid { Scoring::Sigmoid } else { Scoring::Softmax };
            let bias = biased.then_some(&bias[..]);
            let how = Routing { top, scoring, bias, groups, top_groups, group_best, normalise, scale: 1.5 };
            let logits = numbers(rows * groups * of, seed);
            let run = |isa| {
                let mut out = vec![f32::NAN; rows * 2 * top];
                route(isa, &how, groups * of, &logits, &mut out);
                out
            };
            let first = threads(1, || run(Isa::Scalar));
            for (out, logits) in first.chunks(2 * top).zip(logits.chunks(groups * of)) {
                for (j, (expert, weight)) in naive(&how, logits).into_iter().enumerate() {
                    prop_assert_eq!(out[j] as usize, expert);
                    prop_assert!((f64::from(out[top + j]) - weight).abs() < 1e-5, "{} {weight}", out[top + j]);
                }
            }
            for isa in isas() {
                prop_assert!(threads(2, || run(isa)) == first, "{isa:?}");
            }
        }
    }

    #[test]
    fn the_first_of_equals_is_taken_and_slots_are_added() {
        let how = Routing {
            top: 2,
            scoring: Scoring::Softmax,
            bias: None,
            groups: 1,
            top_groups: 1,
            group_best: 1,
            normalise: true,
            scale: 1.0,
        };
        let mut out = [0.0; 4];
        route(Isa::Scalar, &how, 4, &[0.0, 1.0, 1.0, 1.0], &mut out);
        assert_eq!(out, [1.0, 2.0, 0.5, 0.5]);
        for isa in isas() {
            let mut mixed = [0.0; 3];
            mix(isa, &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0], &[7.0, 9.0, 0.5, 0.25], 2, 3, &mut mixed);
            assert_eq!(mixed, [3.0, 6.0, 9.0]);
        }
    }
}
