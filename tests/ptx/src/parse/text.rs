//! PTX text as tokens with lines.

use super::ParseError;

/// A token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tok<'a> {
    /// Opcodes, directives, registers, names and numbers: `ld.global.f32`, `.reg`, `%r1`, `0f3F800000`.
    Word(&'a str),
    /// A quoted string.
    Text,
    /// One of `{}[]()<>,;:@!|+-=`.
    Sign(u8),
}

/// Tokens of a text, read in order.
pub(super) struct Cursor<'a> {
    tokens: Vec<(Tok<'a>, u32)>,
    at: usize,
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'%' | b'.')
}

impl<'a> Cursor<'a> {
    /// Splits `text`.
    pub(super) fn new(text: &'a str) -> Result<Self, ParseError> {
        let bytes = text.as_bytes();
        let (mut tokens, mut i, mut line) = (Vec::new(), 0, 1u32);
        while let Some(&c) = bytes.get(i) {
            let rest = &bytes[i..];
            if c == b'\n' {
                line += 1;
                i += 1;
            } else if c.is_ascii_whitespace() || c == 0 {
                i += 1;
            } else if rest.starts_with(b"//") {
                i += rest.iter().position(|&c| c == b'\n').unwrap_or(rest.len());
            } else if rest.starts_with(b"/*") {
                let end = rest.windows(2).skip(2).position(|w| w == b"*/").map_or(rest.len(), |n| n + 4);
                line += text[i..i + end].matches('\n').count() as u32;
                i += end;
            } else if c == b'"' {
                let end =
                    rest[1..].iter().position(|&c| c == b'"').ok_or(ParseError::at(line, "a string without end"))?;
                tokens.push((Tok::Text, line));
                i += end + 2;
            } else if is_word(c) {
                let mut n = 1;
                while let Some(&c) = rest.get(n) {
                    if is_word(c) {
                        n += 1;
                    } else if rest[n..].starts_with(b"::") {
                        n += 2;
                    } else {
                        break;
                    }
                }
                // Word bytes are ASCII, so these are character boundaries.
                tokens.push((Tok::Word(&text[i..i + n]), line));
                i += n;
            } else if b"{}[]()<>,;:@!|+-=".contains(&c) {
                tokens.push((Tok::Sign(c), line));
                i += 1;
            } else {
                return Err(ParseError::at(line, format!("unexpected character {:?}", c as char)));
            }
        }
        Ok(Self { tokens, at: 0 })
    }

    /// The next token, not taken.
    pub(super) fn peek(&self) -> Option<Tok<'a>> {
        self.tokens.get(self.at).map(|t| t.0)
    }

    /// The token after the next.
    pub(super) fn peek2(&self) -> Option<Tok<'a>> {
        self.tokens.get(self.at + 1).map(|t| t.0)
    }

    /// Line of the next token, or of the last.
    pub(super) fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.1)
    }

    /// Takes the next token.
    pub(super) fn next(&mut self) -> Result<Tok<'a>, ParseError> {
        let t = self.peek().ok_or_else(|| ParseError::at(self.line(), "the text ends early"))?;
        self.at += 1;
        Ok(t)
    }

    /// Takes the next token if it is `sign`.
    pub(super) fn take(&mut self, sign: u8) -> bool {
        let found = self.peek() == Some(Tok::Sign(sign));
        self.at += usize::from(found);
        found
    }

    /// Takes `sign` or fails.
    pub(super) fn expect(&mut self, sign: u8) -> Result<(), ParseError> {
        if self.take(sign) {
            return Ok(());
        }
        Err(ParseError::at(self.line(), format!("expected `{}`, found {}", sign as char, show(self.peek()))))
    }

    /// Takes a word or fails.
    pub(super) fn word(&mut self) -> Result<&'a str, ParseError> {
        let line = self.line();
        match self.next()? {
            Tok::Word(w) => Ok(w),
            other => Err(ParseError::at(line, format!("expected a name, found {}", show(Some(other))))),
        }
    }

    /// Takes a count.
    pub(super) fn count(&mut self) -> Result<usize, ParseError> {
        let line = self.line();
        let w = self.word()?;
        // A gigabyte of anything is more than a kernel declares.
        w.parse()
            .ok()
            .filter(|&n| n <= 1 << 30)
            .ok_or_else(|| ParseError::at(line, format!("expected a count, found `{w}`")))
    }

    /// Skips to behind the next `sign`.
    pub(super) fn skip_past(&mut self, sign: u8) -> Result<(), ParseError> {
        while self.next()? != Tok::Sign(sign) {}
        Ok(())
    }

    /// Skips tokens of the line that the next token is on.
    pub(super) fn skip_line(&mut self) {
        let line = self.line();
        while self.tokens.get(self.at).is_some_and(|t| t.1 == line) {
            self.at += 1;
        }
    }

    /// Position, for `text_since`.
    pub(super) fn mark(&self) -> usize {
        self.at
    }

    /// What was taken since `mark`, as one line.
    pub(super) fn text_since(&self, mark: usize) -> String {
        let mut s = String::new();
        for (t, _) in &self.tokens[mark..self.at] {
            match t {
                Tok::Word(w) => {
                    if s.ends_with(|c: char| c.is_ascii_alphanumeric()) || s.ends_with(',') {
                        s.push(' ');
                    }
                    s.push_str(w);
                }
                Tok::Text => s.push_str("\"\""),
                Tok::Sign(b';') => {}
                Tok::Sign(c) => {
                    if matches!(c, b'{' | b'[') && s.ends_with(|c: char| c.is_ascii_alphanumeric() || c == ',') {
                        s.push(' ');
                    }
                    s.push(*c as char);
                }
            }
        }
        s
    }
}

/// A token as errors show it.
pub(super) fn show(t: Option<Tok<'_>>) -> String {
    match t {
        Some(Tok::Word(w)) => format!("`{w}`"),
        Some(Tok::Text) => "a string".into(),
        Some(Tok::Sign(c)) => format!("`{}`", c as char),
        None => "the end of the text".into(),
    }
}
