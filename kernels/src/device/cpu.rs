//! The reference: the kernels of [`crate::cpu`] behind [`Device`].

use std::ops::Range;

use super::{Device, Norm, Result};
use crate::Isa;
use crate::cpu::{self, Activation, Attention, Precision, Rotation, Routing, Sequences, Turns, Weight};

/// This machine's processor.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// Instruction set of the kernels.
    pub isa: Isa,
}

/// A weight in memory.
pub enum Matrix {
    /// As f32.
    F32(Vec<f32>),
    /// As little-endian bf16.
    Bf16(Vec<u8>),
}

impl Device for Cpu {
    type Buf = Vec<f32>;
    type Matrix = Matrix;

    fn name(&self) -> &str {
        self.isa.name()
    }

    fn upload(&self, x: &[f32]) -> Result<Vec<f32>> {
        Ok(x.to_vec())
    }

    fn download(&self, x: &Vec<f32>, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(x);
        Ok(())
    }

    fn len(&self, x: &Vec<f32>) -> usize {
        x.len()
    }

    fn copy(&self, x: &Vec<f32>) -> Result<Vec<f32>> {
        Ok(x.clone())
    }

    fn matrix(&self, weight: Weight<'_>) -> Result<Matrix> {
        Ok(match weight {
            Weight::F32(values) => Matrix::F32(values.to_vec()),
            Weight::Bf16(bytes) => Matrix::Bf16(bytes.to_vec()),
        })
    }

    fn matmul(
        &self,
        x: &Vec<f32>,
        m: usize,
        k: usize,
        w: &Matrix,
        rows: Range<usize>,
        bias: Option<&Vec<f32>>,
    ) -> Result<Vec<f32>> {
        let mut out = vec![0.0; m * rows.len()];
        let weight = match w {
            Matrix::F32(values) => Weight::F32(&values[rows.start * k..rows.end * k]),
            Matrix::Bf16(bytes) => Weight::Bf16(&bytes[2 * rows.start * k..2 * rows.end * k]),
        };
        let bias = bias.map(Vec::as_slice);
        cpu::matmul(self.isa, x, m, k, weight, rows.len(), bias, &mut out, Precision::F32);
        Ok(out)
    }

    fn norm(&self, x: &Vec<f32>, how: Norm, weight: Option<&Vec<f32>>, bias: Option<&Vec<f32>>) -> Result<Vec<f32>> {
        let mut out = vec![0.0; x.len()];
        let (weight, bias) = (weight.map(Vec::as_slice), bias.map(Vec::as_slice));
        if how.centred {
            cpu::layer_norm(self.isa, x, how.width, weight, bias, how.eps, &mut out);
        } else {
            cpu::rms_norm(self.isa, x, how.width, weight, how.eps, &mut out);
        }
        Ok(out)
    }

    fn rope(&self, x: &mut Vec<f32>, heads: usize, dim: usize, rotation: Rotation, turns: &Turns) -> Result<()> {
        cpu::rope(self.isa, x, heads, dim, rotation, turns);
        Ok(())
    }

    fn attend(
        &self,
        shape: &Attention<'_>,
        sequences: Sequences<'_>,
        q: &Vec<f32>,
        k: &Vec<f32>,
        v: &Vec<f32>,
    ) -> Result<Vec<f32>> {
        let rows = q.len() / (shape.heads * shape.head_dim).max(1);
        let mut out = vec![0.0; rows * shape.heads * shape.value_dim];
        cpu::attend(self.isa, shape, sequences, q, k, v, &mut out, Precision::F32);
        Ok(out)
    }

    fn add(&self, x: &mut Vec<f32>, y: &Vec<f32>) -> Result<()> {
        cpu::add(self.isa, x, y);
        Ok(())
    }

    fn multiply(&self, x: &mut Vec<f32>, y: &Vec<f32>) -> Result<()> {
        cpu::multiply(self.isa, x, y);
        Ok(())
    }

    fn multiply_rows(&self, x: &mut Vec<f32>, by: &Vec<f32>) -> Result<()> {
        cpu::multiply_rows(self.isa, x, by);
        Ok(())
    }

