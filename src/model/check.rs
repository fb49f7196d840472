//! The width check: every op of a program gets what it reads. Run on every program before anything else walks it.

use std::collections::BTreeMap;

use super::{Carry, Error, Layer, Mask, Model, Op, Param, Result, Value};

/// Checks every layer of every stack, each with what the layers before it left.
pub(super) fn check(model: &Model) -> Result<()> {
    let mut before = None;
    for stack in &model.stacks {
        let mut carried: BTreeMap<Carry, usize> = before.map(|width| (Carry::Encoded, width)).into_iter().collect();
        for layer in &stack.layers {
            let widths = widths(layer, |carry| carried.get(&carry).copied())?;
            for (carry, value) in &layer.results {
                let width = widths.get(value.index());
                let width = width.ok_or_else(|| wrong(layer, value.index(), "leaves a value that it does not make"))?;
                // The residual stream keeps its width; a layer that changed it would break all after it.
                if let Some(before) = carried.insert(*carry, *width).filter(|before| before != width) {
                    return Err(wrong(layer, value.index(), format!("leaves width {width} where {before} was")));
                }
            }
            rows(layer)?;
        }
        before = carried.get(&Carry::Hidden).copied();
    }
    Ok(())
}

/// The width of every value of a layer, or the first op that does not fit. `carried` tells the width of what the
/// layers before it left.
pub fn widths(layer: &Layer, carried: impl Fn(Carry) -> Option<usize>) -> Result<Vec<usize>> {
    let mut widths: Vec<usize> = Vec::with_capacity(layer.ops.len());
    for (at, op) in layer.ops.iter().enumerate() {
        let width = width(op, &widths, &carried).map_err(|what| wrong(layer, at, what))?;
        widths.push(width);
    }
    Ok(widths)
}

/// Whether each value of a layer has a row for each token of the stack before, rather than for each of its own.
pub fn across(layer: &Layer) -> Vec<bool> {
    let mut across: Vec<bool> = Vec::with_capacity(layer.ops.len());
    for op in &layer.ops {
        let of_inputs = |across: &[bool]| op.inputs().first().is_some_and(|x| across.get(x.index()) == Some(&true));
        across.push(if let Op::Carried(carry) = op { *carry == Carry::Encoded } else { of_inputs(&across) });
    }
    across
}

/// Whether only attention brings the rows of two stacks together, and only where it is meant to.
fn rows(layer: &Layer) -> Result<()> {
    let across = across(layer);
    let of = |v: &Value| across.get(v.index()).copied().unwrap_or(false);
    for (at, op) in layer.ops.iter().enumerate() {
        let inputs = op.inputs();
        let fits = if let Op::Attend { q, k, v, mask, .. } = op {
            !of(q) && [k, v].iter().all(|v| of(v) == (*mask == Mask::Across))
        } else if let Op::Rope { .. } | Op::Heads { .. } | Op::Route { .. } | Op::Join { .. } = op {
            // These count their rows by those of the stack.
            !inputs.iter().any(of)
        } else {
            inputs.windows(2).all(|two| of(&two[0]) == of(&two[1]))
        };
        if !fits {
            return Err(wrong(layer, at, "reads rows of two stacks"));
        }
    }
    match layer.results.iter().find(|(_, value)| of(value)) {
        Some((_, value)) => Err(wrong(layer, value.index(), "leaves rows of the stack before")),
        None => Ok(()),
    }
}

fn wrong(layer: &Layer, op: usize, what: impl Into<String>) -> Error {
    Error::Width { layer: layer.name.clone(), op, what: what.into() }
}

