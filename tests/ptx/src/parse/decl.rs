//! Declarations of variables: `.align 4 .b8 name[512] = {1, 2}`.

use super::text::{Cursor, Tok, show};
use super::{ParseError, operand};
use crate::types::Ty;

/// A declared variable.
pub(super) struct Decl {
    pub(super) name: String,
    pub(super) ty: Ty,
    pub(super) align: usize,
    /// Bytes; zero for `name[]`.
    pub(super) size: usize,
}

impl Decl {
    /// Reads a declaration behind its state space, up to and without `=`, `;`, `,` or `)`.
    pub(super) fn read(c: &mut Cursor<'_>) -> Result<Decl, ParseError> {
        let (mut ty, mut align, mut lanes) = (None, 0, 1);
        loop {
            let line = c.line();
            let w = c.word()?;
            match w {
                ".align" => {
                    align = c.count()?;
                    if !align.is_power_of_two() {
                        return Err(ParseError::at(line, format!("an alignment of {align}")));
                    }
                }
                ".ptr" | ".global" | ".shared" | ".const" | ".local" | ".attribute" => {}
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                _ if w.starts_with('.') => {
                    ty = Some(
                        Ty::named(&w[1..])
                            .ok_or_else(|| ParseError::at(line, format!("`{w}` is no type of a variable")))?,
                    );
                }
                _ => {
                    let ty = ty.ok_or_else(|| ParseError::at(line, format!("`{w}` is declared without a type")))?;
                    let mut count = Some(lanes);
                    while c.take(b'[') {
                        if c.take(b']') {
                            count = Some(0);
                        } else {
                            let n = c.count()?;
                            count = count.and_then(|k: usize| k.checked_mul(n));
                            c.expect(b']')?;
                        }
                    }
                    let size = count.and_then(|n| n.checked_mul(ty.size())).filter(|&n| n <= 1 << 30);
                    let size = size.ok_or_else(|| ParseError::at(line, format!("`{w}` is too large")))?;
                    return Ok(Decl { name: w.into(), ty, align: align.max(ty.size()), size });
                }
            }
        }
    }

    /// Reads `= value` or `= {values}` and gives the bytes, and whether there was a value.
    pub(super) fn initial(&self, c: &mut Cursor<'_>) -> Result<(Vec<u8>, bool), ParseError> {
        let mut bytes = vec![0; self.size];
        if !c.take(b'=') {
            return Ok((bytes, false));
        }
        let (mut depth, mut at, width) = (0usize, 0, self.ty.size());
        loop {
            let line = c.line();
            match c.peek() {
                Some(Tok::Sign(b'{')) => {
                    c.next()?;
                    depth += 1;
                }
                Some(Tok::Sign(b'}')) if depth > 0 => {
                    c.next()?;
                    depth -= 1;
                }
                Some(Tok::Sign(b',')) => {
                    c.next()?;
                    continue;
                }
                Some(Tok::Word(_) | Tok::Sign(b'-')) => {
                    let v = operand::literal(c, self.ty)?;
                    let room = bytes.get_mut(at..at + width);
                    room.ok_or_else(|| ParseError::at(line, format!("`{}` has too many values", self.name)))?
                        .copy_from_slice(&v.to_le_bytes()[..width]);
                    at += width;
                }
                other => return Err(ParseError::at(line, format!("{} as a first value", show(other)))),
            }
            if depth == 0 {
                return Ok((bytes, true));
            }
        }
    }
}
