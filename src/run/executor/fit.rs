//! What is known of a run before its first layer: whether its inputs fit the tables, and how wide its states are.

use super::{Error, Result};
use crate::model::{Index, Layer, Op, widths};

/// The width of the hidden states that the first layer of a stack makes of its embeddings.
pub(super) fn embedded(layer: &Layer) -> Option<usize> {
    layer.ops.iter().find(|op| matches!(op, Op::Embed { .. }))?;
    let widths = widths(layer, |_| None).ok()?;
    widths.get(super::layer::hidden_result(layer)?.index()).copied()
}

/// Whether the ids and positions are in the tables, and the op's shape is one that the kernels have.
pub(super) fn check(op: &Op, ids: &[u32], tokens: usize) -> Result<()> {
    match op {
        Op::Embed { table, by: Index::Token } => {
            let rows = table.shape.first().copied().unwrap_or(0);
            match ids.iter().position(|&id| id as usize >= rows) {
                Some(at) => Err(Error::Token { id: ids[at], at, rows }),
                None => Ok(()),
            }
        }
        Op::Embed { table, by: Index::Position } => match table.shape.first() {
            Some(&rows) if tokens <= rows => Ok(()),
            rows => Err(Error::Positions { tokens, rows: rows.copied().unwrap_or(0) }),
        },
        Op::Embed { by: Index::First, .. }
        | Op::Carried(_)
        | Op::Linear { .. }
        | Op::Heads { .. }
        | Op::Norm { .. }
        | Op::Rope { .. }
        | Op::Slice { .. }
        | Op::Attend { .. }
        | Op::Join { .. }
        | Op::Add(..)
        | Op::Mul(..)
        | Op::Act(..)
        | Op::Affine { .. }
        | Op::Clamp { .. }
        | Op::Softcap { .. }
        | Op::Route { .. }
        | Op::Experts { .. }
        | Op::Mix { .. } => Ok(()),
    }
}
