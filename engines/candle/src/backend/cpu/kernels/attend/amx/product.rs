//! Products of two tiles' rows.

use super::super::stored::Stored;
use super::super::wide::WIDTH;
use super::{BLOCK, DEPTH, HALVES};
use crate::backend::cpu::kernels::{TILE_ROW, Tiles};

/// A tiles: 16 rows, and 16 more `down` halves further. Rows are `stride` bytes apart.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) at: *const u16,
    pub(super) stride: usize,
    pub(super) down: usize,
    /// Halves from one 32 inputs to the next.
    pub(super) step: usize,
    /// Halves to the second plane, of which only products with the first one of B count; 0 without one.
    pub(super) apart: usize,
}

/// B tiles: 16 outputs, and 16 more `side` halves further; the second plane is `apart` halves after the first.
#[derive(Clone, Copy)]
pub(super) struct Right {
    pub(super) at: *const u16,
    pub(super) side: usize,
    pub(super) apart: usize,
    /// As above.
    pub(super) step: usize,
}

/// 32 rows of sums by 32, rows `stride` floats apart.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub(super) at: *mut f32,
    pub(super) stride: usize,
}

/// Four products of 32 inputs: of the A tiles at `a`, or of those that are loaded, with the B tiles at `b`.
///
/// # Safety
/// All of that is in bounds.
#[inline(always)]
unsafe fn four<const LOAD: bool>(tiles: &Tiles, left: Left, a: *const u16, right: Right, b: *const u16) {
    // SAFETY: the caller's promise.
    unsafe {
        if LOAD {
            tiles.load::<4>(a.cast(), left.stride);
        }
        tiles.load::<6>(b.cast(), TILE_ROW);
        tiles.multiply::<0, 4, 6>();
        if LOAD {
            tiles.load::<5>(a.add(left.down).cast(), left.stride);
        }
        tiles.multiply::<2, 5, 6>();
        tiles.load::<7>(b.add(right.side).cast(), TILE_ROW);
        tiles.multiply::<1, 4, 7>();
        tiles.multiply::<3, 5, 7>();
    }
}

/// `sums = left . right` over `32 * inputs` inputs, or more of it where not `FRESH`.
///
/// # Safety
/// All of that is in bounds, and nobody else uses the sums.
#[inline(always)]
pub(super) unsafe fn product<F: Stored, const FRESH: bool>(
    tiles: &Tiles,
    inputs: usize,
    left: Left,
    right: Right,
    sums: Sums,
) {
    const { assert!(BLOCK == 2 * WIDTH && HALVES == WIDTH * DEPTH) };
    let bytes = 4 * sums.stride;
    let part = |down: usize, side: usize| {
        sums.at.wrapping_add(down * WIDTH * sums.stride + side * WIDTH).cast::<u8>()
    };
    // SAFETY: the caller's promise.
    unsafe {
        if FRESH {
            tiles.zero::<0>();
            tiles.zero::<1>();
            tiles.zero::<2>();
            tiles.zero::<3>();
        } else {
            tiles.load::<0>(part(0, 0), bytes);
            tiles.load::<1>(part(0, 1), bytes);
            tiles.load::<2>(part(1, 0), bytes);
            tiles.load::<3>(part(1, 1), bytes);
        }
        for input in 0..inputs {
            let a = left.at.add(input * left.step);
            let b = right.at.add(input * right.step);
            four::<true>(tiles, left, a, right, b);
            if F::PLANES == 2 {
                four::<false>(tiles, left, a, right, b.add(right.apart));
                if left.apart > 0 {
                    four::<true>(tiles, left, a.add(left.apart), right, b);
                }
            }
        }
        tiles.store::<0>(part(0, 0), bytes);
        tiles.store::<1>(part(0, 1), bytes);
        tiles.store::<2>(part(1, 0), bytes);
        tiles.store::<3>(part(1, 1), bytes);
    }
}
