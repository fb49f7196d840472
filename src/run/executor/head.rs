//! Logits, a tile of the vocabulary at a time.

use std::ops::Range;

use planish_kernels::cpu::{self, Precision, matmul};

use super::weights::{borrowed, finite_bf16, read, vector};
use super::{Result, Settings};
use crate::dialect::Tensors;
use crate::model::Param;
use crate::run::Weight;
#[cfg(feature = "cuda")]
use {crate::run::Place, planish_kernels::device::Device};

/// What the head multiplies, and the states it reads, ready for any tile of the vocabulary.
pub struct Head<'a> {
    settings: Settings,
    /// `[rows, width]`.
    x: Vec<f32>,
    weight: Weight<'a>,
    name: String,
    bias: Option<Vec<f32>>,
    cap: Option<f32>,
}

/// The weights of one tile of the vocabulary.
pub struct Tile<'a> {
    tokens: Range<usize>,
    borrowed: Option<&'a [u8]>,
    decoded: Vec<f32>,
    /// The weights where the program runs, if that is not the processor.
    #[cfg(feature = "cuda")]
    placed: Option<planish_kernels::cuda::Matrix>,
}

impl<'a> Head<'a> {
    pub(super) fn new(
        settings: Settings,
        source: &'a Tensors,
        mut x: Vec<f32>,
        w: &'a Param,
        bias: Option<&Param>,
        cap: Option<f32>,
    ) -> Result<Head<'a>> {
        let weight = Weight::new(source, &w.from, &w.shape)?;
        if let Some(rounding) = settings.activations.rounding(weight.storage()) {
            rounding.round(&mut x, weight.cols);
        }
        Ok(Head { settings, x, weight, name: w.name.clone(), bias: vector(settings.isa, source, bias)?, cap })
    }

    /// How many tokens there are logits of.
    pub fn vocab(&self) -> usize {
        self.weight.rows
    }

    /// Loads the weights for the logits of these tokens. `spare` is a tile whose memory may be used again.
    pub fn tile(&self, tokens: Range<usize>, spare: Option<Tile<'a>>) -> Result<Tile<'a>> {
        let mut decoded = spare.map(|tile| tile.decoded).unwrap_or_default();
        let borrowed = borrowed(&self.weight, tokens.clone());
        if let Some(bytes) = borrowed {
            finite_bf16(&self.name, self.weight.cols, tokens.start, bytes)?;
        } else {
            decoded.resize(tokens.len() * self.weight.cols, 0.0);
            read(self.settings.isa, &self.weight, &self.name, tokens.start, &mut decoded)?;
        }
        #[cfg(feature = "cuda")]
        let placed = match self.settings.place {
            Place::Cpu => None,
            Place::Cuda(cuda) => Some(cuda.matrix(borrowed.map_or(cpu::Weight::F32(&decoded), cpu::Weight::Bf16))?),
        };
        Ok(Tile {
            tokens,
            borrowed,
            decoded,
            #[cfg(feature = "cuda")]
            placed,
        })
    }

    /// The logits of a tile's tokens for these rows, `[rows, tile]`.
    pub fn logits(&self, tile: &Tile<'_>, rows: Range<usize>, out: &mut Vec<f32>) -> Result<()> {
        let (k, n) = (self.weight.cols, tile.tokens.len());
        let weight = match tile.borrowed {
            Some(bytes) => cpu::Weight::Bf16(bytes),
            None => cpu::Weight::F32(&tile.decoded),
        };
        out.resize(rows.len() * n, 0.0);
        let x = &self.x[rows.start * k..rows.end * k];
        let bias = self.bias.as_ref().map(|bias| &bias[tile.tokens.clone()]);
        #[cfg(feature = "cuda")]
        if let (Place::Cuda(cuda), Some(weight)) = (self.settings.place, &tile.placed) {
            let bias = bias.map(|bias| cuda.upload(bias)).transpose()?;
            let mut logits = cuda.matmul(&cuda.upload(x)?, rows.len(), k, weight, 0..n, bias.as_ref())?;
            if let Some(cap) = self.cap {
                cuda.softcap(&mut logits, cap)?;
            }
            return Ok(cuda.download(&logits, out)?);
        }
        // Errors of logits are not averaged by anything after them: here the faster precision would cost the most.
        let precision = match self.settings.precision {
            Precision::Bf16 => Precision::Bf16Split,
            precision => precision,
        };
        matmul(self.settings.isa, x, rows.len(), k, weight, n, bias, out, precision);
        if let Some(cap) = self.cap {
            cpu::softcap(self.settings.isa, out, cap);
        }
        Ok(())
    }
}
