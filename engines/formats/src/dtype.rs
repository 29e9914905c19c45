//! How a tensor's numbers are stored.

use std::fmt;

/// A storage type the engines can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of a single precision number.
    BF16,
    /// ggml's blocks of 32: one half-precision scale, then 32 signed bytes.
    Q8_0,
}

impl Dtype {
    /// Elements per block: 1 for plain types. A row is always a whole number of blocks.
    pub const fn block_len(self) -> u64 {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 => 32,
        }
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q8_0 => 34,
        }
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
        matches!(self, Self::Q8_0)
    }

    /// The type's usual name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
        }
    }

    /// The type of a GGUF type number, or the name of the one that is not supported.
    pub(crate) fn from_ggml(number: u32) -> Result<Self, &'static str> {
        match number {
            0 => Ok(Self::F32),
            1 => Ok(Self::F16),
            8 => Ok(Self::Q8_0),
            30 => Ok(Self::BF16),
            other => Err(GGML_NAMES.iter().find(|(n, _)| *n == other).map_or("unknown", |(_, name)| name)),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// ggml types that exist but are not read here; the retired ones say so.
const GGML_NAMES: &[(u32, &str)] = &[
    (2, "Q4_0"),
    (3, "Q4_1"),
    (4, "Q4_2, retired"),
    (5, "Q4_3, retired"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
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
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
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
        assert_eq!(Dtype::F32.bytes_for(u64::MAX / 2), None);
    }

    #[test]
    fn other_ggml_types_are_named() {
        assert_eq!(Dtype::from_ggml(12), Err("Q4_K"));
        assert_eq!(Dtype::from_ggml(4), Err("Q4_2, retired"));
        for number in [42, 0x7fff_ffff, u32::MAX] {
            assert_eq!(Dtype::from_ggml(number), Err("unknown"));
        }
    }
}
