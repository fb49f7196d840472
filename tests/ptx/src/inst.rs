//! Decoded instructions. Nothing here is text: the executor matches on enums and indexes rows.

use crate::types::{Round, Space, Ty};

/// A register row of a warp: one value a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reg {
    /// No operand, or `_`.
    None,
    /// A row of 32-bit values; 16-bit values are zero-extended.
    W(u32),
    /// A row of 64-bit values.
    D(u32),
    /// A predicate: one bit a lane.
    P(u32),
    /// A predicate, negated.
    NotP(u32),
}

/// Comparison of `setp`; the unordered ones hold when an operand is NaN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cmp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Neither is NaN.
    Num,
    /// One is NaN.
    Nan,
}

/// How `setp` joins its result with a predicate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Join {
    /// Not at all.
    None,
    /// And.
    And,
    /// Or.
    Or,
    /// Exclusive or.
    Xor,
}

/// Which part of a product is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The lower half.
    Lo,
    /// The upper half.
    Hi,
    /// All of it.
    Wide,
}

/// Source lane of `shfl`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shfl {
    /// Lane minus b.
    Up,
    /// Lane plus b.
    Down,
    /// Lane xor b.
    Bfly,
    /// Lane b of the segment.
    Idx,
}

/// What `vote` asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vote {
    /// All lanes.
    All,
    /// Any lane.
    Any,
    /// All or none.
    Uni,
    /// Which lanes.
    Ballot,
}

/// Read-modify-write and reduction operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rmw {
    /// Sum.
    Add,
    /// Minimum.
    Min,
    /// Maximum.
    Max,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise xor.
    Xor,
    /// Exchange.
    Exch,
    /// Compare and swap.
    Cas,
    /// Wrapping increment up to a bound.
    Inc,
    /// Wrapping decrement from a bound.
    Dec,
}

/// What a barrier computes over the threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarReduce {
    /// Nothing.
    None,
    /// How many predicates hold.
    Popc,
    /// Whether all hold.
    And,
    /// Whether any holds.
    Or,
}

/// Elementary functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Function {
    /// 2^x.
    Ex2,
    /// log2 x.
    Lg2,
    /// 1/x.
    Rcp,
    /// Square root.
    Sqrt,
    /// 1 / square root.
    Rsqrt,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Hyperbolic tangent.
    Tanh,
}

/// Which matrix of a product a fragment belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Matrix {
    /// The left factor.
    A,
    /// The right factor.
    B,
    /// The sum added to.
    C,
    /// The result.
    D,
}

/// Rows, columns and depth of a matrix product.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Terms of a sum.
    pub k: usize,
}

/// What an instruction does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each variant is the PTX opcode of its name")]
pub enum Op {
    Nop,
    Trap,
    Bra,
    Ret,
    Bar { aligned: bool, reduce: BarReduce },
    Shfl(Shfl),
    Vote(Vote),
    MatchAny,
    MatchAll,
    Redux(Rmw),
    WarpSync,
    ActiveMask,
    Clock,
    Ld,
    St,
    Atom(Rmw),
    CpAsync,
    CpCommit,
    CpWait,
    Mov,
    Pack,
    Unpack,
    CvtaTo,
    CvtaFrom,
    Setp(Cmp, bool, Join),
    Set(Cmp, bool),
    Selp,
    Slct,
    Cvt,
    CvtPair,
    Add,
    Addc,
    Sub,
    Subc,
    Mul(Part),
    Mad(Part),
    Fma,
    Div,
    Rem,
    Neg,
    Abs,
    Min,
    Max,
    And,
    Or,
    Xor,
    Not,
    Cnot,
    Shl,
    Shr,
    ShfL,
    ShfR,
    Lop3,
    Prmt,
    Bfi,
    Bfe,
    Bfind,
    Popc,
    Clz,
    Brev,
    Sad,
    Copysign,
    Testp,
    Dp4a,
    Dp2a { hi: bool },
    Function(Function),
    Mma,
    WmmaLoad(Matrix),
    WmmaStore,
    WmmaMma,
    LdMatrix { count: usize, trans: bool },
}

/// Modifiers that some opcodes have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "PTX's modifiers are independent flags")]
pub struct Mods {
    /// Subnormals are zero.
    pub ftz: bool,
    /// The result is clamped.
    pub sat: bool,
    /// Rounding of the result.
    pub round: Round,
    /// `cvt`'s rounding to an integral value.
    pub integral: Option<Round>,
    /// `shf.wrap`, otherwise clamped.
    pub wrap: bool,
    /// NaN operands give NaN (`min.NaN`).
    pub nan: bool,
    /// Carry is written (`.cc`).
    pub carry: bool,
    /// Negative results are zero (`.relu`).
    pub relu: bool,
    /// The access is ordered as an atomic one is (`.volatile`, `.relaxed`, `.acquire`, `.release`).
    pub ordered: bool,
    /// Matrix A is stored row by row.
    pub a_row: bool,
    /// Matrix B is stored row by row; for a single matrix `a_row` says it.
    pub b_row: bool,
    /// `bfind.shiftamt`.
    pub shiftamt: bool,
}

/// One decoded instruction.
#[derive(Clone, Debug)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// Its first type.
    pub ty: Ty,
    /// Its second type (source of `cvt`, second factor of `mma`).
    pub from: Ty,
    /// State space of its address.
    pub space: Space,
    /// Modifiers.
    pub mods: Mods,
    /// Guard: a predicate, possibly negated.
    pub guard: Reg,
    /// Destination.
    pub dst: Reg,
    /// Second destination (`setp p|q`, `shfl d|p`).
    pub dst2: Reg,
    /// Sources; for memory the first is the address.
    pub src: [Reg; 4],
    /// Vector operands, in order.
    pub lists: Vec<Vec<Reg>>,
    /// Offset of the address, target of a branch, table of `lop3`, or count of `cp.async.wait_group`.
    pub imm: i64,
    /// Shape of a matrix product.
    pub shape: Shape,
    /// Line of the PTX text.
    pub line: u32,
}
