//! Suffixes of opcodes.

use crate::inst::{BarReduce, Cmp, Join, Mods, Part, Rmw, Shape, Shfl, Vote};
use crate::types::{Round, Space, Ty};

/// Suffixes that are understood or that change no value.
const KNOWN: &[&str] = &[
    "global",
    "shared",
    "shared::cta",
    "local",
    "param",
    "const",
    "rn",
    "rz",
    "rm",
    "rp",
    "rna",
    "rni",
    "rzi",
    "rmi",
    "rpi",
    "ftz",
    "sat",
    "satfinite",
    "wrap",
    "clamp",
    "NaN",
    "cc",
    "relu",
    "volatile",
    "relaxed",
    "acquire",
    "release",
    "acq_rel",
    "row",
    "col",
    "shiftamt",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "lo",
    "ls",
    "hi",
    "hs",
    "equ",
    "neu",
    "ltu",
    "leu",
    "gtu",
    "geu",
    "num",
    "nan",
    "and",
    "or",
    "xor",
    "wide",
    "add",
    "min",
    "max",
    "exch",
    "cas",
    "inc",
    "dec",
    "up",
    "down",
    "bfly",
    "idx",
    "all",
    "any",
    "uni",
    "ballot",
    "popc",
    "red",
    "v2",
    "v4",
    "v8",
    "x1",
    "x2",
    "x4",
    "sync",
    "aligned",
    "arrive",
    "warp",
    "cluster",
    "to",
    "nc",
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "weak",
    "cta",
    "gpu",
    "sys",
    "gl",
    "sc",
    "async",
    "bulk",
    "mbarrier",
    "commit_group",
    "wait_group",
    "wait_all",
    "approx",
    "full",
    "l",
    "r",
    "trans",
    "m8n8",
    "load",
    "store",
    "mma",
    "a",
    "b",
    "c",
    "d",
    "sp",
    "finite",
    "infinite",
    "number",
    "notanumber",
    "normal",
    "subnormal",
    "evict_normal",
    "evict_first",
    "evict_last",
    "no_allocate",
    "noftz",
    "proxy",
    "global::async",
];

/// An opcode split at its dots.
pub(super) struct Opcode<'a> {
    pub(super) parts: Vec<&'a str>,
}

impl<'a> Opcode<'a> {
    pub(super) fn new(opcode: &'a str) -> Self {
        Self { parts: opcode.split('.').collect() }
    }

