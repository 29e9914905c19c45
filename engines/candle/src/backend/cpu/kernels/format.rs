//! Storage formats of weights and of the KV cache, and how they turn into f32.

use super::{LANES, per_level};

/// A storage format, read [`LANES`] values at a time. Bytes are little-endian, as in files.
pub(crate) trait Format: Copy + Send + Sync + 'static {
    /// Bytes of [`LANES`] values.
    const STRIDE: usize;

    /// The values of [`Format::STRIDE`] bytes.
    fn decode(bytes: &[u8]) -> [f32; LANES];

    /// Bytes of a row of `len` values, which is a whole number of the format's blocks.
    fn row_bytes(len: usize) -> usize {
        len / LANES * Self::STRIDE + len % LANES * (Self::STRIDE / LANES)
    }

    /// The values of the last bytes of a row, fewer than [`Format::STRIDE`]; zeros after them.
    #[inline(always)]
    fn decode_tail(bytes: &[u8]) -> [f32; LANES] {
        let mut padded = [0; 4 * LANES];
        padded[..bytes.len()].copy_from_slice(bytes);
        Self::decode(&padded[..Self::STRIDE])
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
/// Blocks of 32: a half-precision scale, then 32 signed bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q8_0;

impl Format for F32 {
    const STRIDE: usize = 4 * LANES;

    #[inline(always)]
    fn decode(bytes: &[u8]) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        values
    }
}

impl Format for F16 {
    const STRIDE: usize = 2 * LANES;

    #[inline(always)]
    fn decode(bytes: &[u8]) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32_of_f16(u16::from_le_bytes(*bytes));
        }
        values
    }
}

impl Format for Bf16 {
    const STRIDE: usize = 2 * LANES;

    #[inline(always)]
    fn decode(bytes: &[u8]) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
        values
    }
}

impl Format for Q8_0 {
    const STRIDE: usize = 2 + LANES;

    #[inline(always)]
    fn decode(bytes: &[u8]) -> [f32; LANES] {
        let scale = f32_of_f16(u16::from_le_bytes([bytes[0], bytes[1]]));
        let mut values = [0.0; LANES];
        for (value, &byte) in values.iter_mut().zip(&bytes[2..]) {
            // 11 bits of the scale times 8 bits: the product is exact.
            *value = scale * f32::from(byte as i8);
        }
        values
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
        match $dtype {
            plimsoll_formats::Dtype::F32 => {
                type $format = $crate::backend::cpu::kernels::F32;
                $then
            }
            plimsoll_formats::Dtype::F16 => {
                type $format = $crate::backend::cpu::kernels::F16;
                $then
            }
            plimsoll_formats::Dtype::BF16 => {
                type $format = $crate::backend::cpu::kernels::Bf16;
                $then
            }
            plimsoll_formats::Dtype::Q8_0 => {
                type $format = $crate::backend::cpu::kernels::Q8_0;
                $then
            }
        }
    };
}
pub(crate) use with_format;

per_level! {
    /// The values of one row.
    pub(crate) fn dequantise<F: Format>(row: &[u8], values: &mut [f32]) {
        let (chunks, rest) = values.as_chunks_mut::<LANES>();
        let full = chunks.len() * F::STRIDE;
        for (chunk, bytes) in chunks.iter_mut().zip(row[..full].chunks_exact(F::STRIDE)) {
            *chunk = F::decode(bytes);
        }
        if !rest.is_empty() {
            rest.copy_from_slice(&F::decode_tail(&row[full..])[..rest.len()]);
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

    #[test]
    fn a_block_of_eight_bit_values_is_scaled() {
        let mut block = half::f16::from_f32(0.5).to_le_bytes().to_vec();
        block.extend((0..32).map(|i| (i - 16) as i8 as u8));
        let mut values = [0.0; 32];
        dequantise::<Q8_0>(Level::detect(), &block, &mut values);
        assert!(values.iter().enumerate().all(|(i, &value)| value == (i as f32 - 16.0) / 2.0));
        assert_eq!(Q8_0::row_bytes(64), 68);
    }
}
