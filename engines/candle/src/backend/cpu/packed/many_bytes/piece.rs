//! A piece of a panel, unpacked: codes of one byte with scales, whatever the type, so that one tile serves all types.
//!
//! Types without offsets have codes of which some value stands for zero. Tiles that multiply bytes without limits
//! ([`Code::Raised`]) take codes that are shifted left until that value is 128, and a scale that is smaller by as much: the
//! sums of products then begin at -128 times the sum of the inputs, and nothing is left to correct. Tiles that add up
//! products in 16 bits ([`Code::Narrow`]) want small codes instead, and an offset for every type; but types of eight bits
//! come to them as signed codes.

use super::super::inputs::RUN;
use super::super::layout::{Cell, Codes, MOST_INPUTS, PANEL_ROWS};
use crate::backend::cpu::kernels::{IQ4_LEVELS, MXFP4_LEVELS, half_of_power};
use plimsoll_formats::Dtype;

/// Runs in a piece, at most.
pub(super) const RUNS: usize = MOST_INPUTS / RUN;

/// A number for each row of the panel.
pub(super) type Rows = [f32; PANEL_ROWS];
/// Four inputs for each row of the panel.
pub(super) type Line = [u8; 4 * PANEL_ROWS];

/// At most [`MOST_INPUTS`] inputs of a panel. The value of a code is `scale * code + shift`.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Piece {
    /// `[run][group of 4 inputs]`.
    pub(super) codes: [[Line; RUN / 4]; RUNS],
    /// `[run]`, or `[run][half]` in types whose scales are for 16 inputs.
    pub(super) scales: [Rows; 2 * RUNS],
    /// The same; meaningless in types without offsets.
    pub(super) shifts: [Rows; 2 * RUNS],
}

/// What codes a tile wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// Unsigned; 128 stands for zero in types without offsets.
    Raised,
    /// Unsigned with an offset, below 64; in types of eight bits and in those with a table of levels, signed without.
    Narrow,
}

/// How a type's codes come into a piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) dtype: Dtype,
    pub(super) cell: Cell,
    /// Bits that codes are shifted left by.
    left: i32,
    /// Two to the power of minus `left`.
    factor: f32,
    /// The code that stands for zero, as it is stored; 0 in types with offsets.
    zero: f32,
    /// Turns unsigned bytes into signed ones.
    flip: u8,
    /// Whether the piece has shifts.
    pub(super) shifted: bool,
    /// The bits of the largest code.
    pub(super) bits: u32,
}

impl Plan {
    /// The plan for a type; `None` for one without codes.
    pub(super) const fn of(dtype: Dtype, code: Code) -> Option<Plan> {
        let cell = match Cell::of(dtype) {
            None | Some(Cell { kind: Codes::Plain, .. }) => return None,
            Some(cell) => cell,
        };
        // Bits, and the code that stands for zero; 0 in types with offsets.
        let (bits, zero): (u32, u8) = match dtype {
            Dtype::Q4_0 => (4, 8),
            Dtype::Q5_0 => (5, 16),
            Dtype::Q6K => (6, 32),
            Dtype::Q3K => (3, 4),
            Dtype::Q2K => (2, 0),
            Dtype::Q4_1 | Dtype::Q4K => (4, 0),
            Dtype::Q5_1 | Dtype::Q5K => (5, 0),
            // Levels out of a table are 128 too large as well.
            _ => (8, 128),
        };
        let narrow = matches!(code, Code::Narrow);
        let left = if narrow || zero == 0 { 0 } else { 7 - zero.ilog2().cast_signed() };
        Some(Plan {
            dtype,
            cell,
            left,
            factor: 1.0 / (1u8 << left) as f32,
            zero: zero as f32,
            flip: if narrow && bits == 8 { 128 } else { 0 },
            shifted: zero == 0 || (narrow && bits < 8),
            bits,
        })
    }
}

impl Plan {
    /// Scales of a cell, for each row.
    pub(super) const fn groups(&self) -> usize {
        self.cell.inputs / self.cell.group
    }
}

/// Vectors of a [`Line`] and of [`Rows`]. A value is the proof that the processor has their instructions.
pub(super) trait Vectors: Copy {
    /// 64 bytes.
    type Bytes: Copy;
    /// 16 floats.
    type Floats: Copy;

