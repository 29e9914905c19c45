//! Products of a piece of a panel with a group of rows.

use super::super::inputs::RUN;
use super::super::layout::Cell;
use super::inputs::Groups;
use super::piece::{Code, Piece, Plan, Rows, unpack, with_number};
use super::plain;
#[cfg(target_arch = "x86_64")]
use super::{direct, narrow, piece_x86, vnni};
use crate::backend::cpu::kernels::{Level, Portable, Set};
use plimsoll_formats::Dtype;

/// What a tile works on.
///
/// Who calls a tile promises that the processor has its instructions, and that of a tile of so many rows `main` has
/// `runs * rows * MAIN` values, `halves` has `runs * rows * HALVES`, and `sums` has `rows`, which nobody else uses meanwhile;
/// that the piece has `runs` runs of codes that the tile takes; and that all are aligned to their types.
#[derive(Debug)]
pub(super) struct Operands {
    pub(super) piece: *const Piece,
    pub(super) main: *const f32,
    pub(super) halves: *const f32,
    pub(super) runs: usize,
    /// Whether the sums begin here.
    pub(super) first: bool,
    /// `[row]`.
    pub(super) sums: *mut Rows,
    /// Weights that are soon wanted: bytes from here on are fetched into the cache, `lines` cache lines with each run.
    pub(super) ahead: *const u8,
    pub(super) lines: usize,
}

/// The kernels for a type and groups of so many rows, of a level that this processor has. Who calls one promises that it has their
/// instructions, and what [`Operands`] says.
#[derive(Clone, Copy)]
pub(super) enum Kernels {
    Pieces(Pieces),
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no other level has such kernels"))]
    Direct(Direct),
}

/// Products by way of unpacked pieces.
#[derive(Clone, Copy)]
pub(super) struct Pieces {
    pub(super) cell: Cell,
    /// Unpacks whole cells into the beginning of a piece.
    pub(super) unpack: unsafe fn(&[u8], &mut Piece),
    /// The product.
    pub(super) tile: unsafe fn(&Operands),
}

/// Products without: for a group that is alone.
#[derive(Clone, Copy)]
pub(super) struct Direct {
    pub(super) cell: Cell,
    /// The product with whole cells; the operands need no piece.
    pub(super) products: unsafe fn(&[u8], &Operands),
}

/// A kernel for a number of rows of groups that are several, which is known when the program runs.
macro_rules! of_several {
    ($rows:expr, $tile:path, $($parameter:expr),*) => {{
        // From `LEAST_OF_SEVERAL` to `MOST_ROWS`.
        use $tile as tile;
        match $rows {
            9 => tile::<9, $($parameter),*> as _,
            10 => tile::<10, $($parameter),*> as _,
            11 => tile::<11, $($parameter),*> as _,
            _ => tile::<12, $($parameter),*> as _,
        }
    }};
}

/// The same for those of a group that is alone, too.
macro_rules! of_rows {
    ($rows:expr, $tile:path, $($parameter:expr),*) => {{
        // From `LEAST_ROWS` to `MOST_ALONE`.
        use $tile as tile;
        match $rows {
            5 => tile::<5, $($parameter),*> as _,
            6 => tile::<6, $($parameter),*> as _,
            7 => tile::<7, $($parameter),*> as _,
            8 => tile::<8, $($parameter),*> as _,
            13 => tile::<13, $($parameter),*> as _,
            14 => tile::<14, $($parameter),*> as _,
            15 => tile::<15, $($parameter),*> as _,
            16 => tile::<16, $($parameter),*> as _,
            rows => of_several!(rows, $tile, $($parameter),*),
        }
    }};
}

