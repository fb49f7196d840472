//! The one run-time dispatch.

use std::sync::OnceLock;

/// An instruction set that this machine has been seen to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust. The oracle of the others.
    Scalar,
    /// AVX2 and F16C, 8 lanes of f32.
    Avx2,
    /// AVX-512 F, BW, DQ and VL, 16 lanes of f32.
    Avx512,
}

impl Isa {
    /// From least to most capable.
    pub const ALL: [Isa; 3] = [Isa::Scalar, Isa::Avx2, Isa::Avx512];

    /// The name that `PLANISH_ISA` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// Whether this machine can run it.
    pub fn available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }

    /// The most capable one here, or the one that `PLANISH_ISA` names. Decided once.
    ///
    /// An override that is unknown or that this machine cannot run is ignored here; [`Isa::overridden`] reports it, so
    /// that a program can refuse it before it starts.
    pub fn detected() -> Isa {
        static ISA: OnceLock<Isa> = OnceLock::new();
        *ISA.get_or_init(|| match Isa::overridden() {
            Some(Ok(isa)) => isa,
            _ => Isa::ALL.into_iter().rev().find(|isa| isa.available()).unwrap_or(Isa::Scalar),
        })
    }

    /// What `PLANISH_ISA` asks for: nothing, an instruction set, or a text that names none that can run here.
    pub fn overridden() -> Option<Result<Isa, String>> {
        let asked = std::env::var("PLANISH_ISA").ok()?;
        let found = Isa::ALL.into_iter().find(|isa| isa.name() == asked && isa.available());
        Some(found.ok_or(asked))
    }
}