    fn load(self, line: &Line) -> Self::Bytes;
    fn store(self, bytes: Self::Bytes, line: &mut Line);
    /// Every byte shifted left, or right by a negative number, and what `mask` leaves of it.
    fn field(self, bytes: Self::Bytes, left: i32, mask: u8) -> Self::Bytes;
    /// Adds `value` to the bytes whose bits are set.
    fn add_bits(self, bytes: Self::Bytes, bits: u64, value: u8) -> Self::Bytes;
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    fn flip(self, bytes: Self::Bytes, mask: u8) -> Self::Bytes;
    /// The bytes of a table at these places, which are below 16.
    fn look_up(self, table: &[u8; 16], places: Self::Bytes) -> Self::Bytes;

    fn splat(self, value: f32) -> Self::Floats;
    /// Little-endian f16.
    fn halves(self, bytes: &[u8; 2 * PANEL_ROWS]) -> Self::Floats;
    fn unsigned(self, bytes: &[u8; PANEL_ROWS]) -> Self::Floats;
    fn signed(self, bytes: &[u8; PANEL_ROWS]) -> Self::Floats;
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn load_floats(self, rows: &Rows) -> Self::Floats;
    fn store_floats(self, floats: Self::Floats, rows: &mut Rows);
}

/// A section of a cell.
#[inline(always)]
fn section<const N: usize>(cell: &[u8], from: usize, index: usize) -> &[u8; N] {
    &cell[from..].as_chunks().0[index]
}

/// Runs an expression with a constant that is the type's number in [`Dtype::ALL`], so that code can be compiled for it alone.
macro_rules! with_number {
    ($dtype:expr, $number:ident => $then:expr) => {
        $crate::backend::cpu::packed::many_bytes::piece::with_number!($dtype, $number => $then,
            Q4_0 3, Q4_1 4, Q5_0 5, Q5_1 6, Q8_0 7, Q2K 8, Q3K 9, Q4K 10, Q5K 11, Q6K 12, IQ4NL 13, IQ4XS 14, MXFP4 15)
    };
    ($dtype:expr, $number:ident => $then:expr, $($name:ident $place:literal),*) => {
        match $dtype {
            $(plimsoll_formats::Dtype::$name => {
                const $number: usize = $place;
                const _: () = assert!(matches!(plimsoll_formats::Dtype::ALL[$place], plimsoll_formats::Dtype::$name));
                Some($then)
            })*
            // Without codes.
            _ => None,
        }
    };
}
pub(super) use with_number;

/// The plan for the type with this number in [`Dtype::ALL`]: a constant, so that nothing is left of the other types.
#[inline(always)]
pub(super) const fn plan<const NUMBER: usize, const NARROW: bool>() -> &'static Plan {
    const {
        match Plan::of(Dtype::ALL[NUMBER], if NARROW { Code::Narrow } else { Code::Raised }) {
            Some(plan) => &Plan { ..plan },
            None => panic!("types that are unpacked have codes"),
        }
    }
}

/// Unpacks whole cells of the type with this number in [`Dtype::ALL`] into the beginning of a piece.
#[inline(always)]
pub(super) fn unpack<V: Vectors, const NUMBER: usize, const NARROW: bool>(
    v: V,
    cells: &[u8],
    piece: &mut Piece,
) {
    let plan = plan::<NUMBER, NARROW>();
    let runs = plan.cell.inputs / RUN;
    for (number, cell) in cells.chunks_exact(plan.cell.bytes).take(RUNS / runs).enumerate() {
        for (run, lines) in piece.codes[number * runs..][..runs].iter_mut().enumerate() {
            codes(v, plan, cell, run, lines);
        }
        let groups = number * plan.groups()..(number + 1) * plan.groups();
        scales(v, plan, cell, &mut piece.scales[groups.clone()], &mut piece.shifts[groups]);
    }
}

