//! Pieces and tiles on any processor, and what tests compare the others with.

use super::super::inputs::RUN;
use super::super::layout::PANEL_ROWS;
use super::inputs::{HALVES, MAIN, ORIGIN};
use super::piece::{Line, Rows, Vectors};
use super::tile::Operands;
use crate::backend::cpu::kernels::{Portable, f32_of_f16};

impl Vectors for Portable {
    type Bytes = Line;
    type Floats = Rows;

    #[inline(always)]
    fn load(self, line: &Line) -> Line {
        *line
    }

    #[inline(always)]
    fn store(self, bytes: Line, line: &mut Line) {
        *line = bytes;
    }

    #[inline(always)]
    fn field(self, bytes: Line, left: i32, mask: u8) -> Line {
        bytes.map(|byte| (if left < 0 { byte >> -left } else { byte << left }) & mask)
    }

    #[inline(always)]
    fn add_bits(self, mut bytes: Line, bits: u64, value: u8) -> Line {
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte += value * (bits >> index & 1) as u8;
        }
        bytes
    }

    #[inline(always)]
    fn or(self, mut a: Line, b: Line) -> Line {
        a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
        a
    }

    #[inline(always)]
    fn flip(self, bytes: Line, mask: u8) -> Line {
        bytes.map(|byte| byte ^ mask)
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], places: Line) -> Line {
        places.map(|place| table[usize::from(place & 15)])
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Rows {
        [value; PANEL_ROWS]
    }

    #[inline(always)]
    fn halves(self, bytes: &[u8; 2 * PANEL_ROWS]) -> Rows {
        let mut rows = [0.0; PANEL_ROWS];
        for (row, bytes) in rows.iter_mut().zip(bytes.as_chunks().0) {
            *row = f32_of_f16(u16::from_le_bytes(*bytes));
        }
        rows
    }

    #[inline(always)]
    fn unsigned(self, bytes: &[u8; PANEL_ROWS]) -> Rows {
        bytes.map(f32::from)
    }

    #[inline(always)]
    fn signed(self, bytes: &[u8; PANEL_ROWS]) -> Rows {
        bytes.map(|byte| f32::from(byte.cast_signed()))
    }

    #[inline(always)]
    fn mul(self, mut a: Rows, b: Rows) -> Rows {
        a.iter_mut().zip(b).for_each(|(a, b)| *a *= b);
        a
    }

    #[inline(always)]
    fn load_floats(self, rows: &Rows) -> Rows {
        *rows
    }

    #[inline(always)]
    fn store_floats(self, floats: Rows, rows: &mut Rows) {
        *rows = floats;
    }
}

/// The tile of `ROWS` rows: `GROUPS` groups of four inputs share a scale, 8 or 4; `SHIFTED` types have offsets, `SIGNED` ones
/// signed codes.
///
/// # Safety
/// See [`Operands`].
pub(super) unsafe fn tile<const ROWS: usize, const GROUPS: usize, const SHIFTED: bool, const SIGNED: bool>(
    operands: &Operands,
) {
    let (rows, groups) = (ROWS, GROUPS);
    // SAFETY: the caller's promise.
    let (piece, main, halves, sums) = unsafe {
        (
            &*operands.piece,
            std::slice::from_raw_parts(operands.main, operands.runs * rows * MAIN),
            std::slice::from_raw_parts(operands.halves, operands.runs * rows * HALVES),
            std::slice::from_raw_parts_mut(operands.sums, rows),
        )
    };
    if operands.first {
        sums.fill([0.0; PANEL_ROWS]);
    }
    let parts = RUN / 4 / groups;
    for run in 0..operands.runs {
        let (main, halves) = (&main[run * rows * MAIN..], &halves[run * rows * HALVES..]);
        for part in 0..parts {
            let (scales, shifts) = (&piece.scales[run * parts + part], &piece.shifts[run * parts + part]);
            // Others scale sums from `ORIGIN` on and take as much away again: of scales that are infinite with it, nothing is left but
            // that.
            let lost = scales.map(|scale| ORIGIN.mul_add(scale, -(ORIGIN * scale)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let (start, total) = match parts {
                    1 => (main[9 * rows + row], main[10 * rows + row]),
                    _ => (halves[part * rows + row], halves[(2 + part) * rows + row]),
                };
                let start = if SHIFTED || SIGNED { 0 } else { (start - ORIGIN) as i32 };
                let mut dots = [start; PANEL_ROWS];
                for g in part * groups..(part + 1) * groups {
                    let inputs = main[g * rows + row].to_ne_bytes().map(|byte| i32::from(byte.cast_signed()));
                    for (dot, codes) in dots.iter_mut().zip(piece.codes[run][g].as_chunks::<4>().0) {
                        for (code, input) in codes.iter().zip(inputs) {
                            let code = if SIGNED { i32::from(code.cast_signed()) } else { i32::from(*code) };
                            *dot += code * input;
                        }
                    }
                }
                let scale = main[8 * rows + row];
                for (r, sum) in sums.iter_mut().enumerate() {
                    // Without a negative zero, as others have none.
                    let whole = if lost[r] == 0.0 { dots[r] as f32 * scales[r] + 0.0 } else { lost[r] };
                    *sum = whole.mul_add(scale, *sum);
                    if SHIFTED {
                        *sum = shifts[r].mul_add(total, *sum);
                    }
                }
            }
        }
    }
}
