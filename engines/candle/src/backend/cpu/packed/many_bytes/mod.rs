//! Products of many rows of 8 bits with panels.
//!
//! - `inputs`: the rows, quantised and laid out in groups;
//! - `piece`: 256 inputs of a panel, unpacked to codes of one byte, the same for all types;
//! - `tile`: the products of a piece with a group, for a level; `vnni`, `narrow` and `plain` are their bodies;
//! - `direct`: both at once, for few rows;
//! - `gated`: two products whose outputs become the inputs of a third;
//! - `amx`: the same on tiles of whole numbers.
//!
//! A few panels at a time are unpacked piece by piece and multiplied with every group while they lie in the first-level cache;
//! sums wait in the thread's scratch from piece to piece. Every row's sums are made in the same order, however many rows there
//! are, and whatever thread they run on.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod direct;
mod gated;
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

pub(crate) use gated::GatedBytes;

use super::Packed;
use super::inputs::RUN;
use super::layout::{Cell, MOST_INPUTS, PANEL_ROWS};
use crate::backend::cpu::kernels::Level;
use crate::backend::cpu::matmul::Target;
use gated::PAIR;
use inputs::{Bytes, MOST_ALONE, MOST_ROWS};
use piece::{Piece, RUNS, Rows};
use std::array::from_fn;
use std::ops::Range;
use tile::{Kernels, Operands};

/// Panels that are unpacked together: the more, the less often the inputs come from the second-level cache; their pieces and
/// a group's inputs are to lie in the first.
const PANELS: usize = 4;

/// Panels that take turns with a group that is alone: two streams of memory keep more reads in flight than one, and of four the
/// reads come no faster.
const STREAMS: usize = 2;

/// Groups whose sums wait together. Their inputs should lie in the second-level cache.
const GROUPS: usize = 42;

/// Values of 4 bytes that [`products`] wants of a thread's scratch, from a multiple of 64 bytes on, for at most so many rows.
pub(crate) fn scratch(rows: usize) -> usize {
    // A group of several has at most `MOST_ROWS`, and of few rows at least as many as its tile.
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
    if let (Some(direct), 1) = (kernels.direct, inputs.groups().count) {
        // Two panels that lie far apart.
        let half = panels.len().div_ceil(2);
        for first in panels.start..panels.start + half {
            let count = if first + half < panels.end { 2 } else { 1 };
            let of = |index: usize| (weights, first + index.min(count - 1) * half);
            let stretch = Stretch { panels: from_fn(of), count };
            directly(direct, kernels.plan.cell, &stretch, inputs, Outlet::Rows(target));
        }
        return;
    }
    let stretch = |number: usize| {
        let from = panels.start + number * PANELS;
        let count = PANELS.min(panels.end - from);
        Stretch { panels: from_fn(|index| (weights, from + index.min(count - 1))), count }
    };
    multiply(kernels, inputs, panels.len().div_ceil(PANELS), stretch, Outlet::Rows(target), scratch);
}

/// Whether [`gated`] multiplies with these matrices: they are of one kind.
pub(crate) fn gates(weights: [&Packed; 2]) -> bool {
    let [gate, up] = weights.map(|weights| (weights.dtype(), weights.rows(), weights.cols()));
    gate == up
}

/// `activation(gate) * up` of the inputs' products with a range of panels of both matrices, which [`gates`] has found to be
/// alike and the target to be as wide. The range begins and ends with an even panel; the rest is as in [`products`].
pub(crate) fn gated(
    level: Level,
    [gate, up]: [&Packed; 2],
    panels: Range<usize>,
    inputs: &Bytes<'_>,
    target: &GatedBytes<'_>,
    scratch: &mut [f32],
) {
    assert!(panels.start.is_multiple_of(PAIR) && panels.len().is_multiple_of(PAIR), "pairs of panels");
    assert!(target.takes(inputs, gate.rows()), "a target for these rows and outputs");
    let Some(kernels) = Kernels::of(level, gate.dtype(), inputs.groups().rows) else { return };
    let stretch = |number: usize| {
        let from = panels.start + number * PAIR;
        Stretch { panels: [(gate, from), (gate, from + 1), (up, from), (up, from + 1)], count: PANELS }
    };
    let outlet = Outlet::Inputs(target);
    match (kernels.direct, inputs.groups().count) {
        (Some(direct), 1) => (0..panels.len() / PAIR)
            .for_each(|number| directly(direct, kernels.plan.cell, &stretch(number), inputs, outlet)),
        _ => multiply(&kernels, inputs, panels.len() / PAIR, stretch, outlet, scratch),
    }
}

