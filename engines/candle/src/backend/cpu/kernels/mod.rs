//! Plain kernels over slices, on one thread.
//!
//! Every kernel is one body, compiled for several instruction sets (see [`per_level`]). Where the compiler finds no vector
//! code by itself the body works on [`Simd`] vectors. No multiplication is fused with an addition, so all sets give the
//! same bits; attention alone fuses them where the processor can, and agrees between sets within rounding.

mod attend;
mod dequant;
mod dot;
mod elementwise;
mod exp;
pub(crate) mod few;
mod format;
mod level;
mod norm;
mod panel;
#[cfg(target_arch = "x86_64")]
mod proof;
mod rope;
mod simd;
#[cfg(target_arch = "x86_64")]
mod simd_x86;
mod tanh;
#[cfg(target_arch = "x86_64")]
mod tiles;

#[cfg(test)]
pub(crate) mod reference;

pub(crate) use attend::{
    Head, KvF16, KvF32, KvQ8, Rows, STRETCHES, Shape, WIDTH, attend_rows, attend_stretch, merge, put_keys,
    put_values, record_len, rows_at_once, rows_scratch_len, stretch_scratch_len, stretch_tokens,
};
pub(crate) use dequant::{IQ4_LEVELS, MXFP4_LEVELS, half_of_power};
pub(crate) use dequant::{Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
pub(crate) use dot::products;
pub(crate) use elementwise::{add, gate, scale, scatter, softcap};
pub(crate) use exp::exp;
pub(crate) use format::{Bf16, F16, F32, Format, dequantise, f32_of_f16, with_format};
pub(crate) use level::{Level, Set, per_level};
pub(crate) use norm::rms_norm;
pub(crate) use panel::{PANEL, fill_panel};
#[cfg(target_arch = "x86_64")]
pub(crate) use proof::{Amx, Avx2, Avx512};
pub(crate) use rope::rope;
pub(crate) use simd::{Portable, Simd};
pub(crate) use tanh::tanh;
#[cfg(target_arch = "x86_64")]
pub(crate) use tiles::{TILE, TILE_ROW, Tiles};

/// 1.5 times two to the power of 23: from there on, 2^22 down and up, the last bit of a float counts ones. A sum with a number below
/// 2^22 is rounded to a whole number, ties to even, whose two's complement is in the low bits; and a whole number that is added to
/// the bits is added to the float.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// Values that go through a kernel side by side. Sums are kept in this many lanes and added up in a fixed tree, so a sum
/// depends on nothing but its terms.
pub(crate) const LANES: usize = 32;