impl Kernels {
    /// The kernels of a level; `None` for types without codes.
    pub(super) fn of(level: Level, dtype: Dtype, groups: Groups) -> Option<Kernels> {
        let rows = groups.rows;
        debug_assert!(groups.bounds().contains(&rows), "kernels are there for the groups' rows");
        let plan = Plan::of(dtype, Self::code(level))?;
        #[cfg(target_arch = "x86_64")]
        if let (Set::Vnni(_) | Set::Amx(_), 1) = (level.set(), groups.count) {
            let products: Option<unsafe fn(&[u8], &Operands)> =
                with_number!(dtype, N => of_rows!(rows, direct::products, N));
            return Some(Kernels::Direct(Direct { cell: plan.cell, products: products? }));
        }
        let halves = plan.cell.group < RUN;
        let tile: unsafe fn(&Operands) = match level.set() {
            Set::Portable(_) => plain_tile(rows, halves, plan.shifted),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => match (halves, plan.bits) {
                (false, 8) => of_rows!(rows, narrow::avx2, 8, 1),
                (false, 5) => of_rows!(rows, narrow::avx2, 8, 4),
                (false, _) => of_rows!(rows, narrow::avx2, 8, 8),
                (true, 6) => of_rows!(rows, narrow::avx2, 4, 2),
                (true, _) => of_rows!(rows, narrow::avx2, 4, 4),
            },
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => match (halves, plan.bits) {
                (false, 8) => of_rows!(rows, narrow::avx512, 8, 1),
                (false, 5) => of_rows!(rows, narrow::avx512, 8, 4),
                (false, _) => of_rows!(rows, narrow::avx512, 8, 8),
                (true, 6) => of_rows!(rows, narrow::avx512, 4, 2),
                (true, _) => of_rows!(rows, narrow::avx512, 4, 4),
            },
            #[cfg(target_arch = "x86_64")]
            Set::Vnni(_) | Set::Amx(_) => match (halves, plan.shifted) {
                (false, false) => of_several!(rows, vnni::tile, 8, false),
                (false, true) => of_several!(rows, vnni::tile, 8, true),
                (true, false) => of_several!(rows, vnni::tile, 4, false),
                (true, true) => of_several!(rows, vnni::tile, 4, true),
            },
        };
        let unpack: Option<unsafe fn(&[u8], &mut Piece)> = match level.set() {
            Set::Portable(_) => with_number!(dtype, N => unpack_plain::<N, false> as _),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => with_number!(dtype, N => piece_x86::avx2::<N> as _),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => with_number!(dtype, N => piece_x86::avx512::<N, true> as _),
            #[cfg(target_arch = "x86_64")]
            Set::Vnni(_) | Set::Amx(_) => with_number!(dtype, N => piece_x86::avx512::<N, false> as _),
        };
        Some(Kernels::Pieces(Pieces { cell: plan.cell, unpack: unpack?, tile }))
    }

    /// The codes that a level's tiles take.
    pub(super) fn code(level: Level) -> Code {
        match level.set() {
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) | Set::Avx512(_) => Code::Narrow,
            _ => Code::Raised,
        }
    }

    /// What gives the same bits in plain code.
    #[cfg(test)]
    pub(super) fn plain(level: Level, dtype: Dtype, rows: usize) -> Option<Kernels> {
        let narrow = Self::code(level) == Code::Narrow;
        let plan = Plan::of(dtype, Self::code(level))?;
        let tile: unsafe fn(&Operands) = match narrow && plan.bits == 8 {
            true => of_rows!(rows, plain::tile, 8, false, true),
            false => plain_tile(rows, plan.cell.group < RUN, plan.shifted),
        };
        let unpack: Option<unsafe fn(&[u8], &mut Piece)> = match narrow {
            true => with_number!(dtype, N => unpack_plain::<N, true> as _),
            false => with_number!(dtype, N => unpack_plain::<N, false> as _),
        };
        Some(Kernels::Pieces(Pieces { cell: plan.cell, unpack: unpack?, tile }))
    }
}

/// The tile of any processor, for codes that are [`Code::Raised`].
fn plain_tile(rows: usize, halves: bool, shifted: bool) -> unsafe fn(&Operands) {
    match (halves, shifted) {
        (false, false) => of_rows!(rows, plain::tile, 8, false, false),
        (false, true) => of_rows!(rows, plain::tile, 8, true, false),
        (true, false) => of_rows!(rows, plain::tile, 4, false, false),
        (true, true) => of_rows!(rows, plain::tile, 4, true, false),
    }
}

fn unpack_plain<const NUMBER: usize, const NARROW: bool>(cells: &[u8], piece: &mut Piece) {
    unpack::<_, NUMBER, NARROW>(Portable, cells, piece);
}
