//! Activations as kernels on panels want them, made once for each product's input.
//!
//! Inputs are padded with zeros to a multiple of [`MOST_INPUTS`], so that a kernel may read whole cells. Each row is a
//! record of its own in the arena: scales of each 32 inputs, sums of each 16, then codes. A run of inputs with a NaN or an
//! infinity has the scale NaN and codes 0: as every product is multiplied by the scale, the NaN comes through.

use super::layout::MOST_INPUTS;
use super::many_bytes::inputs::{Groups, prepare as prepare_group};
use crate::backend::cpu::kernels::{Level, per_level};

/// Inputs that share a scale.
pub(super) const RUN: usize = 32;
/// Inputs that are summed up.
const SUMMED: usize = 16;

/// Largest code of 15 bits, 128 * 127.
const MOST_15: f32 = 16256.0;

/// Runs without a larger input than this count as zeros: their scale would be no normal number.
pub(super) const LEAST: f32 = 1.0 / (1u128 << 110) as f32;

/// A form of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// 15 bits as two planes of 8: `scale * (128 * high + low)`.
    Planes,
    /// 8 bits in groups of rows: see [`super::many_bytes::inputs`].
    Bytes,
    /// Tiles of bf16, whose blocks of rows are no records: `amx` makes them.
    #[cfg(target_arch = "x86_64")]
    Tiles,
    /// The same in two planes.
    #[cfg(target_arch = "x86_64")]
    TilePairs,
}

impl Form {
    /// Inputs with what they are padded with; `None` on overflow.
    pub(crate) fn depth(cols: usize) -> Option<usize> {
        cols.checked_next_multiple_of(MOST_INPUTS)
    }

    /// Values of 4 bytes of so many rows of a depth from [`Form::depth`]; `None` on overflow. Fewer rows never want more.
    pub(crate) fn values(self, rows: usize, depth: usize) -> Option<usize> {
        match self {
            Form::Bytes => Groups::most(rows, depth),
            _ => self.record(depth)?.checked_mul(rows),
        }
    }

    /// Tasks that make so many rows: of each the rows, one after the other, and as many values.
    pub(crate) fn tasks(self, rows: usize, depth: usize) -> usize {
        match self {
            Form::Bytes => Groups::of(rows, depth).count,
            _ => rows,
        }
    }

    /// Values of 4 bytes in a row's record; `None` on overflow, and where rows have no records of their own.
    fn record(self, depth: usize) -> Option<usize> {
        let scales = depth / RUN + depth / SUMMED;
        let record = match self {
            Form::Planes => scales.checked_add(depth / 2)?,
            Form::Bytes => return None,
            #[cfg(target_arch = "x86_64")]
            Form::Tiles => depth / 2,
            #[cfg(target_arch = "x86_64")]
            Form::TilePairs => depth,
        };
        // Whole cache lines.
        record.checked_next_multiple_of(16)
    }

    /// Planes of tiles; `None` for the forms of records.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn planes(self) -> Option<usize> {
        match self {
            Form::Tiles => Some(1),
            Form::TilePairs => Some(2),
            _ => None,
        }
    }
}

/// One row of [`Planes`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanesRow<'a> {
    /// `[depth / 32]`.
    pub(crate) scales: &'a [f32],
    /// `[depth / 16]`: sums of `128 * high + low`.
    pub(crate) sums: &'a [i32],
    /// `[depth]`, within -127 and 127.
    pub(crate) high: &'a [i8],
    /// `[depth]`, within -64 and 63.
    pub(crate) low: &'a [i8],
}

/// Rows of records.
#[derive(Clone, Copy, Debug)]
struct Records<'a> {
    records: &'a [f32],
    record: usize,
    depth: usize,
}

impl<'a> Records<'a> {
    /// `None` when the records are no rows of this depth.
    fn new(form: Form, depth: usize, records: &'a [f32]) -> Option<Self> {
        let record = form.record(depth).filter(|record| *record > 0)?;
        records.len().is_multiple_of(record).then_some(Records { records, record, depth })
    }

    fn rows(&self) -> usize {
        self.records.len() / self.record
    }

    fn row(&self, row: usize) -> &'a [f32] {
        &self.records[row * self.record..(row + 1) * self.record]
    }
}

/// Rows of [`Form::Planes`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planes<'a>(Records<'a>);

impl<'a> Planes<'a> {
    /// Rows as [`prepare`] made them; `None` when the records are no rows of this depth.
    pub(crate) fn new(depth: usize, records: &'a [f32]) -> Option<Self> {
        Records::new(Form::Planes, depth, records).map(Planes)
    }

    /// Rows.
    pub(crate) fn rows(&self) -> usize {
        self.0.rows()
    }

    /// One of them.
    pub(crate) fn row(&self, row: usize) -> PlanesRow<'a> {
        let depth = self.0.depth;
        let (scales, rest) = self.0.row(row).split_at(depth / RUN);
        let (sums, codes) = rest.split_at(depth / SUMMED);
        let (high, low) = as_bytes(codes).split_at(depth);
        PlanesRow { scales, sums: as_numbers(sums), high, low: &low[..depth] }
    }
}

/// The same memory as bytes.
fn as_bytes(values: &[f32]) -> &[i8] {
    // SAFETY: plain numbers, at the same place and as long as before.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<i8>(), size_of_val(values)) }
}

/// The same memory as whole numbers.
fn as_numbers(values: &[f32]) -> &[i32] {
    // SAFETY: plain numbers, at the same place and as long as before; size and alignment are the same.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<i32>(), values.len()) }
}

/// The same memory as bytes, to be written.
fn as_bytes_mut(values: &mut [f32]) -> &mut [i8] {
    // SAFETY: plain numbers, at the same place and as long as before, borrowed mutably.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<i8>(), size_of_val(values)) }
}

