//! Blocks of 256 whose groups have scales of their own, which are whole numbers times the block's scale.

use super::{blocks, field, half_at, halves, joined};
use crate::backend::cpu::kernels::{Format, LANES, Simd};

/// 16 bytes of scales and offsets (4 bits each) for 16 values, 64 of values, the block's scale and offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q2K;
/// 32 bytes of third bits, 64 of the other two, 12 of scales (6 bits) for 16 values, the block's scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q3K;
/// The block's scale and offset, 12 bytes of scales and offsets (6 bits each) for 32 values, 128 of values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q4K;
/// As [`Q4K`], with 32 bytes of fifth bits before the values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q5K;
/// 128 bytes of lower four bits, 64 of upper two, 16 scales (signed bytes) for 16 values, the block's scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Q6K;

/// The `index`th 32 bytes from `at` on.
#[inline(always)]
fn run(block: &[u8], at: usize, index: usize) -> &[u8; LANES] {
    &block[at..].as_chunks().0[index]
}

/// `scale * level - offset`.
#[inline(always)]
fn shifted<S: Simd>(simd: S, scale: S::Lanes, levels: &[u8; LANES], minus_offset: S::Lanes) -> S::Lanes {
    simd.add(simd.mul(scale, simd.decode_i8(levels)), minus_offset)
}

impl Format for Q2K {
    blocks!(16 + 64 + 2 + 2, 8);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, group: usize) -> S::Lanes {
        let levels = field(run(block, 16, group / 4), 2 * (group % 4), 2);
        let (scale, offset) = (half_at(block, 80), half_at(block, 82));
        let packed = [block[2 * group], block[2 * group + 1]];
        let scales = packed.map(|byte| scale * f32::from(byte & 15));
        let offsets = packed.map(|byte| -(offset * f32::from(byte >> 4)));
        shifted(simd, halves(simd, scales), &levels, halves(simd, offsets))
    }
}

impl Format for Q3K {
    blocks!(32 + 64 + 12 + 2, 8);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, group: usize) -> S::Lanes {
        let lower = field(run(block, 32, group / 4), 2 * (group % 4), 2);
        let upper = field(run(block, 0, 0), group, 1);
        let levels = joined(lower, upper, 2, 4);
        let (scale, packed) = (half_at(block, 108), &block[96..108]);
        let scale_of = |index: usize| {
            let lower = (packed[index % 8] >> (4 * (index / 8))) & 15;
            let upper = (packed[8 + index % 4] >> (2 * (index / 4))) & 3;
            scale * (f32::from(lower | (upper << 4)) - 32.0)
        };
        simd.mul(halves(simd, [scale_of(2 * group), scale_of(2 * group + 1)]), simd.decode_i8(&levels))
    }
}

/// Scale and offset of a group, out of the 12 bytes that hold eight of each: those of the first four groups lie in six bits
/// of a byte, those of the others in the four bits and two that are left over.
#[inline(always)]
fn scale_and_offset(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, offset) = match group {
        0..4 => (packed[group] & 63, packed[group + 4] & 63),
        _ => (
            (packed[group + 4] & 15) | ((packed[group - 4] >> 6) << 4),
            (packed[group + 4] >> 4) | ((packed[group] >> 6) << 4),
        ),
    };
    (f32::from(scale), f32::from(offset))
}

/// The values of a group of [`Q4K`] or [`Q5K`].
#[inline(always)]
fn with_scales<S: Simd>(simd: S, block: &[u8], group: usize, levels: &[u8; LANES]) -> S::Lanes {
    let (scale, offset) = scale_and_offset(&block[4..16], group);
    let (scale, offset) = (half_at(block, 0) * scale, half_at(block, 2) * offset);
    shifted(simd, simd.splat(scale), levels, simd.splat(-offset))
}

impl Format for Q4K {
    blocks!(2 + 2 + 12 + 128, 8);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, group: usize) -> S::Lanes {
        let levels = field(run(block, 16, group / 2), 4 * (group % 2), 4);
        with_scales(simd, block, group, &levels)
    }
}

impl Format for Q5K {
    blocks!(2 + 2 + 12 + 32 + 128, 8);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, group: usize) -> S::Lanes {
        let lower = field(run(block, 48, group / 2), 4 * (group % 2), 4);
        let upper = field(run(block, 16, 0), group, 1);
        with_scales(simd, block, group, &joined(lower, upper, 4, 0))
    }
}

impl Format for Q6K {
    blocks!(128 + 64 + 16 + 2, 8);

    #[inline(always)]
    fn decode<S: Simd>(simd: S, block: &Self::Chunk, group: usize) -> S::Lanes {
        let (half, part) = (group / 4, group % 4);
        let lower = field(run(block, 0, 2 * half + part % 2), 4 * (part / 2), 4);
        let upper = field(run(block, 128, half), 2 * part, 2);
        let levels = joined(lower, upper, 4, 32);
        let scale = half_at(block, 208);
        let scales = [block[192 + 2 * group], block[193 + 2 * group]];
        let scales = scales.map(|byte| scale * f32::from(byte.cast_signed()));
        simd.mul(halves(simd, scales), simd.decode_i8(&levels))
    }
}
