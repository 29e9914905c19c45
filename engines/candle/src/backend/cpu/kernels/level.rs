//! Instruction sets, found at run time.

#[cfg(target_arch = "x86_64")]
use super::proof::{Amx, Avx2, Avx512, Vnni};
use super::simd::Portable;
use std::sync::OnceLock;

/// Lowers the level: one of the names of [`Level::name`].
pub(crate) const VARIABLE: &str = "PLIMSOLL_CPU";

/// An instruction set that this processor has: holding a value is the proof.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level(Set);

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Set {
    /// What every processor of the target has.
    Portable(Portable),
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512 F, BW, DQ and VL, and all of the former.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// AVX-512 VNNI, and all of the former.
    #[cfg(target_arch = "x86_64")]
    Vnni(Vnni),
    /// AMX tiles with bf16 and 8-bit products, AVX-512 BF16, FP16 and VBMI, and all of the former.
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
}

impl Level {
    /// The best of this processor, or what [`VARIABLE`] lowers it to. The first call decides for the process.
    pub(crate) fn detect() -> Self {
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(|| {
            let wanted = std::env::var_os(VARIABLE);
            let (level, objection) =
                choose(Self::all(), wanted.as_deref().map(|name| name.to_string_lossy()).as_deref());
            if let Some(objection) = objection {
                log::warn!("{objection}");
            }
            level
        })
    }

    /// The instruction set.
    pub(crate) fn set(self) -> Set {
        self.0
    }

    /// The proof of AMX, at that level.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn amx(self) -> Option<Amx> {
        match self.0 {
            Set::Amx(amx) => Some(amx),
            _ => None,
        }
    }

    /// What the environment variable and the log call it.
    pub(crate) fn name(self) -> &'static str {
        match self.0 {
            Set::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Vnni(_) => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Set::Amx(_) => "amx",
        }
    }

    /// All that this processor has, whatever the environment says: the portable one first, the best last.
    pub(crate) fn all() -> Vec<Level> {
        let mut levels = vec![Level(Set::Portable(Portable))];
        #[cfg(target_arch = "x86_64")]
        {
            // Each is asked for only where the one below is there.
            levels.extend(Avx2::detect().map(|simd| Level(Set::Avx2(simd))));
            levels.extend(Avx512::detect().map(|simd| Level(Set::Avx512(simd))));
            levels.extend(Vnni::detect().map(|simd| Level(Set::Vnni(simd))));
            levels.extend(Amx::detect().map(|simd| Level(Set::Amx(simd))));
        }
        levels
    }
}

/// The level of that name, or the last one and what is wrong with the name.
fn choose(levels: Vec<Level>, wanted: Option<&str>) -> (Level, Option<String>) {
    let best = levels.last().copied().unwrap_or(Level(Set::Portable(Portable)));
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return (best, None) };
    match levels.iter().find(|level| level.name() == wanted) {
        Some(level) => (*level, None),
        None => {
            let names: Vec<&str> = levels.iter().map(|level| level.name()).collect();
            let names = names.join(", ");
            (best, Some(format!("{VARIABLE}={wanted} is ignored: this processor's levels are {names}")))
        }
    }
}

/// Compiles a function once per instruction set and adds a first argument, the [`Level`] to run at. The body finds a value
/// of that set's [`super::Simd`] type under the name in brackets.
///
/// The levels above AVX-512 run its body: what they add serves products alone, which have kernels of their own.
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
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2 $(<$generic: $bound>)? (
                simd: $crate::backend::cpu::kernels::Avx2, $($arg: $ty),*
            ) $(-> $ret)? {
                body::<_ $(, $generic)?>(simd, $($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
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
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Set::Vnni(simd) => unsafe { avx512 $(::<$generic>)? (simd.avx512(), $($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Set::Amx(simd) => unsafe { avx512 $(::<$generic>)? (simd.avx512(), $($arg),*) },
            }
        }
    };
}
pub(crate) use per_level;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lowers_the_level_and_a_wrong_one_is_told() {
        let names: Vec<&str> = Level::all().iter().map(|level| level.name()).collect();
        assert_eq!(names[0], "portable");
        for name in &names {
            let (level, objection) = choose(Level::all(), Some(name));
            assert_eq!((level.name(), objection), (*name, None));
        }
        for nothing in [None, Some("")] {
            let (level, objection) = choose(Level::all(), nothing);
            assert_eq!((Some(&level.name()), objection), (names.last(), None));
        }
        for wrong in ["AVX2", "sse9", "avx512_vnni"] {
            let (level, objection) = choose(Level::all(), Some(wrong));
            assert_eq!(Some(&level.name()), names.last());
            assert!(objection.is_some_and(|text| text.contains(wrong) && text.contains("portable")));
        }
        // What a lesser processor says to the name of a level that it lacks.
        let (level, objection) = choose(Level::all()[..1].to_vec(), Some("amx"));
        assert_eq!(level.name(), "portable");
        assert!(objection.is_some());
    }

    #[test]
    fn levels_stand_in_order_and_the_choice_is_one_of_them() {
        let order = ["portable", "avx2", "avx512", "avx512-vnni", "amx"];
        let names: Vec<&str> = Level::all().iter().map(|level| level.name()).collect();
        assert_eq!(names, order[..names.len()]);
        assert!(names.contains(&Level::detect().name()));
    }
}
