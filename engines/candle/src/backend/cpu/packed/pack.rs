//! From rows of a file's blocks to panels.

use super::layout::{Cell, Codes, PANEL_ROWS};
use super::source::{
    Iq4Nl, Iq4Xs, Mxfp4, NIBBLES, ONES, PAIRS, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Source,
};
use crate::backend::cpu::kernels::{Level, per_level};
use plimsoll_formats::Dtype;

/// Packs at most [`PANEL_ROWS`] rows of `row_bytes` each, as in the file, into the cells of a panel, which is all zeros.
/// F32 has no panels: nothing happens.
pub(crate) fn pack_panel(level: Level, dtype: Dtype, rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    if row_bytes == 0 {
        return;
    }
    match dtype {
        Dtype::F32 => {}
        Dtype::F16 | Dtype::BF16 => plain(level, rows, row_bytes, panel),
        Dtype::Q4_0 => blocks::<Q4_0>(level, rows, row_bytes, panel),
        Dtype::Q4_1 => blocks::<Q4_1>(level, rows, row_bytes, panel),
        Dtype::Q5_0 => blocks::<Q5_0>(level, rows, row_bytes, panel),
        Dtype::Q5_1 => blocks::<Q5_1>(level, rows, row_bytes, panel),
        Dtype::Q8_0 => blocks::<Q8_0>(level, rows, row_bytes, panel),
        Dtype::Q2K => blocks::<Q2K>(level, rows, row_bytes, panel),
        Dtype::Q3K => blocks::<Q3K>(level, rows, row_bytes, panel),
        Dtype::Q4K => blocks::<Q4K>(level, rows, row_bytes, panel),
        Dtype::Q5K => blocks::<Q5K>(level, rows, row_bytes, panel),
        Dtype::Q6K => blocks::<Q6K>(level, rows, row_bytes, panel),
        Dtype::IQ4NL => blocks::<Iq4Nl>(level, rows, row_bytes, panel),
        Dtype::IQ4XS => blocks::<Iq4Xs>(level, rows, row_bytes, panel),
        Dtype::MXFP4 => blocks::<Mxfp4>(level, rows, row_bytes, panel),
    }
}

/// A panel's rows, as many as there are.
#[inline(always)]
fn rows_of<'a, T>(
    rows: &'a [u8],
    row_bytes: usize,
    of: impl Fn(&'a [u8]) -> &'a [T],
) -> ([&'a [T]; PANEL_ROWS], usize) {
    let mut list: [&[T]; PANEL_ROWS] = [&[]; PANEL_ROWS];
    let mut count = 0;
    for (place, row) in list.iter_mut().zip(rows.chunks_exact(row_bytes)) {
        *place = of(row);
        count += 1;
    }
    (list, count)
}

per_level! {
/// Values of two bytes: two inputs of all rows side by side.
fn plain[_simd](rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    // A row of an odd number of values ends within four bytes.
    let (pairs, count) = rows_of(rows, row_bytes, |row| row.as_chunks::<4>().0);
    let whole = row_bytes / 4;
    let lines = panel.as_chunks_mut::<{ 4 * PANEL_ROWS }>().0;
    for (number, lines) in lines[..whole].chunks_mut(16).enumerate() {
        for (r, pairs) in pairs[..count].iter().enumerate() {
            for (line, pair) in lines.iter_mut().zip(&pairs[16 * number..]) {
                line[4 * r..4 * r + 4].copy_from_slice(pair);
            }
        }
    }
    let rest = row_bytes % 4;
    if let (Some(line), true) = (lines.get_mut(whole), rest > 0) {
        for (r, row) in rows.chunks_exact(row_bytes).take(count).enumerate() {
            line[4 * r..4 * r + rest].copy_from_slice(&row[4 * whole..]);
        }
    }
}
}

per_level! {
fn blocks<B: Source>[_simd](rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    let (rows, count) = rows_of(rows, row_bytes, B::blocks);
    let per_cell = B::CELL.inputs / (32 * B::RUNS);
    for (first, cell) in (0..rows[0].len()).step_by(per_cell).zip(panel.chunks_exact_mut(B::CELL.bytes)) {
        for number in 0..per_cell.min(rows[0].len() - first) {
            for (r, row) in rows[..count].iter().enumerate() {
                B::put_scales(&row[first + number], number, r, cell);
            }
            for run in 0..B::RUNS {
                let mut bits = [0; 8];
                let at = number * B::RUNS + run;
                for (r, row) in rows[..count].iter().enumerate() {
                    let codes = B::codes(&row[first + number], run);
                    put_codes(&B::CELL, codes, at, r, cell, &mut bits);
                }
                if matches!(B::CELL.kind, Codes::NibblesBits | Codes::PairsBits) {
                    for (word, place) in bits.iter().zip(cell[B::CELL.upper + 64 * at..].as_chunks_mut().0) {
                        *place = u64::to_le_bytes(*word);
                    }
                }
            }
        }
    }
}
}

/// Puts the codes of one row and run of inputs. Single bits are gathered, a word for every four inputs.
#[inline(always)]
fn put_codes(layout: &Cell, codes: [u32; 8], run: usize, row: usize, cell: &mut [u8], bits: &mut [u64; 8]) {
    let (lower, upper) = (layout.codes, layout.upper);
    match layout.kind {
        // Of types that have no blocks.
        Codes::Plain => {}
        Codes::Bytes => {
            for (g, word) in codes.into_iter().enumerate() {
                put_word(cell, lower + 512 * run + 64 * g + 4 * row, word);
            }
        }
        Codes::Nibbles => put_nibbles(codes, lower, run, row, cell),
        Codes::NibblesBits => {
            put_nibbles(codes, lower, run, row, cell);
            gather_bits(codes, 4, row, bits);
        }
        Codes::NibblesPairs => {
            put_nibbles(codes, lower, run, row, cell);
            put_pairs(codes, 4, upper, run, row, cell);
        }
        Codes::Pairs => put_pairs(codes, 0, lower, run, row, cell),
        Codes::PairsBits => {
            put_pairs(codes, 0, lower, run, row, cell);
            gather_bits(codes, 2, row, bits);
        }
    }
}

#[inline(always)]
fn put_word(cell: &mut [u8], at: usize, word: u32) {
    cell[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

/// The lower four bits.
#[inline(always)]
fn put_nibbles(codes: [u32; 8], at: usize, run: usize, row: usize, cell: &mut [u8]) {
    for g in 0..4 {
        let word = (codes[g] & NIBBLES) | ((codes[g + 4] & NIBBLES) << 4);
        put_word(cell, at + 256 * run + 64 * g + 4 * row, word);
    }
}

/// Two bits from `shift` on.
#[inline(always)]
fn put_pairs(codes: [u32; 8], shift: usize, at: usize, run: usize, row: usize, cell: &mut [u8]) {
    for h in 0..2 {
        let mut word = 0;
        for t in 0..4 {
            word |= ((codes[4 * h + t] >> shift) & PAIRS) << (2 * t);
        }
        put_word(cell, at + 128 * run + 64 * h + 4 * row, word);
    }
}

/// One bit of each code.
#[inline(always)]
fn gather_bits(codes: [u32; 8], shift: usize, row: usize, bits: &mut [u64; 8]) {
    for (bits, word) in bits.iter_mut().zip(codes) {
        // The product brings the lowest bits of the four bytes side by side.
        let four = (((word >> shift) & ONES).wrapping_mul(0x0102_0408) >> 24) & 15;
        *bits |= u64::from(four) << (4 * row);
    }
}
