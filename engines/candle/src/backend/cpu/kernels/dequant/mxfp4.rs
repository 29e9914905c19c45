//! The Open Compute Project's microscaling format of 4-bit floats.

use super::blocks;
use super::iq4::looked_up;
use crate::backend::cpu::kernels::{Format, LANES, Simd};

/// Blocks of 32: a scale that is a power of two (E8M0), then 4-bit floats (E2M1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mxfp4;

/// Twice the value of every E2M1 number, so that all are whole.
pub(crate) const MXFP4_LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The same in two's complement.
const DOUBLED: [u8; 16] = super::unsigned(MXFP4_LEVELS);

/// Half of `2^(exponent - 127)`, exact down to the subnormals. The standard's NaN, 255, counts as a power like any other,
/// as it does in ggml.
#[inline(always)]
pub(crate) fn half_of_power(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        0..2 => 0x0020_0000 << exponent,
        _ => (u32::from(exponent) - 1) << 23,
    })
}

impl Format for Mxfp4 {
    blocks!(1 + 16, 1);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, _: usize) -> S::Lanes {
        let levels = block.last_chunk().map_or([0; LANES], |bytes| looked_up(simd, &DOUBLED, bytes));
        simd.mul(simd.splat(half_of_power(block[0])), simd.decode_i8(&levels))
    }
}
