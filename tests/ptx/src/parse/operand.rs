//! Operands: registers, literals, addresses and names of variables.

use super::ParseError;
use super::body::Body;
use super::text::{Cursor, Tok, show};
use crate::inst::Reg;
use crate::module::{Fixed, Special};
use crate::types::Ty;

/// An operand as written.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Reg(Reg),
    /// A literal or the address of a variable.
    Fixed(Fixed),
    /// `a|b`.
    Pair(Reg, Reg),
    /// `{a, b}`.
    List(Vec<Operand>),
    /// `[base+offset]`.
    Address(Box<Operand>, i64),
    /// A special register that changes while a kernel runs.
    Clock,
    /// A label.
    Label(String),
    /// `_`.
    Sink,
}

/// A number, in the bits of `ty` where that decides (`1.5`), sign-extended where it is negative.
pub(super) fn literal(c: &mut Cursor<'_>, ty: Ty) -> Result<u64, ParseError> {
    let line = c.line();
    let negative = c.take(b'-');
    let w = c.word()?;
    let v = number(w, ty).ok_or_else(|| ParseError::at(line, format!("`{w}` is not a number")))?;
    Ok(if negative { v.wrapping_neg() } else { v })
}

fn number(w: &str, ty: Ty) -> Option<u64> {
    let hex = |s: &str| u64::from_str_radix(s.trim_end_matches('U'), 16).ok();
    let lower = w.get(..2).map(str::to_ascii_lowercase);
    match lower.as_deref() {
        Some("0f") => return if w.len() == 10 { hex(&w[2..]) } else { None },
        Some("0d") => return if w.len() == 18 { hex(&w[2..]) } else { None },
        Some("0x") => return hex(&w[2..]),
        Some("0b") => return u64::from_str_radix(w[2..].trim_end_matches('U'), 2).ok(),
        _ => {}
    }
    if w.contains('.') {
        let v: f64 = w.parse().ok()?;
        return Some(if ty == Ty::F32 { (v as f32).to_bits() as u64 } else { v.to_bits() });
    }
    w.trim_end_matches('U').parse().ok()
}

fn special(w: &str) -> Option<Special> {
    let axis = |tail: &str| match tail {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        _ => None,
    };
    if let Some((head, tail)) = w.split_once('.') {
        let axis = axis(tail)?;
        return Some(match head {
            "%tid" => Special::Tid(axis),
            "%ntid" => Special::Ntid(axis),
            "%ctaid" => Special::Ctaid(axis),
            "%nctaid" => Special::Nctaid(axis),
            _ => return None,
        });
    }
    Some(match w {
        "%laneid" => Special::Lane,
        "%warpid" => Special::Warp,
        "%nwarpid" => Special::Warps,
        "%lanemask_eq" => Special::MaskEq,
        "%lanemask_lt" => Special::MaskLt,
        "%lanemask_le" => Special::MaskLe,
        "%lanemask_ge" => Special::MaskGe,
        "%lanemask_gt" => Special::MaskGt,
        "%dynamic_smem_size" => Special::DynamicSharedSize,
        "%total_smem_size" => Special::TotalSharedSize,
        "%smid" | "%gridid" => Special::Zero,
        _ => return None,
    })
}

/// Reads one operand of an instruction of type `ty`.
pub(super) fn read(c: &mut Cursor<'_>, b: &Body<'_>, ty: Ty) -> Result<Operand, ParseError> {
    let line = c.line();
    let bad = |what: String| ParseError::at(line, what);
    if c.take(b'{') {
        let mut list = Vec::new();
        while !c.take(b'}') {
            list.push(read(c, b, ty)?);
            c.take(b',');
        }
        return Ok(Operand::List(list));
    }
    if c.take(b'[') {
        let base = read(c, b, Ty::B(8))?;
        let mut offset = 0i64;
        while !c.take(b']') {
            c.take(b'+');
            offset = offset.wrapping_add(literal(c, Ty::B(8))? as i64);
        }
        return Ok(Operand::Address(Box::new(base), offset));
    }
    if c.take(b'!') {
        return match read(c, b, ty)? {
            Operand::Reg(Reg::P(p)) => Ok(Operand::Reg(Reg::NotP(p))),
            _ => Err(bad("`!` before something that is not a predicate".into())),
        };
    }
    let w = match c.peek() {
        Some(Tok::Sign(b'-')) => return Ok(Operand::Fixed(Fixed::Bits(literal(c, ty)?))),
        Some(Tok::Word(w)) => w,
        other => return Err(bad(format!("{} as an operand", show(other)))),
    };
    if w.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Operand::Fixed(Fixed::Bits(literal(c, ty)?)));
    }
    c.next()?;
    if w == "_" {
        if c.take(b'|') {
            let second = b.register(c.word()?).ok_or_else(|| bad("expected a register behind `_|`".into()))?;
            return Ok(Operand::Pair(Reg::None, second));
        }
        return Ok(Operand::Sink);
    }
    if let Some(r) = b.register(w) {
        if c.take(b'|') {
            let other = c.word()?;
            if other == "_" {
                return Ok(Operand::Reg(r));
            }
            let second = b.register(other).ok_or_else(|| bad(format!("`{other}` is not a register")))?;
            return Ok(Operand::Pair(r, second));
        }
        return Ok(Operand::Reg(r));
    }
    if let Some(v) = b.symbol(w) {
        if c.peek() == Some(Tok::Sign(b'+')) && !matches!(ty, Ty::Pred) {
            // `name+16`, outside brackets and inside.
            c.next()?;
            let n = literal(c, Ty::B(8))? as i64;
            return Ok(Operand::Fixed(shifted(v, n)));
        }
        return Ok(Operand::Fixed(v));
    }
    if matches!(w, "%clock" | "%clock64" | "%clock_hi" | "%globaltimer" | "%globaltimer_lo") {
        return Ok(Operand::Clock);
    }
    if let Some(s) = special(w) {
        return Ok(Operand::Fixed(Fixed::Special(s)));
    }
    if w.starts_with('%') {
        return Err(bad(format!("unknown register `{w}`")));
    }
    Ok(Operand::Label(w.into()))
}

/// A fixed address, further on.
pub(super) fn shifted(v: Fixed, by: i64) -> Fixed {
    match v {
        Fixed::Bits(a) => Fixed::Bits(a.wrapping_add(by as u64)),
        Fixed::Variable(i, o) => Fixed::Variable(i, o.wrapping_add(by)),
        Fixed::DynamicShared(o) => Fixed::DynamicShared(o.wrapping_add(by)),
        Fixed::Special(s) => Fixed::Special(s),
    }
}
