//! Few rows with AVX-512 VNNI: codes go from the panel into registers, and no piece of it is written.
//!
//! Up to [`MOST_DIRECT`] rows leave registers for this, and weights are used too seldom to be worth unpacking into memory.

use super::inputs::{HALVES, MAIN};
use super::piece::{Line, Rows, codes, plan, scales};
use super::piece_x86::Wide;
use super::tile::Operands;
use super::vnni::add_run;
use crate::backend::cpu::packed::inputs::RUN;
use std::arch::x86_64::*;
use std::hint::black_box;

/// Most rows.
pub(super) const MOST_DIRECT: usize = 8;

/// Bytes that weights are asked for ahead of their use, into the first- and the second-level cache.
const NEAR: usize = 576;
const FAR: usize = 3072;

/// The products of whole cells of the type with this number, to the same bits as [`super::vnni::tile`] with a piece of them,
/// which it wants none of.
///
/// # Safety
/// See [`Operands`]: the cells have at least `runs` runs.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn products<const NUMBER: usize, const ROWS: usize>(cells: &[u8], operands: &Operands) {
    let Operands { main, halves, runs, first, sums, .. } = *operands;
    let plan = plan::<NUMBER, false>();
    let (per_cell, groups) = (plan.cell.inputs / RUN, plan.cell.group / 4);
    let lines = plan.cell.bytes / 64;
    let mut totals = [_mm512_setzero_ps(); ROWS];
    if !first {
        for (row, total) in totals.iter_mut().enumerate() {
            // SAFETY: there are `ROWS` sums, of 16 floats each.
            *total = unsafe { _mm512_loadu_ps(sums.add(row).cast()) };
        }
    }
    for (number, cell) in cells.chunks_exact(plan.cell.bytes).enumerate() {
        // As many as the smallest groups make; the compiler drops what is not used.
        let (mut all_scales, mut all_shifts) = ([[0.0; 16]; 16], [[0.0; 16]; 16]);
        let of_cell = plan.groups();
        scales(Wide, plan, cell, &mut all_scales[..of_cell], &mut all_shifts[..of_cell]);
        for run in 0..per_cell {
            for line in run * lines / per_cell..(run + 1) * lines / per_cell {
                let from = cell.as_ptr().wrapping_add(64 * line).cast::<i8>();
                // A hint, for any address.
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(NEAR));
                _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(FAR));
            }
            let at = number * per_cell + run;
            if at >= runs {
                break;
            }
            let mut lines: [Line; RUN / 4] = [[0; 64]; RUN / 4];
            codes(Wide, plan, cell, run, &mut lines);
            let parts = 8 / groups;
            let (scales, shifts): (&[Rows], &[Rows]) =
                (&all_scales[run * parts..], &all_shifts[run * parts..]);
            // SAFETY: by the caller's promise there are `runs` runs of inputs.
            unsafe {
                // Operands at a sum of two registers would count twice where instructions are issued.
                let inputs =
                    (black_box(main.add(at * ROWS * MAIN)), black_box(halves.add(at * ROWS * HALVES)));
                add_run(groups, plan.shifted, &lines, scales, shifts, inputs, &mut totals);
            }
        }
    }
    for (row, total) in totals.into_iter().enumerate() {
        // SAFETY: there are `ROWS` sums, which are this call's.
        unsafe { _mm512_storeu_ps(sums.add(row).cast(), total) };
    }
}
