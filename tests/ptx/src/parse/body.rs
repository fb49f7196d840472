//! A kernel: its arguments, declarations, labels and instructions.

use std::collections::HashMap;

use super::decl::Decl;
use super::text::{Cursor, Tok, show};
use super::{ParseError, Scope, Symbol, decode, operand};
use crate::inst::{Inst, Op, Reg};
use crate::module::{Fixed, Kernel, Param};
use crate::types::{Space, Ty};

/// More registers than this is an error of the text.
const MAX_REGISTERS: usize = 1 << 16;

/// A kernel while it is read.
pub(super) struct Body<'a> {
    pub(super) kernel: Kernel,
    scopes: Vec<HashMap<String, Reg>>,
    symbols: Vec<Symbol>,
    constants: HashMap<(bool, ConstKey), Reg>,
    labels: HashMap<&'a str, usize>,
    jumps: Vec<(usize, String)>,
    /// ISA version and target of the module: instructions may need more.
    pub(super) level: ((u32, u32), u32),
}

#[derive(PartialEq, Eq, Hash)]
enum ConstKey {
    Bits(u64),
    Variable(usize, i64),
    Dynamic(i64),
    Special(String),
}

impl Body<'_> {
    /// The register of this name, innermost scope first.
    pub(super) fn register(&self, name: &str) -> Option<Reg> {
        self.scopes.iter().rev().find_map(|s| s.get(name)).copied()
    }

    /// The variable of this name.
    pub(super) fn symbol(&self, name: &str) -> Option<Fixed> {
        self.symbols.iter().rev().find(|s| s.name == name).map(|s| s.value)
    }

    /// A row that always holds `v`.
    pub(super) fn constant(&mut self, v: Fixed, wide: bool) -> Reg {
        let key = match v {
            Fixed::Bits(b) => ConstKey::Bits(b),
            Fixed::Variable(i, o) => ConstKey::Variable(i, o),
            Fixed::DynamicShared(o) => {
                self.kernel.dynamic = true;
                ConstKey::Dynamic(o)
            }
            Fixed::Special(s) => ConstKey::Special(format!("{s:?}")),
        };
        let rows = if wide { &mut self.kernel.rows64 } else { &mut self.kernel.rows32 };
        *self.constants.entry((wide, key)).or_insert_with(|| {
            rows.push(Some(v));
            let at = rows.len() as u32 - 1;
            if wide { Reg::D(at) } else { Reg::W(at) }
        })
    }

    fn declare(&mut self, ty: Ty, name: String) -> Result<(), String> {
        let k = &mut self.kernel;
        if k.rows32.len() + k.rows64.len() + k.predicates > MAX_REGISTERS {
            return Err("more registers than a kernel has".into());
        }
        let reg = match (ty, ty.size()) {
            (Ty::Pred, _) => {
                k.predicates += 1;
                Reg::P(k.predicates as u32 - 1)
            }
            (_, 8) => {
                k.rows64.push(None);
                Reg::D(k.rows64.len() as u32 - 1)
            }
            _ => {
                k.rows32.push(None);
                Reg::W(k.rows32.len() as u32 - 1)
            }
        };
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name, reg);
        }
        Ok(())
    }

    fn registers(&mut self, c: &mut Cursor<'_>) -> Result<(), ParseError> {
        let line = c.line();
        let w = c.word()?;
        let ty = w.strip_prefix('.').and_then(Ty::named);
        let ty = ty.ok_or_else(|| ParseError::at(line, format!("`{w}` is no type of a register")))?;
        loop {
            let name = c.word()?;
            if c.take(b'<') {
                let n = c.count()?;
                c.expect(b'>')?;
                for i in 0..n {
                    self.declare(ty, format!("{name}{i}")).map_err(|e| ParseError::at(line, e))?;
                }
            } else {
                self.declare(ty, name.into()).map_err(|e| ParseError::at(line, e))?;
            }
            if !c.take(b',') {
                return c.expect(b';');
            }
        }
    }

    fn shared(&mut self, c: &mut Cursor<'_>) -> Result<(), ParseError> {
        let d = Decl::read(c)?;
        c.expect(b';')?;
        let k = &mut self.kernel;
        k.shared = k.shared.next_multiple_of(d.align);
        self.symbols.push(Symbol { name: d.name, value: Fixed::Bits(k.shared as u64) });
        k.shared += d.size;
        Ok(())
    }

    fn local(&mut self, c: &mut Cursor<'_>) -> Result<(), ParseError> {
        let d = Decl::read(c)?;
        c.expect(b';')?;
        let k = &mut self.kernel;
        k.local = k.local.next_multiple_of(d.align);
        self.symbols.push(Symbol { name: d.name, value: Fixed::Bits(k.local as u64) });
        k.local += d.size;
        Ok(())
    }
}