/// The width that `op` makes from values of widths `made`.
fn width(op: &Op, made: &[usize], carried: impl Fn(Carry) -> Option<usize>) -> Result<usize, String> {
    let at =
        |v: Value| made.get(v.index()).copied().ok_or_else(|| format!("reads value {} before it is made", v.index()));
    match op {
        Op::Carried(carry) => carried(*carry).ok_or_else(|| format!("nothing left {carry:?}")),
        Op::Embed { table, .. } => Ok(matrix(table)?.1),
        Op::Linear { x, w, bias } => {
            let (out, inp) = matrix(w)?;
            fits(&w.name, at(*x)?, inp)?;
            vector(bias.as_ref(), out)?;
            Ok(out)
        }
        Op::Heads { x, w } => {
            let [count, out, inp] = w.shape[..] else { return Err(format!("{} is no stack: {:?}", w.name, w.shape)) };
            fits(&w.name, at(*x)?, count.checked_mul(inp).ok_or("heads too wide")?)?;
            count.checked_mul(out).ok_or_else(|| "heads too wide".to_owned())
        }
        Op::Norm { x, w, bias, .. } => match w.shape[..] {
            [width] => {
                vector(bias.as_ref(), width)?;
                pieces(&w.name, at(*x)?, width)
            }
            [count, width] => {
                fits(&w.name, at(*x)?, count.checked_mul(width).ok_or("a norm too wide")?)?;
                Ok(at(*x)?)
            }
            _ => Err(format!("{} is not a vector: {:?}", w.name, w.shape)),
        },
        Op::Rope { x, dim, table, .. } => {
            if table.inverse.len() > dim / 2 {
                return Err(format!("a rope turns {} elements of heads of {dim}", 2 * table.inverse.len()));
            }
            pieces("a rope", at(*x)?, *dim)
        }
        Op::Slice { x, per, from, to } => {
            let x = pieces("a slice", at(*x)?, *per)?;
            if from >= to || to > per {
                return Err(format!("a slice takes {from}..{to} of {per}"));
            }
            Ok(x / per * (to - from))
        }
        Op::Join { a, b, heads, shared } => {
            let (a, b) = (pieces("a join", at(*a)?, *heads)?, at(*b)?);
            let b =
                if *shared { b.checked_mul(*heads).ok_or("pieces too wide")? } else { pieces("a join", b, *heads)? };
            Ok(a + b)
        }
        Op::Attend { q, k, v, heads, scores, .. } => {
            if heads.kv == 0 || heads.q % heads.kv != 0 {
                return Err(format!("{} query heads share {} key heads", heads.q, heads.kv));
            }
            let of = |heads: usize, dim: usize| heads.checked_mul(dim).ok_or("heads too wide");
            fits("queries", at(*q)?, of(heads.q, heads.dim)?)?;
            fits("keys", at(*k)?, of(heads.kv, heads.dim)?)?;
            fits("values", at(*v)?, of(heads.kv, heads.v_dim)?)?;
            vector(scores.sinks.as_ref(), heads.q)?;
            if let Some(bias) = &scores.bias {
                let (buckets, of) = matrix(&bias.table)?;
                fits(&bias.table.name, of, heads.q)?;
                // Half of them for each direction, of which half are of one distance each.
                let exact = if bias.both_ways { buckets / 4 } else { buckets / 2 };
                if exact == 0 || !buckets.is_multiple_of(4) || bias.max_distance <= exact {
                    return Err(format!("{buckets} buckets for distances up to {}", bias.max_distance));
                }
            }
            if let Some(slopes) = &scores.slopes {
                fits("slopes", slopes.len(), heads.q)?;
            }
            Ok(of(heads.q, heads.v_dim)?)
        }
        Op::Add(a, b) => {
            let (a, b) = (at(*a)?, at(*b)?);
            fits("the second operand", b, a)?;
            Ok(a)
        }
        Op::Mul(a, b) => {
            let (a, b) = (at(*a)?, at(*b)?);
            if a != 1 {
                fits("the second operand", b, a)?;
            }
            Ok(b)
        }
        Op::Act(_, x) | Op::Affine { x, .. } | Op::Clamp { x, .. } | Op::Softcap { x, .. } => at(*x),
        Op::Route { x, bias, how } => {
            let experts = at(*x)?;
            vector(bias.as_ref(), experts)?;
            if how.top == 0 || how.top > experts {
                return Err(format!("a token goes to {} of {experts} experts", how.top));
            }
            let grouped = how.groups > 0 && experts.is_multiple_of(how.groups) && (1..=2).contains(&how.group_best);
            let open = how.top_groups.min(how.groups).saturating_mul(experts / how.groups.max(1));
            if !grouped || experts / how.groups < how.group_best || open < how.top {
                return Err(format!(
                    "{} of {} groups do not make {} of {experts} experts",
                    how.top_groups, how.groups, how.top
                ));
            }
            Ok(2 * how.top)
        }
        Op::Experts { x, route, w, bias } => {
            let [count, out, inp] = w.shape[..] else { return Err(format!("{} is no stack: {:?}", w.name, w.shape)) };
            let top = slots(at(*route)?)?;
            let x = at(*x)?;
            if x != inp {
                fits(&w.name, x, inp.checked_mul(top).ok_or("slots too wide")?)?;
            }
            if let Some(bias) = bias.as_ref().filter(|bias| bias.shape[..] != [count, out]) {
                return Err(format!("{}: {:?}, needs [{count}, {out}]", bias.name, bias.shape));
            }
            out.checked_mul(top).ok_or_else(|| "slots too wide".to_owned())
        }
        Op::Mix { x, route } => {
            let top = slots(at(*route)?)?;
            Ok(pieces("a mix", at(*x)?, top)? / top)
        }
    }
}

fn fits(what: &str, found: usize, expected: usize) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: given width {found}, needs {expected}")) }
}

/// `width`, if it is a whole number of pieces of `piece`.
fn pieces(what: &str, width: usize, piece: usize) -> Result<usize, String> {
    let whole = piece > 0 && width.is_multiple_of(piece);
    if whole { Ok(width) } else { Err(format!("{what}: given width {width}, needs a multiple of {piece}")) }
}

/// Experts that a token goes to, of the width of a route.
fn slots(route: usize) -> Result<usize, String> {
    Ok(pieces("a route", route, 2)?.max(2) / 2)
}

fn matrix(p: &Param) -> Result<(usize, usize), String> {
    match p.shape[..] {
        [out, inp] => Ok((out, inp)),
        [count, out, inp] => Ok((count.checked_mul(out).ok_or("too many rows")?, inp)),
        _ => Err(format!("{} is not a matrix: {:?}", p.name, p.shape)),
    }
}

fn vector(bias: Option<&Param>, width: usize) -> Result<(), String> {
    match bias {
        // Some are saved as a matrix of one row.
        Some(b) if b.shape[..] != [width] && b.shape[..] != [1, width] => {
            Err(format!("{}: {:?}, needs [{width}]", b.name, b.shape))
        }
        _ => Ok(()),
    }
}