    /// The first suffix that nothing here knows: an instruction that it changes would be executed wrongly.
    pub(super) fn unknown(&self) -> Option<&'a str> {
        let shape = |s: &str| s.starts_with('m') && s.contains('n') && s.contains('k');
        self.parts[1..].iter().copied().find(|s| {
            // Hints to caches change no value.
            let hint = s.starts_with("L1::") || s.starts_with("L2::") || s.starts_with("level::");
            !(KNOWN.contains(s) || Ty::named(s).is_some() || hint || shape(s))
        })
    }

    pub(super) fn has(&self, suffix: &str) -> bool {
        self.parts[1..].contains(&suffix)
    }

    /// The first suffix that `f` knows.
    pub(super) fn find<T>(&self, f: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.parts[1..].iter().find_map(|s| f(s))
    }

    pub(super) fn space(&self) -> Space {
        let named = self.find(|s| {
            Some(match s {
                "global" => Space::Global,
                "shared" | "shared::cta" => Space::Shared,
                "local" => Space::Local,
                "param" => Space::Param,
                "const" => Space::Const,
                _ => return None,
            })
        });
        named.unwrap_or(Space::Generic)
    }

    pub(super) fn mods(&self) -> Mods {
        let round = self.find(|s| {
            Some(match s {
                "rn" => Round::Nearest,
                "rz" => Round::Zero,
                "rm" => Round::Down,
                "rp" => Round::Up,
                "rna" => Round::NearestAway,
                _ => return None,
            })
        });
        let integral = self.find(|s| {
            Some(match s {
                "rni" => Round::Nearest,
                "rzi" => Round::Zero,
                "rmi" => Round::Down,
                "rpi" => Round::Up,
                _ => return None,
            })
        });
        let layouts: Vec<bool> =
            self.parts.iter().filter(|s| matches!(**s, "row" | "col")).map(|s| *s == "row").collect();
        Mods {
            ftz: self.has("ftz"),
            sat: self.has("sat") || self.has("satfinite"),
            round: round.unwrap_or_default(),
            integral,
            wrap: self.has("wrap"),
            nan: self.has("NaN"),
            carry: self.has("cc"),
            relu: self.has("relu"),
            ordered: ["volatile", "relaxed", "acquire", "release", "acq_rel"].iter().any(|s| self.has(s)),
            a_row: layouts.first().copied().unwrap_or(true),
            b_row: layouts.get(1).copied().unwrap_or(false),
            shiftamt: self.has("shiftamt"),
        }
    }

    /// The comparison, and whether it holds for NaN.
    pub(super) fn cmp(&self) -> Option<(Cmp, bool)> {
        self.find(|s| {
            Some(match s {
                "eq" => (Cmp::Eq, false),
                "ne" => (Cmp::Ne, false),
                "lt" | "lo" => (Cmp::Lt, false),
                "le" | "ls" => (Cmp::Le, false),
                "gt" | "hi" => (Cmp::Gt, false),
                "ge" | "hs" => (Cmp::Ge, false),
                "equ" => (Cmp::Eq, true),
                "neu" => (Cmp::Ne, true),
                "ltu" => (Cmp::Lt, true),
                "leu" => (Cmp::Le, true),
                "gtu" => (Cmp::Gt, true),
                "geu" => (Cmp::Ge, true),
                "num" => (Cmp::Num, false),
                "nan" => (Cmp::Nan, true),
                _ => return None,
            })
        })
    }

    pub(super) fn join(&self) -> Join {
        self.find(|s| {
            Some(match s {
                "and" => Join::And,
                "or" => Join::Or,
                "xor" => Join::Xor,
                _ => return None,
            })
        })
        .unwrap_or(Join::None)
    }

    pub(super) fn part(&self) -> Part {
        if self.has("wide") {
            Part::Wide
        } else if self.has("hi") {
            Part::Hi
        } else {
            Part::Lo
        }
    }

    pub(super) fn rmw(&self) -> Option<Rmw> {
        self.find(|s| {
            Some(match s {
                "add" => Rmw::Add,
                "min" => Rmw::Min,
                "max" => Rmw::Max,
                "and" => Rmw::And,
                "or" => Rmw::Or,
                "xor" => Rmw::Xor,
                "exch" => Rmw::Exch,
                "cas" => Rmw::Cas,
                "inc" => Rmw::Inc,
                "dec" => Rmw::Dec,
                _ => return None,
            })
        })
    }

    pub(super) fn shfl(&self) -> Option<Shfl> {
        self.find(|s| {
            Some(match s {
                "up" => Shfl::Up,
                "down" => Shfl::Down,
                "bfly" => Shfl::Bfly,
                "idx" => Shfl::Idx,
                _ => return None,
            })
        })
    }

    pub(super) fn vote(&self) -> Option<Vote> {
        self.find(|s| {
            Some(match s {
                "all" => Vote::All,
                "any" => Vote::Any,
                "uni" => Vote::Uni,
                "ballot" => Vote::Ballot,
                _ => return None,
            })
        })
    }

    pub(super) fn bar_reduce(&self) -> BarReduce {
        if !self.has("red") {
            return BarReduce::None;
        }
        self.find(|s| {
            Some(match s {
                "popc" => BarReduce::Popc,
                "and" => BarReduce::And,
                "or" => BarReduce::Or,
                _ => return None,
            })
        })
        .unwrap_or(BarReduce::None)
    }

    /// `m16n8k16`.
    pub(super) fn shape(&self) -> Option<Shape> {
        self.find(|s| {
            let (m, rest) = s.strip_prefix('m')?.split_once('n')?;
            let (n, k) = rest.split_once('k')?;
            Some(Shape { m: m.parse().ok()?, n: n.parse().ok()?, k: k.parse().ok()? })
        })
    }

    /// Registers of `.v2`, `.v4`, `.x2`, `.x4`.
    pub(super) fn count(&self) -> usize {
        self.find(|s| match s {
            "v2" | "x2" => Some(2),
            "v4" | "x4" => Some(4),
            "v8" => Some(8),
            _ => None,
        })
        .unwrap_or(1)
    }
}
