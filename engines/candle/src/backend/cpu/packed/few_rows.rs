//! Products of a few activation rows with panels.
//!
//! A row's results do not depend on the rows beside it, nor on how panels are shared among threads.

use super::{MOST_INPUTS, PANEL_ROWS, Packed, unpack_columns};
use crate::backend::cpu::kernels::{Level, few};
use crate::backend::cpu::matmul::Target;
use std::ops::Range;

/// Products of `[rows, cols]` f32 inputs with a range of panels, in f32, plainly.
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
            target.put_rows(weights, panel, row, std::slice::from_ref(&products));
        }
    }
}

/// The same with inputs in the form for few rows.
pub(crate) fn prepared(
    weights: &Packed,
    panels: Range<usize>,
    inputs: &few::Inputs<'_>,
    target: &Target<'_>,
) {
    let cells = weights.cell().count(weights.cols());
    let (first, bytes) = (panels.start, weights.stretch(panels));
    few::products(weights.dtype(), bytes, cells, inputs, &mut |panel, row, sums| {
        target.put_rows(weights, first + panel, row, sums);
    });
}
