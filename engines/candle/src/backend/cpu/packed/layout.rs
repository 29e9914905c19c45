//! Where everything is in a packed matrix.
//!
//! A panel is [`PANEL_ROWS`] weight rows, the last one of a matrix filled up with zeros. A matrix is its panels one after
//! the other; a panel is its cells, in the order of the inputs, the last one filled up with zeros; a cell is sections of
//! whole cache lines, scales first. Numbers below are r = row in the panel, b = run of 32 inputs in the cell, g = four inputs
//! of the run (0..8), j = 0..4, so that input k of the cell is 32 b + 4 g + j.

use plimsoll_formats::Dtype;

/// Weight rows, so outputs, of a panel.
pub(crate) const PANEL_ROWS: usize = 16;

/// No cell has more inputs, and every cell's inputs divide it.
pub(crate) const MOST_INPUTS: usize = 256;

/// How the codes of a cell are stored. All codes are unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codes {
    /// 16 bits a value, as in the file: two inputs of all rows after the other, `u16[16][r][2]`.
    Plain,
    /// 8 bits: `u8[b][g][r * 4 + j]`.
    Bytes,
    /// 4 bits: `u8[b][g < 4][r * 4 + j]`, group g in the lower half and group g + 4 in the upper one.
    Nibbles,
    /// 5 bits: the lower four as nibbles, then the fifth, bit `r * 4 + j` of `u64[b][g]`.
    NibblesBits,
    /// 6 bits: the lower four as nibbles, then the upper two as pairs.
    NibblesPairs,
    /// 2 bits: `u8[b][h][r * 4 + j]`, whose bits 2 t and 2 t + 1 are of group 4 h + t.
    Pairs,
    /// 3 bits: the lower two as pairs, then the third as bits.
    PairsBits,
}

/// The cell of a storage type: how many inputs of a panel it has, and the first bytes of its sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Inputs in the cell.
    pub(crate) inputs: usize,
    /// Bytes of the cell, a multiple of 64.
    pub(crate) bytes: usize,
    /// Inputs that share a scale. The scale of a plain type is 1.
    pub(crate) group: usize,
    /// Offsets of runs or of blocks, `f16[b][r]` or `f16[r]`; 0 in types without.
    pub(crate) mins: usize,
    /// Whole numbers that the block's scale is multiplied by, a byte each, `[group][r]`; 0 in types without. Q2_K has the
    /// number for its offset in the upper four bits.
    pub(crate) factors: usize,
    /// The same for the block's offset; 0 in types without.
    pub(crate) min_factors: usize,
    /// The codes, or their lower bits.
    pub(crate) codes: usize,
    /// The upper bits of codes; 0 in types without.
    pub(crate) upper: usize,
    /// How codes are stored.
    pub(crate) kind: Codes,
}

impl Cell {
    /// Bytes of [`MOST_INPUTS`] inputs of a panel.
    pub(crate) const fn bytes_of_most(&self) -> usize {
        MOST_INPUTS / self.inputs * self.bytes
    }

    /// The cell of a type; `None` for f32, which stays row after row.
    ///
    /// The scales begin the cell: `f16[b][r]` (MXFP4: an exponent in a byte, `u8[b][r]`), in types with blocks of 256
    /// `f16[r]`.
    pub(crate) const fn of(dtype: Dtype) -> Option<Cell> {
        let none = Cell {
            inputs: 64,
            bytes: 0,
            group: 32,
            mins: 0,
            factors: 0,
            min_factors: 0,
            codes: 64,
            upper: 0,
            kind: Codes::Nibbles,
        };
        let block = Cell { inputs: 256, mins: 32, factors: 64, codes: 320, ..none };
        let cell = match dtype {
            Dtype::F32 => return None,
            Dtype::F16 | Dtype::BF16 => Cell { inputs: 32, codes: 0, kind: Codes::Plain, ..none },
            Dtype::Q8_0 => Cell { kind: Codes::Bytes, ..none },
            Dtype::Q4_0 | Dtype::IQ4NL => none,
            Dtype::Q4_1 => Cell { mins: 64, codes: 128, ..none },
            Dtype::Q5_0 => Cell { kind: Codes::NibblesBits, ..none },
            Dtype::Q5_1 => Cell { mins: 64, codes: 128, kind: Codes::NibblesBits, ..none },
            Dtype::MXFP4 => Cell { inputs: 128, ..none },
            Dtype::Q4K => Cell { min_factors: 192, ..block },
            Dtype::Q5K => Cell { min_factors: 192, kind: Codes::NibblesBits, ..block },
            Dtype::Q6K => Cell { group: 16, mins: 0, factors: 32, kind: Codes::NibblesPairs, ..block },
            Dtype::Q3K => Cell { group: 16, mins: 0, factors: 32, kind: Codes::PairsBits, ..block },
            Dtype::Q2K => Cell { group: 16, kind: Codes::Pairs, ..block },
            Dtype::IQ4XS => Cell { mins: 0, factors: 32, codes: 192, ..block },
        };
        let (lower, upper) = match cell.kind {
            Codes::Plain => (1024, 0),
            Codes::Bytes => (16 * cell.inputs, 0),
            Codes::Nibbles => (8 * cell.inputs, 0),
            Codes::NibblesBits => (8 * cell.inputs, 2 * cell.inputs),
            Codes::NibblesPairs => (8 * cell.inputs, 4 * cell.inputs),
            Codes::Pairs => (4 * cell.inputs, 0),
            Codes::PairsBits => (4 * cell.inputs, 2 * cell.inputs),
        };
        let end = cell.codes + lower;
        let upper_at = if upper > 0 { end } else { 0 };
        Some(Cell { upper: upper_at, bytes: end + upper, ..cell })
    }