fn params(c: &mut Cursor<'_>, b: &mut Body<'_>) -> Result<(), ParseError> {
    if !c.take(b'(') {
        return Ok(());
    }
    let mut at = 0usize;
    while !c.take(b')') {
        let line = c.line();
        if c.word()? != ".param" {
            return Err(ParseError::at(line, "expected .param"));
        }
        let d = Decl::read(c)?;
        at = at.next_multiple_of(d.align);
        b.kernel.params.push(Param { offset: at, size: d.size });
        b.symbols.push(Symbol { name: d.name, value: Fixed::Bits(at as u64) });
        at += d.size;
        if at > 32764 {
            return Err(ParseError::at(line, "more than 32764 bytes of arguments"));
        }
        c.take(b',');
    }
    b.kernel.param_bytes = at;
    Ok(())
}

fn axes(c: &mut Cursor<'_>) -> Result<[u32; 3], ParseError> {
    let mut n = [1; 3];
    for (i, n) in n.iter_mut().enumerate() {
        if i == 0 || c.take(b',') {
            *n = c.count()? as u32;
        }
    }
    Ok(n)
}

/// Reads a kernel behind `.entry`.
pub(super) fn kernel(c: &mut Cursor<'_>, scope: &Scope, level: ((u32, u32), u32)) -> Result<Kernel, ParseError> {
    let name = c.word()?.to_owned();
    let kernel =
        Kernel { name, shared: scope.shared, predicates: 1, shared_grain: 4, global_grain: 4, ..Kernel::default() };
    let mut b = Body {
        kernel,
        scopes: vec![HashMap::new()],
        symbols: scope.symbols.clone(),
        constants: HashMap::new(),
        labels: HashMap::new(),
        jumps: Vec::new(),
        level,
    };
    params(c, &mut b)?;
    loop {
        let line = c.line();
        match c.next()? {
            Tok::Sign(b'{') => break,
            Tok::Word(".maxntid") => b.kernel.max_threads = Some(axes(c)?.iter().product()),
            Tok::Word(".reqntid") => b.kernel.required = Some(axes(c)?),
            Tok::Word(".minnctapersm" | ".maxnreg" | ".maxclusterrank") => {
                c.count()?;
            }
            Tok::Word(".noreturn") => {}
            other => return Err(ParseError::at(line, format!("{} before a kernel's body", show(Some(other))))),
        }
    }
    while !b.scopes.is_empty() {
        statement(c, &mut b)?;
    }
    for (at, label) in std::mem::take(&mut b.jumps) {
        let target = b.labels.get(label.as_str());
        let inst = &mut b.kernel.code[at];
        inst.imm = *target.ok_or_else(|| ParseError::at(inst.line, format!("no label `{label}`")))? as i64;
    }
    let k = &mut b.kernel;
    // A driver aligns dynamic shared memory to what its declaration asks; 16 is what vector loads need.
    k.dynamic_base = k.shared.next_multiple_of(scope.shared_align.max(16));
    if k.dynamic {
        k.shared = k.dynamic_base;
    }
    Ok(b.kernel)
}

