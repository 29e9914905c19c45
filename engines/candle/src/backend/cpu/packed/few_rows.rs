//! Products of a few activation rows with panels.
//!
//! A row's results do not depend on the rows beside it, nor on how panels are shared among threads.

use super::inputs::Planes;
use super::{Canonical, MOST_INPUTS, PANEL_ROWS, Packed, unpack_codes, unpack_columns};
use crate::backend::cpu::kernels::Level;
use crate::backend::cpu::matmul::Target;
use std::ops::Range;

/// Products of `[rows, cols]` f32 inputs with a range of panels, in f32: all types, for the plain ones the way that is used.
pub(crate) fn floats(_: Level, weights: &Packed, panels: Range<usize>, inputs: &[f32], target: &Target<'_>) {
    let (cols, piece) = (weights.cols(), weights.cell().inputs);
    let mut columns = [0.0; MOST_INPUTS * PANEL_ROWS];
    for panel in panels {
        for (row, inputs) in inputs.chunks_exact(cols).enumerate() {
            let mut sums = [[0.0f32; PANEL_ROWS]; 4];
            for (number, inputs) in inputs.chunks(piece).enumerate() {
                let from = number * piece;
                unpack_columns(weights, panel, from..from + inputs.len(), &mut columns, PANEL_ROWS);
                for (k, (input, column)) in inputs.iter().zip(columns.as_chunks::<PANEL_ROWS>().0).enumerate()
                {
                    for (sum, weight) in sums[k % 4].iter_mut().zip(column) {
                        *sum += input * weight;
                    }
                }
            }
            let mut products = [0.0; PANEL_ROWS];
            for (r, product) in products.iter_mut().enumerate() {
                *product = (sums[0][r] + sums[1][r]) + (sums[2][r] + sums[3][r]);
            }
            target.put_panel(weights, panel, row, &products);
        }
    }
}

/// Products of quantised inputs with a range of panels of a type with blocks, in whole numbers within a run of 32 inputs.
pub(crate) fn planes(
    _: Level,
    weights: &Packed,
    panels: Range<usize>,
    inputs: &Planes<'_>,
    target: &Target<'_>,
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
                    let scale = inputs.scales[first / 32];
                    let total: i32 = inputs.sums[first / 16..(first + cell.group) / 16].iter().sum();
                    for (r, sum) in sums.iter_mut().enumerate() {
                        let mut dot = 0;
                        for k in first..first + cell.group {
                            let at = k - number * cell.inputs;
                            let code = i32::from(codes[at / 4 * 64 + 4 * r + at % 4]);
                            let q = 128 * i32::from(inputs.high[k]) + i32::from(inputs.low[k]);
                            dot += code * q;
                        }
                        let at = group * PANEL_ROWS + r;
                        *sum += scale * (scales[at] * dot as f32 + shifts[at] * total as f32);
                    }
                }
            }
            target.put_panel(weights, panel, row, &sums);
        }
    }
}
