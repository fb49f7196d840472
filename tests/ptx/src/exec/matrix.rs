//! Products of matrices by a warp. Sums are kept in f64 and rounded once: tensor cores round otherwise.

use super::block::Block;
use super::half::widen;
use super::memory::aligned;
use super::warp::{LANES, Warp};
use crate::heap::Access;
use crate::inst::{Inst, Matrix, Reg, Shape};
use crate::report::Hit;
use crate::round;
use crate::types::{Round, Space, Ty};

/// A small matrix, row by row.
struct Dense {
    columns: usize,
    values: Vec<f64>,
}

impl Dense {
    fn new(rows: usize, columns: usize) -> Self {
        Self { columns, values: vec![0.0; rows * columns] }
    }

    fn at(&mut self, row: usize, column: usize) -> &mut f64 {
        &mut self.values[row * self.columns + column]
    }
}

/// What a factor's 32-bit register holds: one tf32 or two halves.
fn element(ty: Ty, register: u32, part: usize) -> f64 {
    match ty {
        // A tensor core does not look at the other 13 bits.
        Ty::Tf32 => f32::from_bits(register & !0x1fff).into(),
        Ty::F32 => f32::from_bits(register).into(),
        _ => widen(ty, (register >> (16 * part)) as u16).into(),
    }
}

fn pack(ty: Ty, values: &[f64]) -> u32 {
    if ty == Ty::F32 {
        return (values[0] as f32).to_bits();
    }
    values.iter().enumerate().fold(0, |r, (k, &v)| r | u32::from(round::to_f16(v, Round::Nearest)) << (16 * k))
}

fn product(s: Shape, a: &mut Dense, b: &mut Dense, c: &mut Dense) -> Dense {
    let mut d = Dense::new(s.m, s.n);
    for row in 0..s.m {
        for column in 0..s.n {
            let mut sum = *c.at(row, column);
            for k in 0..s.k {
                sum += *a.at(row, k) * *b.at(k, column);
            }
            *d.at(row, column) = sum;
        }
    }
    d
}

/// Row and column of part `h` of register `r` of lane `l` in the fragments of `mma.m16n8`.
fn mma_place(m: Matrix, ty: Ty, l: usize, r: usize, h: usize) -> (usize, usize) {
    let (group, in_group) = (l / 4, l % 4);
    let per = 4 / ty.size();
    match m {
        Matrix::A => (group + 8 * (r & 1), in_group * per + h + 4 * per * (r >> 1)),
        Matrix::B => (in_group * per + h + 4 * per * r, group),
        // Two registers of f32, or two halves of one, lie side by side.
        Matrix::C | Matrix::D if ty == Ty::F32 => (group + 8 * (r >> 1), in_group * 2 + (r & 1)),
        Matrix::C | Matrix::D => (group + 8 * r, in_group * 2 + h),
    }
}

/// `mma.sync`.
pub(super) fn mma(w: &mut Warp, i: &Inst) {
    let s = i.shape;
    let gather = |m: Matrix, list: &[Reg], ty: Ty, rows, columns| {
        let mut dense = Dense::new(rows, columns);
        for (r, &reg) in list.iter().enumerate() {
            let row = w.get32(reg);
            for (l, &v) in row.iter().enumerate() {
                for h in 0..4 / ty.size() {
                    let (y, x) = mma_place(m, ty, l, r, h);
                    *dense.at(y, x) = element(ty, v, h);
                }
            }
        }
        dense
    };
    let mut a = gather(Matrix::A, &i.lists[1], i.from, s.m, s.k);
    let mut b = gather(Matrix::B, &i.lists[2], i.from, s.k, s.n);
    let mut c = gather(Matrix::C, &i.lists[3], i.ty, s.m, s.n);
    let mut d = product(s, &mut a, &mut b, &mut c);
    for (r, &reg) in i.lists[0].iter().enumerate() {
        let row = std::array::from_fn(|l| {
            let parts: Vec<f64> = (0..4 / i.ty.size())
                .map(|h| {
                    let (y, x) = mma_place(Matrix::D, i.ty, l, r, h);
                    *d.at(y, x)
                })
                .collect();
            pack(i.ty, &parts)
        });
        w.set32(reg, !0, &row);
    }
}

/// Rows and columns of a fragment of `wmma`.
fn extent(m: Matrix, s: Shape) -> (usize, usize) {
    match m {
        Matrix::A => (s.m, s.k),
        Matrix::B => (s.k, s.n),
        Matrix::C | Matrix::D => (s.m, s.n),
    }
}

/// The layout of `wmma` fragments is the implementation's: here elements row by row over lanes, then registers.
fn wmma_place(m: Matrix, s: Shape, ty: Ty, l: usize, r: usize, h: usize) -> Option<(usize, usize)> {
    let (rows, columns) = extent(m, s);
    let e = (r * LANES + l) * (4 / ty.size()) + h;
    (e < rows * columns).then_some((e / columns, e % columns))
}

