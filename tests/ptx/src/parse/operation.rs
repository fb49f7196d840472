//! Each opcode's operands, by name.

use super::decode::{Decoder, Width, width};
use super::matrix;
use super::modifiers::Opcode;
use super::operand::Operand;
use crate::inst::{BarReduce, Function, Join, Op, Part, Rmw};
use crate::module::Fixed;
use crate::types::{Round, Space, Ty};

/// Reads the operands of an instruction and says what it does.
pub(super) fn operation(o: &Opcode<'_>, d: &mut Decoder<'_, '_, '_>) -> Result<Op, String> {
    let (ty, from) = (d.inst.ty, d.inst.from);
    let w = width(ty);
    let unary = |d: &mut Decoder<'_, '_, '_>, op| d.rows(w, &[w]).map(|()| op);
    let binary = |d: &mut Decoder<'_, '_, '_>, op| d.rows(w, &[w, w]).map(|()| op);
    let shift = |d: &mut Decoder<'_, '_, '_>, op| d.rows(w, &[w, Width::W]).map(|()| op);
    let unknown = || format!("`{}` is not supported", o.parts.join("."));
    Ok(match o.parts[0] {
        "ld" | "ldu" => memory_load(o, d)?,
        "st" => {
            d.inst.imm = d.address(0, 0)?;
            if d.list(1, Width::Any)? != o.count() {
                return Err("the vector has another length than the opcode says".into());
            }
            Op::St
        }
        "atom" | "red" => atomic(o, d)?,
        "cp" => copy_async(o, d)?,
        "mov" => mov(d)?,
        "cvta" => {
            d.rows(Width::D, &[Width::D])?;
            if o.has("to") { Op::CvtaTo } else { Op::CvtaFrom }
        }
        "bra" => Op::Bra,
        "ret" | "exit" => Op::Ret,
        "trap" | "brkpt" => Op::Trap,
        "membar" | "fence" | "nanosleep" | "prefetch" | "prefetchu" | "griddepcontrol" | "applypriority"
        | "discard" | "pmevent" => Op::Nop,
        "bar" | "barrier" => barrier(o, d)?,
        "shfl" => {
            d.rows(Width::W, &[Width::W; 4])?;
            if !o.has("sync") {
                return Err("shfl without .sync is gone since sm_70".into());
            }
            Op::Shfl(o.shfl().ok_or_else(unknown)?)
        }
        "vote" => {
            let v = o.vote().ok_or_else(unknown)?;
            if !o.has("sync") {
                return Err("vote without .sync is gone since sm_70".into());
            }
            d.dst(if o.has("ballot") { Width::W } else { Width::P })?;
            d.src(0, 1, Width::P)?;
            d.src(1, 2, Width::W)?;
            Op::Vote(v)
        }
        "match" => {
            d.rows(Width::W, &[w, Width::W])?;
            if o.has("any") { Op::MatchAny } else { Op::MatchAll }
        }
        "redux" => {
            d.rows(Width::W, &[Width::W, Width::W])?;
            Op::Redux(o.rmw().ok_or_else(unknown)?)
        }
        "activemask" => {
            d.dst(Width::W)?;
            Op::ActiveMask
        }
        "setp" => {
            let (cmp, nan) = o.cmp().ok_or_else(unknown)?;
            let join = o.join();
            if ty.size() == 4 && ty.is_half() {
                return Err("setp of pairs is not supported".into());
            }
            d.rows(Width::P, &[w, w])?;
            if join != Join::None {
                d.src(2, 3, Width::P)?;
            }
            Op::Setp(cmp, nan, join)
        }
        "set" => {
            let (cmp, nan) = o.cmp().ok_or_else(unknown)?;
            // set.CMP.dtype.stype
            (d.inst.ty, d.inst.from) = (from, ty);
            let sources = width(from);
            d.rows(width(ty), &[sources, sources])?;
            Op::Set(cmp, nan)
        }
        "selp" => {
            d.rows(w, &[w, w, Width::P])?;
            Op::Selp
        }
        "slct" => {
            d.rows(w, &[w, w, width(from)])?;
            Op::Slct
        }
        "cvt" => {
            if matches!(ty, Ty::F16x2 | Ty::Bf16x2) && d.ops.len() == 3 {
                d.rows(Width::W, &[Width::W, Width::W])?;
                Op::CvtPair
            } else if ty == Ty::Pred || from == Ty::Pred || ty.size() == 4 && ty.is_half() {
                return Err(unknown());
            } else {
                d.rows(Width::Any, &[Width::Any])?;
                Op::Cvt
            }
        }
        "add" => binary(d, Op::Add)?,
        "addc" => binary(d, Op::Addc)?,
        "sub" => binary(d, Op::Sub)?,
        "subc" => binary(d, Op::Subc)?,
        "mul" | "mul24" => {
            let part = o.part();
            if o.parts[0] == "mul24" {
                return Err(unknown());
            }
            d.rows(if part == Part::Wide && !ty.is_float() { wider(ty)? } else { w }, &[w, w])?;
            Op::Mul(part)
        }
        "mad" if ty.is_float() => {
            d.rows(w, &[w, w, w])?;
            Op::Fma
        }
        "mad" => {
            let part = o.part();
            let out = if part == Part::Wide { wider(ty)? } else { w };
            d.rows(out, &[w, w, out])?;
            Op::Mad(part)
        }
        "fma" => {
            d.rows(w, &[w, w, w])?;
            Op::Fma
        }
        "div" => binary(d, Op::Div)?,
        "rem" => binary(d, Op::Rem)?,
        "neg" => unary(d, Op::Neg)?,
        "abs" => unary(d, Op::Abs)?,
        "min" => binary(d, Op::Min)?,
        "max" => binary(d, Op::Max)?,
        "and" => binary(d, Op::And)?,
        "or" => binary(d, Op::Or)?,
        "xor" => binary(d, Op::Xor)?,
        "not" => unary(d, Op::Not)?,
        "cnot" => unary(d, Op::Cnot)?,
        "shl" => shift(d, Op::Shl)?,
        "shr" => shift(d, Op::Shr)?,
        "shf" => {
            d.rows(Width::W, &[Width::W; 3])?;
            if o.has("l") { Op::ShfL } else { Op::ShfR }
        }
        "lop3" => {
            d.rows(Width::W, &[Width::W; 3])?;
            let Some(Operand::Fixed(Fixed::Bits(table))) = d.ops.get(4) else {
                return Err("the table of lop3 is not a literal".into());
            };
            d.inst.imm = (*table & 0xff) as i64;
            Op::Lop3
        }
        "prmt" => {
            if o.parts.len() > 2 {
                return Err(unknown());
            }
            d.rows(Width::W, &[Width::W; 3])?;
            Op::Prmt
        }
        "bfi" => {
            d.rows(w, &[w, w, Width::W, Width::W])?;
            Op::Bfi
        }
        "bfe" => {
            d.rows(w, &[w, Width::W, Width::W])?;
            Op::Bfe
        }
        "bfind" => {
            d.rows(Width::W, &[w])?;
            Op::Bfind
        }
        "popc" => {
            d.rows(Width::W, &[w])?;
            Op::Popc
        }
        "clz" => {
            d.rows(Width::W, &[w])?;
            Op::Clz
        }
        "brev" => unary(d, Op::Brev)?,
        "sad" => {
            d.rows(w, &[w, w, w])?;
            Op::Sad
        }
        "copysign" => binary(d, Op::Copysign)?,
        "testp" => {
            d.rows(Width::P, &[w])?;
            let kinds = ["finite", "infinite", "number", "notanumber", "normal", "subnormal"];
            d.inst.imm = kinds.iter().position(|k| o.has(k)).ok_or_else(unknown)? as i64;
            Op::Testp
        }
        "dp4a" => {
            d.rows(Width::W, &[Width::W; 3])?;
            Op::Dp4a
        }
        "dp2a" => {
            d.rows(Width::W, &[Width::W; 3])?;
            Op::Dp2a { hi: o.has("hi") }
        }
        "ex2" | "lg2" | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "tanh" => {
            d.rows(w, &[w])?;
            Op::Function(match o.parts[0] {
                "ex2" => Function::Ex2,
                "lg2" => Function::Lg2,
                "rcp" => Function::Rcp,
                "sqrt" => Function::Sqrt,
                "rsqrt" => Function::Rsqrt,
                "sin" => Function::Sin,
                "cos" => Function::Cos,
                _ => Function::Tanh,
            })
        }
        "mma" | "wmma" | "ldmatrix" => matrix::decode(o, d)?,
        _ => return Err(unknown()),
    })
    .and_then(|op| {
        let rounds = d.inst.mods.round != Round::Nearest && ty == Ty::F64;
        if rounds && !matches!(op, Op::Cvt) { Err(unknown()) } else { Ok(op) }
    })
}

