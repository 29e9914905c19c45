//! The products of a piece of a panel with a block of rows.
//!
//! A unit is the inputs that share a scale, 32 or 16. Its weights become bytes with signs in the scratch, one tile product
//! adds up its sums, and these go through the scratch to where they are scaled. Neither tiles nor the scratch answer at once:
//! so while a unit is multiplied, the next but one is unpacked, the one before it leaves its tile, and sums of the one before
//! that are scaled. All of these are different registers and different places, and go on side by side.

use super::super::inputs::ORIGIN;
use super::super::piece::{Line, Rows, codes, plan, scale_of};
use super::super::piece_x86::Wide;
use super::inputs::{scales, sums};
use crate::backend::cpu::kernels::{TILE_ROW, Tiles};
use crate::backend::cpu::packed::inputs::RUN;
use std::arch::x86_64::*;

/// Units from unpacking to the product, from there to the scratch, and from there to the scaling.
const UNPACKED: usize = 2;
const STORED: usize = 2;
const SCALED: usize = 3;

/// Bytes that weights are asked for ahead of their use, into the first- and the second-level cache.
const AHEAD: (usize, usize) = (576, 3072);

/// What units go through.
#[repr(C, align(64))]
pub(super) struct Scratch {
    codes: [[Line; RUN / 4]; 4],
    sums: [[[i32; 16]; 16]; 4],
}

impl Scratch {
    pub(super) fn new() -> Self {
        Scratch { codes: [[[0; 64]; RUN / 4]; 4], sums: [[[0; 16]; 16]; 4] }
    }
}

/// What a piece is multiplied with.
pub(super) struct Operands<'a> {
    /// Whole cells of a panel.
    pub(super) cells: &'a [u8],
    /// As many records of a block as there are runs; the cells have at least as many.
    pub(super) records: &'a [f32],
    pub(super) runs: usize,
    /// Whether the sums begin here.
    pub(super) first: bool,
    /// `[row]`.
    pub(super) sums: &'a mut [Rows],
    /// The cells that come after these, which are asked for; null where nothing is to be asked for.
    pub(super) next: *const u8,
}

/// A piece on its way through the units.
struct Units<'a, const ROWS: usize> {
    tiles: &'a Tiles,
    cells: *const u8,
    records: *const f32,
    count: usize,
    bytes: usize,
    next: *const u8,
}

/// Adds the products of a piece to the sums of `ROWS` rows, to the bits of [`super::super::plain::tile`].
///
/// # Safety
/// The processor has AMX and so all of the features below it; tiles are set up for `ROWS` rows and the inputs of the type's
/// groups; the operands are as long as they say, with `ROWS` sums, and records are aligned to cache lines.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn products<const NUMBER: usize, const ROWS: usize>(
    tiles: &Tiles,
    operands: Operands<'_>,
    scratch: &mut Scratch,
) {
    let Operands { cells, records, runs, first, sums, next } = operands;
    let parts = RUN / plan::<NUMBER, false>().cell.group;
    let units = Units::<ROWS> {
        tiles,
        cells: cells.as_ptr(),
        records: records.as_ptr(),
        count: runs * parts,
        bytes: cells.len(),
        next,
    };
    let mut totals = [_mm512_setzero_ps(); ROWS];
    if !first {
        for (total, sums) in totals.iter_mut().zip(&*sums) {
            // SAFETY: 16 floats.
            *total = unsafe { _mm512_loadu_ps(sums.as_ptr()) };
        }
    }
    // SAFETY: the caller's promise, throughout.
    unsafe {
        for run in 0..(UNPACKED / parts).min(runs) {
            units.unpack::<NUMBER>(run, run, scratch);
        }
        // A step is four units, so that each has its registers.
        let mut unit = 0;
        while unit < units.count + SCALED {
            units.step::<NUMBER, 0, 2, 4, 6>(unit, scratch, &mut totals);
            units.step::<NUMBER, 1, 3, 5, 7>(unit + 1, scratch, &mut totals);
            units.step::<NUMBER, 2, 0, 4, 6>(unit + 2, scratch, &mut totals);
            units.step::<NUMBER, 3, 1, 5, 7>(unit + 3, scratch, &mut totals);
            unit += 4;
        }
    }
    for (total, sums) in totals.into_iter().zip(sums) {
        // SAFETY: 16 floats.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), total) };
    }
}

