//! [`Device`] by kernels.

use std::ops::Range;

use super::launch::{Arg, Size};
use super::{Buf, Cuda, Matrix};
use crate::cpu::{Activation, Attention, Rotation, Routing, Scoring, Sequences, Turns, Weight};
use crate::device::{Device, Error, Norm, Result};

impl Cuda {
    /// A kernel that changes each element of `x`.
    fn change(&self, name: &'static str, x: &mut Buf, more: &[f32]) -> Result<()> {
        let len = x.len;
        let mut args = vec![Arg::Out(&mut x.data), Arg::U64(len as u64)];
        args.extend(more.iter().map(|number| Arg::F32(*number)));
        self.launch(name, Size::each(len), &mut args)
    }

    /// A kernel that changes each element of `x` by one of `y`.
    fn combine(&self, name: &'static str, x: &mut Buf, y: &Buf, width: Option<usize>) -> Result<()> {
        let len = x.len;
        let mut args = vec![Arg::Out(&mut x.data), Arg::In(&y.data), Arg::U64(len as u64)];
        args.extend(width.map(|width| Arg::U32(width as u32)));
        self.launch(name, Size::each(len), &mut args)
    }

    fn rows(&self, rows: &[usize]) -> Result<cudarc::driver::CudaSlice<u32>> {
        let rows: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        let mut to = self.room(&self.stream, rows.len())?;
        if !rows.is_empty() {
            self.stream.memcpy_htod(&rows[..], &mut to).map_err(|error| self.failed("to copy places", error))?;
        }
        Ok(to)
    }

    /// An optional vector of the processor.
    fn vector(&self, values: Option<&[f32]>) -> Result<Option<Buf>> {
        values.map(|values| self.upload(values)).transpose()
    }

    fn sums(&self, name: &'static str, x: &Buf, width: usize, rows: usize) -> Result<Vec<f64>> {
        let n = x.len / (rows * width).max(1) * width;
        let mut sums = self.room::<f64>(&self.stream, n)?;
        let (width, rows) = (Arg::U32(width as u32), Arg::U32(rows as u32));
        let args = &mut [Arg::In(&x.data), Arg::Wide(&mut sums), Arg::U64(n as u64), width, rows];
        self.launch(name, Size::each(n), args)?;
        let mut out = vec![0.0; n];
        if n > 0 {
            self.stream.memcpy_dtoh(&sums.slice(..n), &mut out[..]).map_err(|e| self.failed("to copy sums", e))?;
            self.stream.synchronize().map_err(|error| self.failed("to wait for sums", error))?;
        }
        Ok(out)
    }
}

/// Bytes of shared memory that every device gives a block.
const SHARED: usize = 48 << 10;

impl Device for Cuda {
    type Buf = Buf;
    type Matrix = Matrix;

    fn name(&self) -> &str {
        &self.name
    }

    fn upload(&self, x: &[f32]) -> Result<Buf> {
        let mut buf = self.buf(x.len())?;
        if !x.is_empty() {
            self.stream.memcpy_htod(x, &mut buf.data).map_err(|error| self.failed("to copy to it", error))?;
        }
        Ok(buf)
    }

    fn download(&self, x: &Buf, out: &mut [f32]) -> Result<()> {
        assert_eq!(x.len, out.len(), "download: two lengths");
        if !out.is_empty() {
            let from = x.data.slice(..x.len);
            self.stream.memcpy_dtoh(&from, out).map_err(|error| self.failed("to copy from it", error))?;
            self.stream.synchronize().map_err(|error| self.failed("to wait for it", error))?;
        }
        Ok(())
    }

    fn len(&self, x: &Buf) -> usize {
        x.len
    }

    fn copy(&self, x: &Buf) -> Result<Buf> {
        let mut buf = self.buf(x.len)?;
        if x.len > 0 {
            self.stream.memcpy_dtod(&x.data, &mut buf.data).map_err(|error| self.failed("to copy a value", error))?;
        }
        Ok(buf)
    }

    fn matrix(&self, weight: Weight<'_>) -> Result<Matrix> {
        Ok(match weight {
            Weight::F32(values) => Matrix { data: self.send(bytemuck::cast_slice(values))?, bf16: false },
            Weight::Bf16(bytes) => Matrix { data: self.send(bytes)?, bf16: true },
        })
    }

    fn matmul(&self, x: &Buf, m: usize, k: usize, w: &Matrix, rows: Range<usize>, bias: Option<&Buf>) -> Result<Buf> {
        let n = rows.len();
        assert_eq!(x.len, m * k, "matmul: x of {m} x {k}");
        let mut out = if k == 0 { self.zeros(m * n)? } else { self.buf(m * n)? };
        if m > 0 && n > 0 && k > 0 {
            self.blas.gemm(self, &x.data, w, rows.start, &mut out.data, m, n, k)?;
        }
        if let Some(bias) = bias {
            self.combine("add_columns", &mut out, bias, Some(n))?;
        }
        Ok(out)
    }

