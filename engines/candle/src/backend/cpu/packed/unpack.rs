//! From panels back to numbers, plainly: the look-up of a row, floats for products in f32, and what tests compare the
//! kernels with. The numbers are those that the file's blocks stand for, to the bit.

use super::Packed;
use super::layout::{Cell, Codes, PANEL_ROWS};
use crate::backend::cpu::kernels::{IQ4_LEVELS, Level, MXFP4_LEVELS, f32_of_f16, half_of_power, per_level};
use plimsoll_formats::Dtype;
use std::ops::Range;

/// Inputs of a run.
const RUN: usize = 32;

/// The values of one weight row.
pub(crate) fn unpack_row(weights: &Packed, row: usize, values: &mut [f32]) {
    let (dtype, cell) = (weights.dtype(), weights.cell());
    let cells = weights.panel(row / PANEL_ROWS).chunks_exact(cell.bytes);
    for (values, bytes) in values.chunks_mut(cell.inputs).zip(cells) {
        for (run, values) in values.chunks_mut(RUN).enumerate() {
            let unpacked = unpack_run(dtype, &cell, bytes, run, row % PANEL_ROWS);
            values.copy_from_slice(&unpacked[..values.len()]);
        }
    }
}

/// The values of the panel's rows for a range of inputs, which begins with a cell and ends with one or with the row:
/// `columns[input * stride + row]`, of the panel's rows that the matrix has not, zeros.
pub(crate) fn unpack_columns(
    weights: &Packed,
    panel: usize,
    inputs: Range<usize>,
    columns: &mut [f32],
    stride: usize,
) {
    let (dtype, cell) = (weights.dtype(), weights.cell());
    let cells = weights.panel(panel).chunks_exact(cell.bytes).skip(inputs.start / cell.inputs);
    // The last column need not be followed by anything.
    let len = columns.len().min(inputs.len() * stride);
    for (columns, bytes) in columns[..len].chunks_mut(cell.inputs * stride).zip(cells) {
        for (run, columns) in columns.chunks_mut(RUN * stride).enumerate() {
            for row in 0..PANEL_ROWS {
                let values = unpack_run(dtype, &cell, bytes, run, row);
                for (column, value) in columns.chunks_mut(stride).zip(values) {
                    column[row] = value;
                }
            }
        }
    }
}

/// [`unpack_columns`] with a level's instructions, where the type allows for them.
pub(crate) fn fill_columns(
    level: Level,
    weights: &Packed,
    panel: usize,
    inputs: Range<usize>,
    columns: &mut [f32],
    stride: usize,
) {
    let cell = weights.cell();
    if cell.kind != Codes::Plain {
        unpack_columns(weights, panel, inputs, columns, stride);
        return;
    }
    let cells = &weights.panel(panel)[inputs.start / cell.inputs * cell.bytes..];
    let len = columns.len().min(inputs.len() * stride);
    plain_columns(level, weights.dtype(), cells, &mut columns[..len], stride);
}

per_level! {
    /// The columns of values of two bytes, `cells` from the first input on: whole lines of 16 rows at a time.
    fn plain_columns[_simd](dtype: Dtype, cells: &[u8], columns: &mut [f32], stride: usize) {
        let lines = cells.as_chunks::<{ 4 * PANEL_ROWS }>().0;
        for (line, columns) in lines.iter().zip(columns.chunks_mut(2 * stride)) {
            let mut values = [[0.0; PANEL_ROWS]; 2];
            let words = line.as_chunks::<4>().0;
            for (r, word) in words.iter().enumerate() {
                let word = u32::from_le_bytes(*word);
                let halves = [word as u16, (word >> 16) as u16];
                for (values, half) in values.iter_mut().zip(halves) {
                    values[r] = match dtype {
                        Dtype::F16 => f32_of_f16(half),
                        _ => f32::from_bits(u32::from(half) << 16),
                    };
                }
            }
            for (column, values) in columns.chunks_mut(stride).zip(&values) {
                column[..PANEL_ROWS].copy_from_slice(values);
            }
        }
    }
}