    /// Cells along so many inputs.
    pub(crate) const fn count(&self, cols: usize) -> usize {
        cols.div_ceil(self.inputs)
    }

    /// Bytes of a panel of rows of so many inputs; `None` on overflow.
    pub(crate) fn panel_bytes(&self, cols: usize) -> Option<usize> {
        self.count(cols).checked_mul(self.bytes)
    }
}

/// Bytes of a matrix of this type, in panels or, f32, row after row; `None` on overflow or when a row is no whole number of
/// the type's blocks.
pub(crate) fn matrix_bytes(dtype: Dtype, rows: usize, cols: usize) -> Option<usize> {
    let row = dtype.bytes_for(u64::try_from(cols).ok()?)?;
    // So that sizes in the file need no further checks.
    let bytes = usize::try_from(row.checked_mul(u64::try_from(rows).ok()?)?).ok()?;
    match Cell::of(dtype) {
        None => Some(bytes),
        Some(cell) => cell.panel_bytes(cols)?.checked_mul(rows.div_ceil(PANEL_ROWS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_whole_cache_lines_and_as_small_as_the_blocks() {
        for dtype in Dtype::ALL {
            let Some(cell) = Cell::of(dtype) else {
                assert_eq!(dtype, Dtype::F32);
                continue;
            };
            assert!(cell.bytes.is_multiple_of(64) && cell.codes.is_multiple_of(64), "{dtype}");
            assert!(cell.upper.is_multiple_of(64) && MOST_INPUTS.is_multiple_of(cell.inputs), "{dtype}");
            let file = dtype.bytes_for((cell.inputs * PANEL_ROWS) as u64).unwrap() as usize;
            // Scales of 6 bits become bytes, and sections are filled up.
            let spare = match dtype {
                Dtype::Q4K | Dtype::Q5K | Dtype::IQ4XS => 64,
                Dtype::Q6K => 32,
                Dtype::Q3K => 96,
                _ => 0,
            };
            assert_eq!(cell.bytes, file + spare, "{dtype}");
        }
    }

    #[test]
    fn sizes_count_what_is_filled_up() {
        assert_eq!(matrix_bytes(Dtype::Q4_0, 16, 64), Some(576));
        assert_eq!(matrix_bytes(Dtype::Q4_0, 17, 96), Some(2 * 2 * 576));
        assert_eq!(matrix_bytes(Dtype::BF16, 1, 33), Some(2 * 1024));
        assert_eq!(matrix_bytes(Dtype::F32, 3, 5), Some(60));
        assert_eq!(matrix_bytes(Dtype::Q4K, 0, 256), Some(0));
        assert_eq!(matrix_bytes(Dtype::Q8_0, 3, 65), None);
        assert_eq!(matrix_bytes(Dtype::Q8_0, usize::MAX / 4, 64), None);
        assert_eq!(matrix_bytes(Dtype::F16, 1, usize::MAX), None);
        assert_eq!(matrix_bytes(Dtype::F16, usize::MAX, 1), None);
    }
}