    fn norm(&self, x: &Buf, how: Norm, weight: Option<&Buf>, bias: Option<&Buf>) -> Result<Buf> {
        let Norm { width, eps, centred } = how;
        let mut out = self.buf(x.len)?;
        let rows = x.len / width.max(1);
        if rows > 0 {
            let size = Size { grid: (rows as u32, 1, 1), block: 256, shared: 0 };
            let (weight, bias) = (Arg::optional(weight), Arg::optional(bias));
            let (width, centred) = (Arg::U32(width as u32), Arg::U32(centred.into()));
            let args = &mut [Arg::In(&x.data), weight, bias, Arg::Out(&mut out.data), width, Arg::F32(eps), centred];
            self.launch("norm", size, args)?;
        }
        Ok(out)
    }

    fn rope(&self, x: &mut Buf, heads: usize, dim: usize, rotation: Rotation, turns: &Turns) -> Result<()> {
        let (cos, sin, half) = turns.tables();
        let n = x.len / dim.max(1) * half;
        if n == 0 {
            return Ok(());
        }
        let (cos, sin) = (self.upload(cos)?, self.upload(sin)?);
        let halves = match rotation {
            Rotation::Halves => 1,
            Rotation::Pairs => 0,
        };
        let numbers = [heads, dim, half, turns.positions(), halves].map(|number| Arg::U32(number as u32));
        let mut args = vec![Arg::Out(&mut x.data), Arg::In(&cos.data), Arg::In(&sin.data), Arg::U64(n as u64)];
        args.extend(numbers);
        self.launch("rope", Size::each(n), &mut args)
    }

    fn attend(&self, shape: &Attention<'_>, sequences: Sequences<'_>, q: &Buf, k: &Buf, v: &Buf) -> Result<Buf> {
        let Attention { heads, kv_heads, head_dim, value_dim, scale, causal, window, cap, .. } = *shape;
        let Sequences { queries, keys, lengths } = sequences;
        let rows = q.len / (heads * head_dim).max(1);
        let mut out = self.buf(rows * heads * value_dim)?;
        if rows == 0 {
            return Ok(out);
        }
        let shared = 8 * (head_dim + value_dim) * size_of::<f32>();
        if shared + 33 * 32 * 4 > SHARED {
            let why = format!("heads of {head_dim} and {value_dim} elements are too wide for its shared memory");
            return Err(Error::Unusable { device: self.name.clone(), why });
        }
        let (slopes, sinks, bias) = (self.vector(shape.slopes)?, self.vector(shape.sinks)?, self.vector(shape.bias)?);
        let lengths = lengths.map(|lengths| self.rows(lengths)).transpose()?;
        let grid = (queries.div_ceil(8) as u32, heads as u32, (rows / queries.max(1)) as u32);
        let mut args = vec![Arg::In(&q.data), Arg::In(&k.data), Arg::In(&v.data), Arg::Out(&mut out.data)];
        args.extend([slopes.as_ref(), sinks.as_ref(), bias.as_ref()].map(Arg::optional));
        args.push(lengths.as_ref().map_or(Arg::Null, Arg::Rows));
        let numbers = [queries, keys, heads, kv_heads, head_dim, value_dim, usize::from(causal), window.unwrap_or(0)];
        args.extend(numbers.map(|number| Arg::U32(number as u32)));
        args.extend([scale, cap.unwrap_or(0.0)].map(Arg::F32));
        self.launch("attend", Size { grid, block: 256, shared: shared as u32 }, &mut args)?;
        Ok(out)
    }

    fn add(&self, x: &mut Buf, y: &Buf) -> Result<()> {
        self.combine("add", x, y, None)
    }

    fn multiply(&self, x: &mut Buf, y: &Buf) -> Result<()> {
        self.combine("multiply", x, y, None)
    }

    fn multiply_rows(&self, x: &mut Buf, by: &Buf) -> Result<()> {
        let width = x.len / by.len.max(1);
        self.combine("multiply_rows", x, by, Some(width.max(1)))
    }

    fn multiply_columns(&self, x: &mut Buf, by: &Buf) -> Result<()> {
        self.combine("multiply_columns", x, by, Some(by.len))
    }

    fn affine(&self, x: &mut Buf, scale: f32, shift: f32) -> Result<()> {
        self.change("affine", x, &[scale, shift])
    }

    fn clamp(&self, x: &mut Buf, low: f32, high: f32) -> Result<()> {
        self.change("clamp", x, &[low, high])
    }

    fn softcap(&self, x: &mut Buf, cap: f32) -> Result<()> {
        self.change("softcap", x, &[cap])
    }

    fn activate(&self, x: &mut Buf, kind: Activation) -> Result<()> {
        let kind = match kind {
            Activation::Silu => 0,
            Activation::Gelu => 1,
            Activation::GeluTanh => 2,
            Activation::GeluQuick => 3,
            Activation::Relu => 4,
            Activation::Sigmoid => 5,
        };
        let len = x.len;
        self.launch("activate", Size::each(len), &mut [Arg::Out(&mut x.data), Arg::U64(len as u64), Arg::U32(kind)])
    }

