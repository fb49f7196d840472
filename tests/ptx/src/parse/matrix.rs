//! Products of matrices by a warp: `mma.sync`, `wmma`, `ldmatrix`.

use super::decode::{Decoder, Width};
use super::modifiers::Opcode;
use crate::inst::{Matrix, Op, Shape};
use crate::types::{Space, Ty};

const fn shape(m: usize, n: usize, k: usize) -> Shape {
    Shape { m, n, k }
}

/// Decodes one of them.
pub(super) fn decode(o: &Opcode<'_>, d: &mut Decoder<'_, '_, '_>) -> Result<Op, String> {
    if o.parts[0] == "ldmatrix" {
        d.inst.ty = Ty::B(2);
        if !o.has("m8n8") || !o.has("b16") {
            return Err("only .m8n8 of .b16 is supported".into());
        }
        if d.inst.space == Space::Generic {
            return Err("ldmatrix without .shared is not supported".into());
        }
        let count = o.count();
        if d.list(0, Width::W)? != count {
            return Err("the vector has another length than the opcode says".into());
        }
        d.inst.imm = d.address(0, 1)?;
        return Ok(Op::LdMatrix { count, trans: o.has("trans") });
    }
    d.inst.shape = o.shape().ok_or("a shape like m16n8k16 is missing")?;
    let types: Vec<Ty> = o.parts[1..].iter().filter_map(|s| Ty::named(s)).collect();
    if o.parts[0] == "mma" {
        return mma(o, d, &types);
    }
    let square = [shape(16, 16, 16), shape(32, 8, 16), shape(8, 32, 16)];
    let tf32 = d.inst.shape == shape(16, 16, 8);
    if !square.contains(&d.inst.shape) && !tf32 {
        return Err("this shape of wmma is not supported".into());
    }
    match o.parts.get(1).copied() {
        Some("load") => {
            let m = match o.parts.get(2).copied() {
                Some("a") => Matrix::A,
                Some("b") => Matrix::B,
                Some("c") => Matrix::C,
                _ => return Err("which matrix is loaded?".into()),
            };
            let n = d.list(0, Width::W)?;
            d.inst.imm = d.address(0, 1)?;
            if d.ops.len() > 2 {
                d.src(1, 2, Width::W)?;
            }
            fragment(&d.inst.shape, m, d.inst.ty, n)?;
            Ok(Op::WmmaLoad(m))
        }
        Some("store") => {
            d.inst.imm = d.address(0, 0)?;
            let n = d.list(1, Width::W)?;
            if d.ops.len() > 2 {
                d.src(1, 2, Width::W)?;
            }
            fragment(&d.inst.shape, Matrix::D, d.inst.ty, n)?;
            Ok(Op::WmmaStore)
        }
        Some("mma") => {
            // Types: D, A, B, C for bf16 and tf32; D, C for f16.
            let (result, factor) = match *types {
                [r @ Ty::F32, a @ (Ty::Bf16 | Ty::Tf32), b, Ty::F32] if a == b => (r, a),
                [r @ (Ty::F32 | Ty::F16), c] if r == c => (r, Ty::F16),
                _ => return Err("these types of wmma are not supported".into()),
            };
            (d.inst.ty, d.inst.from) = (result, factor);
            for (i, m) in [Matrix::D, Matrix::A, Matrix::B, Matrix::C].into_iter().enumerate() {
                let n = d.list(i, Width::W)?;
                fragment(&d.inst.shape, m, if matches!(m, Matrix::A | Matrix::B) { factor } else { result }, n)?;
            }
            Ok(Op::WmmaMma)
        }
        _ => Err("only load, store and mma of wmma are known".into()),
    }
}

/// Registers of a fragment. Those of 16-bit factors in f16 repeat elements, which the interpreter need not.
fn fragment(s: &Shape, m: Matrix, ty: Ty, found: usize) -> Result<(), String> {
    let elements = match m {
        Matrix::A => s.m * s.k,
        Matrix::B => s.k * s.n,
        Matrix::C | Matrix::D => s.m * s.n,
    };
    let doubled = if ty == Ty::F16 && matches!(m, Matrix::A | Matrix::B) && s.m == 16 { 2 } else { 1 };
    let wanted = if ty == Ty::F16 && s.m != 16 && matches!(m, Matrix::A | Matrix::B) {
        8
    } else {
        elements * doubled * ty.size().min(4) / 4 / 32
    };
    let bad = || format!("a fragment of {found} registers where {wanted} are needed");
    if wanted == found && elements * ty.size() / 4 / 32 <= found { Ok(()) } else { Err(bad()) }
}

fn mma(o: &Opcode<'_>, d: &mut Decoder<'_, '_, '_>, types: &[Ty]) -> Result<Op, String> {
    if !o.has("row") || !o.has("col") || o.has("sp") {
        return Err("only mma.sync.aligned.SHAPE.row.col is supported".into());
    }
    let [result, a, b, c] = *types else { return Err("mma has four types".into()) };
    let known = match (a, d.inst.shape) {
        (Ty::Bf16 | Ty::F16, s) => s == shape(16, 8, 16) || s == shape(16, 8, 8),
        (Ty::Tf32, s) => s == shape(16, 8, 8) || s == shape(16, 8, 4),
        _ => false,
    };
    let sum = result == Ty::F32 || (result == Ty::F16 && a == Ty::F16);
    if !known || a != b || result != c || !sum {
        return Err("this shape and these types of mma are not supported".into());
    }
    (d.inst.ty, d.inst.from) = (result, a);
    let s = d.inst.shape;
    let wanted = [
        s.m * s.n * result.size() / 128,
        s.m * s.k * a.size() / 128,
        s.k * s.n * a.size() / 128,
        s.m * s.n * result.size() / 128,
    ];
    for (i, wanted) in wanted.into_iter().enumerate() {
        let found = d.list(i, Width::W)?;
        if found != wanted {
            return Err(format!("operand {} has {found} registers where {wanted} are needed", i + 1));
        }
    }
    Ok(Op::Mma)
}
