//! The instructions that kernels are built on, as fast as they go: many of them that do not wait for each other.

use crate::backend::cpu::kernels::Level;
#[cfg(target_arch = "x86_64")]
use crate::backend::cpu::kernels::{Set, Tiles, few};

/// An instruction that multiplies and adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// `vpdpbusd`, 64 bytes.
    #[cfg(target_arch = "x86_64")]
    DotBytes512,
    /// `vpdpbusd`, 32 bytes.
    #[cfg(target_arch = "x86_64")]
    DotBytes256,
    /// `vpmaddubsw`, 64 bytes.
    #[cfg(target_arch = "x86_64")]
    Bytes512,
    /// `vpmaddubsw`, 32 bytes.
    #[cfg(target_arch = "x86_64")]
    Bytes256,
    /// `vpmaddwd`, 32 words of 16 bits.
    #[cfg(target_arch = "x86_64")]
    Words512,
    /// `vpmaddwd`, 16 words.
    #[cfg(target_arch = "x86_64")]
    Words256,
    /// `vfmadd231ps`, 16 floats.
    #[cfg(target_arch = "x86_64")]
    Floats512,
    /// `vfmadd231ps`, 8 floats.
    #[cfg(target_arch = "x86_64")]
    Floats256,
    /// `tdpbf16ps`.
    #[cfg(target_arch = "x86_64")]
    TilesBf16,
    /// `tdpbssd`.
    #[cfg(target_arch = "x86_64")]
    TilesBytes,
}

/// Sums that do not wait for each other: more than an instruction takes cycles.
#[cfg(target_arch = "x86_64")]
const SUMS: usize = 14;
/// Rounds of a run, with vectors and with tiles.
#[cfg(target_arch = "x86_64")]
const ROUNDS: usize = 1 << 15;
#[cfg(target_arch = "x86_64")]
const TILE_ROUNDS: usize = ROUNDS / 8;

#[cfg(not(target_arch = "x86_64"))]
impl Arithmetic {
    pub(super) fn floats(_: Level) -> Option<Self> {
        None
    }

    pub(super) fn planes(_: Level) -> Option<(Self, f64)> {
        None
    }

    pub(super) fn bytes(_: Level) -> Option<Self> {
        None
    }

    pub(super) fn tiles(_: Level) -> Option<Self> {
        None
    }

    pub(super) fn operations(self) -> f64 {
        match self {}
    }

    pub(super) fn run(self, _: Level) {
        match self {}
    }
}

/// Runs an instruction of vectors on [`SUMS`] registers, [`ROUNDS`] times.
#[cfg(target_arch = "x86_64")]
macro_rules! rounds {
    ($instruction:literal, $register:literal, $clear:literal) => {
        // SAFETY: the level is the proof that the processor has the instruction; it changes registers alone, all of them
        // given up.
        unsafe {
            std::arch::asm!(
                ".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
                concat!($clear, " ", $register, "\\r, ", $register, "\\r, ", $register, "\\r"),
                ".endr",
                "2:",
                ".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13",
                concat!($instruction, " ", $register, "\\r, ", $register, "14, ", $register, "15"),
                ".endr",
                "dec {rounds}",
                "jnz 2b",
                rounds = inout(reg) ROUNDS => _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
                out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                options(nomem, nostack),
            )
        }
    };
}

#[cfg(target_arch = "x86_64")]
impl Arithmetic {
    /// Of floats.
    pub(super) fn floats(level: Level) -> Option<Self> {
        match level.set() {
            Set::Portable(_) => None,
            Set::Avx2(_) => Some(Arithmetic::Floats256),
            Set::Avx512(_) | Set::Vnni(_) | Set::Amx(_) => Some(Arithmetic::Floats512),
        }
    }