/// Multiplies so many stretches, one after the other, with all groups.
fn multiply<'a>(
    kernels: &Kernels,
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

/// The products of a group that is alone with a stretch of panels, unpacking in registers: [`STREAMS`] panels take turns.
fn directly(
    direct: unsafe fn(&[u8], &Operands),
    cell: Cell,
    stretch: &Stretch<'_>,
    inputs: &Bytes<'_>,
    outlet: Outlet<'_>,
) {
    let stored = MOST_INPUTS / cell.inputs * cell.bytes;
    let all_runs = stretch.panels[0].0.cols().div_ceil(RUN);
    let mut sums = Sums([[0.0; PANEL_ROWS]; PANELS * MOST_ALONE]);
    let rows = inputs.groups().rows;
    for (panels, sums) in
        stretch.panels[..stretch.count].chunks(STREAMS).zip(sums.0.chunks_mut(STREAMS * rows))
    {
        for (number, first_run) in (0..all_runs).step_by(RUNS).enumerate() {
            let runs = RUNS.min(all_runs - first_run);
            let (main, halves) = inputs.runs(0, first_run, runs);
            if first_run + runs == all_runs {
                panels.iter().for_each(|(_, panel)| outlet.fetch(0..inputs.rows(), *panel));
            }
            for ((weights, panel), sums) in panels.iter().zip(sums.chunks_exact_mut(rows)) {
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
                let bytes = &weights.panel(*panel)[number * stored..];
                // SAFETY: the kernels are of a level that this processor has, and of tiles of so many rows, as there are sums;
                // these are lines of 64 bytes in memory that begins with one; the slices are as long as `Operands` wants them.
                unsafe { direct(&bytes[..bytes.len().min(stored)], &operands) };
            }
        }
    }
    match outlet {
        Outlet::Rows(target) => {
            for ((weights, panel), sums) in stretch.panels().zip(sums.0.chunks_exact(rows)) {
                target.put_rows(weights, panel, 0, &sums[..inputs.rows()]);
            }
        }
        // SAFETY: the panels are the task's.
        Outlet::Inputs(target) => unsafe {
            target.put(stretch.panels[0].1 / PAIR, 0, &sums.0[..PANELS * rows])
        },
    }
}

/// Sums of a group that is alone, `[panel][row]`.
#[repr(align(64))]
struct Sums([Rows; PANELS * MOST_ALONE]);

/// Panels that are multiplied together.
struct Stretch<'a> {
    /// Matrices of one kind, and numbers of panels.
    panels: [(&'a Packed, usize); PANELS],
    /// How many of these count.
    count: usize,
}

impl<'a> Stretch<'a> {
    fn panels(&self) -> impl Iterator<Item = (&'a Packed, usize)> {
        self.panels.into_iter().take(self.count)
    }
}

/// Where sums go.
#[derive(Clone, Copy)]
enum Outlet<'a> {
    /// Each panel's to rows of outputs.
    Rows(&'a Target<'a>),
    /// Those of two pairs of panels to inputs.
    Inputs(&'a GatedBytes<'a>),
}

/// A stretch and some groups.
struct Walk<'a> {
    kernels: &'a Kernels,
    stretch: Stretch<'a>,
    inputs: &'a Bytes<'a>,
    groups: Range<usize>,
    outlet: Outlet<'a>,
}

impl<'a> Walk<'a> {
    /// Adds up the products of all inputs, `sums[group][PANELS][row]`, and puts them.
    fn multiply(&self, pieces: &mut [Piece], sums: &mut [Rows]) {
        let cell = self.kernels.plan.cell;
        let rows = self.inputs.groups().rows;
        let weights = self.stretch.panels[0].0;
        let all_runs = weights.cols().div_ceil(RUN);
        let cells = MOST_INPUTS / cell.inputs;
        // Bytes of a piece as they are stored, and cache lines of the next one to be fetched with each run of a group, until all
        // are: no faster than memory brings them.
        let stored = cells * cell.bytes;
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

impl Outlet<'_> {
    /// Asks for the outputs of rows and a panel, to be written a little later: they are seldom in a cache, and stores that wait
    /// for their lines are soon too many to go on.
    fn fetch(self, rows: Range<usize>, panel: usize) {
        if let Outlet::Rows(target) = self {
            rows.for_each(|row| target.fetch(row, panel * PANEL_ROWS));
        }
    }

    /// Panels of a matrix in a stretch.
    fn panels(self) -> usize {
        match self {
            Outlet::Rows(_) => PANELS,
            Outlet::Inputs(_) => PAIR,
        }
    }
}
