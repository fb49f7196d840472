//! Better scales for codes that are settled.

/// Sub-blocks that a block has at most.
pub(crate) const SUBS: usize = 16;

/// How a block stores its steps: sub-block `j` has the step `d * scales[j]` and the minimum `dmin * mins[j]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) d: f32,
    pub(crate) dmin: f32,
    pub(crate) scales: [i16; SUBS],
    pub(crate) mins: [i16; SUBS],
    /// The lowest and the highest of the scales that can be stored, and of the minima.
    pub(crate) ranges: [(i16, i16); 2],
}

impl Parts {
    /// One scale, no minimum.
    pub(crate) fn scale(d: f32) -> Parts {
        Parts { d, dmin: 0.0, scales: [1; SUBS], mins: [0; SUBS], ranges: [(1, 1), (0, 0)] }
    }

    /// One scale and one minimum.
    pub(crate) fn scale_and_min(d: f32, min: f32) -> Parts {
        Parts { dmin: min, mins: [1; SUBS], ranges: [(1, 1), (1, 1)], ..Parts::scale(d) }
    }
}

/// Weighted sums over a sub-block: of 1, levels, squared levels, elements, and products.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sums {
    w: f64,
    l: f64,
    ll: f64,
    x: f64,
    lx: f64,
}

impl Sums {
    #[inline(always)]
    pub(crate) fn add(&mut self, w: f32, level: f32, x: f32) {
        let (w, level, x) = (f64::from(w), f64::from(level), f64::from(x));
        let weighted = w * level;
        self.w += w;
        self.l += weighted;
        self.ll += weighted * level;
        self.x += w * x;
        self.lx += weighted * x;
    }

    /// The weighted squared error of `step * level - min`, less that of nothing at all.
    fn cost(&self, step: f64, min: f64) -> f64 {
        step * (step * self.ll - 2.0 * (self.lx + min * self.l)) + min * (min * self.w + 2.0 * self.x)
    }
}

/// Rounds of choosing scales and minima, then what they are multiples of.
const ROUNDS: usize = 3;

/// Better parts for the codes that the sums are of, if there are any; `stored` is what the format keeps of a number.
pub(crate) fn refit(parts: &Parts, sums: &[Sums], stored: impl Fn(f32) -> f32) -> Option<Parts> {
    let cost = |parts: &Parts| -> f64 { sums.iter().enumerate().map(|(j, sums)| sub_cost(parts, j, sums)).sum() };
    let before = cost(parts);
    let (mut best, mut least) = (*parts, before);
    for _ in 0..ROUNDS {
        let mut this = best;
        for (j, sums) in sums.iter().enumerate() {
            choose(&mut this, j, sums);
        }
        // The scales' scale alone may do what the scales cannot, so both are offered.
        let mut better = false;
        for start in [this, best] {
            let mut this = start;
            solve(&mut this, sums, &stored);
            let found = cost(&this);
            if found < least {
                (best, least, better) = (this, found, true);
            }
        }
        if !better {
            break;
        }
    }
    // Sums of rounded products tell no smaller differences.
    (least < before - 1e-9 * before.abs()).then_some(best)
}

fn sub_cost(parts: &Parts, j: usize, sums: &Sums) -> f64 {
    let (step, min) =
        (f64::from(parts.d) * f64::from(parts.scales[j]), f64::from(parts.dmin) * f64::from(parts.mins[j]));
    sums.cost(step, min)
}

/// The best scale and minimum of a sub-block in turns, where they are the format's to choose.
fn choose(parts: &mut Parts, j: usize, sums: &Sums) {
    let (d, dmin) = (f64::from(parts.d), f64::from(parts.dmin));
    let [scales, mins] = parts.ranges;
    let nearest = |ideal: f64, (low, high): (i16, i16)| {
        // What is no number stays as it is.
        ideal.is_finite().then(|| ideal.round_ties_even().clamp(f64::from(low), f64::from(high)) as i16)
    };
    for _ in 0..2 {
        for of_min in [false, true] {
            let (step, min) = (d * f64::from(parts.scales[j]), dmin * f64::from(parts.mins[j]));
            let mut this = *parts;
            let (ideal, range, code) = if of_min {
                ((step * sums.l - sums.x) / (sums.w * dmin), mins, &mut this.mins[j])
            } else {
                ((sums.lx + min * sums.l) / (sums.ll * d), scales, &mut this.scales[j])
            };
            *code = nearest(ideal, range).unwrap_or(*code);
            if sub_cost(&this, j, sums) < sub_cost(parts, j, sums) {
                *parts = this;
            }
        }
    }
}

/// Least squares for what the scales and the minima are multiples of.
fn solve(parts: &mut Parts, sums: &[Sums], stored: impl Fn(f32) -> f32) {
    let (mut a, mut b, mut c, mut p, mut q) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (j, sums) in sums.iter().enumerate() {
        let (scale, min) = (f64::from(parts.scales[j]), f64::from(parts.mins[j]));
        a += scale * scale * sums.ll;
        b += scale * min * sums.l;
        c += min * min * sums.w;
        p += scale * sums.lx;
        q += min * sums.x;
    }
    let det = a * c - b * b;
    // Levels that are all the same leave only one of both to be found.
    let (d, dmin) = if det > 1e-9 * a * c {
        ((p * c - q * b) / det, (b * p - a * q) / det)
    } else if a > 0.0 {
        ((p + f64::from(parts.dmin) * b) / a, f64::from(parts.dmin))
    } else {
        return;
    };
    let (d, dmin) = (stored(d as f32), stored(dmin as f32));
    if d.is_finite() && dmin.is_finite() {
        (parts.d, parts.dmin) = (d, dmin);
    }
}
