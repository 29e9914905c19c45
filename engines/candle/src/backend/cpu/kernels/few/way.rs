//! Which code runs on this processor.

use super::pass::taken;
use super::portable::Plain;
use super::quantise::Order;
#[cfg(target_arch = "x86_64")]
use super::{x86_256::Ymm, x86_512::Zmm};
use crate::backend::cpu::kernels::{Level, Set};

/// The code for a level. A variant holds the proof that the processor has its instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Any processor.
    Plain(Plain),
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Ymm(Ymm<false>),
    /// AVX2 and AVX-VNNI.
    #[cfg(target_arch = "x86_64")]
    YmmVnni(Ymm<true>),
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Zmm(Zmm<false>),
    /// AVX-512 and its VNNI.
    #[cfg(target_arch = "x86_64")]
    ZmmVnni(Zmm<true>),
}

impl Way {
    /// The best one of a level.
    pub(crate) fn of(level: Level) -> Self {
        match level.set() {
            Set::Portable(_) => Way::Plain(Plain),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => match is_x86_feature_detected!("avxvnni") {
                // SAFETY: the level is the proof, and AVX-VNNI is just detected.
                true => Way::YmmVnni(unsafe { Ymm::new() }),
                // SAFETY: the level is the proof.
                false => Way::Ymm(unsafe { Ymm::new() }),
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the level is the proof.
            Set::Avx512(_) => Way::Zmm(unsafe { Zmm::new() }),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the level is the proof.
            Set::Vnni(_) | Set::Amx(_) => Way::ZmmVnni(unsafe { Zmm::new() }),
        }
    }

    /// Those of a level, for tests: its best one, and that without AVX-VNNI.
    #[cfg(test)]
    pub(crate) fn all(level: Level) -> Vec<Self> {
        match Way::of(level) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: what needs more is there.
            way @ Way::YmmVnni(_) => vec![Way::Ymm(unsafe { Ymm::new() }), way],
            way => vec![way],
        }
    }

    /// How many of the activation rows that are left go over the weights together.
    pub(super) fn taken(self, left: usize) -> usize {
        match self {
            Way::Plain(_) => taken::<Plain>(left),
            #[cfg(target_arch = "x86_64")]
            Way::Ymm(_) | Way::YmmVnni(_) => taken::<Ymm<false>>(left),
            #[cfg(target_arch = "x86_64")]
            Way::Zmm(_) | Way::ZmmVnni(_) => taken::<Zmm<false>>(left),
        }
    }

    /// How it reads quantised activations.
    pub(super) fn order(self) -> Order {
        match self {
            #[cfg(target_arch = "x86_64")]
            Way::YmmVnni(_) | Way::ZmmVnni(_) => Order::Planes,
            _ => Order::Shorts,
        }
    }
}

/// Compiles a generic function `body` for each way and calls the one of a [`Way`].
macro_rules! per_way {
    ($way:expr, $body:ident <$cell:ident> ( $($arg:ident: $ty:ty),* $(,)? )) => {{
        use $crate::backend::cpu::kernels::few::way::Way;
        #[cfg(target_arch = "x86_64")]
        use $crate::backend::cpu::kernels::few::{x86_256::Ymm, x86_512::Zmm};

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,f16c")]
        fn ymm<$cell: Cell>(isa: Ymm<false>, $($arg: $ty),*) {
            $body(isa, $($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,f16c,avxvnni")]
        fn ymm_vnni<$cell: Cell>(isa: Ymm<true>, $($arg: $ty),*) {
            $body(isa, $($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
        fn zmm<$cell: Cell>(isa: Zmm<false>, $($arg: $ty),*) {
            $body(isa, $($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        fn zmm_vnni<$cell: Cell>(isa: Zmm<true>, $($arg: $ty),*) {
            $body(isa, $($arg),*)
        }

        match $way {
            Way::Plain(isa) => $body(isa, $($arg),*),
            // SAFETY: the value in hand exists only where the processor has the instructions; so for all.
            #[cfg(target_arch = "x86_64")]
            Way::Ymm(isa) => unsafe { ymm(isa, $($arg),*) },
            // SAFETY: see above.
            #[cfg(target_arch = "x86_64")]
            Way::YmmVnni(isa) => unsafe { ymm_vnni(isa, $($arg),*) },
            // SAFETY: see above.
            #[cfg(target_arch = "x86_64")]
            Way::Zmm(isa) => unsafe { zmm(isa, $($arg),*) },
            // SAFETY: see above.
            #[cfg(target_arch = "x86_64")]
            Way::ZmmVnni(isa) => unsafe { zmm_vnni(isa, $($arg),*) },
        }
    }};
}
pub(super) use per_way;
