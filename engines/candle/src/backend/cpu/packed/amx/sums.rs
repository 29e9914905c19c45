//! Sums on their way between registers and memory.

use super::SUMS;
use crate::backend::cpu::kernels::{TILE_ROW, Tiles};

/// The sums of two blocks of rows and two panels, `[block][panel][row][output]`: register 0 to 3.
pub(super) type Sums = [f32; 4 * SUMS];

/// Sums that leave the registers and sums that come, one register after the other, each right before its first product: so the
/// others' products go on, for which they would all wait if everything left first and then came.
pub(super) struct Change<'a> {
    /// Where what is in the registers belongs, if it is wanted.
    pub(super) out: Option<&'a mut Sums>,
    /// What comes, where there is something yet.
    pub(super) new: Option<&'a Sums>,
}

impl Change<'_> {
    /// Of register `T`.
    #[inline(always)]
    pub(super) fn register<const T: u8>(&mut self, tiles: &Tiles) {
        self.leave::<T>(tiles);
        match self.new {
            // SAFETY: a tile has at most as many values as sums of a register.
            Some(new) => unsafe {
                tiles.load::<T>(new.as_chunks::<SUMS>().0[T as usize].as_ptr().cast(), TILE_ROW)
            },
            None => tiles.zero::<T>(),
        }
    }

    /// Lets register `T` go, into which nothing comes.
    #[inline(always)]
    pub(super) fn leave<const T: u8>(&mut self, tiles: &Tiles) {
        if let Some(out) = &mut self.out {
            let out = out.as_chunks_mut::<SUMS>().0[T as usize].as_mut_ptr();
            // SAFETY: as above.
            unsafe { tiles.store::<T>(out.cast(), TILE_ROW) };
        }
    }
}
