//! Products of many rows of 8 bits with panels.
//!
//! - `inputs`: the rows, quantised and laid out in groups;
//! - `piece`: 256 inputs of a panel, unpacked to codes of one byte, the same for all types;
//! - `tile`: the products of a piece with a group, for a level; `vnni`, `narrow` and `plain` are their bodies;
//! - `direct`: both at once, for few rows;
//! - `amx`: the same on tiles of whole numbers.
//!
//! A few panels at a time are unpacked piece by piece and multiplied with every group while they lie in the first-level cache;
//! sums wait in the thread's scratch from piece to piece. Every row's sums are made in the same order, however many rows there
//! are, and whatever thread they run on.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod direct;
pub(crate) mod inputs;
#[cfg(target_arch = "x86_64")]
mod inputs_x86;
#[cfg(target_arch = "x86_64")]
mod narrow;
mod piece;
#[cfg(target_arch = "x86_64")]
mod piece_x86;
mod plain;
mod tile;
#[cfg(target_arch = "x86_64")]
mod vnni;

#[cfg(test)]
mod tests;

use super::Packed;
use super::inputs::RUN;
use super::layout::{MOST_INPUTS, PANEL_ROWS};
use crate::backend::cpu::kernels::Level;
use crate::backend::cpu::matmul::Target;
use inputs::{Bytes, MOST_ROWS};
use piece::{Piece, RUNS, Rows};
use std::ops::Range;
use tile::{Kernels, Operands};

/// Panels that are unpacked together: the more, the less often the inputs come from the second-level cache; their pieces and
/// a group's inputs are to lie in the first.
const PANELS: usize = 4;

/// Groups whose sums wait together. Their inputs should lie in the second-level cache.
const GROUPS: usize = 42;

/// Values of 4 bytes that [`products`] wants of a thread's scratch, from a multiple of 64 bytes on, for at most so many rows.
pub(crate) fn scratch(rows: usize) -> usize {
    // A group has at most `MOST_ROWS`, and of few rows at least as many as its tile.
    let rows = rows.saturating_add(MOST_ROWS).min(GROUPS * MOST_ROWS);
    PANELS * (size_of::<Piece>() / size_of::<f32>() + rows * PANEL_ROWS)
}

/// Products of rows with a range of panels of a type with codes. For other types, and with less scratch than [`scratch`]
/// says, nothing happens.
pub(crate) fn products(
    level: Level,
    weights: &Packed,
    panels: Range<usize>,
    inputs: &Bytes<'_>,
    target: &Target<'_>,
    scratch: &mut [f32],
) {
    if let Some(kernels) = Kernels::of(level, weights.dtype(), inputs.groups().rows) {
        products_with(&kernels, weights, panels, inputs, target, scratch);
    }
}

fn products_with(
    kernels: &Kernels,
    weights: &Packed,
    panels: Range<usize>,
    inputs: &Bytes<'_>,
    target: &Target<'_>,
    scratch: &mut [f32],
) {
    let groups = inputs.groups();
    if let (Some(direct), 1) = (kernels.direct, groups.count) {
        return directly(kernels, direct, weights, panels, inputs, target);
    }
    let (pieces, sums) =
        scratch.split_at_mut(scratch.len().min(PANELS * size_of::<Piece>() / size_of::<f32>()));
    // SAFETY: pieces are plain floats and bytes, for which any bits will do; `align_to_mut` minds size and alignment.
    let (pieces, sums) = unsafe { (pieces.align_to_mut::<Piece>().1, sums.as_chunks_mut::<PANEL_ROWS>().0) };
    let held = (sums.len() / PANELS / groups.rows).min(GROUPS);
    if pieces.len() < PANELS || held == 0 {
        return;
    }
    for first in (0..groups.count).step_by(held) {
        let some = first..(first + held).min(groups.count);
        for from in panels.clone().step_by(PANELS) {
            let stretch = from..(from + PANELS).min(panels.end);
            let walk = Walk { kernels, weights, panels: stretch.clone(), inputs, groups: some.clone() };
            walk.sum(pieces, sums);
            for (group, sums) in some.clone().zip(sums.chunks_exact(PANELS * groups.rows)) {
                for (panel, sums) in stretch.clone().zip(sums.chunks_exact(groups.rows)) {
                    for (row, sums) in groups.rows_of(group, inputs.rows()).zip(sums) {
                        target.put_panel(weights, panel, row, sums);
                    }
                }
            }
        }
    }
}

