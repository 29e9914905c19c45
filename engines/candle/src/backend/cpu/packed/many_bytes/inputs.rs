//! Inputs of 8 bits, in groups of rows as the tiles read them.
//!
//! A group is the rows of one tile: all of them where there are no more than [`MOST_ALONE`], and else at most [`MOST_ROWS`],
//! as even as the rows allow, the last one filled up with rows of zeros. It is runs of 32 inputs one after the other, and after all of them what only some types' tiles want of each run:
//!
//! | of a run | values |
//! |---|---|
//! | codes | `i8[8 groups of 4 inputs][row][4]` |
//! | scales | `f32[row]` |
//! | starts: what a sum of products with codes that are 128 too large begins at | `f32[row]`, `ORIGIN - 128 * sum of codes` |
//! | sums | `f32[row]`, `scale * sum of codes` |
//! | then: starts of both halves of a run | `f32[2][row]` |
//! | sums of both halves | `f32[2][row]` |
//!
//! Sums of products are added up in the bits of [`ORIGIN`]: then they are floats without being converted.

#[cfg(test)]
use super::super::inputs::Form;
use super::super::inputs::{RUN, coded, run_of};
use crate::backend::cpu::kernels::{Level, ROUND, Set, per_level};
use std::ops::{Range, RangeInclusive};

/// Most rows of a tile of several: with 16 outputs they keep 12 whole sums and 12 in f32 in registers.
pub(crate) const MOST_ROWS: usize = 12;
/// Most rows of a group that is alone: weights are used once then, and to go over them twice would cost more than sums in f32
/// that lie in memory.
pub(crate) const MOST_ALONE: usize = 16;
/// Fewest rows of a tile.
pub(super) const LEAST_ROWS: usize = 5;
/// Fewest rows of a tile of several.
pub(super) const LEAST_OF_SEVERAL: usize = 9;

/// What sums of products begin at: whole numbers are added to its bits, and those of a run and of 128 and less are far from 2^22. It has
/// two bits and scales of weights have at most 19, so its product with them is exact; those that it makes infinite, from 2^105 on,
/// have infinite products.
pub(super) const ORIGIN: f32 = ROUND;

/// Values of 4 bytes of a run, for each row.
pub(super) const MAIN: usize = RUN / 4 + 3;
/// The same of what follows all runs.
pub(super) const HALVES: usize = 4;

/// How rows fall into groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    /// Rows in a group.
    pub(crate) rows: usize,
    /// Groups.
    pub(crate) count: usize,
    /// Runs of each row.
    pub(super) runs: usize,
}

impl Groups {
    /// The groups of so many rows of a depth from [`super::super::inputs::Form::depth`].
    pub(crate) fn of(rows: usize, depth: usize) -> Groups {
        let count = if rows <= MOST_ALONE { 1 } else { rows.div_ceil(MOST_ROWS) };
        Groups { rows: rows.div_ceil(count).max(LEAST_ROWS), count, runs: depth / RUN }
    }

    /// Values of 4 bytes of a group: they begin at a multiple of 64 bytes, as runs are a multiple of 8.
    pub(crate) fn len(&self) -> usize {
        self.rows * self.runs * (MAIN + HALVES)
    }

    /// Values of 4 bytes of all groups of at most so many rows; `None` on overflow. Fewer rows never want more.
    pub(crate) fn most(rows: usize, depth: usize) -> Option<usize> {
        let groups = Groups::of(rows, depth);
        let each = (depth / RUN).checked_mul(MAIN + HALVES)?;
        each.checked_mul(groups.rows.checked_mul(groups.count)?)
    }

    /// What rows a group may have.
    pub(super) fn bounds(&self) -> RangeInclusive<usize> {
        if self.count == 1 { LEAST_ROWS..=MOST_ALONE } else { LEAST_OF_SEVERAL..=MOST_ROWS }
    }

    /// The rows of a group, out of all.
    pub(crate) fn rows_of(&self, group: usize, rows: usize) -> Range<usize> {
        (group * self.rows).min(rows)..((group + 1) * self.rows).min(rows)
    }
}

/// The inputs of a product, quantised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a> {
    groups: Groups,
    rows: usize,
    values: &'a [f32],
}

impl<'a> Bytes<'a> {
    /// Rows as [`prepare`] made them; `None` when `values` are not the groups of so many rows of this depth.
    pub(crate) fn new(rows: usize, depth: usize, values: &'a [f32]) -> Option<Self> {
        let groups = Groups::of(rows, depth);
        (values.len() == groups.len() * groups.count).then_some(Bytes { groups, rows, values })
    }

    /// Rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// How they are grouped.
    pub(crate) fn groups(&self) -> Groups {
        self.groups
    }

    /// From a run of a group on: what is of every run, and what is of halves of runs.
    ///
    /// # Panics
    /// There are no `count` runs from `first` on.
    #[inline(always)]
    pub(super) fn runs(&self, group: usize, first: usize, count: usize) -> (&'a [f32], &'a [f32]) {
        let Groups { rows, runs, .. } = self.groups;
        let values = &self.values[group * self.groups.len()..(group + 1) * self.groups.len()];
        let (main, halves) = values.split_at(runs * rows * MAIN);
        let piece = |width: usize| first * rows * width..(first + count) * rows * width;
        (&main[piece(MAIN)], &halves[piece(HALVES)])
    }
}

/// 32 inputs of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Run {
    pub(super) scale: f32,
    /// Of both halves' codes.
    pub(super) sums: [i32; 2],
    /// Four to a word, the first in the lowest byte.
    pub(super) codes: [u32; RUN / 4],
}

