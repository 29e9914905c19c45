//! The file's blocks, as codes and scales to be packed. One type per format; see `kernels/dequant` for what they mean.

use super::layout::Cell;
use plimsoll_formats::Dtype;

/// Every byte's lower four bits, lowest bit, lower two bits.
pub(super) const NIBBLES: u32 = 0x0f0f_0f0f;
pub(super) const ONES: u32 = 0x0101_0101;
pub(super) const PAIRS: u32 = 0x0303_0303;

/// A format's block in a file.
pub(super) trait Source {
    /// Its bytes.
    type Block;

    /// Runs of 32 inputs in it.
    const RUNS: usize;

    /// Where a packed cell has what.
    const CELL: Cell;

    /// A row's blocks.
    fn blocks(row: &[u8]) -> &[Self::Block];

    /// The codes of 32 inputs, four to a word, the first in the lowest byte.
    fn codes(block: &Self::Block, run: usize) -> [u32; 8];

    /// Puts the scales of the cell's block with this number for one row of the panel.
    fn put_scales(block: &Self::Block, number: usize, row: usize, cell: &mut [u8]);
}

/// What all sources have in common.
macro_rules! source {
    ($dtype:ident) => {
        type Block = [u8; Dtype::$dtype.block_bytes() as usize];

        const RUNS: usize = Dtype::$dtype.block_len() as usize / 32;

        const CELL: Cell = match Cell::of(Dtype::$dtype) {
            Some(cell) => cell,
            None => panic!("a format with blocks has cells"),
        };

        #[inline(always)]
        fn blocks(row: &[u8]) -> &[Self::Block] {
            row.as_chunks().0
        }
    };
}

#[inline(always)]
fn word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

#[inline(always)]
fn copy_half(block: &[u8], from: usize, cell: &mut [u8], to: usize) {
    cell[to] = block[from];
    cell[to + 1] = block[from + 1];
}

/// 16 bytes: the lower halves are the first 16 codes, the upper ones the last.
#[inline(always)]
fn halved(block: &[u8], at: usize) -> [u32; 8] {
    let mut codes = [0; 8];
    for g in 0..4 {
        let word = word(block, at + 4 * g);
        codes[g] = word & NIBBLES;
        codes[g + 4] = (word >> 4) & NIBBLES;
    }
    codes
}

/// The fifth bits of 32 codes, one after the other in a word.
#[inline(always)]
fn with_fifth(mut codes: [u32; 8], bits: u32) -> [u32; 8] {
    for (g, code) in codes.iter_mut().enumerate() {
        // Four bits, spread over four bytes.
        let spread = ((bits >> (4 * g)) & 15).wrapping_mul(0x0020_4081) & ONES;
        *code |= spread << 4;
    }
    codes
}

/// A field of all of 32 bytes.
#[inline(always)]
fn field(block: &[u8], at: usize, shift: usize, mask: u32) -> [u32; 8] {
    let mut codes = [0; 8];
    for (g, code) in codes.iter_mut().enumerate() {
        *code = (word(block, at + 4 * g) >> shift) & mask;
    }
    codes
}

#[inline(always)]
fn joined(mut lower: [u32; 8], upper: [u32; 8], shift: usize) -> [u32; 8] {
    for (lower, upper) in lower.iter_mut().zip(upper) {
        *lower |= upper << shift;
    }
    lower
}

/// Blocks of 32 with a half-precision scale, where they have one a half-precision offset, and codes after these.
macro_rules! blocks_of_32 {
    ($name:ident, $dtype:ident, $offset:expr, |$block:ident| $codes:expr) => {
        pub(super) struct $name;

        impl Source for $name {
            source!($dtype);

            #[inline(always)]
            fn codes($block: &Self::Block, _: usize) -> [u32; 8] {
                $codes
            }

            #[inline(always)]
            fn put_scales(block: &Self::Block, number: usize, row: usize, cell: &mut [u8]) {
                let at = 32 * number + 2 * row;
                copy_half(block, 0, cell, at);
                if $offset {
                    copy_half(block, 2, cell, Self::CELL.mins + at);
                }
            }
        }
    };
}

blocks_of_32!(Q4_0, Q4_0, false, |block| halved(block, 2));
blocks_of_32!(Q4_1, Q4_1, true, |block| halved(block, 4));
blocks_of_32!(Q5_0, Q5_0, false, |block| with_fifth(halved(block, 6), word(block, 2)));
blocks_of_32!(Q5_1, Q5_1, true, |block| with_fifth(halved(block, 8), word(block, 4)));
blocks_of_32!(Iq4Nl, IQ4NL, false, |block| halved(block, 2));
// Signed numbers, 128 more each.
blocks_of_32!(Q8_0, Q8_0, false, |block| field(block, 2, 0, u32::MAX).map(|word| word ^ 0x8080_8080));

pub(super) struct Mxfp4;

impl Source for Mxfp4 {
    source!(MXFP4);

    #[inline(always)]
    fn codes(block: &Self::Block, _: usize) -> [u32; 8] {
        halved(block, 1)
    }

    #[inline(always)]
    fn put_scales(block: &Self::Block, number: usize, row: usize, cell: &mut [u8]) {
        cell[16 * number + row] = block[0];
    }
}