fn wider(ty: Ty) -> Result<Width, String> {
    match ty.size() {
        2 => Ok(Width::W),
        4 => Ok(Width::D),
        _ => Err("there is no wider type".into()),
    }
}

fn memory_load(o: &Opcode<'_>, d: &mut Decoder<'_, '_, '_>) -> Result<Op, String> {
    d.inst.imm = d.address(0, 1)?;
    if d.list(0, Width::Any)? != o.count() {
        return Err("the vector has another length than the opcode says".into());
    }
    Ok(Op::Ld)
}

fn atomic(o: &Opcode<'_>, d: &mut Decoder<'_, '_, '_>) -> Result<Op, String> {
    let op = o.rmw().ok_or("this atomic is not supported")?;
    if o.count() != 1 {
        return Err("vector atomics are not supported".into());
    }
    let w = width(d.inst.ty);
    let first = usize::from(o.parts[0] == "atom");
    if first == 1 {
        d.dst(w)?;
    }
    d.inst.imm = d.address(0, first)?;
    d.src(1, first + 1, w)?;
    if op == Rmw::Cas {
        d.src(2, first + 2, w)?;
    }
    Ok(Op::Atom(op))
}

fn copy_async(o: &Opcode<'_>, d: &mut Decoder<'_, '_, '_>) -> Result<Op, String> {
    if !o.has("async") || o.has("bulk") || o.has("mbarrier") {
        return Err("this copy is not supported".into());
    }
    if o.has("commit_group") {
        return Ok(Op::CpCommit);
    }
    if o.has("wait_all") {
        d.inst.imm = -1;
        return Ok(Op::CpWait);
    }
    if o.has("wait_group") {
        let Some(Operand::Fixed(Fixed::Bits(n))) = d.ops.first() else {
            return Err("the count of groups is not a literal".into());
        };
        d.inst.imm = *n as i64;
        return Ok(Op::CpWait);
    }
    d.inst.space = Space::Shared;
    let to = d.address(0, 0)?;
    d.inst.space = Space::Global;
    let from = d.address(1, 1)?;
    d.src(2, 2, Width::W)?;
    if d.ops.len() > 3 {
        d.src(3, 3, Width::W)?;
    }
    if d.ops.len() > 4 {
        return Err("cache policies are not supported".into());
    }
    let fits = |v: i64| i32::try_from(v).map_err(|_| "the offset is too large".to_owned());
    d.inst.imm = (i64::from(fits(to)?) << 32) | i64::from(fits(from)? as u32);
    Ok(Op::CpAsync)
}

