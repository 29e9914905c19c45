//! Products of at most 16 rows with AMX tiles of whole numbers, to the bits of the other tiles.
//!
//! - `inputs`: the rows, quantised, as tiles; `units`: the products of a piece of a panel with a block of rows.
//!
//! A few panels take turns, piece by piece, while the pieces' inputs lie in the first-level cache.

mod inputs;
#[cfg(test)]
mod tests;
mod units;

pub(crate) use inputs::{Blocks, TileBytes, prepare};

use super::piece::{Code, Plan, Rows, with_number};
use crate::backend::cpu::kernels::{Amx, Tiles};
use crate::backend::cpu::matmul::Target;
use crate::backend::cpu::packed::inputs::RUN;
use crate::backend::cpu::packed::{Cell, PANEL_ROWS, Packed};
use inputs::SMALL;
use plimsoll_formats::Dtype;
use std::ops::Range;
use units::{Operands, Scratch};

/// Most rows. Twice as many would take twice the scaling, where tiles of bf16 share what they unpack.
pub(crate) const MOST: usize = 16;
/// Panels that take turns.
const PANELS: usize = 4;
/// Runs of a piece: a multiple of those of every cell.
const PIECE: usize = 32;

/// Whether so many rows are faster here than on other ways: of types with a scale for every 16 inputs, whose sums leave the tiles
/// twice as often, 8 rows are a tenth slower than with vectors.
pub(crate) fn suits(dtype: Dtype, rows: usize) -> bool {
    let few = Cell::of(dtype).is_some_and(|cell| cell.group < RUN) && rows <= SMALL;
    rows <= MOST && !few
}

/// Products of at most [`MOST`] rows with a range of panels of a type with codes. For other types, nothing happens.
pub(crate) fn products(
    amx: Amx,
    weights: &Packed,
    panels: Range<usize>,
    inputs: &TileBytes<'_>,
    target: &Target<'_>,
) {
    let Some(plan) = Plan::of(weights.dtype(), Code::Raised) else { return };
    let blocks = inputs.blocks();
    assert!(blocks.rows * blocks.count <= MOST && blocks.runs >= weights.cols().div_ceil(RUN));
    let tiles = Tiles::of_bytes(amx, blocks.rows, plan.cell.group);
    let kernel: Option<Kernel> = with_number!(weights.dtype(), N => match blocks.rows {
        SMALL => units::products::<N, SMALL>,
        _ => units::products::<N, 16>,
    });
    let Some(kernel) = kernel else { return };
    let job = Job { tiles: &tiles, kernel, weights, inputs };
    let mut scratch = Scratch::new();
    // Set by the first piece of each panel.
    let mut sums = [[[0.0; PANEL_ROWS]; MOST]; PANELS];
    for first in panels.clone().step_by(PANELS) {
        let some = first..(first + PANELS).min(panels.end);
        job.sum(some.clone(), &plan, &mut sums, &mut scratch);
        for (panel, sums) in some.zip(&sums) {
            for (block, sums) in sums.chunks(blocks.rows).enumerate().take(blocks.count) {
                for (row, sums) in inputs.rows_of(block).zip(sums) {
                    target.put_panel(weights, panel, row, sums);
                }
            }
        }
    }
}

/// See [`units::products`].
type Kernel = unsafe fn(&Tiles, Operands<'_>, &mut Scratch);

struct Job<'a> {
    tiles: &'a Tiles,
    kernel: Kernel,
    weights: &'a Packed,
    inputs: &'a TileBytes<'a>,
}

impl Job<'_> {
    /// Adds up the products of all inputs: `[panel][block][row]`.
    fn sum(
        &self,
        panels: Range<usize>,
        plan: &Plan,
        sums: &mut [[Rows; MOST]; PANELS],
        scratch: &mut Scratch,
    ) {
        let blocks = self.inputs.blocks();
        let all_runs = self.weights.cols().div_ceil(RUN);
        let stored = PIECE * RUN / plan.cell.inputs * plan.cell.bytes;
        for (number, first) in (0..all_runs).step_by(PIECE).enumerate() {
            let runs = first..(first + PIECE).min(all_runs);
            for (panel, sums) in panels.clone().zip(&mut *sums) {
                let cells = &self.weights.panel(panel)[number * stored..];
                let cells = &cells[..cells.len().min(stored)];
                let next = match (panel + 1 < panels.end, runs.end < all_runs) {
                    (true, _) => self.weights.panel(panel + 1)[number * stored..].as_ptr(),
                    (false, true) => self.weights.panel(panels.start)[(number + 1) * stored..].as_ptr(),
                    (false, false) => cells.as_ptr().wrapping_add(cells.len()),
                };
                for (block, sums) in sums.chunks_mut(blocks.rows).enumerate().take(blocks.count) {
                    let operands = Operands {
                        cells,
                        records: self.inputs.records(block, runs.clone()),
                        runs: runs.len(),
                        first: number == 0,
                        sums,
                        next: if block == 0 { next } else { std::ptr::null() },
                    };
                    // SAFETY: there is a proof of AMX, and tiles are set up for the blocks and the type; the piece's cells
                    // have all of its runs.
                    unsafe { (self.kernel)(self.tiles, operands, scratch) };
                }
            }
        }
    }
}
