//! Plain kernels over slices, on one thread.
//!
//! Every kernel is one portable body in fixed-width lanes, which the compiler turns into vector code for several
//! instruction sets (see [`per_level`]). No multiplication is fused with an addition, so all sets give the same bits.

mod attend;
mod dot;
mod elementwise;
mod exp;
mod format;
mod level;
mod norm;
mod panel;

#[cfg(test)]
pub(crate) mod reference;

pub(crate) use attend::{Extent, Head, attend, scratch_len};
pub(crate) use dot::products;
use elementwise::add_scaled;
pub(crate) use elementwise::{rope, swiglu};
pub(crate) use exp::exp;
pub(crate) use format::{Bf16, F16, F32, Format, Q8_0, dequantise, with_format};
pub(crate) use level::{Level, Set, per_level};
pub(crate) use norm::rms_norm;
pub(crate) use panel::{PANEL, fill_panel};

/// Values that go through a kernel side by side. Sums are kept in this many lanes and added up in a fixed tree, so a sum
/// depends on nothing but its terms.
pub(crate) const LANES: usize = 32;

/// The sum of the lanes.
#[inline(always)]
pub(crate) fn sum_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}
