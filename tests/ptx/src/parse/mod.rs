//! PTX text to decoded kernels: the part of PTX 6.0 to 8.8 that NVRTC writes for kernels without calls, textures and
//! clusters. What is not understood is an error that names line and instruction, never skipped.

mod body;
mod checks;
mod decl;
mod decode;
mod matrix;
mod modifiers;
mod operand;
mod operation;
mod text;

use std::fmt;

use crate::module::{Fixed, Module, Variable};
use decl::Decl;
use text::{Cursor, Tok, show};

/// Why a text was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Line of the text.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

impl ParseError {
    pub(crate) fn at(line: u32, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PTX line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// What a name at module level stands for.
#[derive(Debug, Clone)]
struct Symbol {
    name: String,
    value: Fixed,
}

/// Module-level names and the shared memory that they take.
#[derive(Default)]
struct Scope {
    symbols: Vec<Symbol>,
    shared: usize,
    shared_align: usize,
}

/// Parses a module.
pub fn parse(text: &str) -> Result<Module, ParseError> {
    let mut c = Cursor::new(text)?;
    let mut module = Module::default();
    let mut scope = Scope::default();
    while c.peek().is_some() {
        top(&mut c, &mut module, &mut scope)?;
    }
    if module.version == (0, 0) {
        return Err(ParseError::at(1, "no .version: this is not PTX"));
    }
    Ok(module)
}

fn top(c: &mut Cursor<'_>, module: &mut Module, scope: &mut Scope) -> Result<(), ParseError> {
    let line = c.line();
    let bad = |what: String| ParseError::at(line, what);
    match c.next()? {
        Tok::Word(".version") => {
            let w = c.word()?;
            let numbers = w.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            module.version = numbers.ok_or_else(|| bad(format!("`.version {w}` is not a version")))?;
        }
        Tok::Word(".target") => {
            let w = c.word()?;
            let digits = w.strip_prefix("sm_").unwrap_or("").trim_end_matches(|c: char| c.is_ascii_alphabetic());
            module.target = digits.parse().map_err(|_| bad(format!("`.target {w}` is not an architecture")))?;
            while c.take(b',') {
                c.word()?;
            }
        }
        Tok::Word(".address_size") => {
            if c.count()? != 64 {
                return Err(bad("only .address_size 64 is understood".into()));
            }
        }
        Tok::Word(".file") => c.skip_line(),
        Tok::Word(".section") => c.skip_past(b'}')?,
        Tok::Word(".visible" | ".weak" | ".extern" | ".common") => {
            let external = c.text_since(c.mark() - 1) == ".extern";
            match c.peek() {
                Some(Tok::Word(".entry")) => {
                    c.next()?;
                    entry(c, module, scope)?;
                }
                Some(Tok::Word(".shared")) => {
                    c.next()?;
                    shared(c, scope, external)?;
                }
                Some(Tok::Word(space @ (".global" | ".const"))) if !external => {
                    c.next()?;
                    variable(c, module, scope, space == ".const")?;
                }
                other => return Err(bad(format!("{} is not supported here", show(other)))),
            }
        }
        Tok::Word(".entry") => entry(c, module, scope)?,
        Tok::Word(".shared") => shared(c, scope, false)?,
        Tok::Word(space @ (".global" | ".const")) => variable(c, module, scope, space == ".const")?,
        other => return Err(bad(format!("{} is not supported at the level of a module", show(Some(other))))),
    }
    Ok(())
}

fn entry(c: &mut Cursor<'_>, module: &mut Module, scope: &Scope) -> Result<(), ParseError> {
    let line = c.line();
    let kernel = body::kernel(c, scope, (module.version, module.target))?;
    if let Some(twin) = module.kernels.insert(kernel.name.clone(), kernel) {
        return Err(ParseError::at(line, format!("kernel `{}` is defined twice", twin.name)));
    }
    Ok(())
}

fn shared(c: &mut Cursor<'_>, scope: &mut Scope, external: bool) -> Result<(), ParseError> {
    let d = Decl::read(c)?;
    c.expect(b';')?;
    let value = if external {
        Fixed::DynamicShared(0)
    } else {
        scope.shared = scope.shared.next_multiple_of(d.align);
        let at = scope.shared;
        scope.shared += d.size;
        Fixed::Bits(at as u64)
    };
    scope.shared_align = scope.shared_align.max(d.align);
    scope.symbols.push(Symbol { name: d.name, value });
    Ok(())
}

fn variable(c: &mut Cursor<'_>, module: &mut Module, scope: &mut Scope, constant: bool) -> Result<(), ParseError> {
    let d = Decl::read(c)?;
    let (bytes, initialised) = d.initial(c)?;
    c.expect(b';')?;
    scope.symbols.push(Symbol { name: d.name.clone(), value: Fixed::Variable(module.variables.len(), 0) });
    module.variables.push(Variable { name: d.name, bytes, align: d.align, constant, initialised });
    Ok(())
}