/// The same memory as whole numbers, to be written.
fn as_numbers_mut(values: &mut [f32]) -> &mut [i32] {
    // SAFETY: plain numbers, at the same place and as long as before, borrowed mutably; size and alignment are the same.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<i32>(), values.len()) }
}

/// Does one of [`Form::tasks`], for inputs of `[rows, cols]`.
pub(crate) fn prepare(
    level: Level,
    form: Form,
    task: usize,
    inputs: &[f32],
    cols: usize,
    values: &mut [f32],
) {
    let (rows, Some(depth)) = (inputs.len().checked_div(cols).unwrap_or(0), Form::depth(cols)) else {
        return;
    };
    let groups = Groups::of(rows, depth);
    let of = if form == Form::Bytes { groups.rows_of(task, rows) } else { task..task + 1 };
    let inputs = &inputs[of.start * cols..of.end * cols];
    if form == Form::Bytes {
        prepare_group(level, groups, inputs, cols, values);
        return;
    }
    let (scales, rest) = values.split_at_mut(depth / RUN);
    let (sums, codes) = rest.split_at_mut(depth / SUMMED);
    let (high, low) = as_bytes_mut(codes).split_at_mut(depth);
    planes(level, inputs, scales, as_numbers_mut(sums), high, low);
}

/// The scale of a run and the codes of its inputs, which go from `-most` to `most`.
#[inline(always)]
pub(super) fn coded(values: &[f32; RUN], most: f32) -> (f32, [i32; RUN]) {
    // What is added to a number below 2^22 to have it rounded, ties to even, in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let mut largest = 0;
    for value in values {
        largest = largest.max(value.to_bits() & 0x7fff_ffff);
    }
    let largest = f32::from_bits(largest);
    if !largest.is_finite() {
        return (f32::NAN, [0; RUN]);
    }
    if largest < LEAST {
        return (0.0, [0; RUN]);
    }
    let inverse = most / largest;
    let mut codes = [0; RUN];
    for (code, value) in codes.iter_mut().zip(values) {
        *code = (value * inverse + ROUND).to_bits().cast_signed() - ROUND.to_bits().cast_signed();
    }
    (largest / most, codes)
}

/// A run of a row, whose end is followed by zeros.
#[inline(always)]
pub(super) fn run_of(row: &[f32], number: usize) -> [f32; RUN] {
    let (runs, rest) = row.as_chunks::<RUN>();
    if let Some(run) = runs.get(number) {
        return *run;
    }
    let mut run = [0.0; RUN];
    if number == runs.len() {
        run[..rest.len()].copy_from_slice(rest);
    }
    run
}

#[inline(always)]
fn sums_of(codes: &[i32; RUN]) -> [i32; RUN / SUMMED] {
    let mut sums = [0; RUN / SUMMED];
    for (sum, codes) in sums.iter_mut().zip(codes.as_chunks::<SUMMED>().0) {
        *sum = codes.iter().sum();
    }
    sums
}

per_level! {
    fn planes[_simd](row: &[f32], scales: &mut [f32], sums: &mut [i32], high: &mut [i8], low: &mut [i8]) {
        let planes = high.as_chunks_mut::<RUN>().0.iter_mut().zip(low.as_chunks_mut::<RUN>().0);
        let sums = sums.as_chunks_mut().0;
        for (number, (((high, low), sums), scale)) in planes.zip(sums).zip(scales).enumerate() {
            let codes;
            (*scale, codes) = coded(&run_of(row, number), MOST_15);
            *sums = sums_of(&codes);
            for ((high, low), code) in high.iter_mut().zip(low).zip(codes) {
                let upper = (code + 64) >> 7;
                *high = upper as i8;
                *low = (code - (upper << 7)) as i8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::reference::Random;

    fn prepared(level: Level, form: Form, row: &[f32]) -> (usize, Vec<f32>) {
        let depth = Form::depth(row.len()).unwrap();
        let mut record = vec![f32::NAN; form.values(1, depth).unwrap()];
        prepare(level, form, 0, row, row.len(), &mut record);
        (depth, record)
    }

    #[test]
    fn codes_are_near_their_inputs_and_add_up() {
        let mut random = Random::new(51);
        for len in [1, 32, 40, 256, 257, 896] {
            for magnitude in [1e-30, 1.0, 3e38] {
                let row: Vec<f32> = random.floats(len).iter().map(|value| value * magnitude).collect();
                for level in Level::all() {
                    let (depth, record) = prepared(level, Form::Planes, &row);
                    let planes = Planes::new(depth, &record).unwrap();
                    assert_eq!(planes.rows(), 1);
                    let PlanesRow { scales, sums, high, low } = planes.row(0);
                    for k in 0..depth {
                        let value = row.get(k).copied().unwrap_or(0.0);
                        let code = 128 * i32::from(high[k]) + i32::from(low[k]);
                        assert!((code as f32 * scales[k / 32] - value).abs() <= 0.501 * scales[k / 32]);
                    }
                    for (at, sum) in sums.iter().enumerate() {
                        let of = |k: usize| 128 * i32::from(high[k]) + i32::from(low[k]);
                        assert_eq!(*sum, (16 * at..16 * at + 16).map(of).sum::<i32>());
                    }
                }
            }
        }
    }

    #[test]
    fn no_finite_number_is_made_of_one_that_is_not() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut row = vec![1.0; 96];
            row[40] = bad;
            for level in Level::all() {
                let (depth, record) = prepared(level, Form::Planes, &row);
                let planes = Planes::new(depth, &record).unwrap().row(0);
                assert!(planes.scales[1].is_nan() && planes.scales[0].is_finite());
                assert!(planes.high[32..64].iter().all(|code| *code == 0));
            }
        }
    }
}
