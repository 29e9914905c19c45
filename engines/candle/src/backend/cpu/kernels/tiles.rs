//! AMX tiles: eight registers of at most 16 rows of at most 64 bytes, by number.
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
    /// Sets the tiles up, all of them whole. Takes some hundred cycles: once for many products.
    #[inline(always)]
    pub(crate) fn new(amx: Amx) -> Self {
        Tiles::set_up(amx, &WHOLE)
    }

    /// Sets the tiles up for products of bytes, of at most 16 rows and 64 inputs, a multiple of four: registers 0 to 3 for
    /// the sums, `i32[rows][16]`, 4 and 5 for the rows, `i8[rows][inputs]`, 6 and 7 for what they are multiplied with,
    /// `i8[inputs / 4][16][4]`.
    pub(crate) fn of_bytes(amx: Amx, rows: usize, inputs: usize) -> Self {
        assert!((1..=16).contains(&rows) && (4..=64).contains(&inputs) && inputs.is_multiple_of(4));
        let mut setup =
            Setup { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        for (tiles, height, width) in
            [(0..4, rows, TILE_ROW), (4..6, rows, inputs), (6..8, inputs / 4, TILE_ROW)]
        {
            setup.rows[tiles.clone()].fill(height as u8);
            setup.row_bytes[tiles].fill(width as u16);
        }
        Tiles::set_up(amx, &setup)
    }

    #[inline(always)]
    fn set_up(_: Amx, setup: &Setup) -> Self {
        // SAFETY: the first argument proves that the processor has tiles and the kernel lets us use them; the setup is
        // valid, as both who call this make it, and as large as the instruction wants.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const *setup, options(nostack, readonly, preserves_flags))
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

    /// Loads register `T` from rows of as many bytes as it is set up for, `stride` bytes apart.
    ///
    /// # Safety
    /// All rows that it is set up for can be read.
    #[inline(always)]
    pub(crate) unsafe fn load<const T: u8>(&self, from: *const u8, stride: usize) {
        const { assert!(T < 8) };
        // SAFETY: `self` proves that tiles are set up, the caller that the memory can be read.
        unsafe {
            asm!("tileloadd tmm{}, [{} + {}]", const T, in(reg) from, in(reg) stride,
                options(nostack, readonly, preserves_flags));
        }
    }

    /// Stores register `T` to rows of as many bytes as it is set up for, `stride` bytes apart.
    ///
    /// # Safety
    /// All rows that it is set up for can be written, and nobody else uses them.
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

    /// Adds to the whole numbers of register `C`, `[m][16 n]`, the products of the bytes in `A`, `[m][k]`, with those in `B`,
    /// `[k / 4][16 n][4 k]`, all with signs. The three fit each other where [`Tiles::of_bytes`] set them up, and their numbers
    /// are those that it says.
    #[inline(always)]
    pub(crate) fn multiply_bytes<const C: u8, const A: u8, const B: u8>(&self) {
        const { assert!(C < 4 && (A == 4 || A == 5) && (B == 6 || B == 7)) };
        // SAFETY: `self` proves that tiles are set up; no memory is touched.
        unsafe {
            asm!("tdpbssd tmm{}, tmm{}, tmm{}", const C, const A, const B, options(nostack, nomem, preserves_flags));
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

    #[test]
    fn products_of_bytes_are_those_of_matrices() {
        let Some(Set::Amx(amx)) = Level::all().last().map(|level| level.set()) else {
            eprintln!("SKIPPED: no AMX on this machine");
            return;
        };
        let mut random = Random::new(72);
        for (rows, inputs) in [(16, 32), (16, 16), (8, 32), (8, 16), (5, 64)] {
            let mut byte = || (random.float() * 128.0).floor() as i8;
            let a: [[i8; 64]; 16] = std::array::from_fn(|_| std::array::from_fn(|_| byte()));
            let b: [[[i8; 4]; 16]; 16] =
                std::array::from_fn(|_| std::array::from_fn(|_| std::array::from_fn(|_| byte())));
            let (a, b) = (Tile(a), Tile(b));
            let mut c = Tile([[7i32; 16]; 16]);
            let tiles = Tiles::of_bytes(amx, rows, inputs);
            tiles.zero::<3>();
            // SAFETY: each of the three is a whole tile, of which some rows are used.
            unsafe {
                tiles.load::<5>((&raw const a).cast(), TILE_ROW);
                tiles.load::<6>((&raw const b).cast(), TILE_ROW);
                tiles.multiply_bytes::<3, 5, 6>();
                tiles.store::<3>((&raw mut c).cast(), TILE_ROW);
            }
            drop(tiles);
            for (m, sums) in c.0.iter().enumerate() {
                for (n, sum) in sums.iter().enumerate() {
                    let terms = (0..inputs).map(|k| i32::from(a.0[m][k]) * i32::from(b.0[k / 4][n][k % 4]));
                    let want = if m < rows { terms.sum() } else { 7 };
                    assert_eq!(*sum, want, "{rows} rows, {inputs} inputs: {m} {n}");
                }
            }
        }
    }
}
