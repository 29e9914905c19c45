//! Few rows with AVX-512 VNNI: codes go from the panel into registers, and no piece of it is written.
//!
//! That is for a single group, whose rows are too few for weights to be worth unpacking into memory. Up to [`IN_REGISTERS`] rows
//! leave registers for this; the sums of more lie in memory and are brought in once for each 32 inputs.

use super::inputs::{HALVES, MAIN};
use super::piece::{Line, Rows, Vectors, codes, plan, scale_of};
use super::piece_x86::Wide;
use super::tile::Operands;
use super::vnni::add_run;
use crate::backend::cpu::packed::inputs::RUN;
use std::arch::x86_64::*;
use std::hint::black_box;

/// Most rows whose sums stay in registers.
const IN_REGISTERS: usize = 8;

/// Bytes that weights are asked for ahead of their use, into the first- and the second-level cache.
const NEAR: usize = 576;
const FAR: usize = 3072;

/// The products of whole cells of the type with this number, to the same bits as [`super::vnni::tile`] with a piece of them,
/// which it wants none of.
///
/// # Safety
/// See [`Operands`]: the cells have at least `runs` runs, and the sums are aligned to 64 bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
pub(super) unsafe fn products<const ROWS: usize, const NUMBER: usize>(cells: &[u8], operands: &Operands) {
    let Operands { main, halves, runs, first, sums, .. } = *operands;
    let plan = plan::<NUMBER, false>();
    let (per_cell, groups) = (plan.cell.inputs / RUN, plan.cell.group / 4);
    let (share, rest) = (plan.cell.bytes / 64 / per_cell, plan.cell.bytes / 64 % per_cell);
    // SAFETY: there are `ROWS` sums, of 16 floats each, which are this call's and aligned to it.
    let sums = unsafe { &mut *sums.cast::<[__m512; ROWS]>() };
    if first {
        *sums = [_mm512_setzero_ps(); ROWS];
    }
    let mut held = *sums;
    for (number, cell) in cells.chunks_exact(plan.cell.bytes).enumerate() {
        for run in 0..per_cell {
            let ask = |line: usize| {
                let from = cell.as_ptr().wrapping_add(64 * line).cast::<i8>();
                // A hint, for any address.
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(NEAR));
                _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(FAR));
            };
            if run == 0 {
                (0..rest).for_each(ask);
            }
            (0..share).for_each(|line| ask(rest + run * share + line));
            let at = number * per_cell + run;
            if at >= runs {
                break;
            }
            let mut lines: [Line; RUN / 4] = [[0; 64]; RUN / 4];
            codes(Wide, plan, cell, run, &mut lines);
            let (mut scales, mut shifts): ([Rows; 2], [Rows; 2]) = ([[0.0; 16]; 2], [[0.0; 16]; 2]);
            for (part, (scales, shifts)) in scales.iter_mut().zip(&mut shifts).take(8 / groups).enumerate() {
                let (scale, shift) = scale_of(Wide, plan, cell, run * (8 / groups) + part);
                Wide.store_floats(scale, scales);
                Wide.store_floats(shift, shifts);
            }
            // SAFETY: by the caller's promise there are `runs` runs of inputs.
            unsafe {
                // Operands at a sum of two registers would count twice where instructions are issued.
                let inputs =
                    (black_box(main.add(at * ROWS * MAIN)), black_box(halves.add(at * ROWS * HALVES)));
                // What might have changed meanwhile stays in memory.
                let totals = if ROWS > IN_REGISTERS { black_box(&mut *sums) } else { &mut held };
                add_run::<ROWS>(groups, plan.shifted, &lines, &scales, &shifts, inputs, totals);
            }
        }
    }
    if ROWS <= IN_REGISTERS {
        *sums = held;
    }
}
