//! Types and state spaces of PTX.

/// The type suffix of an instruction or a declaration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ty {
    /// One bit, a lane of a predicate register.
    Pred,
    /// Untyped bits, of so many bytes.
    B(u8),
    /// Unsigned, of so many bytes.
    U(u8),
    /// Signed, of so many bytes.
    S(u8),
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// Two of binary16.
    F16x2,
    /// Two of bfloat16.
    Bf16x2,
    /// IEEE binary32.
    F32,
    /// binary32 of which a tensor core reads 10 bits of fraction.
    Tf32,
    /// IEEE binary64.
    F64,
}

impl Ty {
    /// The type that a suffix names.
    pub fn named(suffix: &str) -> Option<Ty> {
        Some(match suffix {
            "pred" => Ty::Pred,
            "b8" => Ty::B(1),
            "b16" => Ty::B(2),
            "b32" => Ty::B(4),
            "b64" => Ty::B(8),
            "u8" => Ty::U(1),
            "u16" => Ty::U(2),
            "u32" => Ty::U(4),
            "u64" => Ty::U(8),
            "s8" => Ty::S(1),
            "s16" => Ty::S(2),
            "s32" => Ty::S(4),
            "s64" => Ty::S(8),
            "f16" => Ty::F16,
            "bf16" => Ty::Bf16,
            "f16x2" => Ty::F16x2,
            "bf16x2" => Ty::Bf16x2,
            "f32" => Ty::F32,
            "tf32" => Ty::Tf32,
            "f64" => Ty::F64,
            _ => return None,
        })
    }

    /// Bytes in memory.
    pub fn size(self) -> usize {
        match self {
            Ty::Pred => 1,
            Ty::B(n) | Ty::U(n) | Ty::S(n) => n as usize,
            Ty::F16 | Ty::Bf16 => 2,
            Ty::F16x2 | Ty::Bf16x2 | Ty::F32 | Ty::Tf32 => 4,
            Ty::F64 => 8,
        }
    }

    /// True for `.sN`.
    pub fn is_signed(self) -> bool {
        matches!(self, Ty::S(_))
    }

    /// True for scalars with an exponent.
    pub fn is_float(self) -> bool {
        matches!(self, Ty::F16 | Ty::Bf16 | Ty::F32 | Ty::Tf32 | Ty::F64)
    }

    /// True for 16-bit floats, alone or in pairs.
    pub fn is_half(self) -> bool {
        matches!(self, Ty::F16 | Ty::Bf16 | Ty::F16x2 | Ty::Bf16x2)
    }
}

/// Where an address points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// Any of the others, told apart by windows of the address.
    Generic,
    /// Device memory.
    Global,
    /// Memory of a block.
    Shared,
    /// Memory of a thread.
    Local,
    /// A kernel's arguments.
    Param,
    /// Constants of a module.
    Const,
}

/// Generic addresses from here on are shared memory.
pub(crate) const SHARED_WINDOW: u64 = 1 << 60;
/// Generic addresses from here on are local memory.
pub(crate) const LOCAL_WINDOW: u64 = 1 << 61;

/// How a float result is rounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Round {
    /// To nearest, ties to even.
    #[default]
    Nearest,
    /// To nearest, ties away from zero (`cvt.rna.tf32`).
    NearestAway,
    /// Towards zero.
    Zero,
    /// Towards minus infinity.
    Down,
    /// Towards plus infinity.
    Up,
}
