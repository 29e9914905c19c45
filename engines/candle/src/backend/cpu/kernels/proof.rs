//! Proofs that this x86-64 processor, and the kernel that runs it, have the instructions of a level.

use std::arch::x86_64::{__cpuid_count, __get_cpuid_max};

/// AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

/// AVX-512 F, BW, DQ and VL, and all of [`Avx2`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

/// AVX-512 VNNI, and all of [`Avx512`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vnni(Avx512);

/// AMX tiles of 16 rows of 64 bytes with bf16 and 8-bit products, with the kernel's leave to use them; AVX-512 BF16, FP16
/// and VBMI, and all of [`Vnni`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amx(Vnni);

impl Avx2 {
    /// What [`Avx2`] promises, if this processor has it.
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        has.then_some(Avx2(()))
    }
}

impl Avx512 {
    /// What [`Avx512`] promises, if this processor has it.
    pub(super) fn detect() -> Option<Self> {
        let has = Avx2::detect().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        has.then_some(Avx512(()))
    }
}

impl Vnni {
    /// What [`Vnni`] promises, if this processor has it.
    pub(super) fn detect() -> Option<Self> {
        let avx512 = Avx512::detect()?;
        is_x86_feature_detected!("avx512vnni").then_some(Vnni(avx512))
    }

    /// The level below.
    #[inline(always)]
    pub(crate) fn avx512(self) -> Avx512 {
        self.0
    }
}

impl Amx {
    /// What [`Amx`] promises, if this processor has it and the kernel grants the tiles to this process: without that, the
    /// first tile instruction would be a fault.
    pub(super) fn detect() -> Option<Self> {
        let vnni = Vnni::detect()?;
        let has = is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512fp16")
            && is_x86_feature_detected!("avx512vbmi")
            && has_tiles();
        (has && tiles_are_granted()).then_some(Amx(vnni))
    }

    /// The level of AVX-512.
    #[inline(always)]
    pub(crate) fn avx512(self) -> Avx512 {
        self.vnni().avx512()
    }

    /// The level below.
    #[inline(always)]
    pub(crate) fn vnni(self) -> Vnni {
        self.0
    }
}

/// Whether the processor has tiles of the expected size, and products of bf16 and of bytes.
fn has_tiles() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    const PRODUCTS: u32 = BF16 | TILE | INT8;
    const TILES: u32 = 0x1d;
    if __get_cpuid_max(0).0 < TILES || __cpuid_count(7, 0).edx & PRODUCTS != PRODUCTS {
        return false;
    }
    // Palette 1: bytes of a row in the low half of EBX, registers in its high half, rows in ECX.
    let palette = __cpuid_count(TILES, 1);
    (palette.ebx & 0xffff, palette.ebx >> 16, palette.ecx & 0xffff) == (64, 8, 16)
}

/// Asks the kernel for the tiles' state. The leave is the process's, and stays; asking again changes nothing. It is
/// refused where the kernel does not know tiles, and where a thread has a signal stack too small for them.
#[cfg(target_os = "linux")]
fn tiles_are_granted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and touches no memory of this process.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

/// Other systems' ways are not known here.
#[cfg(not(target_os = "linux"))]
fn tiles_are_granted() -> bool {
    false
}
