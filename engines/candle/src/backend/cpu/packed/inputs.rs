//! Activations as kernels on panels want them, made once for each product's input.
//!
//! Inputs are padded with zeros to a multiple of [`MOST_INPUTS`], so that a kernel may read whole cells. Each row is a
//! record of its own in the arena: scales of each 32 inputs, sums of each 16, then codes. A run of inputs with a NaN or an
//! infinity has the scale NaN and codes 0: as every product is multiplied by the scale, the NaN comes through.

use super::layout::MOST_INPUTS;
#[cfg(target_arch = "x86_64")]
use super::many_bytes::amx::{self, Blocks};
use super::many_bytes::inputs::{Groups, prepare as prepare_group};
use crate::backend::cpu::kernels::{Level, ROUND, few};

/// Inputs that share a scale.
pub(super) const RUN: usize = 32;

/// Runs without a larger input than this count as zeros: their scale would be no normal number.
pub(super) const LEAST: f32 = 1.0 / (1u128 << 110) as f32;

/// A form of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// 15 bits, for few rows: see [`few`].
    Planes,
    /// f32, for few rows.
    Floats,
    /// 8 bits in groups of rows: see [`super::many_bytes::inputs`].
    Bytes,
    /// 8 bits as tiles: see [`super::many_bytes::amx`].
    #[cfg(target_arch = "x86_64")]
    TileBytes,
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
            #[cfg(target_arch = "x86_64")]
            Form::TileBytes => Blocks::of(rows, depth).values(),
            _ => self.record(depth)?.checked_mul(rows),
        }
    }

    /// Tasks that make so many rows: of each the rows, one after the other, and as many values.
    pub(crate) fn tasks(self, rows: usize, depth: usize) -> usize {
        match self {
            Form::Bytes => Groups::of(rows, depth).count,
            #[cfg(target_arch = "x86_64")]
            Form::TileBytes => Blocks::of(rows, depth).parts(),
            _ => rows,
        }
    }

    /// Values of 4 bytes in a row's record; `None` on overflow, and where rows have no records of their own.
    fn record(self, depth: usize) -> Option<usize> {
        let record = match self {
            Form::Planes => (depth / RUN).checked_mul(few::QUANTISED)?,
            Form::Floats => depth,
            Form::Bytes => return None,
            #[cfg(target_arch = "x86_64")]
            Form::TileBytes => return None,
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

/// Does one of [`Form::tasks`] for [`Form::Bytes`] or [`Form::TileBytes`] of inputs `[rows, cols]`.
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
    #[cfg(target_arch = "x86_64")]
    if let (Form::TileBytes, Some(amx)) = (form, level.amx()) {
        return amx::prepare(amx, Blocks::of(rows, depth), task, inputs, cols, values);
    }
    debug_assert_eq!(form, Form::Bytes);
    let groups = Groups::of(rows, depth);
    let of = groups.rows_of(task, rows);
    prepare_group(level, groups, &inputs[of.start * cols..of.end * cols], cols, values);
}

/// The scale of a run and the codes of its inputs, which go from `-most` to `most`.
#[inline(always)]
pub(super) fn coded(values: &[f32; RUN], most: f32) -> (f32, [i32; RUN]) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::reference::Random;

    #[test]
    fn codes_are_near_their_inputs() {
        let mut random = Random::new(51);
        for len in [1, 31, 32] {
            for magnitude in [1e-30, 1.0, 3e38] {
                let row: Vec<f32> = random.floats(len).iter().map(|value| value * magnitude).collect();
                let run = run_of(&row, 0);
                let (scale, codes) = coded(&run, 127.0);
                for (code, value) in codes.into_iter().zip(run) {
                    assert!((code as f32 * scale - value).abs() <= 0.501 * scale);
                }
            }
        }
    }

    #[test]
    fn no_finite_number_is_made_of_one_that_is_not() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut run = [1.0; RUN];
            run[8] = bad;
            let (scale, codes) = coded(&run, 127.0);
            assert!(scale.is_nan() && codes == [0; RUN]);
        }
    }
}
