//! Opcode and operands to an instruction.

use super::body::Body;
use super::checks::{executed, level};
use super::modifiers::Opcode;
use super::operand::{Operand, shifted};
use super::operation::operation;
use crate::inst::{Inst, Op, Reg, Shape};
use crate::module::Fixed;
use crate::types::{Space, Ty};

/// Width of the rows that an operand may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// A 32-bit row.
    W,
    /// A 64-bit row.
    D,
    /// A predicate.
    P,
    /// Either row; literals take a row of the type's width.
    Any,
}

/// Rows that values of a type live in.
pub(super) fn width(ty: Ty) -> Width {
    match ty {
        Ty::Pred => Width::P,
        _ if ty.size() == 8 => Width::D,
        _ => Width::W,
    }
}

/// An instruction while its operands are read.
pub(super) struct Decoder<'b, 'a, 'o> {
    pub(super) body: &'b mut Body<'a>,
    pub(super) ops: &'o [Operand],
    pub(super) inst: Inst,
}

impl Decoder<'_, '_, '_> {
    pub(super) fn operand(&self, i: usize) -> Result<&Operand, String> {
        self.ops.get(i).ok_or_else(|| format!("operand {} is missing", i + 1))
    }

    /// Operand `i` as a row.
    pub(super) fn reg(&mut self, i: usize, width: Width) -> Result<Reg, String> {
        let o = self.operand(i)?.clone();
        self.row(&o, width)
    }

    fn row(&mut self, o: &Operand, width: Width) -> Result<Reg, String> {
        let wide = width == Width::D || (width == Width::Any && self.inst.ty.size() == 8);
        let reg = match *o {
            Operand::Reg(r) | Operand::Pair(r, _) => r,
            Operand::Sink => return Ok(Reg::None),
            Operand::Fixed(Fixed::Bits(v)) if width == Width::P => {
                if v & 1 == 1 {
                    Reg::NotP(0)
                } else {
                    Reg::P(0)
                }
            }
            Operand::Fixed(Fixed::Bits(v)) if self.inst.ty.size() == 2 && !wide => {
                self.body.constant(Fixed::Bits(v & 0xffff), false)
            }
            Operand::Fixed(Fixed::Bits(v)) if !wide => self.body.constant(Fixed::Bits(v & 0xffff_ffff), false),
            Operand::Fixed(v) => self.body.constant(v, wide),
            _ => return Err("an operand of another kind is expected".into()),
        };
        let fits = match reg {
            Reg::None => true,
            Reg::W(_) => matches!(width, Width::W | Width::Any),
            Reg::D(_) => matches!(width, Width::D | Width::Any),
            Reg::P(_) | Reg::NotP(_) => width == Width::P,
        };
        if fits { Ok(reg) } else { Err("a register of another width is expected".into()) }
    }

    /// Destination, which is operand 0.
    pub(super) fn dst(&mut self, width: Width) -> Result<(), String> {
        let is_row = matches!(self.operand(0)?, Operand::Reg(_) | Operand::Pair(..) | Operand::Sink);
        if !is_row {
            return Err("the destination is not a register".into());
        }
        self.inst.dst = self.reg(0, width)?;
        if let Operand::Pair(_, second) = self.operand(0)? {
            self.inst.dst2 = *second;
        }
        Ok(())
    }

    /// Source `slot`, which is operand `i`.
    pub(super) fn src(&mut self, slot: usize, i: usize, width: Width) -> Result<(), String> {
        self.inst.src[slot] = self.reg(i, width)?;
        Ok(())
    }

    /// Destination and sources from operand 1, all of these widths.
    pub(super) fn rows(&mut self, dst: Width, sources: &[Width]) -> Result<(), String> {
        self.dst(dst)?;
        for (i, &w) in sources.iter().enumerate() {
            self.src(i, i + 1, w)?;
        }
        Ok(())
    }

    /// Operand `i` as a list of rows; a single register is a list of one.
    pub(super) fn list(&mut self, i: usize, width: Width) -> Result<usize, String> {
        let list = match self.operand(i)? {
            Operand::List(l) => l.clone(),
            other => vec![other.clone()],
        };
        let regs = list.iter().map(|o| self.row(o, width)).collect::<Result<Vec<_>, _>>()?;
        let n = regs.len();
        self.inst.lists.push(regs);
        Ok(n)
    }

    /// Operand `i` as an address: source `slot` and the offset.
    pub(super) fn address(&mut self, slot: usize, i: usize) -> Result<i64, String> {
        let Operand::Address(base, offset) = self.operand(i)?.clone() else {
            return Err("an address in brackets is expected".into());
        };
        let wide = !matches!(self.inst.space, Space::Shared | Space::Local | Space::Param);
        let (reg, offset) = match *base {
            Operand::Fixed(v) => (self.body.constant(shifted(v, offset), true), 0),
            Operand::Reg(r @ Reg::D(_)) => (r, offset),
            Operand::Reg(r @ Reg::W(_)) if !wide => (r, offset),
            _ => return Err("the base of an address is a 64-bit register".into()),
        };
        self.inst.src[slot] = reg;
        Ok(offset)
    }
}

/// Decodes one instruction.
pub(super) fn decode(
    body: &mut Body<'_>,
    opcode: &str,
    ops: &[Operand],
    guard: Reg,
    line: u32,
) -> Result<Inst, String> {
    let o = Opcode::new(opcode);
    if let Some(s) = o.unknown() {
        return Err(format!("`.{s}` is not supported"));
    }
    let mut types = o.parts[1..].iter().filter_map(|s| Ty::named(s));
    let ty = types.next().unwrap_or(Ty::B(4));
    let inst = Inst {
        op: Op::Nop,
        ty,
        from: types.next().unwrap_or(ty),
        space: o.space(),
        mods: o.mods(),
        guard,
        dst: Reg::None,
        dst2: Reg::None,
        src: [Reg::None; 4],
        lists: Vec::new(),
        imm: 0,
        shape: Shape::default(),
        line,
    };
    let mut d = Decoder { body, ops, inst };
    d.inst.op = operation(&o, &mut d)?;
    if !executed(d.inst.op, ty) {
        return Err(format!("`{opcode}` is not supported: no {ty:?}"));
    }
    let (level, have) = (level(&o, &d.inst), d.body.level);
    if have.0 < level.0 {
        return Err(format!("needs PTX ISA {}.{}, the module is {}.{}", level.0.0, level.0.1, have.0.0, have.0.1));
    }
    if have.1 < level.1 {
        return Err(format!("needs .target sm_{}, the module is for sm_{}", level.1, have.1));
    }
    Ok(d.inst)
}
