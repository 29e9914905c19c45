//! Storage formats of weights and of the KV cache, and how they turn into f32.

use super::{LANES, Simd, per_level};

/// A storage format, read [`LANES`] values at a time. Bytes are little-endian, as in files.
pub(crate) trait Format: Copy + Send + Sync + 'static {
    /// The bytes of [`Format::GROUPS`] times [`LANES`] values.
    type Chunk: AsMut<[u8]>;

    /// How often a chunk is decoded, for [`LANES`] values each time.
    const GROUPS: usize = 1;

    /// A chunk of zeros.
    const ZEROS: Self::Chunk;

    /// A row's chunks, and the bytes after them.
    fn chunks(row: &[u8]) -> (&[Self::Chunk], &[u8]);

    /// The values of one group of a chunk.
    fn decode<S: Simd>(simd: S, chunk: &Self::Chunk, group: usize) -> S::Lanes;

    /// Bytes of a row of `len` values, which is a whole number of the format's blocks.
    #[inline(always)]
    fn row_bytes(len: usize) -> usize {
        let (chunk, values) = (size_of::<Self::Chunk>(), LANES * Self::GROUPS);
        len / values * chunk + len % values * (chunk / values)
    }

    /// The values of the last bytes of a row, fewer than a chunk; zeros after them. Only plain formats have such rows.
    #[inline(always)]
    fn decode_tail<S: Simd>(simd: S, bytes: &[u8]) -> S::Lanes {
        let mut chunk = Self::ZEROS;
        chunk.as_mut()[..bytes.len()].copy_from_slice(bytes);
        Self::decode(simd, &chunk, 0)
    }
}

/// IEEE single precision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct F32;
/// IEEE half precision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct F16;
/// The upper half of single precision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bf16;

impl Format for F32 {
    type Chunk = [u8; 4 * LANES];

    const ZEROS: Self::Chunk = [0; 4 * LANES];

    #[inline(always)]
    fn chunks(row: &[u8]) -> (&[Self::Chunk], &[u8]) {
        row.as_chunks()
    }

    #[inline(always)]
    fn decode<S: Simd>(simd: S, chunk: &Self::Chunk, _: usize) -> S::Lanes {
        simd.decode_f32(chunk)
    }
}

impl Format for F16 {
    type Chunk = [u8; 2 * LANES];

    const ZEROS: Self::Chunk = [0; 2 * LANES];

    #[inline(always)]
    fn chunks(row: &[u8]) -> (&[Self::Chunk], &[u8]) {
        row.as_chunks()
    }

    #[inline(always)]
    fn decode<S: Simd>(simd: S, chunk: &Self::Chunk, _: usize) -> S::Lanes {
        simd.decode_f16(chunk)
    }
}

impl Format for Bf16 {
    type Chunk = [u8; 2 * LANES];

    const ZEROS: Self::Chunk = [0; 2 * LANES];

    #[inline(always)]
    fn chunks(row: &[u8]) -> (&[Self::Chunk], &[u8]) {
        row.as_chunks()
    }

    #[inline(always)]
    fn decode<S: Simd>(simd: S, chunk: &Self::Chunk, _: usize) -> S::Lanes {
        simd.decode_bf16(chunk)
    }
}

/// Half to single precision, in integer operations that compile to vector code on any processor.
#[inline(always)]
pub(crate) fn f32_of_f16(half: u16) -> f32 {
    const TINIEST_NORMAL: u32 = 113 << 23;
    let sign = u32::from(half & 0x8000) << 16;
    let magnitude = u32::from(half & 0x7fff) << 13;
    // A subnormal counts in units of 2^-24: put the count below the leading one of 2^-14, then take that one away.
    let subnormal = f32::from_bits(magnitude + TINIEST_NORMAL) - f32::from_bits(TINIEST_NORMAL);
    let bits = if magnitude >= 31 << 23 {
        magnitude + (224 << 23)
    } else if magnitude < 1 << 23 {
        subnormal.to_bits()
    } else {
        magnitude + (112 << 23)
    };
    f32::from_bits(bits | sign)
}

/// Runs an expression with `$format` naming the [`Format`] of a [`plimsoll_formats::Dtype`].
macro_rules! with_format {
    ($dtype:expr, $format:ident => $then:expr) => {
        $crate::backend::cpu::kernels::with_format!($dtype, $format => $then,
            F32 F32, F16 F16, BF16 Bf16, Q4_0 Q4_0, Q4_1 Q4_1, Q5_0 Q5_0, Q5_1 Q5_1, Q8_0 Q8_0, Q2K Q2K, Q3K Q3K,
            Q4K Q4K, Q5K Q5K, Q6K Q6K, IQ4NL Iq4Nl, IQ4XS Iq4Xs, MXFP4 Mxfp4)
    };
    ($dtype:expr, $format:ident => $then:expr, $($name:ident $of:ident),*) => {
        match $dtype {
            $(plimsoll_formats::Dtype::$name => {
                type $format = $crate::backend::cpu::kernels::$of;
                $then
            })*
        }
    };
}
pub(crate) use with_format;

per_level! {
    /// The values of one row.
    pub(crate) fn dequantise<F: Format>[simd](row: &[u8], values: &mut [f32]) {
        let (stored, tail) = F::chunks(row);
        let (chunks, rest) = values.as_chunks_mut::<LANES>();
        for (values, stored) in chunks.chunks_mut(F::GROUPS).zip(stored) {
            for (group, values) in values.iter_mut().enumerate() {
                simd.store(F::decode(simd, stored, group), values);
            }
        }
        if !rest.is_empty() {
            let mut values = [0.0; LANES];
            simd.store(F::decode_tail(simd, tail), &mut values);
            rest.copy_from_slice(&values[..rest.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::Level;

    #[test]
    fn every_half_is_converted_as_the_half_crate_does() {
        for bits in 0..=u16::MAX {
            let (got, want) = (f32_of_f16(bits), half::f16::from_bits(bits).to_f32());
            assert!(
                got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                "{bits:#x}: {got} {want}"
            );
        }
    }

    #[test]
    fn a_row_of_any_length_is_read() {
        for level in Level::all() {
            for len in [1, 31, 32, 33, 95] {
                let bytes: Vec<u8> =
                    (0..len).flat_map(|i| half::bf16::from_f32(i as f32).to_le_bytes()).collect();
                assert_eq!(bytes.len(), Bf16::row_bytes(len));
                let mut values = vec![f32::NAN; len];
                dequantise::<Bf16>(level, &bytes, &mut values);
                assert!(values.iter().enumerate().all(|(i, &value)| value == i as f32), "{values:?}");
            }
        }
    }
}
