//! Several groups: pieces of panels are unpacked, and multiplied with every group while they lie in the first-level cache.

use super::gated::PAIR;
use super::inputs::{Bytes, MOST_ROWS};
use super::piece::{Piece, RUNS, Rows};
use super::stretch::{Outlet, PANELS, Stretch};
use super::tile::{Operands, Pieces};
use crate::backend::cpu::packed::PANEL_ROWS;
use crate::backend::cpu::packed::inputs::RUN;
use std::ops::Range;

/// Groups whose sums wait together. Their inputs should lie in the second-level cache.
pub(super) const GROUPS: usize = 42;

/// Values of 4 bytes that [`super::products`] wants of a thread's scratch, from a multiple of 64 bytes on, for at most so many rows.
pub(crate) fn scratch(rows: usize) -> usize {
    // A group of several has at most `MOST_ROWS`, and of few rows at least as many as its tile.
    let rows = rows.saturating_add(MOST_ROWS).min(GROUPS * MOST_ROWS);
    PANELS * (size_of::<Piece>() / size_of::<f32>() + rows * PANEL_ROWS)
}

/// Multiplies so many stretches, one after the other, with all groups.
pub(super) fn multiply<'a>(
    kernels: &Pieces,
    inputs: &Bytes<'_>,
    stretches: usize,
    stretch: impl Fn(usize) -> Stretch<'a>,
    outlet: Outlet<'_>,
    scratch: &mut [f32],
) {
    let groups = inputs.groups();
    let (pieces, sums) =
        scratch.split_at_mut(scratch.len().min(PANELS * size_of::<Piece>() / size_of::<f32>()));
    // SAFETY: pieces are plain floats and bytes, for which any bits will do; `align_to_mut` minds size and alignment.
    let (pieces, sums) = unsafe { (pieces.align_to_mut::<Piece>().1, sums.as_chunks_mut::<PANEL_ROWS>().0) };
    let held = (sums.len() / PANELS / groups.rows).min(GROUPS);
    if pieces.len() < PANELS || held == 0 {
        return;
    }
    // As even as can be: to unpack weights once more for a single group would cost as much as its products.
    let held = groups.count.div_ceil(groups.count.div_ceil(held));
    for first in (0..groups.count).step_by(held) {
        let groups = first..(first + held).min(groups.count);
        for number in 0..stretches {
            let walk = Walk { kernels, stretch: stretch(number), inputs, groups: groups.clone(), outlet };
            walk.multiply(pieces, sums);
        }
    }
}

/// A stretch and some groups.
struct Walk<'a> {
    kernels: &'a Pieces,
    stretch: Stretch<'a>,
    inputs: &'a Bytes<'a>,
    groups: Range<usize>,
    outlet: Outlet<'a>,
}

impl<'a> Walk<'a> {
    /// Adds up the products of all inputs, `sums[group][PANELS][row]`, and puts them.
    fn multiply(&self, pieces: &mut [Piece], sums: &mut [Rows]) {
        let rows = self.inputs.groups().rows;
        let weights = self.stretch.panels[0].0;
        let all_runs = weights.cols().div_ceil(RUN);
        // Bytes of a piece as they are stored, and cache lines of the next one to be fetched with each run of a group, until all
        // are: no faster than memory brings them.
        let stored = self.kernels.cell.bytes_of_most();
        let lines = stored.div_ceil(64 * RUNS * self.groups.len());
        let pieces_of_panel = all_runs.div_ceil(RUNS);
        for (number, first_run) in (0..all_runs).step_by(RUNS).enumerate() {
            let last = number + 1 == pieces_of_panel;
            let next = match last {
                false => (number + 1) * stored,
                true => self.outlet.panels() * weights.panel_bytes(),
            };
            let runs = RUNS.min(all_runs - first_run);
            for ((weights, panel), piece) in self.stretch.panels().zip(&mut *pieces) {
                let bytes = &weights.panel(panel)[number * stored..];
                // SAFETY: the kernels are of a level that this processor has.
                unsafe { (self.kernels.unpack)(&bytes[..bytes.len().min(stored)], piece) };
            }
            for (group, sums) in self.groups.clone().zip(sums.chunks_exact_mut(PANELS * rows)) {
                let fetched = (group - self.groups.start) * 64 * RUNS * lines;
                let (main, halves) = self.inputs.runs(group, first_run, runs);
                for (index, ((weights, panel), sums)) in
                    self.stretch.panels().zip(sums.chunks_exact_mut(rows)).enumerate()
                {
                    if last {
                        let groups = self.inputs.groups();
                        self.outlet.fetch(groups.rows_of(group, self.inputs.rows()), panel);
                    }
                    let operands = Operands {
                        piece: &raw const pieces[index],
                        main: main.as_ptr(),
                        halves: halves.as_ptr(),
                        runs,
                        first: number == 0,
                        sums: sums.as_mut_ptr(),
                        ahead: weights.panel(panel).as_ptr().wrapping_add(next + fetched),
                        lines: if fetched < stored { lines } else { 0 },
                    };
                    // SAFETY: the kernels are of a level that this processor has, and of tiles of so many rows; the
                    // slices are as long as `Operands` wants them, and the piece has the type's codes.
                    unsafe { (self.kernels.tile)(&operands) };
                }
                if last {
                    self.put(group, sums);
                }
            }
        }
    }

    /// Puts a group's sums `[PANELS][row]`, row by row.
    fn put(&self, group: usize, sums: &[Rows]) {
        let groups = self.inputs.groups();
        let (weights, first) = self.stretch.panels[0];
        match self.outlet {
            Outlet::Rows(target) => {
                for (index, row) in groups.rows_of(group, self.inputs.rows()).enumerate() {
                    let sums = sums[index..].iter().step_by(groups.rows);
                    target.put_panels(weights, first..first + self.stretch.count, row, sums);
                }
            }
            // SAFETY: the panels are the task's.
            Outlet::Inputs(target) => unsafe { target.put(first / PAIR, group, sums) },
        }
    }
}