    fn slice(&self, x: &Buf, per: usize, take: Range<usize>) -> Result<Buf> {
        let n = x.len / per.max(1) * take.len();
        let mut out = self.buf(n)?;
        if n > 0 {
            let numbers = [per, take.start, take.len()].map(|number| Arg::U32(number as u32));
            let mut args = vec![Arg::In(&x.data), Arg::Out(&mut out.data), Arg::U64(n as u64)];
            args.extend(numbers);
            self.launch("slice", Size::each(n), &mut args)?;
        }
        Ok(out)
    }

    fn join(&self, a: &Buf, b: &Buf, rows: usize, heads: usize, shared: bool) -> Result<Buf> {
        let pieces = rows * heads;
        let (wide, narrow) = (a.len / pieces.max(1), b.len / (if shared { rows } else { pieces }).max(1));
        let n = pieces * (wide + narrow);
        let mut out = self.buf(n)?;
        if n > 0 {
            let numbers = [wide, narrow, if shared { heads } else { 1 }].map(|number| Arg::U32(number as u32));
            let mut args = vec![Arg::In(&a.data), Arg::In(&b.data), Arg::Out(&mut out.data), Arg::U64(n as u64)];
            args.extend(numbers);
            self.launch("join", Size::each(n), &mut args)?;
        }
        Ok(out)
    }

    fn route(&self, how: &Routing<'_>, experts: usize, logits: &Buf) -> Result<Buf> {
        let rows = logits.len / experts.max(1);
        let mut out = self.buf(rows * 2 * how.top)?;
        if rows == 0 {
            return Ok(out);
        }
        let mut room = self.buf(rows * (2 * experts + how.groups))?;
        let bias = self.vector(how.bias)?;
        let sigmoid = match how.scoring {
            Scoring::Softmax => 0,
            Scoring::Sigmoid => 1,
        };
        let Routing { top, groups, top_groups, group_best, .. } = *how;
        let normalise = usize::from(how.normalise);
        let numbers = [rows, experts, top, sigmoid, groups, top_groups, group_best, normalise];
        let mut args = vec![Arg::In(&logits.data), Arg::optional(bias.as_ref())];
        args.extend([Arg::Out(&mut room.data), Arg::Out(&mut out.data)]);
        args.extend(numbers.map(|number| Arg::U32(number as u32)));
        args.push(Arg::F32(how.scale));
        self.launch("route", Size::each(rows), &mut args)?;
        Ok(out)
    }

    fn mix(&self, x: &Buf, route: &Buf, top: usize, width: usize) -> Result<Buf> {
        let n = x.len / top.max(1);
        let mut out = self.buf(n)?;
        if n > 0 {
            let (top, width) = (Arg::U32(top as u32), Arg::U32(width as u32));
            let data = Arg::Out(&mut out.data);
            let args = &mut [Arg::In(&x.data), Arg::In(&route.data), data, Arg::U64(n as u64), top, width];
            self.launch("mix", Size::each(n), args)?;
        }
        Ok(out)
    }

    fn gather(&self, x: &Buf, width: usize, rows: &[usize]) -> Result<Buf> {
        let n = rows.len() * width;
        let (rows, mut out) = (self.rows(rows)?, self.buf(n)?);
        if n > 0 {
            let data = Arg::Out(&mut out.data);
            let args = &mut [Arg::In(&x.data), Arg::Rows(&rows), data, Arg::U64(n as u64), Arg::U32(width as u32)];
            self.launch("gather", Size::each(n), args)?;
        }
        Ok(out)
    }

    fn scatter(&self, x: &Buf, width: usize, rows: &[usize], out: &mut Buf) -> Result<()> {
        let n = rows.len() * width;
        if n == 0 {
            return Ok(());
        }
        let rows = self.rows(rows)?;
        let data = Arg::Out(&mut out.data);
        let args = &mut [Arg::In(&x.data), Arg::Rows(&rows), data, Arg::U64(n as u64), Arg::U32(width as u32)];
        self.launch("scatter", Size::each(n), args)
    }

    fn zeros(&self, len: usize) -> Result<Buf> {
        let mut buf = self.buf(len)?;
        self.stream.memset_zeros(&mut buf.data).map_err(|error| self.failed("to clear memory", error))?;
        Ok(buf)
    }

    fn sum_squares(&self, x: &Buf, width: usize, rows: usize) -> Result<Vec<f64>> {
        self.sums("sum_squares", x, width, rows)
    }

    fn sum_magnitudes(&self, x: &Buf, width: usize, rows: usize) -> Result<Vec<f64>> {
        self.sums("sum_magnitudes", x, width, rows)
    }

    fn gram(&self, x: &Buf, n: usize, h: &mut Buf) -> Result<()> {
        let tokens = x.len / n.max(1);
        if tokens == 0 {
            return Ok(());
        }
        self.blas.syrk(self, &x.data, &mut h.data, tokens, n)
    }
}