    /// Of few rows of 15 bits, and how often it is done for each product.
    pub(super) fn planes(level: Level) -> Option<(Self, f64)> {
        match few::Way::of(level) {
            few::Way::Plain(_) => None,
            few::Way::Ymm(_) => Some((Arithmetic::Words256, 1.0)),
            few::Way::YmmVnni(_) => Some((Arithmetic::DotBytes256, 2.0)),
            few::Way::Zmm(_) => Some((Arithmetic::Words512, 1.0)),
            few::Way::ZmmVnni(_) => Some((Arithmetic::DotBytes512, 2.0)),
        }
    }

    /// Of more rows of 8 bits.
    pub(super) fn bytes(level: Level) -> Option<Self> {
        match level.set() {
            Set::Portable(_) => None,
            Set::Avx2(_) => Some(Arithmetic::Bytes256),
            Set::Avx512(_) => Some(Arithmetic::Bytes512),
            Set::Vnni(_) | Set::Amx(_) => Some(Arithmetic::DotBytes512),
        }
    }

    /// Of tiles.
    pub(super) fn tiles(level: Level) -> Option<Self> {
        level.amx().map(|_| Arithmetic::TilesBf16)
    }

    /// Of tiles of bytes.
    pub(super) fn tile_bytes(level: Level) -> Option<Self> {
        level.amx().map(|_| Arithmetic::TilesBytes)
    }

    /// Operations of a run.
    pub(super) fn operations(self) -> f64 {
        let products = match self {
            Arithmetic::DotBytes512 | Arithmetic::Bytes512 => 64,
            Arithmetic::DotBytes256 | Arithmetic::Bytes256 | Arithmetic::Words512 => 32,
            Arithmetic::Words256 | Arithmetic::Floats512 => 16,
            Arithmetic::Floats256 => 8,
            Arithmetic::TilesBf16 => return (2 * 6 * 16 * 16 * 32 * TILE_ROUNDS) as f64,
            Arithmetic::TilesBytes => return (2 * 4 * 16 * 16 * 64 * TILE_ROUNDS) as f64,
        };
        (2 * products * SUMS * ROUNDS) as f64
    }

    /// Runs it on this thread. It must be one of the level's, as the functions above give them.
    pub(super) fn run(self, level: Level) {
        match self {
            Arithmetic::DotBytes512 => rounds!("vpdpbusd", "zmm", "vpxord"),
            Arithmetic::DotBytes256 => rounds!("{{vex}} vpdpbusd", "ymm", "vpxor"),
            Arithmetic::Bytes512 => rounds!("vpmaddubsw", "zmm", "vpxord"),
            Arithmetic::Bytes256 => rounds!("vpmaddubsw", "ymm", "vpxor"),
            Arithmetic::Words512 => rounds!("vpmaddwd", "zmm", "vpxord"),
            Arithmetic::Words256 => rounds!("vpmaddwd", "ymm", "vpxor"),
            Arithmetic::Floats512 => rounds!("vfmadd231ps", "zmm", "vpxord"),
            Arithmetic::Floats256 => rounds!("vfmadd231ps", "ymm", "vpxor"),
            Arithmetic::TilesBf16 => {
                let Some(amx) = level.amx() else { return };
                let tiles = Tiles::new(amx);
                for _ in 0..TILE_ROUNDS {
                    tiles.multiply::<0, 6, 7>();
                    tiles.multiply::<1, 6, 7>();
                    tiles.multiply::<2, 6, 7>();
                    tiles.multiply::<3, 6, 7>();
                    tiles.multiply::<4, 6, 7>();
                    tiles.multiply::<5, 6, 7>();
                }
            }
            Arithmetic::TilesBytes => {
                let Some(amx) = level.amx() else { return };
                let tiles = Tiles::of_bytes(amx, 16, 64);
                for _ in 0..TILE_ROUNDS {
                    tiles.multiply_bytes::<0, 4, 6>();
                    tiles.multiply_bytes::<1, 4, 6>();
                    tiles.multiply_bytes::<2, 4, 6>();
                    tiles.multiply_bytes::<3, 4, 6>();
                }
            }
        }
    }
}
