//! 4-bit values that choose from 16 levels, closer to each other near 0.

use super::{blocks, half_at, nibbles};
use crate::backend::cpu::kernels::{Format, LANES, Simd};

/// Blocks of 32: a scale, then the values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Iq4Nl;
/// Blocks of 256: a scale, the upper two bits of eight scales of 6 bits for 32 values, their lower four, the values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Iq4Xs;

/// The levels.
pub(crate) const IQ4_LEVELS: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The same in two's complement.
const LEVELS: [u8; 16] = super::unsigned(IQ4_LEVELS);

/// Every 4 bits replaced by what a table has for them.
#[inline(always)]
pub(super) fn looked_up<S: Simd>(simd: S, table: &[u8; 16], bytes: &[u8; LANES / 2]) -> [u8; LANES] {
    simd.look_up(table, &nibbles(bytes))
}

impl Format for Iq4Nl {
    blocks!(2 + 16, 1);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, _: usize) -> S::Lanes {
        let levels = block.last_chunk().map_or([0; LANES], |bytes| looked_up(simd, &LEVELS, bytes));
        simd.mul(simd.splat(half_at(block, 0)), simd.decode_i8(&levels))
    }
}

impl Format for Iq4Xs {
    blocks!(2 + 2 + 4 + 128, 8);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, group: usize) -> S::Lanes {
        let levels = looked_up(simd, &LEVELS, &block[8..].as_chunks().0[group]);
        let lower = (block[4 + group / 2] >> (4 * (group % 2))) & 15;
        let upper = (block[2 + group / 4] >> (2 * (group % 4))) & 3;
        let scale = half_at(block, 0) * (f32::from(lower | (upper << 4)) - 32.0);
        simd.mul(simd.splat(scale), simd.decode_i8(&levels))
    }
}
