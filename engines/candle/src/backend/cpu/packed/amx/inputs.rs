//! Activations as tiles: bf16, made once for each product's input.
//!
//! Rows go in blocks of 16, the last one filled up with zeros; a block is its tiles in the order of the inputs. With two
//! planes each tile is followed by one of what rounding to bf16 left over, so that both together have 16 bits.

use crate::backend::cpu::kernels::{Amx, TILE};
use std::arch::x86_64::*;

/// Rows of a tile.
pub(crate) const BLOCK: usize = 16;
/// Inputs of a tile.
pub(crate) const STEP: usize = 32;

/// Rows of activations, as [`prepare`] made them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiled<'a> {
    values: &'a [f32],
    /// Values of a block.
    block: usize,
    rows: usize,
    steps: usize,
    planes: usize,
}

/// Tiles after a long block: blocks that are a power of two apart would share few sets of the second-level cache.
const APART: usize = 16;

/// Values of 4 bytes that a block takes: `depth` is a multiple of [`STEP`]; `None` on overflow.
pub(crate) fn block_len(depth: usize, planes: usize) -> Option<usize> {
    const LONG: usize = 64;
    let tiles = (depth / STEP).checked_mul(planes)?;
    let apart = if tiles >= LONG && tiles.is_multiple_of(2 * APART) { APART } else { 0 };
    tiles.checked_add(apart)?.checked_mul(TILE / size_of::<f32>())
}

/// No block of at most this depth and so many planes takes more values.
pub(crate) fn most_block_len(depth: usize, planes: usize) -> Option<usize> {
    let tiles = (depth / STEP).checked_mul(planes)?.checked_add(APART)?;
    tiles.checked_mul(TILE / size_of::<f32>())
}

impl<'a> Tiled<'a> {
    /// `None` when the values are no whole number of blocks that hold so many rows, or are not aligned to cache lines.
    pub(crate) fn new(values: &'a [f32], rows: usize, depth: usize, planes: usize) -> Option<Self> {
        let block = block_len(depth, planes)?;
        let len = block.checked_mul(rows.div_ceil(BLOCK))?;
        let aligned = values.as_ptr().addr().is_multiple_of(64);
        (len == values.len() && aligned).then_some(Tiled { values, block, rows, steps: depth / STEP, planes })
    }

    /// Rows, without those that fill up the last block.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Tiles along the inputs, in each plane.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// Planes.
    pub(crate) fn planes(&self) -> usize {
        self.planes
    }

    /// The tiles of a block, from a step on.
    pub(crate) fn block(&self, block: usize, step: usize) -> &'a [f32] {
        let from = block * self.block;
        &self.values[from + step * self.planes * TILE / size_of::<f32>()..from + self.block]
    }
}

/// Makes a block of at most 16 rows of `cols` inputs.
pub(crate) fn prepare(_: Amx, rows: &[f32], cols: usize, depth: usize, planes: usize, block: &mut [f32]) {
    assert!(depth >= cols && block_len(depth, planes) == Some(block.len()) && rows.len() <= BLOCK * cols);
    // SAFETY: the processor has the instructions.
    unsafe { fill(rows, cols, depth / STEP, planes, block) };
}

/// # Safety
/// The processor has AVX-512 F, BW, DQ, VL and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn fill(rows: &[f32], cols: usize, steps: usize, planes: usize, block: &mut [f32]) {
    const LINE: usize = STEP / 2;
    for row in 0..BLOCK {
        let values = rows.get(row * cols..(row + 1) * cols).unwrap_or(&[]);
        for step in 0..steps {
            let from = (step * STEP).min(values.len());
            let values = &values[from..(from + STEP).min(values.len())];
            let masks = [values.len().min(16), values.len().saturating_sub(16)]
                .map(|count| ((1u32 << count) - 1) as u16);
            let at = (step * planes * BLOCK + row) * LINE;
            // SAFETY: a mask leaves out what is not among the values; the lines lie within the block, by their indices.
            unsafe {
                let low = _mm512_maskz_loadu_ps(masks[0], values.as_ptr());
                let high = _mm512_maskz_loadu_ps(masks[1], values.as_ptr().wrapping_add(16));
                let halves: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_si512(block[at..at + LINE].as_mut_ptr().cast(), halves);
                if planes == 2 {
                    let widen =
                        |half| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
                    let low = _mm512_sub_ps(low, widen(_mm512_castsi512_si256(halves)));
                    let high = _mm512_sub_ps(high, widen(_mm512_extracti64x4_epi64::<1>(halves)));
                    let rest: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                    let at = at + BLOCK * LINE;
                    _mm512_storeu_si512(block[at..at + LINE].as_mut_ptr().cast(), rest);
                }
            }
        }
    }
}