fn statement<'a>(c: &mut Cursor<'a>, b: &mut Body<'a>) -> Result<(), ParseError> {
    let line = c.line();
    match c.peek() {
        Some(Tok::Sign(b'{')) => {
            c.next()?;
            b.scopes.push(HashMap::new());
        }
        Some(Tok::Sign(b'}')) => {
            c.next()?;
            b.scopes.pop();
        }
        Some(Tok::Sign(b';')) => {
            c.next()?;
        }
        Some(Tok::Word(".reg")) => {
            c.next()?;
            b.registers(c)?;
        }
        Some(Tok::Word(".shared")) => {
            c.next()?;
            b.shared(c)?;
        }
        Some(Tok::Word(".local")) => {
            c.next()?;
            b.local(c)?;
        }
        Some(Tok::Word(".pragma")) => c.skip_past(b';')?,
        Some(Tok::Word(".loc")) => c.skip_line(),
        Some(Tok::Word(w)) if w.starts_with('.') => {
            return Err(ParseError::at(line, format!("`{w}` is not supported inside a kernel")));
        }
        Some(Tok::Word(label)) if c.peek2() == Some(Tok::Sign(b':')) => {
            c.next()?;
            c.next()?;
            if b.labels.insert(label, b.kernel.code.len()).is_some() {
                return Err(ParseError::at(line, format!("label `{label}` is defined twice")));
            }
        }
        _ => instruction(c, b, line)?,
    }
    Ok(())
}

fn instruction(c: &mut Cursor<'_>, b: &mut Body<'_>, line: u32) -> Result<(), ParseError> {
    let mark = c.mark();
    let mut guard = Reg::None;
    if c.take(b'@') {
        let not = c.take(b'!');
        let name = c.word()?;
        guard = match (b.register(name), not) {
            (Some(Reg::P(p)), false) => Reg::P(p),
            (Some(Reg::P(p)), true) => Reg::NotP(p),
            _ => return Err(ParseError::at(line, format!("`{name}` is not a predicate"))),
        };
    }
    let opcode = c.word()?;
    let ty = opcode.split('.').find_map(Ty::named).unwrap_or(Ty::B(4));
    let mut operands = Vec::new();
    while !c.take(b';') {
        operands.push(operand::read(c, b, ty)?);
        if !c.take(b',') && c.peek() != Some(Tok::Sign(b';')) {
            let found = show(c.peek());
            return Err(ParseError::at(c.line(), format!("{found} behind an operand of `{opcode}`")));
        }
    }
    let text = c.text_since(mark);
    let inst = decode::decode(b, opcode, &operands, guard, line)
        .map_err(|e| ParseError::at(line, format!("`{text}`: {e}")))?;
    if inst.op == Op::Bra {
        let Some(operand::Operand::Label(label)) = operands.first() else {
            return Err(ParseError::at(line, format!("`{text}`: a branch without a label")));
        };
        b.jumps.push((b.kernel.code.len(), label.clone()));
    }
    grain(&mut b.kernel, &inst);
    b.kernel.code.push(inst);
    b.kernel.text.push(text);
    Ok(())
}

/// Keeps the width of the narrowest access: what shadow memory distinguishes.
fn grain(k: &mut Kernel, i: &Inst) {
    let size = match i.op {
        Op::Ld | Op::St | Op::Atom(_) => i.ty.size().min(4),
        Op::WmmaLoad(_) | Op::WmmaStore | Op::LdMatrix { .. } => i.ty.size().min(2),
        _ => return,
    };
    match i.space {
        Space::Shared => k.shared_grain = k.shared_grain.min(size),
        Space::Global => k.global_grain = k.global_grain.min(size),
        Space::Generic => {
            k.shared_grain = k.shared_grain.min(size);
            k.global_grain = k.global_grain.min(size);
        }
        Space::Local | Space::Param | Space::Const => {}
    }
}
