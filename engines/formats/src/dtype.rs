//! How a tensor's numbers are stored.

use std::fmt;

/// A storage type the engines can read. All but the first three are ggml's blocks, whose bytes are laid out as in its
/// `block_*` structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of a single precision number.
    BF16,
    /// Blocks of 32: a half-precision scale, then 4 bits a number, less 8.
    Q4_0,
    /// Blocks of 32: a half-precision scale and offset, then 4 bits a number.
    Q4_1,
    /// Blocks of 32: a half-precision scale, then 5 bits a number, less 16, the fifth bits apart.
    Q5_0,
    /// Blocks of 32: a half-precision scale and offset, then 5 bits a number, the fifth bits apart.
    Q5_1,
    /// Blocks of 32: a half-precision scale, then 32 signed bytes.
    Q8_0,
    /// Blocks of 256 in 16 groups: 4-bit scales and offsets of groups, 2 bits a number.
    Q2K,
    /// Blocks of 256 in 16 groups: 6-bit scales of groups, 3 bits a number, less 4.
    Q3K,
    /// Blocks of 256 in 8 groups: 6-bit scales and offsets of groups, 4 bits a number.
    Q4K,
    /// Blocks of 256 in 8 groups: 6-bit scales and offsets of groups, 5 bits a number.
    Q5K,
    /// Blocks of 256 in 16 groups: 8-bit scales of groups, 6 bits a number, less 32.
    Q6K,
    /// Blocks of 32: a half-precision scale, then 4 bits a number, which choose from 16 uneven levels.
    IQ4NL,
    /// Blocks of 256 in 8 groups: 6-bit scales of groups, 4 bits a number, which choose from the same levels.
    IQ4XS,
    /// Blocks of 32: an exponent of 8 bits, then 4-bit floats (E2M1).
    MXFP4,
}

/// What is to be known of a type: its usual name, its number in GGUF, elements and bytes of a block.
struct Layout(&'static str, u32, u64, u64);

impl Dtype {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::IQ4NL,
        Self::IQ4XS,
        Self::MXFP4,
    ];

    const fn layout(self) -> Layout {
        match self {
            Self::F32 => Layout("F32", 0, 1, 4),
            Self::F16 => Layout("F16", 1, 1, 2),
            Self::BF16 => Layout("BF16", 30, 1, 2),
            Self::Q4_0 => Layout("Q4_0", 2, 32, 2 + 16),
            Self::Q4_1 => Layout("Q4_1", 3, 32, 4 + 16),
            Self::Q5_0 => Layout("Q5_0", 6, 32, 2 + 4 + 16),
            Self::Q5_1 => Layout("Q5_1", 7, 32, 4 + 4 + 16),
            Self::Q8_0 => Layout("Q8_0", 8, 32, 2 + 32),
            Self::Q2K => Layout("Q2_K", 10, 256, 16 + 64 + 4),
            Self::Q3K => Layout("Q3_K", 11, 256, 32 + 64 + 12 + 2),
            Self::Q4K => Layout("Q4_K", 12, 256, 4 + 12 + 128),
            Self::Q5K => Layout("Q5_K", 13, 256, 4 + 12 + 32 + 128),
            Self::Q6K => Layout("Q6_K", 14, 256, 128 + 64 + 16 + 2),
            Self::IQ4NL => Layout("IQ4_NL", 20, 32, 2 + 16),
            Self::IQ4XS => Layout("IQ4_XS", 23, 256, 2 + 2 + 4 + 128),
            Self::MXFP4 => Layout("MXFP4", 39, 32, 1 + 16),
        }
    }

    /// Elements per block: 1 for plain types. A row is always a whole number of blocks.
    pub const fn block_len(self) -> u64 {
        self.layout().2
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> u64 {
        self.layout().3
    }

    /// Bytes that `elements` take; `None` when they are no whole number of blocks or the answer passes `u64`.
    pub const fn bytes_for(self, elements: u64) -> Option<u64> {
        if !elements.is_multiple_of(self.block_len()) {
            return None;
        }
        (elements / self.block_len()).checked_mul(self.block_bytes())
    }

    /// True for types whose scale is shared by a block.
    pub const fn is_quantized(self) -> bool {
        self.block_len() > 1
    }

    /// The type's usual name.
    pub const fn name(self) -> &'static str {
        self.layout().0
    }

    /// The type's number in GGUF files.
    pub const fn ggml_number(self) -> u32 {
        self.layout().1
    }

    /// The type of a GGUF type number, or the name of the one that is not supported.
    pub(crate) fn from_ggml(number: u32) -> Result<Self, &'static str> {
        Self::ALL.into_iter().find(|dtype| dtype.ggml_number() == number).ok_or_else(|| {
            OTHER_NAMES.iter().find(|(other, _)| *other == number).map_or("unknown", |(_, name)| name)
        })
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// ggml types that exist but are not read here; the retired ones say so.
const OTHER_NAMES: &[(u32, &str)] = &[
    (4, "Q4_2, retired"),
    (5, "Q4_3, retired"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4, retired"),
    (32, "Q4_0_4_8, retired"),
    (33, "Q4_0_8_8, retired"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4, retired"),
    (37, "IQ4_NL_4_8, retired"),
    (38, "IQ4_NL_8_8, retired"),
    (40, "NVFP4"),
    (41, "Q1_0"),
    (42, "Q2_0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_blocks() {
        assert_eq!(Dtype::F32.bytes_for(3), Some(12));
        assert_eq!(Dtype::BF16.bytes_for(3), Some(6));
        assert_eq!(Dtype::Q8_0.bytes_for(64), Some(68));
        assert_eq!(Dtype::Q8_0.bytes_for(33), None);
        assert_eq!(Dtype::Q4K.bytes_for(512), Some(288));
        assert_eq!(Dtype::Q4K.bytes_for(32), None);
        assert_eq!(Dtype::F32.bytes_for(u64::MAX / 2), None);
    }

    #[test]
    fn every_number_is_one_type_or_one_name() {
        for dtype in Dtype::ALL {
            assert_eq!(Dtype::from_ggml(dtype.ggml_number()), Ok(dtype));
            assert!(OTHER_NAMES.iter().all(|(number, _)| *number != dtype.ggml_number()), "{dtype}");
        }
        assert_eq!(Dtype::ALL.len() + OTHER_NAMES.len(), 43, "ggml has 43 numbers");
        assert_eq!(Dtype::from_ggml(16), Err("IQ2_XXS"));
        assert_eq!(Dtype::from_ggml(4), Err("Q4_2, retired"));
        for number in [43, 0x7fff_ffff, u32::MAX] {
            assert_eq!(Dtype::from_ggml(number), Err("unknown"));
        }
    }
}
