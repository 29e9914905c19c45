//! Products of many activation rows with panels: weights are unpacked once for all rows, in pieces that stay in the cache.

use super::inputs::Bytes;
use super::{Canonical, MOST_INPUTS, PANEL_ROWS, Packed, unpack_codes};
use crate::backend::cpu::kernels::Level;
use crate::backend::cpu::matmul::Target;
use std::ops::Range;

/// Values of 4 bytes that the functions here want of a thread's scratch.
pub(crate) const SCRATCH: usize = 0;

/// Products of inputs of 8 bits with a range of panels of a type with blocks.
pub(crate) fn bytes(
    _: Level,
    weights: &Packed,
    panels: Range<usize>,
    inputs: &Bytes<'_>,
    target: &Target<'_>,
    _: &mut [f32],
) {
    let cell = weights.cell();
    let mut codes = [0; MOST_INPUTS * PANEL_ROWS];
    let mut scales = [0.0; MOST_INPUTS / 16 * PANEL_ROWS];
    let mut shifts = scales;
    for panel in panels {
        for row in 0..inputs.rows() {
            let inputs = inputs.row(row);
            let mut sums = [0.0f32; PANEL_ROWS];
            for (number, bytes) in weights.panel(panel).chunks_exact(cell.bytes).enumerate() {
                let mut canonical = Canonical { codes: &mut codes, scales: &mut scales, shifts: &mut shifts };
                unpack_codes(weights.dtype(), bytes, &mut canonical);
                for group in 0..cell.inputs / cell.group {
                    let first = number * cell.inputs + group * cell.group;
                    let total: i32 = inputs.sums[first / 16..(first + cell.group) / 16].iter().sum();
                    for (r, sum) in sums.iter_mut().enumerate() {
                        let mut dot = 0;
                        for k in first..first + cell.group {
                            let at = k - number * cell.inputs;
                            dot +=
                                i32::from(codes[at / 4 * 64 + 4 * r + at % 4]) * i32::from(inputs.codes[k]);
                        }
                        let at = group * PANEL_ROWS + r;
                        *sum +=
                            inputs.scales[first / 32] * (scales[at] * dot as f32 + shifts[at] * total as f32);
                    }
                }
            }
            target.put_panel(weights, panel, row, &sums);
        }
    }
}