/// Scales and offsets of [`Q4K`] and [`Q5K`]: eight of each in 12 bytes. The first four of each have six bits of a byte; the
/// others have four bits of a byte and the two that those left over.
#[inline(always)]
fn put_packed_scales(packed: &[u8], row: usize, cell: &mut [u8], layout: &Cell) {
    for run in 0..8 {
        let (factor, min_factor) = match run {
            0..4 => (packed[run] & 63, packed[run + 4] & 63),
            _ => (
                (packed[run + 4] & 15) | ((packed[run - 4] >> 6) << 4),
                (packed[run + 4] >> 4) | ((packed[run] >> 6) << 4),
            ),
        };
        cell[layout.factors + 16 * run + row] = factor;
        cell[layout.min_factors + 16 * run + row] = min_factor;
    }
}

pub(super) struct Q4K;

impl Source for Q4K {
    source!(Q4K);

    #[inline(always)]
    fn codes(block: &Self::Block, run: usize) -> [u32; 8] {
        field(block, 16 + 32 * (run / 2), 4 * (run % 2), NIBBLES)
    }

    #[inline(always)]
    fn put_scales(block: &Self::Block, _: usize, row: usize, cell: &mut [u8]) {
        copy_half(block, 0, cell, 2 * row);
        copy_half(block, 2, cell, Self::CELL.mins + 2 * row);
        put_packed_scales(&block[4..16], row, cell, &Self::CELL);
    }
}

pub(super) struct Q5K;

impl Source for Q5K {
    source!(Q5K);

    #[inline(always)]
    fn codes(block: &Self::Block, run: usize) -> [u32; 8] {
        let lower = field(block, 48 + 32 * (run / 2), 4 * (run % 2), NIBBLES);
        joined(lower, field(block, 16, run, ONES), 4)
    }

    #[inline(always)]
    fn put_scales(block: &Self::Block, _: usize, row: usize, cell: &mut [u8]) {
        copy_half(block, 0, cell, 2 * row);
        copy_half(block, 2, cell, Self::CELL.mins + 2 * row);
        put_packed_scales(&block[4..16], row, cell, &Self::CELL);
    }
}

pub(super) struct Q6K;

impl Source for Q6K {
    source!(Q6K);

    #[inline(always)]
    fn codes(block: &Self::Block, run: usize) -> [u32; 8] {
        let (half, part) = (run / 4, run % 4);
        let lower = field(block, 32 * (2 * half + part % 2), 4 * (part / 2), NIBBLES);
        joined(lower, field(block, 128 + 32 * half, 2 * part, PAIRS), 4)
    }

    #[inline(always)]
    fn put_scales(block: &Self::Block, _: usize, row: usize, cell: &mut [u8]) {
        copy_half(block, 208, cell, 2 * row);
        for (group, factor) in block[192..208].iter().enumerate() {
            cell[Self::CELL.factors + 16 * group + row] = *factor;
        }
    }
}

pub(super) struct Q3K;

impl Source for Q3K {
    source!(Q3K);

    #[inline(always)]
    fn codes(block: &Self::Block, run: usize) -> [u32; 8] {
        let lower = field(block, 32 + 32 * (run / 4), 2 * (run % 4), PAIRS);
        joined(lower, field(block, 0, run, ONES), 2)
    }

    #[inline(always)]
    fn put_scales(block: &Self::Block, _: usize, row: usize, cell: &mut [u8]) {
        copy_half(block, 108, cell, 2 * row);
        let packed = &block[96..108];
        for group in 0..16 {
            let lower = (packed[group % 8] >> (4 * (group / 8))) & 15;
            let upper = (packed[8 + group % 4] >> (2 * (group / 4))) & 3;
            cell[Self::CELL.factors + 16 * group + row] = (lower | (upper << 4)).wrapping_sub(32);
        }
    }
}

pub(super) struct Q2K;

impl Source for Q2K {
    source!(Q2K);

    #[inline(always)]
    fn codes(block: &Self::Block, run: usize) -> [u32; 8] {
        field(block, 16 + 32 * (run / 4), 2 * (run % 4), PAIRS)
    }

    #[inline(always)]
    fn put_scales(block: &Self::Block, _: usize, row: usize, cell: &mut [u8]) {
        copy_half(block, 80, cell, 2 * row);
        copy_half(block, 82, cell, Self::CELL.mins + 2 * row);
        for (group, factors) in block[..16].iter().enumerate() {
            cell[Self::CELL.factors + 16 * group + row] = *factors;
        }
    }
}

pub(super) struct Iq4Xs;

impl Source for Iq4Xs {
    source!(IQ4XS);

    #[inline(always)]
    fn codes(block: &Self::Block, run: usize) -> [u32; 8] {
        halved(block, 8 + 16 * run)
    }

    #[inline(always)]
    fn put_scales(block: &Self::Block, _: usize, row: usize, cell: &mut [u8]) {
        copy_half(block, 0, cell, 2 * row);
        for run in 0..8 {
            let lower = (block[4 + run / 2] >> (4 * (run % 2))) & 15;
            let upper = (block[2 + run / 4] >> (2 * (run % 4))) & 3;
            cell[Self::CELL.factors + 16 * run + row] = (lower | (upper << 4)).wrapping_sub(32);
        }
    }
}
