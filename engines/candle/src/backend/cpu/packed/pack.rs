//! From rows of a file's blocks to panels.

use super::layout::{Cell, Codes, PANEL_ROWS};
use super::source::{
    Iq4Nl, Iq4Xs, Mxfp4, NIBBLES, ONES, PAIRS, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Source,
};
use plimsoll_formats::Dtype;

/// Packs at most [`PANEL_ROWS`] rows of `row_bytes` each, as in the file, into the cells of a panel, which is all zeros.
/// F32 has no panels: nothing happens.
pub(crate) fn pack_panel(dtype: Dtype, rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    if row_bytes == 0 {
        return;
    }
    match dtype {
        Dtype::F32 => {}
        Dtype::F16 | Dtype::BF16 => plain(rows, row_bytes, panel),
        Dtype::Q4_0 => blocks::<Q4_0>(rows, row_bytes, panel),
        Dtype::Q4_1 => blocks::<Q4_1>(rows, row_bytes, panel),
        Dtype::Q5_0 => blocks::<Q5_0>(rows, row_bytes, panel),
        Dtype::Q5_1 => blocks::<Q5_1>(rows, row_bytes, panel),
        Dtype::Q8_0 => blocks::<Q8_0>(rows, row_bytes, panel),
        Dtype::Q2K => blocks::<Q2K>(rows, row_bytes, panel),
        Dtype::Q3K => blocks::<Q3K>(rows, row_bytes, panel),
        Dtype::Q4K => blocks::<Q4K>(rows, row_bytes, panel),
        Dtype::Q5K => blocks::<Q5K>(rows, row_bytes, panel),
        Dtype::Q6K => blocks::<Q6K>(rows, row_bytes, panel),
        Dtype::IQ4NL => blocks::<Iq4Nl>(rows, row_bytes, panel),
        Dtype::IQ4XS => blocks::<Iq4Xs>(rows, row_bytes, panel),
        Dtype::MXFP4 => blocks::<Mxfp4>(rows, row_bytes, panel),
    }
}

/// Values of two bytes: two inputs of all rows side by side.
fn plain(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    for (r, row) in rows.chunks_exact(row_bytes).take(PANEL_ROWS).enumerate() {
        let (pairs, rest) = row.as_chunks::<4>();
        let (lines, _) = panel.as_chunks_mut::<{ 4 * PANEL_ROWS }>();
        for (line, pair) in lines.iter_mut().zip(pairs) {
            line[4 * r..4 * r + 4].copy_from_slice(pair);
        }
        if let (Some(line), false) = (lines.get_mut(pairs.len()), rest.is_empty()) {
            line[4 * r..4 * r + rest.len()].copy_from_slice(rest);
        }
    }
}

fn blocks<S: Source>(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    let per_cell = S::CELL.inputs / (32 * S::RUNS);
    for (r, row) in rows.chunks_exact(row_bytes).take(PANEL_ROWS).enumerate() {
        let cells = panel.chunks_exact_mut(S::CELL.bytes);
        for (blocks, cell) in S::blocks(row).chunks(per_cell).zip(cells) {
            for (number, block) in blocks.iter().enumerate() {
                S::put_scales(block, number, r, cell);
                for run in 0..S::RUNS {
                    put_codes(&S::CELL, S::codes(block, run), number * S::RUNS + run, r, cell);
                }
            }
        }
    }
}

/// Puts the codes of one row and run of inputs.
#[inline(always)]
fn put_codes(layout: &Cell, codes: [u32; 8], run: usize, row: usize, cell: &mut [u8]) {
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
            put_bits(codes, 4, upper, run, row, cell);
        }
        Codes::NibblesPairs => {
            put_nibbles(codes, lower, run, row, cell);
            put_pairs(codes, 4, upper, run, row, cell);
        }
        Codes::Pairs => put_pairs(codes, 0, lower, run, row, cell),
        Codes::PairsBits => {
            put_pairs(codes, 0, lower, run, row, cell);
            put_bits(codes, 2, upper, run, row, cell);
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

/// One bit, into bits that are still 0.
#[inline(always)]
fn put_bits(codes: [u32; 8], shift: usize, at: usize, run: usize, row: usize, cell: &mut [u8]) {
    for (g, word) in codes.into_iter().enumerate() {
        // The product brings the lowest bits of the four bytes side by side.
        let four = ((word >> shift) & ONES).wrapping_mul(0x0102_0408) >> 24;
        cell[at + 64 * run + 8 * g + row / 2] |= (four as u8 & 15) << (4 * (row % 2));
    }
}
