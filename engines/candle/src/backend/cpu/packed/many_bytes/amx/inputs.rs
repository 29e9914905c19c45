//! Inputs of 8 bits as tiles.
//!
//! Rows go in blocks of 16, or in a single one of 8 where these are enough, filled up with rows of zeros. A block is records
//! of 32 inputs one after the other:
//!
//! | of a record | values |
//! |---|---|
//! | codes | `i8[row][32]` |
//! | scales | `f32[row]` |
//! | sums | `f32[row]`, `scale * sum of codes` |
//! | sums of both halves | `f32[2][row]` |

use super::super::inputs::Run;
use super::super::inputs_x86::quantise;
use crate::backend::cpu::kernels::Amx;
use crate::backend::cpu::packed::inputs::{RUN, run_of};
use std::ops::Range;

/// Most rows of a block.
const BLOCK: usize = 16;
/// Most rows of a small one.
pub(super) const SMALL: usize = 8;
/// Values of 4 bytes of a record, for each row: codes, scale, sum, and two halves' sums.
const OF_ROW: usize = RUN / 4 + 4;
/// Records that are made at once.
const PART: usize = 8;

/// How rows fall into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// Rows of a block.
    pub(super) rows: usize,
    /// Blocks.
    pub(super) count: usize,
    /// Records of a block.
    pub(super) runs: usize,
}

impl Blocks {
    /// The blocks of so many rows of a depth, which is a multiple of 256.
    pub(crate) fn of(rows: usize, depth: usize) -> Blocks {
        let of_block = if rows <= SMALL { SMALL } else { BLOCK };
        Blocks { rows: of_block, count: rows.div_ceil(of_block), runs: depth / RUN }
    }

    /// Values of 4 bytes of all blocks; `None` on overflow. Fewer rows never want more.
    pub(crate) fn values(&self) -> Option<usize> {
        self.count.checked_mul(self.runs)?.checked_mul(self.record())
    }

    /// Parts that can be made by themselves, of as many values each and in the values' order.
    pub(crate) fn parts(&self) -> usize {
        self.count * (self.runs / PART)
    }

    /// Values of 4 bytes of a record.
    pub(super) fn record(&self) -> usize {
        self.rows * OF_ROW
    }
}

/// Where scales begin in a record of so many rows.
pub(super) const fn scales(rows: usize) -> usize {
    RUN / 4 * rows
}

/// Where the sums begin that go with the offset of a whole run, or with that of one of two halves.
pub(super) const fn sums(rows: usize, halves: bool, half: usize) -> usize {
    (RUN / 4 + 1 + if halves { 1 + half } else { 0 }) * rows
}

/// The inputs of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileBytes<'a> {
    blocks: Blocks,
    rows: usize,
    values: &'a [f32],
}

impl<'a> TileBytes<'a> {
    /// Rows as [`prepare`] made them; `None` when `values` are not the blocks of so many rows of this depth.
    pub(crate) fn new(rows: usize, depth: usize, values: &'a [f32]) -> Option<Self> {
        let blocks = Blocks::of(rows, depth);
        (blocks.values() == Some(values.len())).then_some(TileBytes { blocks, rows, values })
    }

    pub(super) fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// The rows of a block, without those that fill it up.
    pub(super) fn rows_of(&self, block: usize) -> Range<usize> {
        block * self.blocks.rows..((block + 1) * self.blocks.rows).min(self.rows)
    }

    /// Some records of a block.
    ///
    /// # Panics
    /// There are no such.
    pub(super) fn records(&self, block: usize, runs: Range<usize>) -> &'a [f32] {
        let (record, first) = (self.blocks.record(), block * self.blocks.runs);
        assert!(runs.end <= self.blocks.runs);
        &self.values[(first + runs.start) * record..(first + runs.end) * record]
    }
}

/// Makes one of the [`Blocks::parts`] of inputs that are `cols` wide.
pub(crate) fn prepare(_: Amx, blocks: Blocks, part: usize, inputs: &[f32], cols: usize, values: &mut [f32]) {
    // SAFETY: AMX has all of these.
    unsafe { put_part(blocks, part, inputs, cols, values) };
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn put_part(blocks: Blocks, part: usize, inputs: &[f32], cols: usize, values: &mut [f32]) {
    let parts = (blocks.runs / PART).max(1);
    let (first_row, first_run) = (part / parts * blocks.rows, part % parts * PART);
    for (number, record) in values.chunks_exact_mut(blocks.record()).enumerate() {
        let (codes, rest) = record.split_at_mut(scales(blocks.rows));
        for (row, words) in codes.as_chunks_mut::<{ RUN / 4 }>().0.iter_mut().enumerate() {
            let from = (first_row + row) * cols;
            let run = match inputs.get(from..from + cols) {
                Some(input) => match input.as_chunks::<RUN>().0.get(first_run + number) {
                    Some(values) => quantise(values),
                    None => quantise(&run_of(input, first_run + number)),
                },
                None => Run::default(),
            };
            // Words of codes are kept as the floats that have their bits.
            *words = run.codes.map(f32::from_bits);
            let share = |sum: i32| run.scale * sum as f32;
            rest[row] = run.scale;
            rest[blocks.rows + row] = share(run.sums[0] + run.sums[1]);
            rest[2 * blocks.rows + row] = share(run.sums[0]);
            rest[3 * blocks.rows + row] = share(run.sums[1]);
        }
    }
}