fn mov(d: &mut Decoder<'_, '_, '_>) -> Result<Op, String> {
    if matches!(d.ops.first(), Some(Operand::List(_))) {
        d.list(0, Width::Any)?;
        d.src(0, 1, Width::Any)?;
        return Ok(Op::Unpack);
    }
    if matches!(d.ops.get(1), Some(Operand::List(_))) {
        d.dst(width(d.inst.ty))?;
        d.list(1, Width::Any)?;
        return Ok(Op::Pack);
    }
    let w = width(d.inst.ty);
    if matches!(d.ops.get(1), Some(Operand::Clock)) {
        d.dst(w)?;
        return Ok(Op::Clock);
    }
    d.rows(w, &[w])?;
    Ok(Op::Mov)
}

fn barrier(o: &Opcode<'_>, d: &mut Decoder<'_, '_, '_>) -> Result<Op, String> {
    if o.has("warp") {
        d.src(0, 0, Width::W)?;
        return Ok(Op::WarpSync);
    }
    if o.has("cluster") || o.has("arrive") {
        return Err("clusters and barriers that threads pass without waiting are not supported".into());
    }
    let reduce = o.bar_reduce();
    let aligned = o.parts[0] == "bar" || o.has("aligned");
    // [d,] a [, b] [, predicate]
    let red = usize::from(reduce != BarReduce::None);
    if red == 1 {
        d.dst(if o.has("popc") { Width::W } else { Width::P })?;
    }
    d.src(0, red, Width::W)?;
    let more = d.ops.len() - red - 1;
    if more == 2 || (more == 1 && red == 0) {
        d.src(1, red + 1, Width::W)?;
    }
    if red == 1 {
        d.src(2, d.ops.len() - 1, Width::P)?;
    }
    Ok(Op::Bar { aligned, reduce })
}
