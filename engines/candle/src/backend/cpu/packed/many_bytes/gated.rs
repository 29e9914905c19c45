//! Gated products that become the next product's inputs: `activation(gate) * up` in 8 bits, without a stop in memory as f32.
//!
//! Two panels of gate and two of up have the 32 values of a run, for every row of a group.

use super::inputs::{Bytes, Groups, HALVES, MAIN, MOST_ALONE, put_runs};
use super::piece::Rows;
use crate::backend::cpu::kernels::{Level, gate};
use crate::backend::cpu::packed::inputs::RUN;
use crate::backend::cpu::packed::{MOST_INPUTS, PANEL_ROWS};
use crate::backend::cpu::parts::Parts;
use plimsoll_formats::Activation;

/// Panels of one matrix that fill a run.
pub(super) const PAIR: usize = RUN / PANEL_ROWS;

/// Inputs as [`super::inputs::prepare`] makes them, in the making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatedBytes<'a> {
    out: Parts<'a>,
    groups: Groups,
    rows: usize,
    level: Level,
    activation: Activation,
}

impl<'a> GatedBytes<'a> {
    /// Values of 4 bytes for rows of a width; `None` where inputs would have to be filled up, and on overflow.
    pub(crate) fn len(rows: usize, width: usize) -> Option<usize> {
        Groups::most(rows, width).filter(|_| width.is_multiple_of(MOST_INPUTS))
    }

    /// Inputs in `out`; `None` unless it has [`GatedBytes::len`] values.
    pub(crate) fn new(
        level: Level,
        activation: Activation,
        (rows, width): (usize, usize),
        out: &'a mut [f32],
    ) -> Option<Self> {
        (Self::len(rows, width) == Some(out.len())).then(|| GatedBytes {
            out: Parts::new(out),
            groups: Groups::of(rows, width),
            rows,
            level,
            activation,
        })
    }

    /// Whether it is for as many rows as the inputs have, and for products as wide.
    pub(super) fn takes(&self, inputs: &Bytes<'_>, width: usize) -> bool {
        inputs.rows() == self.rows && self.groups == Groups::of(self.rows, width)
    }

    /// Puts the products of the pair of panels with this number for a group: `sums` are `[gate, gate, up, up][row]`.
    ///
    /// # Safety
    /// The pair's outputs are the task's.
    pub(super) unsafe fn put(&self, pair: usize, group: usize, sums: &[Rows]) {
        let Groups { rows, runs, .. } = self.groups;
        let taken = self.groups.rows_of(group, self.rows).len();
        let mut values = [[[0.0; RUN]; MOST_ALONE]; 2];
        for (values, sums) in values.iter_mut().zip(sums.chunks_exact(PAIR * rows)) {
            // Rows that fill the group up stay zeros.
            for (row, values) in values.iter_mut().take(taken).enumerate() {
                for (values, sums) in
                    values.as_chunks_mut::<PANEL_ROWS>().0.iter_mut().zip(sums.chunks_exact(rows))
                {
                    *values = sums[row];
                }
            }
        }
        let [gates, ups] = &mut values;
        gate(self.level, self.activation, gates[..taken].as_flattened_mut(), ups[..taken].as_flattened());
        let start = group * self.groups.len();
        let halves = start + runs * rows * MAIN + pair * rows * HALVES;
        let main = start + pair * rows * MAIN;
        // SAFETY: a run of a group is one pair's, and the caller's promise.
        let (main, halves) = unsafe {
            (self.out.part(main..main + rows * MAIN), self.out.part(halves..halves + rows * HALVES))
        };
        put_runs(self.level, &gates[..rows], main, halves);
    }
}