/// Quantises 32 inputs. With a NaN or an infinity among them the scale is NaN.
#[inline(always)]
pub(super) fn quantise(values: &[f32; RUN]) -> Run {
    let (scale, codes) = coded(values, MOST);
    let mut run = Run { scale, ..Run::default() };
    for (word, four) in run.codes.iter_mut().zip(codes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(four.map(|code| code as u8));
    }
    for (sum, codes) in run.sums.iter_mut().zip(codes.as_chunks::<{ RUN / 2 }>().0) {
        *sum = codes.iter().sum();
    }
    run
}

per_level! {
    fn prepare_by_level[_simd](groups: Groups, inputs: &[f32], cols: usize, values: &mut [f32]) {
        put_rows(groups, inputs, cols, values, quantise);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn prepare_avx512(groups: Groups, inputs: &[f32], cols: usize, values: &mut [f32]) {
    // A closure has the instructions of the function that it is in.
    put_rows(groups, inputs, cols, values, |values| super::inputs_x86::quantise(values));
}

/// Makes a group of its rows, which are `cols` wide each.
pub(crate) fn prepare(level: Level, groups: Groups, inputs: &[f32], cols: usize, values: &mut [f32]) {
    match level.set() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level is the proof that the processor has the instructions.
        Set::Avx512(_) | Set::Vnni(_) | Set::Amx(_) => unsafe {
            prepare_avx512(groups, inputs, cols, values)
        },
        _ => prepare_by_level(level, groups, inputs, cols, values),
    }
}

#[inline(always)]
fn put_rows(
    groups: Groups,
    inputs: &[f32],
    cols: usize,
    values: &mut [f32],
    quantise: impl Fn(&[f32; RUN]) -> Run,
) {
    let rows = groups.rows;
    let (main, halves) = as_words(values).split_at_mut(groups.runs * rows * MAIN);
    if inputs.len() < rows * cols {
        main.fill(0);
        halves.fill(0);
    }
    // A few runs of all rows before the next ones: what is written stays in the first-level cache until it is full.
    let few = main.chunks_mut(FEW * rows * MAIN).zip(halves.chunks_mut(FEW * rows * HALVES));
    for (number, (main, halves)) in few.enumerate() {
        for (row, input) in inputs.chunks_exact(cols.max(1)).take(rows).enumerate() {
            let whole = input.as_chunks::<RUN>().0;
            let runs = main.chunks_exact_mut(rows * MAIN).zip(halves.chunks_exact_mut(rows * HALVES));
            for (run, (main, halves)) in runs.enumerate() {
                let number = number * FEW + run;
                let run = match whole.get(number) {
                    Some(values) => quantise(values),
                    None => quantise(&run_of(input, number)),
                };
                put_run(run, rows, row, main, halves);
            }
        }
    }
}

/// Puts a row's run among those of its group: `main` and `halves` are the group's words of that run.
#[inline(always)]
fn put_run(run: Run, rows: usize, row: usize, main: &mut [u32], halves: &mut [u32]) {
    let Run { scale, sums, codes } = run;
    for (words, code) in main.chunks_exact_mut(rows).zip(codes) {
        words[row] = code;
    }
    let start = |sum: i32| (ORIGIN - 128.0 * sum as f32).to_bits();
    let share = |sum: i32| (scale * sum as f32).to_bits();
    let all = sums[0] + sums[1];
    main[8 * rows + row] = scale.to_bits();
    main[9 * rows + row] = start(all);
    main[10 * rows + row] = share(all);
    for half in 0..2 {
        halves[half * rows + row] = start(sums[half]);
        halves[(2 + half) * rows + row] = share(sums[half]);
    }
}

per_level! {
    fn put_runs_by_level[_simd](values: &[[f32; RUN]], main: &mut [f32], halves: &mut [f32]) {
        all_runs(values, main, halves, quantise);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn put_runs_avx512(values: &[[f32; RUN]], main: &mut [f32], halves: &mut [f32]) {
    // A closure has the instructions of the function that it is in.
    all_runs(values, main, halves, |values| super::inputs_x86::quantise(values));
}

/// Makes one run of all rows of a group: `main` and `halves` are the group's values of that run.
pub(super) fn put_runs(level: Level, values: &[[f32; RUN]], main: &mut [f32], halves: &mut [f32]) {
    match level.set() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the level is the proof that the processor has the instructions.
        Set::Avx512(_) | Set::Vnni(_) | Set::Amx(_) => unsafe { put_runs_avx512(values, main, halves) },
        _ => put_runs_by_level(level, values, main, halves),
    }
}

#[inline(always)]
fn all_runs(
    values: &[[f32; RUN]],
    main: &mut [f32],
    halves: &mut [f32],
    quantise: impl Fn(&[f32; RUN]) -> Run,
) {
    let (main, halves) = (as_words(main), as_words(halves));
    for (row, of_row) in values.iter().enumerate() {
        put_run(quantise(of_row), values.len(), row, main, halves);
    }
}

/// Runs that are quantised of all rows of a group before the next ones.
const FEW: usize = 8;

/// The largest code.
pub(super) const MOST: f32 = 127.0;

/// The same memory as words.
#[inline(always)]
fn as_words(values: &mut [f32]) -> &mut [u32] {
    // SAFETY: plain numbers, at the same place and as long as before, borrowed mutably; size and alignment are the same.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u32>(), values.len()) }
}

/// Inputs of a row with what they are padded with: what [`super::super::inputs::Form::depth`] says, in runs.
#[cfg(test)]
pub(super) fn depth(cols: usize) -> usize {
    Form::depth(cols).unwrap()
}
