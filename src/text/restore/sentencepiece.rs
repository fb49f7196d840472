//! A SentencePiece model as `tokenizer.model` holds it, for programs that read nothing else.
//!
//! Field numbers: `sentencepiece_model.proto`.

use super::super::special::Role;
use super::super::table::{ADDED_SCORE, Kind};
use super::keys::{Keys, Token};

/// The bytes of the model; `None` for tokens that no SentencePiece model has: it has one for the unknown, and no holes.
pub(super) fn model(keys: &Keys, prefix: bool) -> Option<Vec<u8>> {
    let trained = keys.tokens.iter().rposition(|token| !was_added(token)).map_or(0, |last| last + 1);
    let pieces = &keys.tokens[..trained];
    let gapless = pieces.iter().enumerate().all(|(at, token)| usize::try_from(token.id) == Ok(at));
    let unknown = pieces.iter().find(|token| token.kind == Kind::Unknown).filter(|_| gapless)?;

    let mut out = Message::default();
    for token in pieces {
        let mut piece = Message::default();
        piece.bytes(1, token.text.as_bytes());
        piece.float(2, token.score);
        piece.integer(3, token.kind as u64);
        out.bytes(1, &piece.0);
    }
    let mut trainer = Message::default();
    trainer.integer(3, 2);
    trainer.integer(4, pieces.len() as u64);
    trainer.integer(35, u64::from(pieces.iter().any(|token| token.kind == Kind::Byte)));
    trainer.integer(40, unknown.id.into());
    let marks = [(41, 46, Role::Bos), (42, 47, Role::Eos), (43, 48, Role::Pad)];
    let marks = marks.map(|(id, text, role)| (id, text, keys.special(role).filter(|(id, _)| (*id as usize) < trained)));
    for (id, _, mark) in marks {
        // Negative means none.
        trainer.integer(id, mark.map_or(u64::MAX, |(id, _)| id.into()));
    }
    trainer.bytes(45, unknown.text.as_bytes());
    for (_, text, mark) in marks {
        if let Some((_, mark)) = mark {
            trainer.bytes(text, mark.as_bytes());
        }
    }
    out.bytes(2, &trainer.0);

    let mut normalizer = Message::default();
    normalizer.bytes(1, b"identity");
    normalizer.integer(3, prefix.into());
    normalizer.integer(4, 0);
    normalizer.integer(5, 1);
    out.bytes(3, &normalizer.0);
    Some(out.0)
}

/// Whether a token was put behind the trained vocabulary.
fn was_added(token: &Token) -> bool {
    matches!(token.kind, Kind::Control | Kind::UserDefined) && token.score == ADDED_SCORE
}

/// A protobuf message being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn integer(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
