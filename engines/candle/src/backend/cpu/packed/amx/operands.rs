//! Whose panels are multiplied, and where the products go.

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

    /// Puts the products of one or two panels for a block of rows, of which there are `rows` in all: `[panel][row][output]`.
    ///
    /// # Safety
    /// The processor has AVX-512 F, VL and BF16; the panels' outputs are the task's.
    #[inline(always)]
    pub(super) unsafe fn put(
        &self,
        panels: Range<usize>,
        block: usize,
        rows: usize,
        sums: &mut [f32; 2 * SUMS],
    ) {
        match self {
            Operands::One(weights, target) => {
                let first = block * BLOCK;
                for (panel, sums) in panels.zip(sums.as_chunks::<SUMS>().0) {
                    let rows = first..rows.min(first + BLOCK);
                    for (row, sums) in rows.zip(sums.as_chunks::<PANEL_ROWS>().0) {
                        target.put_panel(weights, panel, row, sums);
                    }
                }
            }
            // SAFETY: the caller's promise.
            Operands::Gated(_, target) => unsafe { target.put(panels.start / 2, block, sums) },
        }
    }
}
