//! Instruction sets.

/// An instruction set that this processor has: holding a value is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level(Set);

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// What every processor of the target has.
    Portable,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best of this processor.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return Level(Set::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                return Level(Set::Avx2);
            }
        }
        Level(Set::Portable)
    }

    /// The instruction set.
    pub(crate) fn set(self) -> Set {
        self.0
    }

    /// All that this processor has, for tests.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Level> {
        let mut levels = vec![Level(Set::Portable)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            levels.push(Level(Set::Avx2));
        }
        if !levels.contains(&Level::detect()) {
            levels.push(Level::detect());
        }
        levels
    }
}

/// Compiles a function once per instruction set and adds a first argument, the [`Level`] to run at.
///
/// Everything that the body calls must be `#[inline(always)]`, else it is compiled for the portable set.
macro_rules! per_level {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$generic:ident: $bound:ident>)? (
        $($arg:ident: $ty:ty),* $(,)?
    ) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name $(<$generic: $bound>)? (
            level: $crate::backend::cpu::kernels::Level, $($arg: $ty),*
        ) $(-> $ret)? {
            #[inline(always)]
            fn body $(<$generic: $bound>)? ($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2 $(<$generic: $bound>)? ($($arg: $ty),*) $(-> $ret)? {
                body $(::<$generic>)? ($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512 $(<$generic: $bound>)? ($($arg: $ty),*) $(-> $ret)? {
                body $(::<$generic>)? ($($arg),*)
            }

            match level.set() {
                $crate::backend::cpu::kernels::Set::Portable => body $(::<$generic>)? ($($arg),*),
                // SAFETY: a `Level` of this set exists only where the processor has it.
                #[cfg(target_arch = "x86_64")]
                $crate::backend::cpu::kernels::Set::Avx2 => unsafe { avx2 $(::<$generic>)? ($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::backend::cpu::kernels::Set::Avx512 => unsafe { avx512 $(::<$generic>)? ($($arg),*) },
            }
        }
    };
}
pub(crate) use per_level;
