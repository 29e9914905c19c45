//! Keys and values in 8 bits: of each token and [`SCALED`] dimensions, signed codes and one f16 scale.
//!
//! A group has its scales first, f16 `[head_dim / 32][16 tokens]`. Codes of keys follow as `[head_dim][16 tokens]`, codes of
//! values as `[16 tokens][head_dim]`.

use super::stored::{QUAD, SCALED, Stored, strided};
use super::wide::{WIDTH, Wide};

/// Codes reach from -127 to 127.
const MOST: f32 = 127.0;

/// 8 bits and shared scales.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvQ8;

impl KvQ8 {
    /// Where a group's codes begin.
    #[inline(always)]
    fn codes_at(head_dim: usize) -> usize {
        head_dim / SCALED * 2 * WIDTH
    }

    /// Quantises a row, block by block: calls `put` with the block's number, its scale in f16 and its codes.
    #[inline(always)]
    fn quantise<W: Wide>(wide: W, row: &[f32], mut put: impl FnMut(usize, [u8; 2], &[u8; SCALED])) {
        for (number, block) in row.as_chunks::<SCALED>().0.iter().enumerate() {
            let most =
                block.iter().fold(0f32, |most, value| if value.abs() > most { value.abs() } else { most });
            // Beyond what the scale can hold it is infinite, and so is what is read back; the same for no number.
            let odd = block.iter().any(|value| !value.is_finite());
            let mut half = [0; 2 * WIDTH];
            wide.store_f16(wide.splat(if odd { f32::NAN } else { most / MOST }), &mut half);
            let mut scale = [0.0; WIDTH];
            wide.store(wide.load_f16(&half), &mut scale);
            let inverse = if scale[0] > 0.0 { 1.0 / scale[0] } else { 0.0 };
            // Rounding the scale down may lift the largest code; a tiny scale's inverse may be infinite.
            let codes = block.map(|value| (value * inverse).round_ties_even().clamp(-MOST, MOST) as i8 as u8);
            put(number, [half[0], half[1]], &codes);
        }
    }
}

impl Stored for KvQ8 {
    type Quad = [u8; QUAD * WIDTH];

    const ZEROS: Self::Quad = [0; QUAD * WIDTH];
    const SCALES: bool = true;
    const PLANES: usize = 1;

    #[inline(always)]
    fn group_bytes(head_dim: usize) -> usize {
        head_dim / SCALED * (SCALED + 2) * WIDTH
    }

    #[inline(always)]
    fn scales(group: &[u8], head_dim: usize) -> &[[u8; 2 * WIDTH]] {
        group[..Self::codes_at(head_dim)].as_chunks().0
    }

    #[inline(always)]
    fn quads(keys: &[u8], head_dim: usize) -> (&[Self::Quad], &[u8]) {
        keys[Self::codes_at(head_dim)..].as_chunks()
    }

    #[inline(always)]
    fn key<W: Wide>(wide: W, quad: &Self::Quad, number: usize) -> W::V {
        wide.load_i8(&quad.as_chunks().0[number])
    }

    #[inline(always)]
    unsafe fn value<W: Wide>(wide: W, values: &[u8], head_dim: usize, token: usize, chunk: usize) -> W::V {
        let at = Self::codes_at(head_dim) + token * head_dim + WIDTH * chunk;
        debug_assert!(at + WIDTH <= values.len(), "a chunk lies within its group");
        // SAFETY: in bounds by the caller's promise.
        let bytes = unsafe { &*values.as_ptr().add(at).cast() };
        wide.load_i8(bytes)
    }

    #[inline(always)]
    fn single(_: &[u8], _: usize, _: usize, _: usize) -> f32 {
        // Heads are whole blocks, so there are no single values.
        0.0
    }

    #[inline(always)]
    fn put_keys<W: Wide>(
        wide: W,
        keys: &mut [u8],
        head_dim: usize,
        first: usize,
        rows: &[f32],
        stride: usize,
    ) {
        let (scales, codes) = keys.split_at_mut(Self::codes_at(head_dim));
        let scales = scales.as_chunks_mut::<2>().0.as_chunks_mut::<WIDTH>().0;
        let dims = codes.as_chunks_mut::<WIDTH>().0;
        for (token, row) in strided(rows, stride, head_dim).enumerate() {
            Self::quantise(wide, row, |block, scale, codes| {
                scales[block][first + token] = scale;
                for (dim, code) in dims[block * SCALED..].iter_mut().zip(codes) {
                    dim[first + token] = *code;
                }
            });
        }
    }

    #[inline(always)]
    fn put_values<W: Wide>(
        wide: W,
        values: &mut [u8],
        head_dim: usize,
        first: usize,
        rows: &[f32],
        stride: usize,
    ) {
        let (scales, codes) = values.split_at_mut(Self::codes_at(head_dim));
        let scales = scales.as_chunks_mut::<2>().0.as_chunks_mut::<WIDTH>().0;
        for (row, token) in strided(rows, stride, head_dim).zip(first..) {
            let codes_of = &mut codes[token * head_dim..][..head_dim];
            Self::quantise(wide, row, |block, scale, codes| {
                scales[block][token] = scale;
                codes_of[block * SCALED..][..SCALED].copy_from_slice(codes);
            });
        }
    }
}