/// The codes of a run of a cell.
#[inline(always)]
pub(super) fn codes<V: Vectors>(v: V, plan: &Plan, cell: &[u8], run: usize, lines: &mut [Line; RUN / 4]) {
    match (plan.dtype, plan.left) {
        (Dtype::Q8_0, _) => bytes(v, plan, cell, run, lines),
        (Dtype::Q4_0, 4) => nibbles::<V, 4>(v, plan, cell, run, lines),
        (Dtype::Q4_0 | Dtype::Q4_1 | Dtype::Q4K, _) => nibbles::<V, 0>(v, plan, cell, run, lines),
        (Dtype::Q5_0, 3) => fifths::<V, 3>(v, plan, cell, run, lines),
        (Dtype::Q5_0 | Dtype::Q5_1 | Dtype::Q5K, _) => fifths::<V, 0>(v, plan, cell, run, lines),
        (Dtype::Q6K, 2) => sixths::<V, 2>(v, plan, cell, run, lines),
        (Dtype::Q6K, _) => sixths::<V, 0>(v, plan, cell, run, lines),
        (Dtype::Q3K, 5) => thirds::<V, 5>(v, plan, cell, run, lines),
        (Dtype::Q3K, _) => thirds::<V, 0>(v, plan, cell, run, lines),
        (Dtype::Q2K, _) => pairs::<V, 0>(v, plan, cell, run, lines),
        (Dtype::IQ4NL | Dtype::IQ4XS, _) => levels(v, plan, &IQ4_LEVELS, cell, run, lines),
        (Dtype::MXFP4, _) => levels(v, plan, &MXFP4_LEVELS, cell, run, lines),
        // Without codes, so without a plan.
        (Dtype::F32 | Dtype::F16 | Dtype::BF16, _) => {}
    }
}

#[inline(always)]
fn bytes<V: Vectors>(v: V, plan: &Plan, cell: &[u8], run: usize, lines: &mut [Line; 8]) {
    for (g, line) in lines.iter_mut().enumerate() {
        let codes = v.load(section(cell, plan.cell.codes, 8 * run + g));
        v.store(v.flip(codes, plan.flip), line);
    }
}

/// Groups g and g + 4 of a run.
#[inline(always)]
fn nibble_lines<V: Vectors, const LEFT: i32>(
    v: V,
    plan: &Plan,
    cell: &[u8],
    run: usize,
    g: usize,
) -> [V::Bytes; 2] {
    let both = v.load(section(cell, plan.cell.codes, 4 * run + g));
    [v.field(both, LEFT, 15 << LEFT), v.field(both, LEFT - 4, 15 << LEFT)]
}

#[inline(always)]
fn nibbles<V: Vectors, const LEFT: i32>(v: V, plan: &Plan, cell: &[u8], run: usize, lines: &mut [Line; 8]) {
    for g in 0..4 {
        let [lower, upper] = nibble_lines::<V, LEFT>(v, plan, cell, run, g);
        v.store(lower, &mut lines[g]);
        v.store(upper, &mut lines[g + 4]);
    }
}

#[inline(always)]
fn fifths<V: Vectors, const LEFT: i32>(v: V, plan: &Plan, cell: &[u8], run: usize, lines: &mut [Line; 8]) {
    for g in 0..4 {
        for (index, line) in nibble_lines::<V, LEFT>(v, plan, cell, run, g).into_iter().enumerate() {
            let g = g + 4 * index;
            let bits = u64::from_le_bytes(*section(cell, plan.cell.upper, 8 * run + g));
            v.store(v.add_bits(line, bits, 16 << LEFT), &mut lines[g]);
        }
    }
}

/// Group g of a run's pairs, shifted left.
#[inline(always)]
fn pair_line<V: Vectors, const LEFT: i32>(v: V, from: usize, cell: &[u8], run: usize, g: usize) -> V::Bytes {
    v.field(v.load(section(cell, from, 2 * run + g / 4)), LEFT - 2 * (g % 4) as i32, 3 << LEFT)
}

#[inline(always)]
fn sixths<V: Vectors, const LEFT: i32>(v: V, plan: &Plan, cell: &[u8], run: usize, lines: &mut [Line; 8]) {
    for g in 0..4 {
        for (index, line) in nibble_lines::<V, LEFT>(v, plan, cell, run, g).into_iter().enumerate() {
            let g = g + 4 * index;
            let upper = match LEFT {
                0 => pair_line::<V, 4>(v, plan.cell.upper, cell, run, g),
                _ => pair_line::<V, 6>(v, plan.cell.upper, cell, run, g),
            };
            v.store(v.or(line, upper), &mut lines[g]);
        }
    }
}

