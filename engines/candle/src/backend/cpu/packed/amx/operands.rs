//! Whose panels are multiplied, and where the products go.

use super::sums::Sums;
use super::{BLOCK, GatedTiles, PANEL_ROWS, Packed, SUMS, Target};
use std::ops::Range;

/// Panels in an order, two of which are multiplied together, and the place of their products.
#[derive(Clone, Copy)]
pub(super) enum Operands<'a> {
    /// A matrix's.
    One(&'a Packed, &'a Target<'a>),
    /// A panel of the gate, then that of the other with the same outputs, and so on.
    Gated([&'a Packed; 2], &'a GatedTiles<'a>),
}

impl<'a> Operands<'a> {
    /// The cells of a panel.
    #[inline(always)]
    pub(super) fn panel(&self, number: usize) -> &'a [u8] {
        match self {
            Operands::One(weights, _) => weights.panel(number),
            Operands::Gated(weights, _) => weights[number % 2].panel(number / 2),
        }
    }

    /// How far apart panels are of which one is so many after the other.
    #[inline(always)]
    pub(super) fn bytes_of(&self, panels: usize) -> usize {
        match self {
            Operands::One(weights, _) => panels * weights.panel_bytes(),
            Operands::Gated([gate, _], _) => panels / 2 * gate.panel_bytes(),
        }
    }

    /// Puts complete sums of two panels for a block of rows where they belong, if that is tiles.
    ///
    /// # Safety
    /// The processor has AVX-512 F, VL and BF16; the panels' outputs are the task's.
    #[inline(always)]
    pub(super) unsafe fn put_block(&self, first_panel: usize, block: usize, sums: &mut [f32; 2 * SUMS]) {
        if let Operands::Gated(_, target) = self {
            // SAFETY: the caller's promise.
            unsafe { target.put(first_panel / 2, block, sums) };
        }
    }

    /// Puts complete sums of several panels for blocks of rows where they belong, if that is rows: `[two panels][two blocks]`. Row
    /// by row, since rows are pages apart: a panel's part of each costs more to look up than to write.
    ///
    /// # Safety
    /// As [`Operands::put_block`].
    #[inline(always)]
    pub(super) unsafe fn put_rows(
        &self,
        panels: Range<usize>,
        blocks: Range<usize>,
        rows: usize,
        sums: &[Sums],
    ) {
        let Operands::One(weights, target) = self else { return };
        let pairs = blocks.len().div_ceil(2);
        for row in blocks.start * BLOCK..rows.min(blocks.end * BLOCK) {
            let within = row - blocks.start * BLOCK;
            let (block, line) = (within / BLOCK, within % BLOCK);
            for (number, panel) in panels.clone().enumerate() {
                let sums =
                    &sums[number / 2 * pairs + block / 2].as_chunks::<SUMS>().0[block % 2 * 2 + number % 2];
                target.put_panel(weights, panel, row, &sums.as_chunks::<PANEL_ROWS>().0[line]);
            }
        }
    }
}
