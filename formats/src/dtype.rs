//! Every element and block type that a file may hold.

/// How a tensor's elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// One number an element.
    Plain(Dtype),
    /// Blocks of a GGML type along the innermost dimension.
    Blocks(GgmlType),
}

impl Storage {
    /// Bytes of a tensor of this `shape`; `None` if a row is not a whole number of blocks or the product overflows.
    pub fn bytes(self, shape: &[usize]) -> Option<usize> {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        match self {
            Storage::Plain(dtype) => elements.checked_mul(dtype.bits()).filter(|b| b % 8 == 0).map(|b| b / 8),
            Storage::Blocks(ty) => {
                let cols = shape.last().copied().unwrap_or(1);
                (cols % ty.block_len() == 0).then(|| (elements / ty.block_len()).checked_mul(ty.block_bytes()))?
            }
        }
    }

    /// The name that reports use: `BF16`, `Q4_K`.
    pub fn name(self) -> &'static str {
        match self {
            Storage::Plain(dtype) => dtype.name(),
            Storage::Blocks(ty) => ty.name(),
        }
    }
}

macro_rules! dtypes {
    ($($(#[$doc:meta])* $name:ident $bits:literal,)*) => {
        /// A plain element type, under its safetensors name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, reason = "the names of the format")]
        #[expect(missing_docs, reason = "the names of the format")]
        pub enum Dtype { $($(#[$doc])* $name,)* }

        impl Dtype {
            /// All of them.
            pub const ALL: &[Dtype] = &[$(Dtype::$name),*];

            /// Bits an element.
            pub const fn bits(self) -> usize {
                match self { $(Dtype::$name => $bits),* }
            }

            /// The safetensors name.
            pub const fn name(self) -> &'static str {
                match self { $(Dtype::$name => stringify!($name)),* }
            }

            /// The type of this safetensors name.
            pub fn named(name: &str) -> Option<Dtype> {
                Dtype::ALL.iter().copied().find(|d| d.name() == name)
            }
        }
    };
}
dtypes! {
    BOOL 8, F4 4, F6_E2M3 6, F6_E3M2 6, U8 8, I8 8, F8_E5M2 8, F8_E4M3 8, F8_E8M0 8, F8_E4M3FNUZ 8, F8_E5M2FNUZ 8,
    I16 16, U16 16, F16 16, BF16 16, I32 32, U32 32, F32 32, C64 64, F64 64, I64 64, U64 64,
}

macro_rules! ggml_types {
    ($($name:ident $id:literal $len:literal $bytes:literal,)*) => {
        /// A tensor type of GGUF, by its GGML id. `block_len` elements take `block_bytes` bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, reason = "the names of the format")]
        #[expect(missing_docs, reason = "the names of the format")]
        pub enum GgmlType { $($name,)* }

        impl GgmlType {
            /// All of them.
            pub const ALL: &[GgmlType] = &[$(GgmlType::$name),*];

            /// The number in a GGUF tensor record.
            pub const fn id(self) -> u32 {
                match self { $(GgmlType::$name => $id),* }
            }

            /// llama.cpp's name, as in `Q4_K`.
            pub const fn name(self) -> &'static str {
                match self { $(GgmlType::$name => stringify!($name)),* }
            }

            /// Elements a block.
            pub const fn block_len(self) -> usize {
                match self { $(GgmlType::$name => $len),* }
            }

            /// Bytes a block.
            pub const fn block_bytes(self) -> usize {
                match self { $(GgmlType::$name => $bytes),* }
            }
        }
    };
}
ggml_types! {
    F32 0 1 4, F16 1 1 2, Q4_0 2 32 18, Q4_1 3 32 20, Q5_0 6 32 22, Q5_1 7 32 24, Q8_0 8 32 34, Q8_1 9 32 36,
    Q2_K 10 256 84, Q3_K 11 256 110, Q4_K 12 256 144, Q5_K 13 256 176, Q6_K 14 256 210, Q8_K 15 256 292,
    IQ2_XXS 16 256 66, IQ2_XS 17 256 74, IQ3_XXS 18 256 98, IQ1_S 19 256 50, IQ4_NL 20 32 18, IQ3_S 21 256 110,
    IQ2_S 22 256 82, IQ4_XS 23 256 136, I8 24 1 1, I16 25 1 2, I32 26 1 4, I64 27 1 8, F64 28 1 8, IQ1_M 29 256 56,
    BF16 30 1 2, TQ1_0 34 256 54, TQ2_0 35 256 66, MXFP4 39 32 17, NVFP4 40 64 36, Q1_0 41 128 18, Q2_0 42 64 18,
}

impl GgmlType {
    /// The type of this GGML id; `None` for ids that were never used or have been removed.
    pub fn with_id(id: u32) -> Option<GgmlType> {
        GgmlType::ALL.iter().copied().find(|t| t.id() == id)
    }

    /// The type of this name, in any case: `q4_k`, `BF16`.
    pub fn named(name: &str) -> Option<GgmlType> {
        GgmlType::ALL.iter().copied().find(|t| t.name().eq_ignore_ascii_case(name))
    }

    /// How a tensor of this type is stored: the plain types are the same as safetensors'.
    pub fn storage(self) -> Storage {
        Dtype::named(self.name()).map_or(Storage::Blocks(self), Storage::Plain)
    }

    /// The GGML type that holds this storage without change, if there is one.
    pub fn holding(storage: Storage) -> Option<GgmlType> {
        match storage {
            Storage::Blocks(ty) => Some(ty),
            Storage::Plain(dtype) => GgmlType::named(dtype.name()),
        }
    }
}