    fn multiply_columns(&self, x: &mut Vec<f32>, by: &Vec<f32>) -> Result<()> {
        cpu::multiply_columns(self.isa, x, by);
        Ok(())
    }

    fn affine(&self, x: &mut Vec<f32>, scale: f32, shift: f32) -> Result<()> {
        cpu::affine(self.isa, x, scale, shift);
        Ok(())
    }

    fn clamp(&self, x: &mut Vec<f32>, low: f32, high: f32) -> Result<()> {
        cpu::clamp(self.isa, x, low, high);
        Ok(())
    }

    fn softcap(&self, x: &mut Vec<f32>, cap: f32) -> Result<()> {
        cpu::softcap(self.isa, x, cap);
        Ok(())
    }

    fn activate(&self, x: &mut Vec<f32>, kind: Activation) -> Result<()> {
        cpu::activate(self.isa, kind, x);
        Ok(())
    }

    fn slice(&self, x: &Vec<f32>, per: usize, take: Range<usize>) -> Result<Vec<f32>> {
        Ok(x.chunks_exact(per.max(1)).flat_map(|piece| &piece[take.clone()]).copied().collect())
    }

    fn join(&self, a: &Vec<f32>, b: &Vec<f32>, rows: usize, heads: usize, shared: bool) -> Result<Vec<f32>> {
        let (n, m) = (a.len() / (rows * heads).max(1), b.len() / (if shared { rows } else { rows * heads }).max(1));
        let mut out = Vec::with_capacity(rows * heads * (n + m));
        for piece in 0..rows * heads {
            let other = if shared { piece / heads } else { piece };
            out.extend_from_slice(&a[piece * n..][..n]);
            out.extend_from_slice(&b[other * m..][..m]);
        }
        Ok(out)
    }

    fn route(&self, how: &Routing<'_>, experts: usize, logits: &Vec<f32>) -> Result<Vec<f32>> {
        let mut out = vec![0.0; logits.len() / experts.max(1) * 2 * how.top];
        cpu::route(self.isa, how, experts, logits, &mut out);
        Ok(out)
    }

    fn mix(&self, x: &Vec<f32>, route: &Vec<f32>, top: usize, width: usize) -> Result<Vec<f32>> {
        let mut out = vec![0.0; x.len() / top.max(1)];
        cpu::mix(self.isa, x, route, top, width, &mut out);
        Ok(out)
    }

    fn gather(&self, x: &Vec<f32>, width: usize, rows: &[usize]) -> Result<Vec<f32>> {
        Ok(rows.iter().flat_map(|row| &x[row * width..(row + 1) * width]).copied().collect())
    }

    fn scatter(&self, x: &Vec<f32>, width: usize, rows: &[usize], out: &mut Vec<f32>) -> Result<()> {
        for (x, row) in x.chunks_exact(width.max(1)).zip(rows) {
            out[row * width..(row + 1) * width].copy_from_slice(x);
        }
        Ok(())
    }

    fn zeros(&self, len: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; len])
    }

    fn sum_squares(&self, x: &Vec<f32>, width: usize, rows: usize) -> Result<Vec<f64>> {
        let mut sums = vec![0.0; x.len() / (rows * width).max(1) * width];
        for (x, sums) in x.chunks_exact((rows * width).max(1)).zip(sums.chunks_exact_mut(width.max(1))) {
            cpu::sum_squares(self.isa, x, width, sums);
        }
        Ok(sums)
    }

    fn sum_magnitudes(&self, x: &Vec<f32>, width: usize, rows: usize) -> Result<Vec<f64>> {
        let mut sums = vec![0.0; x.len() / (rows * width).max(1) * width];
        for (x, sums) in x.chunks_exact((rows * width).max(1)).zip(sums.chunks_exact_mut(width.max(1))) {
            for row in x.chunks_exact(width) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(x.abs()));
            }
        }
        Ok(sums)
    }

    fn gram(&self, x: &Vec<f32>, n: usize, h: &mut Vec<f32>) -> Result<()> {
        cpu::gram(self.isa, x, x.len() / n.max(1), n, h, Precision::F32);
        Ok(())
    }
}
