//! Gated products that become the next product's inputs: `activation(gate) * up` as tiles, without a stop in memory as f32.

use super::{BLOCK, PANEL_ROWS, SUMS, block_len};
use crate::backend::cpu::kernels::{Level, gate};
use crate::backend::cpu::packed::MOST_INPUTS;
use crate::backend::cpu::parts::Parts;
use plimsoll_formats::Activation;
use std::arch::x86_64::*;

/// Values of 4 bytes in a row's line of a tile.
const LINE: usize = 16;

/// Tiles of one plane, as [`super::prepare`] makes them, in the making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatedTiles<'a> {
    out: Parts<'a>,
    /// Values of a block.
    block: usize,
    width: usize,
    level: Level,
    activation: Activation,
}

impl<'a> GatedTiles<'a> {
    /// Values for rows of a width; `None` where tiles would have to be filled up, and on overflow.
    pub(crate) fn len(rows: usize, width: usize) -> Option<usize> {
        let whole = width.is_multiple_of(MOST_INPUTS);
        let block = block_len(width, 1).filter(|_| whole)?;
        block.checked_mul(rows.div_ceil(BLOCK))
    }

    /// Tiles in `out`, which has [`GatedTiles::len`] values.
    pub(crate) fn new(
        level: Level,
        activation: Activation,
        width: usize,
        out: &'a mut [f32],
    ) -> Option<Self> {
        let block = block_len(width, 1)?;
        out.len().is_multiple_of(block).then(|| GatedTiles {
            out: Parts::new(out),
            block,
            width,
            level,
            activation,
        })
    }

    /// Outputs of gate and up.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Whether there is room for so many rows.
    pub(super) fn holds(&self, rows: usize) -> bool {
        Self::len(rows, self.width).is_some_and(|len| len <= self.out.len())
    }

    /// Puts the products of a panel for a block of rows: `sums` has those of the gate, then those of the other. Rows that fill
    /// the block up come as zeros, and so they stay.
    ///
    /// # Safety
    /// The processor has AVX-512 F, VL and BF16; the panel's outputs are the task's.
    #[inline(always)]
    pub(super) unsafe fn put(&self, panel: usize, block: usize, sums: &mut [f32; 2 * SUMS]) {
        let (gates, ups) = sums.split_at_mut(SUMS);
        gate(self.level, self.activation, gates, ups);
        let first = block * self.block + panel / 2 * BLOCK * LINE + panel % 2 * (LINE / 2);
        for (row, values) in gates.as_chunks::<PANEL_ROWS>().0.iter().enumerate() {
            let at = first + row * LINE;
            // SAFETY: half a line is one panel's, and the caller's promise.
            unsafe {
                let half = self.out.part(at..at + LINE / 2);
                let rounded: __m256i =
                    std::mem::transmute(_mm512_cvtneps_pbh(_mm512_loadu_ps(values.as_ptr())));
                _mm256_storeu_si256(half.as_mut_ptr().cast(), rounded);
            }
        }
    }
}