#[inline(always)]
fn pairs<V: Vectors, const LEFT: i32>(v: V, plan: &Plan, cell: &[u8], run: usize, lines: &mut [Line; 8]) {
    for (g, line) in lines.iter_mut().enumerate() {
        v.store(pair_line::<V, LEFT>(v, plan.cell.codes, cell, run, g), line);
    }
}

#[inline(always)]
fn thirds<V: Vectors, const LEFT: i32>(v: V, plan: &Plan, cell: &[u8], run: usize, lines: &mut [Line; 8]) {
    for (g, line) in lines.iter_mut().enumerate() {
        let bits = u64::from_le_bytes(*section(cell, plan.cell.upper, 8 * run + g));
        let lower = pair_line::<V, LEFT>(v, plan.cell.codes, cell, run, g);
        v.store(v.add_bits(lower, bits, 4 << LEFT), line);
    }
}

#[inline(always)]
fn levels<V: Vectors>(v: V, plan: &Plan, table: &[i8; 16], cell: &[u8], run: usize, lines: &mut [Line; 8]) {
    let table = table.map(|level| level.cast_unsigned() ^ 128 ^ plan.flip);
    for g in 0..4 {
        let [lower, upper] = nibble_lines::<V, 0>(v, plan, cell, run, g);
        v.store(v.look_up(&table, lower), &mut lines[g]);
        v.store(v.look_up(&table, upper), &mut lines[g + 4]);
    }
}

/// The scales and shifts of one cell.
#[inline(always)]
pub(super) fn scales<V: Vectors>(v: V, plan: &Plan, bytes: &[u8], scales: &mut [Rows], shifts: &mut [Rows]) {
    for (group, (scale, shift)) in scales.iter_mut().zip(shifts).enumerate() {
        let (of_group, offset) = scale_of(v, plan, bytes, group);
        v.store_floats(of_group, scale);
        if plan.shifted {
            v.store_floats(offset, shift);
        }
    }
}

/// The scales and shifts of a group of a cell; shifts mean nothing in types without offsets.
#[inline(always)]
pub(super) fn scale_of<V: Vectors>(v: V, plan: &Plan, bytes: &[u8], group: usize) -> (V::Floats, V::Floats) {
    let cell = &plan.cell;
    if plan.dtype == Dtype::MXFP4 {
        let scale = v.load_floats(&section::<PANEL_ROWS>(bytes, 0, group).map(half_of_power));
        return (scale, scale);
    }
    let of_run = || v.halves(section(bytes, 0, group));
    let of_block = |factors| v.mul(v.halves(section(bytes, 0, 0)), factors);
    let value = match plan.dtype {
        Dtype::Q4K | Dtype::Q5K => of_block(v.unsigned(section(bytes, cell.factors, group))),
        Dtype::Q6K | Dtype::Q3K | Dtype::IQ4XS => of_block(v.signed(section(bytes, cell.factors, group))),
        Dtype::Q2K => {
            of_block(v.unsigned(&section::<PANEL_ROWS>(bytes, cell.factors, group).map(|byte| byte & 15)))
        }
        _ => of_run(),
    };
    let mut offset = value;
    if plan.shifted {
        let of_block = |factors| v.mul(v.mul(v.halves(section(bytes, cell.mins, 0)), v.splat(-1.0)), factors);
        offset = match plan.dtype {
            Dtype::Q4_1 | Dtype::Q5_1 => v.halves(section(bytes, cell.mins, group)),
            Dtype::Q4K | Dtype::Q5K => of_block(v.unsigned(section(bytes, cell.min_factors, group))),
            Dtype::Q2K => {
                let factors = section::<PANEL_ROWS>(bytes, cell.factors, group).map(|byte| byte >> 4);
                of_block(v.unsigned(&factors))
            }
            _ => v.mul(value, v.splat(-plan.zero)),
        };
    }
    (v.mul(value, v.splat(plan.factor)), offset)
}
