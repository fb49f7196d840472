//! What llama-perplexity does in two runs, in one: both models over the same chunks, and the statistics of their logits.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use rayon::prelude::*;

use crate::llama::{Context, Model};

/// Sums over scored tokens.
#[derive(Clone, Copy, Default)]
pub struct Sums {
    /// Scored tokens.
    pub tokens: usize,
    /// Negative log-likelihood under the reference, nats.
    pub reference: f64,
    /// The same under the candidate.
    pub candidate: f64,
    /// KL(reference || candidate), nats.
    pub kld: f64,
}

impl Sums {
    fn plus(self, other: Sums) -> Sums {
        Sums {
            tokens: self.tokens + other.tokens,
            reference: self.reference + other.reference,
            candidate: self.candidate + other.candidate,
            kld: self.kld + other.kld,
        }
    }
}

/// The first `chunks` chunks of `context` tokens, the second half of each scored.
pub fn compare(reference: &Model, candidate: &Model, text: &str, context: usize, chunks: usize) -> Sums {
    let tokens = reference.tokenize(text, true, false);
    let mut sums = Sums::default();
    for chunk in tokens.chunks_exact(context).take(chunks) {
        let run = |model| {
            let mut context = Context::new(model, chunk.len());
            context.decode(chunk, 0, true);
            context
        };
        let (a, b) = (run(reference), run(candidate));
        let rows: Vec<(&[f32], &[f32], i32)> =
            (context / 2..context - 1).map(|i| (a.logits(i as i32), b.logits(i as i32), chunk[i + 1])).collect();
        let scored: Vec<Sums> = rows.par_iter().map(|(a, b, target)| score(a, b, *target as usize)).collect();
        sums = scored.into_iter().fold(sums, Sums::plus);
    }
    sums
}

fn score(a: &[f32], b: &[f32], target: usize) -> Sums {
    let total = |row: &[f32]| {
        let max = row.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = row.iter().map(|x| f64::from((x - max).exp())).sum();
        f64::from(max) + sum.ln()
    };
    let (p, q) = (total(a), total(b));
    let kld = a.iter().zip(b).map(|(&a, &b)| {
        let (a, b) = (f64::from(a) - p, f64::from(b) - q);
        f64::from((a as f32).exp()) * (a - b)
    });
    Sums { tokens: 1, reference: p - f64::from(a[target]), candidate: q - f64::from(b[target]), kld: kld.sum() }
}
