//! AMX tiles: eight registers of 16 rows of 64 bytes, by number.
//!
//! The compiler knows no tiles and never uses them, so what one operation leaves in a register the next one finds. A
//! [`Tiles`] value sets them up and gives them back; while a thread has none, its context switches do not save them.

use super::Amx;
use std::arch::asm;
use std::marker::PhantomData;

/// Bytes of a tile.
pub(crate) const TILE: usize = 1024;
/// Bytes of a tile's row.
pub(crate) const TILE_ROW: usize = 64;

/// What the instruction that sets tiles up reads.
#[repr(C, align(64))]
struct Setup {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// All eight registers as large as they can be.
static WHOLE: Setup = {
    let mut setup = Setup { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    let mut tile = 0;
    while tile < 8 {
        setup.row_bytes[tile] = TILE_ROW as u16;
        setup.rows[tile] = 16;
        tile += 1;
    }
    setup
};

/// This thread's tiles, set up. A thread has at most one of these at a time: the end of the first would take the
/// tiles from the second.
pub(crate) struct Tiles {
    /// The registers are one thread's.
    _thread: PhantomData<*const ()>,
}

impl Tiles {
    /// Sets the tiles up. Takes some hundred cycles: once for many products.
    #[inline(always)]
    pub(crate) fn new(_: Amx) -> Self {
        // SAFETY: the argument proves that the processor has tiles and the kernel lets us use them; the setup is valid
        // and as large as the instruction wants.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE, options(nostack, readonly, preserves_flags))
        };
        Tiles { _thread: PhantomData }
    }

    /// Zeros in register `T`.
    #[inline(always)]
    pub(crate) fn zero<const T: u8>(&self) {
        const { assert!(T < 8) };
        // SAFETY: `self` proves that tiles are set up; no memory is touched.
        unsafe { asm!("tilezero tmm{}", const T, options(nostack, nomem, preserves_flags)) };
    }

    /// Loads register `T` from rows of 64 bytes, `stride` bytes apart.
    ///
    /// # Safety
    /// All 16 rows can be read.
    #[inline(always)]
    pub(crate) unsafe fn load<const T: u8>(&self, from: *const u8, stride: usize) {
        const { assert!(T < 8) };
        // SAFETY: `self` proves that tiles are set up, the caller that the memory can be read.
        unsafe {
            asm!("tileloadd tmm{}, [{} + {}]", const T, in(reg) from, in(reg) stride,
                options(nostack, readonly, preserves_flags));
        }
    }

    /// Stores register `T` to rows of 64 bytes, `stride` bytes apart.
    ///
    /// # Safety
    /// All 16 rows can be written, and nobody else uses them.
    #[inline(always)]
    pub(crate) unsafe fn store<const T: u8>(&self, to: *mut u8, stride: usize) {
        const { assert!(T < 8) };
        // SAFETY: `self` proves that tiles are set up, the caller that the memory can be written.
        unsafe {
            asm!("tilestored [{} + {}], tmm{}", in(reg) to, in(reg) stride, const T,
                options(nostack, preserves_flags));
        }
    }

    /// Adds to the f32 of register `C`, `[16 m][16 n]`, the products of the bf16 in `A`, `[16 m][32 k]`, with those in `B`,
    /// `[16 pairs of k][16 n][2 k]`. Denormal numbers count as zeros.
    #[inline(always)]
    pub(crate) fn multiply<const C: u8, const A: u8, const B: u8>(&self) {
        const { assert!(C < 8 && A < 8 && B < 8 && C != A && C != B && A != B) };
        // SAFETY: `self` proves that tiles are set up; no memory is touched.
        unsafe {
            asm!("tdpbf16ps tmm{}, tmm{}, tmm{}", const C, const A, const B, options(nostack, nomem, preserves_flags));
        }
    }
}

impl Drop for Tiles {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the processor has tiles, else there were no value; no memory is touched.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::reference::Random;
    use crate::backend::cpu::kernels::{Level, Set};

    #[repr(C, align(64))]
    struct Tile<T>(T);

    #[test]
    fn products_are_those_of_matrices() {
        let Some(Set::Amx(amx)) = Level::all().last().map(|level| level.set()) else {
            eprintln!("SKIPPED: no AMX on this machine");
            return;
        };
        let mut random = Random::new(71);
        let mut half = || half::bf16::from_f32(random.float());
        let a: [[half::bf16; 32]; 16] = std::array::from_fn(|_| std::array::from_fn(|_| half()));
        let b: [[half::bf16; 16]; 32] = std::array::from_fn(|_| std::array::from_fn(|_| half()));
        let stored_a = Tile(a.map(|row| row.map(half::bf16::to_bits)));
        let stored_b: Tile<[[[u16; 2]; 16]; 16]> = Tile(std::array::from_fn(|pair| {
            std::array::from_fn(|n| [b[2 * pair][n].to_bits(), b[2 * pair + 1][n].to_bits()])
        }));
        let mut c = Tile([[0.0f32; 16]; 16]);
        let tiles = Tiles::new(amx);
        tiles.zero::<0>();
        // SAFETY: each of the three is a whole tile.
        unsafe {
            tiles.load::<4>((&raw const stored_a).cast(), TILE_ROW);
            tiles.load::<7>((&raw const stored_b).cast(), TILE_ROW);
            tiles.multiply::<0, 4, 7>();
            tiles.multiply::<0, 4, 7>();
            tiles.store::<0>((&raw mut c).cast(), TILE_ROW);
        }
        drop(tiles);
        for (m, (row, sums)) in a.iter().zip(&c.0).enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                let terms = row.iter().zip(&b).map(|(a, b)| 2.0 * a.to_f64() * b[n].to_f64());
                assert!((f64::from(*sum) - terms.sum::<f64>()).abs() < 1e-5, "{m} {n}");
            }
        }
    }
}
