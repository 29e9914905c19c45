//! Products of activations with a weight matrix.
//!
//! Few rows (decode): each weight row is read once and multiplied with every activation row, so a row's result does not
//! depend on the others. More rows (prefill): panels of weights are decoded into a thread's scratch and multiplied by the
//! `gemm` crate. Both split the outputs over the pool.

use super::kernels::{Level, PANEL, fill_panel, products, with_format};
use super::matrix::Matrix;
use super::parts::Parts;
use super::pool::Pool;
use crate::backend::Into;
use gemm::{Parallelism, gemm};

/// Most rows of the first way. Beyond, decoding each weight row once per four rows costs more than decoding panels.
pub(super) const FEW_ROWS: usize = 16;

/// Weight bytes of one task of the first way.
const TASK_BYTES: usize = 64 * 1024;

/// Rows of activations in one call of `gemm`. Up to 48 it uses the panel as it lies; beyond, it would copy it into a buffer
/// of its own.
const GEMM_ROWS: usize = 48;

/// Outputs in a panel are a multiple of it: the widest vector. `gemm` would copy other panels.
const GEMM_OUTPUTS: usize = 16;

/// Where products go: `[rows, width]`, each row once the products are added to what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    out: Parts<'a>,
    width: usize,
    bias: Option<&'a [f32]>,
    how: Into,
}

impl<'a> Target<'a> {
    /// A target over `[rows, width]` values.
    pub(super) fn new(out: &'a mut [f32], width: usize, bias: Option<&'a [f32]>, how: Into) -> Self {
        Target { out: Parts::new(out), width, bias, how }
    }

    /// Puts the products of one output for consecutive rows.
    #[inline(always)]
    pub(super) fn put(&self, first_row: usize, output: usize, products: &[f32]) {
        let bias = self.bias.map_or(0.0, |bias| bias[output]);
        for (row, product) in products.iter().enumerate() {
            let at = (first_row + row) * self.width + output;
            // SAFETY: an output belongs to one task.
            let [value] = (unsafe { self.out.part(at..at + 1) }) else { continue };
            *value = match self.how {
                Into::Set => product + bias,
                Into::Add => *value + product + bias,
            };
        }
    }

    /// Makes outputs `from .. to` of all rows ready to have products added.
    fn prepare(&self, rows: usize, from: usize, to: usize) {
        for row in 0..rows {
            // SAFETY: an output belongs to one task.
            let values = unsafe { self.out.part(row * self.width + from..row * self.width + to) };
            if self.how == Into::Set {
                values.fill(0.0);
            }
            if let Some(bias) = self.bias {
                values.iter_mut().zip(&bias[from..to]).for_each(|(value, bias)| *value += bias);
            }
        }
    }
}

/// `target = inputs * matrix^T` or added to it, for `[rows, matrix.cols]` inputs. `scratch` has a panel's room at the start
/// of each thread's row of `scratch_width`.
pub(super) fn matmul(
    level: Level,
    pool: &Pool,
    matrix: &Matrix,
    inputs: &[f32],
    target: &Target<'_>,
    scratch: &mut [f32],
    scratch_width: usize,
) {
    let rows = inputs.len() / matrix.cols;
    if rows <= FEW_ROWS {
        let per_task = (TASK_BYTES / matrix.row_bytes().max(1)).clamp(1, matrix.rows.max(1));
        pool.run(matrix.rows.div_ceil(per_task), &|task, _| {
            let (from, to) = (task * per_task, ((task + 1) * per_task).min(matrix.rows));
            few_rows(level, matrix, from, to, inputs, target);
        });
        return;
    }
    // The last few outputs are no panel: they go the first way.
    let panelled = matrix.rows / GEMM_OUTPUTS * GEMM_OUTPUTS;
    let panels = panelled.div_ceil(PANEL.0);
    let scratch = Parts::new(scratch);
    pool.run(panels + usize::from(panelled < matrix.rows), &|task, thread| {
        if task == panels {
            few_rows(level, matrix, panelled, matrix.rows, inputs, target);
            return;
        }
        let start = thread * scratch_width;
        // SAFETY: a thread runs one task at a time, and this row of the scratch is its own.
        let panel = unsafe { scratch.part(start..start + PANEL.0 * PANEL.1) };
        let (from, to) = (task * PANEL.0, ((task + 1) * PANEL.0).min(panelled));
        many_rows(level, matrix, from, to, inputs, rows, target, panel);
    });
}

fn few_rows(level: Level, matrix: &Matrix, from: usize, to: usize, inputs: &[f32], target: &Target<'_>) {
    let weights = matrix.rows(from, to);
    with_format!(matrix.dtype, F => products::<F>(level, weights, from, inputs, matrix.cols, target));
}

#[expect(clippy::too_many_arguments, reason = "the operands of one product")]
fn many_rows(
    level: Level,
    matrix: &Matrix,
    from: usize,
    to: usize,
    inputs: &[f32],
    rows: usize,
    target: &Target<'_>,
    panel: &mut [f32],
) {
    let (weights, row_bytes, cols) = (matrix.rows(from, to), matrix.row_bytes(), matrix.cols);
    target.prepare(rows, from, to);
    // Pieces of equal size: a last one of a single row would take another way through `gemm`.
    let piece = rows.div_ceil(rows.div_ceil(GEMM_ROWS));
    for depth in (0..cols).step_by(PANEL.1) {
        let count = PANEL.1.min(cols - depth);
        with_format!(matrix.dtype, F => fill_panel::<F>(level, weights, row_bytes, to - from, depth, count, panel));
        for first in (0..rows).step_by(piece) {
            let taken = piece.min(rows - first);
            let last = (first + taken - 1) * target.width + to - 1;
            // The last address is checked with the first: `gemm` writes no further.
            target.out.address(last);
            let input = &inputs[first * cols + depth..(first + taken - 1) * cols + depth + count];
            // SAFETY: in `gemm`'s terms the product is [outputs, count] * [count, taken]. The panel holds `count` columns
            // of PANEL.0 floats; `input` reaches from the first row's first value to the last row's last; the destination
            // lies within the target (checked above), and its outputs belong to this task. No two of them overlap.
            unsafe {
                gemm(
                    to - from,
                    taken,
                    count,
                    target.out.address(first * target.width + from),
                    target.width as isize,
                    1,
                    true,
                    panel.as_ptr(),
                    PANEL.0 as isize,
                    1,
                    input.as_ptr(),
                    cols as isize,
                    1,
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    Parallelism::None,
                );
            }
        }
    }
}
