//! A group that is alone: weights are used once, so they are unpacked in registers.

use super::gated::PAIR;
use super::inputs::{Bytes, MOST_ALONE};
use super::piece::{RUNS, Rows};
use super::stretch::{Outlet, PANELS, Stretch};
use super::tile::{Direct, Operands};
use crate::backend::cpu::packed::PANEL_ROWS;
use crate::backend::cpu::packed::inputs::RUN;

/// Panels that take turns with a group that is alone: two streams of memory keep more reads in flight than one, and of four the
/// reads come no faster.
const STREAMS: usize = 2;

/// The products of a group that is alone with a stretch of panels, of which [`STREAMS`] take turns.
pub(super) fn multiply_alone(direct: &Direct, stretch: &Stretch<'_>, inputs: &Bytes<'_>, outlet: Outlet<'_>) {
    let stored = direct.cell.bytes_of_most();
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
                unsafe { (direct.products)(&bytes[..bytes.len().min(stored)], &operands) };
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