/// The products of a single group, unpacking in registers: two panels in turn, as two streams of memory keep more reads in
/// flight than one.
fn directly(
    kernels: &Kernels,
    direct: unsafe fn(&[u8], &Operands),
    weights: &Packed,
    panels: Range<usize>,
    inputs: &Bytes<'_>,
    target: &Target<'_>,
) {
    let stored = MOST_INPUTS / kernels.plan.cell.inputs * kernels.plan.cell.bytes;
    let all_runs = weights.cols().div_ceil(RUN);
    let half = panels.len().div_ceil(2);
    for first in panels.start..panels.start + half {
        let mut sums = [[[0.0; PANEL_ROWS]; MOST_ROWS]; 2];
        let both = || [first, first + half].into_iter().filter(|panel| *panel < panels.end);
        for (number, first_run) in (0..all_runs).step_by(RUNS).enumerate() {
            let runs = RUNS.min(all_runs - first_run);
            let (main, halves) = inputs.runs(0, first_run, runs);
            for (panel, sums) in both().zip(&mut sums) {
                let operands = Operands {
                    piece: std::ptr::null(),
                    main: main.as_ptr(),
                    halves: halves.as_ptr(),
                    runs,
                    first: number == 0,
                    sums: sums.as_mut_ptr(),
                    ahead: std::ptr::null(),
                    lines: 0,
                };
                let bytes = &weights.panel(panel)[number * stored..];
                // SAFETY: the kernels are of a level that this processor has, and of tiles of so many rows, which are no more
                // than there are sums; the slices are as long as `Operands` wants them.
                unsafe { direct(&bytes[..bytes.len().min(stored)], &operands) };
            }
        }
        for (panel, sums) in both().zip(&sums) {
            for (row, sums) in (0..inputs.rows()).zip(sums) {
                target.put_panel(weights, panel, row, sums);
            }
        }
    }
}

/// A few panels and groups.
struct Walk<'a> {
    kernels: &'a Kernels,
    weights: &'a Packed,
    panels: Range<usize>,
    inputs: &'a Bytes<'a>,
    groups: Range<usize>,
}

impl Walk<'_> {
    /// Adds up the products of all inputs: `sums[group][PANELS][row]`.
    fn sum(&self, pieces: &mut [Piece], sums: &mut [Rows]) {
        let cell = self.kernels.plan.cell;
        let rows = self.inputs.groups().rows;
        let all_runs = self.weights.cols().div_ceil(RUN);
        let cells = MOST_INPUTS / cell.inputs;
        // Bytes of a piece as they are stored, and cache lines of it to be fetched with each run.
        let stored = cells * cell.bytes;
        let lines = stored.div_ceil(64 * RUNS);
        let pieces_of_panel = all_runs.div_ceil(RUNS);
        for (number, first_run) in (0..all_runs).step_by(RUNS).enumerate() {
            let next = match number + 1 < pieces_of_panel {
                true => (number + 1) * stored,
                false => PANELS * self.weights.panel_bytes(),
            };
            let runs = RUNS.min(all_runs - first_run);
            for (panel, piece) in self.panels.clone().zip(&mut *pieces) {
                let bytes = &self.weights.panel(panel)[number * stored..];
                // SAFETY: the kernels are of a level that this processor has.
                unsafe { (self.kernels.unpack)(&bytes[..bytes.len().min(stored)], piece) };
            }
            for (group, sums) in self.groups.clone().zip(sums.chunks_exact_mut(PANELS * rows)) {
                let (main, halves) = self.inputs.runs(group, first_run, runs);
                for (index, sums) in sums.chunks_exact_mut(rows).take(self.panels.len()).enumerate() {
                    let panel = self.weights.panel(self.panels.start + index).as_ptr();
                    let operands = Operands {
                        piece: &raw const pieces[index],
                        main: main.as_ptr(),
                        halves: halves.as_ptr(),
                        runs,
                        first: number == 0,
                        sums: sums.as_mut_ptr(),
                        ahead: panel.wrapping_add(next),
                        lines: if group == self.groups.start { lines } else { 0 },
                    };
                    // SAFETY: the kernels are of a level that this processor has, and of tiles of so many rows; the
                    // slices are as long as `Operands` wants them, and the piece has the type's codes.
                    unsafe { (self.kernels.tile)(&operands) };
                }
            }
        }
    }
}
