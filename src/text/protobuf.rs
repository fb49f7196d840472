//! SentencePiece's `ModelProto`, read by hand. Field numbers: `sentencepiece_model.proto`.

use std::path::Path;

use super::Error;

/// What is wrong with the bytes.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    offset: usize,
    problem: &'static str,
}

impl Fault {
    pub(super) fn at(self, path: &Path) -> Error {
        Error::Protobuf { path: path.to_owned(), offset: self.offset, problem: self.problem }
    }
}

/// How the pieces were trained, and so how text is cut into them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Unigram,
    Bpe,
    Word,
    Char,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: PieceKind,
}

/// A SentencePiece model.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) pieces: Vec<Piece>,
    pub(super) algorithm: Algorithm,
    /// Ids of unknown, begin, end and padding; `None` where the model has none.
    pub(super) unk: Option<u32>,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) pad: Option<u32>,
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
    pub(super) charsmap: Vec<u8>,
}

impl Model {
    pub(super) fn parse(bytes: &[u8]) -> Result<Model, Fault> {
        let mut model = Model {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            unk: Some(0),
            bos: Some(1),
            eos: Some(2),
            pad: None,
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            charsmap: Vec::new(),
        };
        let mut message = Message { bytes, at: 0, base: 0 };
        while let Some((number, value)) = message.field()? {
            match number {
                1 => model.pieces.push(piece(value.message()?)?),
                2 => model.trainer(value.message()?)?,
                3 => model.normalizer(value.message()?)?,
                _ => {}
            }
        }
        if model.pieces.is_empty() {
            return Err(Fault { offset: bytes.len(), problem: "a SentencePiece model without pieces ends" });
        }
        Ok(model)
    }

    fn trainer(&mut self, mut message: Message) -> Result<(), Fault> {
        while let Some((number, value)) = message.field()? {
            match number {
                3 => {
                    self.algorithm = match value.integer()? {
                        1 => Algorithm::Unigram,
                        2 => Algorithm::Bpe,
                        3 => Algorithm::Word,
                        4 => Algorithm::Char,
                        _ => return Err(value.fault("an unknown model type")),
                    }
                }
                40 => self.unk = id(value.integer()?),
                41 => self.bos = id(value.integer()?),
                42 => self.eos = id(value.integer()?),
                43 => self.pad = id(value.integer()?),
                _ => {}
            }
        }
        Ok(())
    }

    fn normalizer(&mut self, mut message: Message) -> Result<(), Fault> {
        while let Some((number, value)) = message.field()? {
            match number {
                2 => value.bytes()?.clone_into(&mut self.charsmap),
                3 => self.add_dummy_prefix = value.integer()? != 0,
                4 => self.remove_extra_whitespaces = value.integer()? != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

/// An id of the trainer: negative means none.
fn id(value: u64) -> Option<u32> {
    u32::try_from(value as i64).ok()
}

fn piece(mut message: Message) -> Result<Piece, Fault> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    while let Some((number, value)) = message.field()? {
        match number {
            1 => {
                std::str::from_utf8(value.bytes()?)
                    .map_err(|_| value.fault("a piece that is not UTF-8"))?
                    .clone_into(&mut piece.text);
            }
            2 => {
                piece.score = value.float()?;
                if !piece.score.is_finite() {
                    return Err(value.fault("a score that is not finite"));
                }
            }
            3 => {
                piece.kind = match value.integer()? {
                    1 => PieceKind::Normal,
                    2 => PieceKind::Unknown,
                    3 => PieceKind::Control,
                    4 => PieceKind::UserDefined,
                    5 => PieceKind::Unused,
                    6 => PieceKind::Byte,
                    _ => return Err(value.fault("an unknown piece type")),
                }
            }
            _ => {}
        }
    }
    Ok(piece)
}

/// A message being read: `at` is the place in `bytes`, `base` the place of `bytes` in the file.
struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
    base: usize,
}

/// One field's value and its place in the file.
struct Field<'a> {
    wire: Wire<'a>,
    offset: usize,
}

enum Wire<'a> {
    Integer(u64),
    Eight,
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

impl<'a> Message<'a> {
    fn fault(&self, problem: &'static str) -> Fault {
        Fault { offset: self.base + self.at, problem }
    }

    /// The next field's number and value, or `None` at the end.
    fn field(&mut self) -> Result<Option<(u64, Field<'a>)>, Fault> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let (offset, number) = (self.base + self.at, tag >> 3);
        let wire = match tag & 7 {
            _ if number == 0 => return Err(self.fault("a field without a number")),
            0 => Wire::Integer(self.varint()?),
            1 => {
                self.take(8)?;
                Wire::Eight
            }
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).map_err(|_| self.fault("a length past the end of the file"))?;
                let bytes = self.take(len)?;
                return Ok(Some((
                    number,
                    Field { wire: Wire::Bytes(bytes), offset: self.base + self.at - bytes.len() },
                )));
            }
            5 => {
                let four = self.take(4)?;
                Wire::Four(four.try_into().map_err(|_| self.fault("a number cut short"))?)
            }
            _ => return Err(self.fault("a wire type that is not in use")),
        };
        Ok(Some((number, Field { wire, offset })))
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first().ok_or_else(|| self.fault("the end of the file"))?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.fault("a number of more than 64 bits"))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..len).ok_or_else(|| self.fault("a length past the end of the file"))?;
        self.at += len;
        Ok(taken)
    }
}

impl<'a> Field<'a> {
    fn fault(&self, problem: &'static str) -> Fault {
        Fault { offset: self.offset, problem }
    }

    fn integer(&self) -> Result<u64, Fault> {
        match self.wire {
            Wire::Integer(value) => Ok(value),
            Wire::Eight | Wire::Bytes(_) | Wire::Four(_) => Err(self.fault("something else than an integer")),
        }
    }

    fn float(&self) -> Result<f32, Fault> {
        match self.wire {
            Wire::Four(bytes) => Ok(f32::from_le_bytes(bytes)),
            Wire::Integer(_) | Wire::Eight | Wire::Bytes(_) => Err(self.fault("something else than a float")),
        }
    }

    fn bytes(&self) -> Result<&'a [u8], Fault> {
        match self.wire {
            Wire::Bytes(bytes) => Ok(bytes),
            Wire::Integer(_) | Wire::Eight | Wire::Four(_) => Err(self.fault("something else than bytes")),
        }
    }

    fn message(&self) -> Result<Message<'a>, Fault> {
        Ok(Message { bytes: self.bytes()?, at: 0, base: self.offset })
    }
}