impl<const ROWS: usize> Units<'_, ROWS> {
    /// Values of 4 bytes of a record.
    const RECORD: usize = (RUN / 4 + 4) * ROWS;

    /// Multiplies a unit in register `C`, which is its number's remainder by four, while `OLD`, two units before, goes on.
    ///
    /// # Safety
    /// As [`products`].
    #[inline(always)]
    unsafe fn step<const NUMBER: usize, const C: u8, const OLD: u8, const A: u8, const B: u8>(
        &self,
        unit: usize,
        scratch: &mut Scratch,
        totals: &mut [__m512; ROWS],
    ) {
        let parts = RUN / plan::<NUMBER, false>().cell.group;
        let place = usize::from(C);
        // Where a run's codes are; of halves, there are two units to a run.
        let codes_at = |unit: usize| if parts == 1 { unit % 4 } else { unit / 2 % 4 };
        let (tiles, part) = (self.tiles, unit % parts);
        // SAFETY: the caller's promise: the unit is one of the piece's, and the scratch has room for four.
        unsafe {
            if unit < self.count {
                let at = if parts == 1 { place } else { codes_at(unit) };
                tiles.zero::<C>();
                tiles.load::<A>(
                    self.records.add(unit / parts * Self::RECORD).cast::<u8>().add(part * (RUN / 2)),
                    RUN,
                );
                tiles.load::<B>(scratch.codes[at][part * (RUN / 8)..].as_ptr().cast(), TILE_ROW);
                tiles.multiply_bytes::<C, A, B>();
            }
            let later = unit + UNPACKED;
            if later.is_multiple_of(parts) && later < self.count {
                let at = if parts == 1 { (place + UNPACKED) % 4 } else { codes_at(later) };
                self.unpack::<NUMBER>(later / parts, at, scratch);
            }
            if unit >= SCALED && unit - SCALED < self.count {
                self.scale::<NUMBER>(unit - SCALED, &scratch.sums[(place + 4 - SCALED) % 4], totals);
            }
            if unit >= STORED && unit - STORED < self.count {
                let to = scratch.sums[(place + 4 - STORED) % 4].as_mut_ptr();
                tiles.store::<OLD>(to.cast(), TILE_ROW);
            }
        }
    }

    /// Unpacks the codes of a run and asks for those that come later.
    ///
    /// # Safety
    /// As [`products`], and the piece has such a run.
    #[inline(always)]
    unsafe fn unpack<const NUMBER: usize>(&self, run: usize, at: usize, scratch: &mut Scratch) {
        let plan = plan::<NUMBER, false>();
        let (per_cell, lines) = (plan.cell.inputs / RUN, plan.cell.bytes / 64);
        let (cell, run) = (run / per_cell * plan.cell.bytes, run % per_cell);
        if !self.next.is_null() {
            let from = cell + 64 * (run * lines / per_cell);
            let of = |ahead: usize| match from + ahead < self.bytes {
                true => self.cells.wrapping_add(from + ahead).cast::<i8>(),
                false => self.next.wrapping_add(from + ahead - self.bytes).cast(),
            };
            let (near, far) = (of(AHEAD.0), of(AHEAD.1));
            for line in 0..lines.div_ceil(per_cell) {
                // SAFETY: hints, which no address makes fail.
                #[allow(unused_unsafe, reason = "newer compilers take it for safe")]
                unsafe {
                    _mm_prefetch::<_MM_HINT_T0>(near.wrapping_add(64 * line));
                    _mm_prefetch::<_MM_HINT_T1>(far.wrapping_add(64 * line));
                }
            }
        }
        let mut lines: [Line; RUN / 4] = [[0; 64]; RUN / 4];
        // SAFETY: the caller's promise.
        unsafe {
            std::hint::assert_unchecked(run < per_cell);
            let cell = std::slice::from_raw_parts(self.cells.add(cell), plan.cell.bytes);
            codes(Wide, plan, cell, run, &mut lines);
            let zero = _mm512_set1_epi8(if plan.shifted { 0 } else { -128 });
            for (line, signed) in lines.iter().zip(&mut scratch.codes[at]) {
                // What stands for zero becomes zero.
                let line = _mm512_xor_si512(_mm512_loadu_si512(line.as_ptr().cast()), zero);
                _mm512_store_si512(signed.as_mut_ptr().cast(), line);
            }
        }
    }

    /// Adds a unit's sums to those of its rows, in the order of [`super::super::plain::tile`].
    ///
    /// # Safety
    /// As [`products`], and the piece has such a unit.
    #[inline(always)]
    unsafe fn scale<const NUMBER: usize>(
        &self,
        unit: usize,
        dots: &[[i32; 16]; 16],
        totals: &mut [__m512; ROWS],
    ) {
        let plan = plan::<NUMBER, false>();
        let parts = RUN / plan.cell.group;
        let of_cell = plan.groups();
        let (cell, group) = (unit / of_cell * plan.cell.bytes, unit % of_cell);
        // SAFETY: the caller's promise.
        unsafe {
            std::hint::assert_unchecked(group < of_cell);
            let cell = std::slice::from_raw_parts(self.cells.add(cell), plan.cell.bytes);
            let record = self.records.add(unit / parts * Self::RECORD);
            let (weights, shift) = scale_of(Wide, plan, cell, group);
            let rows = record.add(scales(ROWS));
            let origin = _mm512_set1_ps(ORIGIN);
            let less = _mm512_mul_ps(weights, _mm512_set1_ps(-ORIGIN));
            for (row, total) in totals.iter_mut().enumerate() {
                let dot = _mm512_load_si512(dots[row].as_ptr().cast());
                let dot = _mm512_castsi512_ps(_mm512_add_epi32(dot, _mm512_castps_si512(origin)));
                let whole = _mm512_fmadd_ps(dot, weights, less);
                *total = _mm512_fmadd_ps(whole, _mm512_set1_ps(rows.add(row).read()), *total);
            }
            if plan.shifted {
                let rows = record.add(sums(ROWS, parts == 2, unit % parts));
                for (row, total) in totals.iter_mut().enumerate() {
                    *total = _mm512_fmadd_ps(shift, _mm512_set1_ps(rows.add(row).read()), *total);
                }
            }
        }
    }
}
