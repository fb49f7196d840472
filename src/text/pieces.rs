//! A SentencePiece model: BPE becomes llama.cpp's `llama`, unigram its `t5`.

use std::path::PathBuf;

use planish_formats::gguf::Kv;

use super::added::{self, Added};
use super::protobuf::{Algorithm, Model, Piece, PieceKind};
use super::sources::Sources;
use super::table::{self, ADDED_SCORE, Kind, Place, Table, Token};
use super::{Base, Error, SpecialIds};

pub(super) fn read(sources: &Sources, path: PathBuf, model: &Model) -> Result<Base, Error> {
    let name = match model.algorithm {
        Algorithm::Bpe => "llama",
        Algorithm::Unigram => "t5",
        Algorithm::Word => return Err(unsupported(path, "WORD")),
        Algorithm::Char => return Err(unsupported(path, "CHAR")),
    };
    let mut table = Table::new(sources.rows);
    for (id, piece) in model.pieces.iter().enumerate() {
        let place = Place { path: &path, field: &|| format!("piece {:?}", piece.text) };
        table.put(&place, id as u64, token(&place, piece)?)?;
    }
    add(sources, &mut table, model.pieces.len() as u64)?;

    let mut own = Kv::new();
    let configured = sources.config_flag("add_prefix_space")?;
    if model.algorithm == Algorithm::Unigram {
        own.set("tokenizer.ggml.add_space_prefix", model.add_dummy_prefix);
        own.set("tokenizer.ggml.remove_extra_whitespaces", model.remove_extra_whitespaces);
        if !model.charsmap.is_empty() {
            own.set("tokenizer.ggml.precompiled_charsmap", charsmap(&path, &model.charsmap)?);
        }
    } else if let Some(prefix) = configured.or((!model.add_dummy_prefix).then_some(false)) {
        own.set("tokenizer.ggml.add_space_prefix", prefix);
    }
    let ids = SpecialIds { bos: model.bos, eos: model.eos, unk: model.unk, pad: model.pad, ..SpecialIds::default() };
    Ok(Base { path, model: name, pre: "default".into(), table, scored: true, merges: None, ids, own })
}

fn unsupported(path: PathBuf, found: &str) -> Error {
    let field = "trainer_spec.model_type".to_owned();
    Error::Kind { path, field, found: found.to_owned(), supported: "BPE and UNIGRAM" }
}

fn token(place: &Place, piece: &Piece) -> Result<Token, Error> {
    let kind = match piece.kind {
        // llama.cpp's converter takes user-defined pieces for normal ones. Its tokenizer would put a space behind a
        // user-defined one, which SentencePiece does not.
        PieceKind::Normal | PieceKind::UserDefined => Kind::Normal,
        PieceKind::Unknown => Kind::Unknown,
        PieceKind::Control => Kind::Control,
        PieceKind::Unused => Kind::Unused,
        PieceKind::Byte if table::byte(&piece.text).is_some() => Kind::Byte,
        PieceKind::Byte => {
            let (path, found) = (place.path.to_owned(), format!("{:?}", piece.text));
            return Err(Error::Field { path, field: "a byte piece".into(), found, expected: "<0xNN>" });
        }
    };
    Ok(Token { text: piece.text.clone(), score: piece.score, kind })
}

/// Tokens that were added around the trained model, which the config may also give another type.
fn add(sources: &Sources, table: &mut Table, trained: u64) -> Result<(), Error> {
    for added in added::plain(sources.added.as_ref())? {
        let token = Token { text: added.text.to_owned(), score: ADDED_SCORE, kind: Kind::UserDefined };
        replace(table, &added, token)?;
    }
    let decoder = added::decoder(sources.config.as_ref())?;
    if decoder.is_empty()
        && let Some(json) = &sources.json
    {
        // Newer checkpoints list them in tokenizer.json alone.
        for added in added::listed(json)?.iter().filter(|added| added.id >= trained) {
            replace(table, added, added.token(false))?;
        }
    }
    for added in &decoder {
        replace(table, added, added.token(false))?;
    }
    Ok(())
}

fn replace(table: &mut Table, added: &Added, token: Token) -> Result<(), Error> {
    table.replace(&Place { path: added.node.path, field: &|| added.node.field.clone() }, added.id, token)
}

/// The map of characters that SentencePiece compiles: the size of its first part in bytes, that part, and replacements.
pub(super) fn charsmap(path: &std::path::Path, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let declared = bytes.first_chunk().map(|size| u32::from_le_bytes(*size));
    // llama.cpp refuses a map whose second part is empty.
    if declared.is_some_and(|size| u64::from(size) + 4 < bytes.len() as u64) {
        return Ok(bytes.to_owned());
    }
    let found = format!("{} bytes that declare {}", bytes.len(), declared.unwrap_or(0));
    let field = "precompiled_charsmap".to_owned();
    Err(Error::Field { path: path.to_owned(), field, found, expected: "a size and as many bytes" })
}