/// The values of one row and run of inputs.
fn unpack_run(dtype: Dtype, cell: &Cell, bytes: &[u8], run: usize, row: usize) -> [f32; RUN] {
    if cell.kind == Codes::Plain {
        return std::array::from_fn(|k| {
            let at = 64 * (k / 2) + 4 * row + 2 * (k % 2);
            let bits = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            match dtype {
                Dtype::F16 => f32_of_f16(bits),
                _ => f32::from_bits(u32::from(bits) << 16),
            }
        });
    }
    let codes = codes_of(cell, bytes, run, row);
    let (table, zero) = (table(dtype), zero_of(dtype));
    let mut values = [0.0; RUN];
    let per_run = RUN / cell.group;
    for (part, group) in (run * per_run..(run + 1) * per_run).enumerate() {
        let (scale, offset) = scale_of(dtype, cell, bytes, group, row);
        for k in part * cell.group..(part + 1) * cell.group {
            let level = match table {
                Some(levels) => f32::from(levels[usize::from(codes[k])]),
                None if offset.is_some() => f32::from(codes[k]),
                None => f32::from(codes[k]) - zero,
            };
            values[k] = scale * level;
            if let Some(offset) = offset {
                values[k] += offset;
            }
        }
    }
    values
}

/// The code that stands for zero in types without offsets; 128 where codes choose from a table of levels.
fn zero_of(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::Q4_0 => 8.0,
        Dtype::Q5_0 => 16.0,
        Dtype::Q6K => 32.0,
        Dtype::Q3K => 4.0,
        Dtype::Q8_0 | Dtype::IQ4NL | Dtype::IQ4XS | Dtype::MXFP4 => 128.0,
        _ => 0.0,
    }
}

/// The levels that codes choose from.
fn table(dtype: Dtype) -> Option<&'static [i8; 16]> {
    match dtype {
        Dtype::IQ4NL | Dtype::IQ4XS => Some(&IQ4_LEVELS),
        Dtype::MXFP4 => Some(&MXFP4_LEVELS),
        _ => None,
    }
}

/// The codes of one row and run of inputs.
fn codes_of(cell: &Cell, bytes: &[u8], run: usize, row: usize) -> [u8; RUN] {
    let nibble =
        |k: usize| bytes[cell.codes + 256 * run + 64 * (k % 16 / 4) + 4 * row + k % 4] >> (k / 16 * 4) & 15;
    let pair =
        |at: usize, k: usize| bytes[at + 128 * run + 64 * (k / 16) + 4 * row + k % 4] >> (k % 16 / 4 * 2) & 3;
    let bit = |k: usize| bytes[cell.upper + 64 * run + 8 * (k / 4) + row / 2] >> (row % 2 * 4 + k % 4) & 1;
    std::array::from_fn(|k| match cell.kind {
        // Of types that have no codes.
        Codes::Plain => 0,
        Codes::Bytes => bytes[cell.codes + 512 * run + 64 * (k / 4) + 4 * row + k % 4],
        Codes::Nibbles => nibble(k),
        Codes::NibblesBits => nibble(k) | bit(k) << 4,
        Codes::NibblesPairs => nibble(k) | pair(cell.upper, k) << 4,
        Codes::Pairs => pair(cell.codes, k),
        Codes::PairsBits => pair(cell.codes, k) | bit(k) << 2,
    })
}

/// Scale of a row's group and, in types that have one, what is added to the products.
fn scale_of(dtype: Dtype, cell: &Cell, bytes: &[u8], group: usize, row: usize) -> (f32, Option<f32>) {
    let half = |at: usize| f32_of_f16(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let (of_run, of_block) = (2 * (PANEL_ROWS * group + row), 2 * row);
    let factor = |at: usize| bytes[at + PANEL_ROWS * group + row];
    match dtype {
        Dtype::Q4_1 | Dtype::Q5_1 => (half(of_run), Some(half(cell.mins + of_run))),
        Dtype::MXFP4 => (half_of_power(factor(0)), None),
        Dtype::Q4K | Dtype::Q5K => (
            half(of_block) * f32::from(factor(cell.factors)),
            Some(-(half(cell.mins + of_block) * f32::from(factor(cell.min_factors)))),
        ),
        Dtype::Q2K => (
            half(of_block) * f32::from(factor(cell.factors) & 15),
            Some(-(half(cell.mins + of_block) * f32::from(factor(cell.factors) >> 4))),
        ),
        Dtype::Q6K | Dtype::Q3K | Dtype::IQ4XS => {
            (half(of_block) * f32::from(factor(cell.factors).cast_signed()), None)
        }
        _ => (half(of_run), None),
    }
}
