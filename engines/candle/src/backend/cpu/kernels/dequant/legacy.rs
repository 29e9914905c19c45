//! Blocks of 32 with one scale, and for some one offset.

use super::{blocks, half_at, joined, nibbles};
use crate::backend::cpu::kernels::{Format, LANES, Simd};

/// A scale, then 4 bits a value, less 8.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q4_0;
/// A scale and an offset, then 4 bits a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q4_1;
/// A scale, the fifth bits, the other four, less 16.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q5_0;
/// A scale and an offset, the fifth bits, the other four.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q5_1;
/// A scale, then 32 signed bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q8_0;

/// The lower four bits of the values: the last 16 bytes of a block.
#[inline(always)]
fn last_nibbles(block: &[u8]) -> [u8; LANES] {
    block.last_chunk().map_or([0; LANES], nibbles)
}

/// The bits of a number of 32, from the lowest on.
#[inline(always)]
fn bits(block: &[u8], at: usize) -> [u8; LANES] {
    let word = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let mut bits = [0; LANES];
    for (i, bit) in bits.iter_mut().enumerate() {
        *bit = ((word >> i) & 1) as u8;
    }
    bits
}

/// `scale * level + offset`.
#[inline(always)]
fn scaled<S: Simd>(simd: S, scale: f32, levels: &[u8; LANES], offset: f32) -> S::Lanes {
    simd.add(simd.mul(simd.splat(scale), simd.decode_i8(levels)), simd.splat(offset))
}

impl Format for Q4_0 {
    blocks!(2 + 16, 1);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, _: usize) -> S::Lanes {
        let levels = joined(last_nibbles(block), [0; LANES], 0, 8);
        simd.mul(simd.splat(half_at(block, 0)), simd.decode_i8(&levels))
    }
}

impl Format for Q4_1 {
    blocks!(4 + 16, 1);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, _: usize) -> S::Lanes {
        scaled(simd, half_at(block, 0), &last_nibbles(block), half_at(block, 2))
    }
}

impl Format for Q5_0 {
    blocks!(2 + 4 + 16, 1);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, _: usize) -> S::Lanes {
        let levels = joined(last_nibbles(block), bits(block, 2), 4, 16);
        simd.mul(simd.splat(half_at(block, 0)), simd.decode_i8(&levels))
    }
}

impl Format for Q5_1 {
    blocks!(4 + 4 + 16, 1);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, _: usize) -> S::Lanes {
        let levels = joined(last_nibbles(block), bits(block, 4), 4, 0);
        scaled(simd, half_at(block, 0), &levels, half_at(block, 2))
    }
}

impl Format for Q8_0 {
    blocks!(2 + LANES, 1);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, _: usize) -> S::Lanes {
        let [_, _, levels @ ..] = block;
        // 11 bits of the scale times 8 bits: the products are exact.
        simd.mul(simd.splat(half_at(block, 0)), simd.decode_i8(levels))
    }
}
