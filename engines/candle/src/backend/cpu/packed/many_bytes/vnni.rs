//! Tiles with AVX-512 VNNI: products of unsigned and signed bytes, four at a time, into sums of 32 bits.
//!
//! Rows are the inner loop: a line of codes is loaded once for all of them, and a row's four inputs are broadcast by the
//! product's own memory operand. So a tile of 12 rows keeps 12 whole sums and 12 in f32 in registers and has almost no
//! instructions but products. Whole sums begin at [`ORIGIN`] and want no conversion: one fused operation scales each by the weights,
//! one adds it scaled by the inputs.

use super::inputs::{HALVES, MAIN, ORIGIN};
use super::piece::{Line, Rows};
use super::tile::Operands;
use std::arch::x86_64::*;

/// See [`super::plain::tile`], whose bits it gives.
///
/// # Safety
/// See [`Operands`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
pub(super) unsafe fn tile<const ROWS: usize, const GROUPS: usize, const SHIFTED: bool>(operands: &Operands) {
    let Operands { piece, main, halves, runs, first, sums, ahead, lines } = *operands;
    let mut totals = [_mm512_setzero_ps(); ROWS];
    if !first {
        for (row, total) in totals.iter_mut().enumerate() {
            // SAFETY: there are `ROWS` sums, of 16 floats each.
            *total = unsafe { _mm512_loadu_ps(sums.add(row).cast()) };
        }
    }
    for run in 0..runs {
        for line in 0..lines {
            // A hint, for any address.
            _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64 * (run * lines + line)).cast());
        }
        // SAFETY: by the caller's promise, here and below: there are `runs` runs of inputs and of the piece, and what is read
        // of each is within what `MAIN` and `HALVES` count.
        let (main, halves) = unsafe { (main.add(run * ROWS * MAIN), halves.add(run * ROWS * HALVES)) };
        // SAFETY: as above; a run has as many scales as parts.
        unsafe {
            let (codes, at) = (&(*piece).codes[run], run * (8 / GROUPS));
            let (scales, shifts) = (&(&(*piece).scales)[at..], &(&(*piece).shifts)[at..]);
            add_run::<ROWS>(GROUPS, SHIFTED, codes, scales, shifts, (main, halves), &mut totals);
        }
    }
    for (row, total) in totals.into_iter().enumerate() {
        // SAFETY: there are `ROWS` sums, which are this tile's.
        unsafe { _mm512_storeu_ps(sums.add(row).cast(), total) };
    }
}

/// Adds the products of 32 inputs: `groups` groups of four, 8 or 4, share a scale; `shifted` types have offsets. Products are
/// no loop: codes that are in registers would not stay there, and with those in memory it costs a tenth of the time.
///
/// # Safety
/// The processor has AVX-512 with VNNI. There are the inputs of a run of `ROWS` rows at the two pointers.
#[inline(always)]
pub(super) unsafe fn add_run<const ROWS: usize>(
    groups: usize,
    shifted: bool,
    codes: &[Line; 8],
    scales: &[Rows],
    shifts: &[Rows],
    (main, halves): (*const f32, *const f32),
    totals: &mut [__m512; ROWS],
) {
    // SAFETY: the caller's promise; of each run, what is read is within what `MAIN` and `HALVES` count.
    unsafe {
        for (part, scales) in scales.iter().enumerate().take(8 / groups) {
            let (starts, shares) = match groups {
                8 => (main.add(9 * ROWS), main.add(10 * ROWS)),
                _ => (halves.add(part * ROWS), halves.add((2 + part) * ROWS)),
            };
            let mut dots = [_mm512_castps_si512(_mm512_set1_ps(ORIGIN)); ROWS];
            if !shifted {
                for (row, dot) in dots.iter_mut().enumerate() {
                    *dot = _mm512_castps_si512(_mm512_set1_ps(starts.add(row).read()));
                }
            }
            let first = part * groups;
            macro_rules! add {
                ($($index:literal)*) => {$(
                    let g = first + $index;
                    add_group(&codes[g], main.add(g * ROWS), &mut dots);
                )*};
            }
            add!(0 1 2 3);
            if groups == 8 {
                add!(4 5 6 7);
            }
            let scales = _mm512_loadu_ps(scales.as_ptr());
            let origin = _mm512_mul_ps(scales, _mm512_set1_ps(-ORIGIN));
            for (row, (total, dot)) in totals.iter_mut().zip(dots).enumerate() {
                let whole = _mm512_fmadd_ps(_mm512_castsi512_ps(dot), scales, origin);
                let scale = _mm512_set1_ps(main.add(8 * ROWS + row).read());
                *total = _mm512_fmadd_ps(whole, scale, *total);
            }
            if shifted {
                let shifts = _mm512_loadu_ps(shifts[part].as_ptr());
                for (row, total) in totals.iter_mut().enumerate() {
                    *total = _mm512_fmadd_ps(shifts, _mm512_set1_ps(shares.add(row).read()), *total);
                }
            }
        }
    }
}

/// Adds the products of four inputs.
///
/// # Safety
/// As of [`add_run`].
#[inline(always)]
unsafe fn add_group<const ROWS: usize>(codes: &Line, inputs: *const f32, dots: &mut [__m512i; ROWS]) {
    // SAFETY: the caller's promise.
    unsafe {
        let codes = _mm512_loadu_si512(codes.as_ptr().cast());
        for (row, dot) in dots.iter_mut().enumerate() {
            let inputs = _mm512_set1_epi32(inputs.add(row).cast::<i32>().read());
            *dot = _mm512_dpbusd_epi32(*dot, codes, inputs);
        }
    }
}
