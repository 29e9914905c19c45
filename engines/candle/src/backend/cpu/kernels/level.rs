//! Instruction sets, found at run time.

use super::simd::Portable;
#[cfg(target_arch = "x86_64")]
use super::simd_x86::{Avx2, Avx512};

/// An instruction set that this processor has: holding a value is the proof.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level(Set);

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Set {
    /// What every processor of the target has.
    Portable(Portable),
    /// AVX2 and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512 F, BW, DQ and VL, and all of the former.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Level {
    /// The best of this processor.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(level) = avx512().or_else(avx2) {
            return level;
        }
        Level(Set::Portable(Portable))
    }

    /// The instruction set.
    pub(crate) fn set(self) -> Set {
        self.0
    }

    /// All that this processor has, the portable one first; for tests.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Level> {
        let mut levels = vec![Level(Set::Portable(Portable))];
        #[cfg(target_arch = "x86_64")]
        levels.extend([avx2(), avx512()].into_iter().flatten());
        levels
    }
}

#[cfg(target_arch = "x86_64")]
fn avx2() -> Option<Level> {
    let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c");
    // SAFETY: just detected.
    has.then(|| Level(Set::Avx2(unsafe { Avx2::new() })))
}

#[cfg(target_arch = "x86_64")]
fn avx512() -> Option<Level> {
    let has = avx2().is_some()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    // SAFETY: just detected.
    has.then(|| Level(Set::Avx512(unsafe { Avx512::new() })))
}

/// Compiles a function once per instruction set and adds a first argument, the [`Level`] to run at. The body finds a value
/// of that set's [`super::Simd`] type under the name in brackets.
///
/// Everything that the body calls must be `#[inline(always)]`, else it is compiled for the portable set.
macro_rules! per_level {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$generic:ident: $bound:ident>)? [$simd:ident] (
        $($arg:ident: $ty:ty),* $(,)?
    ) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name $(<$generic: $bound>)? (
            level: $crate::backend::cpu::kernels::Level, $($arg: $ty),*
        ) $(-> $ret)? {
            #[inline(always)]
            fn body<S: $crate::backend::cpu::kernels::Simd $(, $generic: $bound)?>(
                $simd: S, $($arg: $ty),*
            ) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,f16c")]
            fn avx2 $(<$generic: $bound>)? (
                simd: $crate::backend::cpu::kernels::Avx2, $($arg: $ty),*
            ) $(-> $ret)? {
                body::<_ $(, $generic)?>(simd, $($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512 $(<$generic: $bound>)? (
                simd: $crate::backend::cpu::kernels::Avx512, $($arg: $ty),*
            ) $(-> $ret)? {
                body::<_ $(, $generic)?>(simd, $($arg),*)
            }

            use $crate::backend::cpu::kernels::Set;
            match level.set() {
                Set::Portable(simd) => body::<_ $(, $generic)?>(simd, $($arg),*),
                // SAFETY: the value in hand exists only where the processor has the instructions.
                #[cfg(target_arch = "x86_64")]
                Set::Avx2(simd) => unsafe { avx2 $(::<$generic>)? (simd, $($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Set::Avx512(simd) => unsafe { avx512 $(::<$generic>)? (simd, $($arg),*) },
            }
        }
    };
}
pub(crate) use per_level;