/// `wmma.mma`.
pub(super) fn wmma_mma(w: &mut Warp, i: &Inst) {
    let s = i.shape;
    let gather = |m: Matrix, list: &[Reg], ty: Ty| {
        let (rows, columns) = extent(m, s);
        let mut dense = Dense::new(rows, columns);
        for (r, &reg) in list.iter().enumerate() {
            let row = w.get32(reg);
            for (l, &v) in row.iter().enumerate() {
                for h in 0..4 / ty.size() {
                    if let Some((y, x)) = wmma_place(m, s, ty, l, r, h) {
                        *dense.at(y, x) = element(ty, v, h);
                    }
                }
            }
        }
        dense
    };
    let mut a = gather(Matrix::A, &i.lists[1], i.from);
    let mut b = gather(Matrix::B, &i.lists[2], i.from);
    let mut c = gather(Matrix::C, &i.lists[3], i.ty);
    let mut d = product(s, &mut a, &mut b, &mut c);
    for (r, &reg) in i.lists[0].iter().enumerate() {
        let row = std::array::from_fn(|l| {
            let parts: Vec<f64> = (0..4 / i.ty.size())
                .map(|h| wmma_place(Matrix::D, s, i.ty, l, r, h).map_or(0.0, |(y, x)| *d.at(y, x)))
                .collect();
            pack(i.ty, &parts)
        });
        w.set32(reg, !0, &row);
    }
}

/// Address of an element in memory.
fn wmma_address(w: &Warp, i: &Inst, m: Matrix, row: usize, column: usize) -> u64 {
    let base = w.lane(i.src[0], 0).wrapping_add(i.imm as u64);
    let (rows, columns) = extent(m, i.shape);
    let stride = match i.src[1] {
        Reg::None if i.mods.a_row => columns as u64,
        Reg::None => rows as u64,
        r => w.lane(r, 0) & 0xffff_ffff,
    };
    let (row, column) = (row as u64, column as u64);
    let at = if i.mods.a_row { row * stride + column } else { column * stride + row };
    base.wrapping_add(at * i.ty.size() as u64)
}

/// `wmma.load`.
pub(super) fn wmma_load(b: &mut Block<'_>, w: &mut Warp, i: &Inst, m: Matrix) -> Result<(), Hit> {
    // The pointer of a fragment is aligned to 32 bytes.
    aligned(w.lane(i.src[0], 0).wrapping_add(i.imm as u64), 32, "wmma.load").map_err(|h| h.lane(0))?;
    let size = i.ty.size();
    for (r, &reg) in i.lists[0].iter().enumerate() {
        for l in 0..LANES {
            let mut v = 0;
            for h in 0..4 / size {
                if let Some((y, x)) = wmma_place(m, i.shape, i.ty, l, r, h) {
                    let a = wmma_address(w, i, m, y, x);
                    let e = b.load(w, l, i.space, a, size, Access::Read).map_err(|hit| hit.lane(l))?;
                    v |= (e as u32) << (16 * h);
                }
            }
            w.set_lane(reg, l, u64::from(v));
        }
    }
    Ok(())
}

/// `wmma.store`.
pub(super) fn wmma_store(b: &mut Block<'_>, w: &mut Warp, i: &Inst) -> Result<(), Hit> {
    aligned(w.lane(i.src[0], 0).wrapping_add(i.imm as u64), 32, "wmma.store").map_err(|h| h.lane(0))?;
    let size = i.ty.size();
    for (r, &reg) in i.lists[0].iter().enumerate() {
        let row = w.get32(reg);
        for (l, &v) in row.iter().enumerate() {
            for h in 0..4 / size {
                if let Some((y, x)) = wmma_place(Matrix::D, i.shape, i.ty, l, r, h) {
                    let a = wmma_address(w, i, Matrix::D, y, x);
                    let part = u64::from(v >> (16 * h)) & if size == 2 { 0xffff } else { 0xffff_ffff };
                    b.store(w, l, i.space, a, size, part, Access::Write).map_err(|hit| hit.lane(l))?;
                }
            }
        }
    }
    Ok(())
}

/// `ldmatrix`: lane `8 q + r` holds the address of row `r` of matrix `q`.
pub(super) fn ldmatrix(b: &mut Block<'_>, w: &mut Warp, i: &Inst, count: usize, trans: bool) -> Result<(), Hit> {
    let rows = w.get64(i.src[0]).map(|a| a.wrapping_add(i.imm as u64));
    for (l, &a) in rows.iter().enumerate().take(8 * count) {
        aligned(a, 16, "ldmatrix").map_err(|h| h.lane(l))?;
    }
    for (q, &reg) in i.lists[0].iter().enumerate() {
        for l in 0..LANES {
            let mut v = 0;
            for h in 0..2 {
                let (row, column) = (l / 4, l % 4 * 2 + h);
                let (row, column) = if trans { (column, row) } else { (row, column) };
                let a = rows[8 * q + row].wrapping_add(2 * column as u64);
                v |= b.load(w, l, Space::Shared, a, 2, Access::Read).map_err(|hit| hit.lane(l))? << (16 * h);
            }
            w.set_lane(reg, l, v);
        }
    }
    Ok(())
}
