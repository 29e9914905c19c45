//! The innermost products, from tile to tile.

use super::many::Beside;
use super::sums::Change;
use super::weights::Kind;
use crate::backend::cpu::kernels::{TILE, TILE_ROW, Tiles};

/// Adds the products of `R` blocks of rows with `N` panels to registers 0 to 3, `2 * block + panel`, which change before.
///
/// # Safety
/// There are so many steps of tiles at each pointer, in the planes of the type; what is unpacked beside is another piece.
#[inline(always)]
pub(super) unsafe fn multiply<K: Kind, const R: usize, const N: usize>(
    tiles: &Tiles,
    rows: [*const u8; 2],
    from: [*const u8; 2],
    steps: usize,
    beside: &mut Beside<'_>,
    mut change: Option<&mut Change<'_>>,
) {
    for step in 0..steps {
        let change = change.take();
        // SAFETY: the caller's promise.
        unsafe {
            let rows = shifted(rows, step * K::ROW_PLANES * TILE);
            let from = shifted(from, step * K::PLANES * TILE);
            if K::ROW_PLANES == 2 {
                // The small parts first; what is in the registers serves the next product.
                one::<R, N, true, true>(tiles, shifted(rows, TILE), from, change);
                one::<R, N, true, false>(tiles, rows, from, None);
            } else {
                one::<R, N, true, true>(tiles, rows, from, change);
            }
            if K::PLANES == 2 {
                one::<R, N, false, true>(tiles, rows, shifted(from, TILE), None);
            }
            if let Some(unpacking) = &mut beside.unpacking {
                unpacking.parts::<K>(beside.share);
            }
        }
    }
}

/// Both pointers, so many bytes on. Not by `map`, whose closures compilers leave out of line in functions for some processors.
///
/// # Safety
/// There are as many bytes at each.
#[inline(always)]
pub(super) unsafe fn shifted(pointers: [*const u8; 2], bytes: usize) -> [*const u8; 2] {
    // SAFETY: the caller's promise.
    unsafe { [pointers[0].add(bytes), pointers[1].add(bytes)] }
}

/// One product of `R` with `N` tiles, after loading the rows' (`A`) and the weights' (`B`), or with those that are loaded.
///
/// # Safety
/// There is a tile at each pointer.
#[inline(always)]
unsafe fn one<const R: usize, const N: usize, const A: bool, const B: bool>(
    tiles: &Tiles,
    rows: [*const u8; 2],
    from: [*const u8; 2],
    mut change: Option<&mut Change<'_>>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(change) = &mut change {
            change.register::<0>(tiles);
        }
        if B {
            tiles.load::<6>(from[0], TILE_ROW);
        }
        if A {
            tiles.load::<4>(rows[0], TILE_ROW);
        }
        tiles.multiply::<0, 4, 6>();
        if N == 2 {
            if let Some(change) = &mut change {
                change.register::<1>(tiles);
            }
            if B {
                tiles.load::<7>(from[1], TILE_ROW);
            }
            tiles.multiply::<1, 4, 7>();
        }
        if R == 2 {
            if let Some(change) = &mut change {
                change.register::<2>(tiles);
            }
            if A {
                tiles.load::<5>(rows[1], TILE_ROW);
            }
            tiles.multiply::<2, 5, 6>();
            if N == 2 {
                if let Some(change) = &mut change {
                    change.register::<3>(tiles);
                }
                tiles.multiply::<3, 5, 7>();
            }
        } else if let Some(change) = &mut change {
            // Of the two blocks before.
            change.leave::<2>(tiles);
            change.leave::<3>(tiles);
        }
    }
}
