//! What an instruction must be for the executor to run it, and what a module must be for it to be valid.

use super::modifiers::Opcode;
use crate::inst::{Function, Inst, Op, Rmw};
use crate::types::Ty;

/// Whether the executor knows an operation of a type.
pub(super) fn executed(op: Op, ty: Ty) -> bool {
    let integer = matches!(ty, Ty::B(n) | Ty::U(n) | Ty::S(n) if n > 1);
    let wide = matches!(ty, Ty::F32 | Ty::F64);
    match op {
        Op::Add | Op::Sub | Op::Mul(_) | Op::Min | Op::Max | Op::Neg | Op::Abs => integer || wide || ty.is_half(),
        Op::Div => integer || wide,
        Op::Fma => wide || ty.is_half(),
        Op::Copysign | Op::Testp => wide,
        Op::And | Op::Or | Op::Xor | Op::Not => integer || ty == Ty::Pred,
        Op::Addc
        | Op::Subc
        | Op::Mad(_)
        | Op::Rem
        | Op::Cnot
        | Op::Shl
        | Op::Shr
        | Op::Popc
        | Op::Clz
        | Op::Brev
        | Op::Bfi
        | Op::Bfe
        | Op::Bfind
        | Op::Sad => integer,
        Op::ShfL | Op::ShfR | Op::Lop3 | Op::Prmt | Op::Dp4a | Op::Dp2a { .. } | Op::Redux(_) => {
            integer && ty.size() == 4
        }
        Op::Function(Function::Ex2) => ty == Ty::F32 || ty.is_half(),
        Op::Function(Function::Tanh) => ty == Ty::F32 || ty.is_half(),
        Op::Function(Function::Rcp | Function::Sqrt | Function::Rsqrt) => wide,
        Op::Function(Function::Lg2 | Function::Sin | Function::Cos) => ty == Ty::F32,
        Op::Setp(..) => ty.is_float() || integer,
        Op::Atom(op) => match op {
            Rmw::Add => integer || wide || ty.is_half(),
            _ => integer,
        },
        Op::Ld | Op::St => ty != Ty::Pred,
        _ => true,
    }
}

/// What an instruction needs: PTX ISA and target.
pub(super) fn level(o: &Opcode<'_>, i: &Inst) -> ((u32, u32), u32) {
    let bf16 = o.parts.iter().any(|s| matches!(*s, "bf16" | "bf16x2"));
    match i.op {
        Op::CpAsync | Op::CpCommit | Op::CpWait | Op::Redux(_) => ((7, 0), 80),
        Op::Mma if bf16 || o.has("tf32") || i.shape.k == 16 => ((7, 0), 80),
        Op::Mma => ((6, 5), 75),
        Op::WmmaLoad(_) | Op::WmmaStore | Op::WmmaMma if bf16 || o.has("tf32") => ((7, 0), 80),
        Op::LdMatrix { .. } => ((6, 5), 75),
        Op::Cvt | Op::CvtPair if i.ty == Ty::Tf32 || bf16 => {
            // bf16 to anything but f32, and from anything but f32, came with sm_90.
            let to_bf16 = matches!(i.ty, Ty::Bf16 | Ty::Bf16x2) && i.from == Ty::F32;
            if to_bf16 || i.ty == Ty::Tf32 {
                ((7, 0), 80)
            } else if i.ty == Ty::F32 {
                ((7, 1), 80)
            } else {
                ((7, 8), 90)
            }
        }
        Op::Cvt if i.mods.relu => ((7, 0), 80),
        Op::CvtPair => ((7, 0), 80),
        Op::Fma | Op::Min | Op::Max | Op::Neg | Op::Abs if bf16 => ((7, 0), 80),
        Op::Add | Op::Sub | Op::Mul(_) | Op::Setp(..) if bf16 => ((7, 8), 90),
        Op::Min | Op::Max if i.mods.nan => ((7, 0), 80),
        Op::Function(Function::Tanh) => ((7, 0), 75),
        Op::Atom(_) if bf16 => ((7, 8), 90),
        Op::MatchAny | Op::MatchAll => ((6, 0), 70),
        _ => ((1, 0), 0),
    }
}
