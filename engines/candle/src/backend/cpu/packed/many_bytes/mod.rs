//! Products of many rows of 8 bits with panels.
//!
//! - `inputs`: the rows, quantised and laid out in groups;
//! - `piece`: 256 inputs of a panel, unpacked to codes of one byte, the same for all types;
//! - `tile`: the products of a piece with a group, for a level; `vnni`, `narrow` and `plain` are their bodies;
//! - `direct`: both at once, for few rows;
//! - `walk`: several groups over a stretch of panels, piece by piece; `alone`: one group, directly;
//! - `gated`: two products whose outputs become the inputs of a third;
//! - `amx`: the same on tiles of whole numbers.
//!
//! A few panels at a time are unpacked piece by piece and multiplied with every group while they lie in the first-level cache;
//! sums wait in the thread's scratch from piece to piece. Every row's sums are made in the same order, however many rows there
//! are, and whatever thread they run on.

mod alone;
#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod direct;
mod gated;
pub(crate) mod inputs;
#[cfg(target_arch = "x86_64")]
mod inputs_x86;
#[cfg(target_arch = "x86_64")]
mod narrow;
mod piece;
#[cfg(target_arch = "x86_64")]
mod piece_x86;
mod plain;
mod stretch;
mod tile;
#[cfg(target_arch = "x86_64")]
mod vnni;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use gated::GatedBytes;
pub(crate) use walk::scratch;

use super::Packed;
use crate::backend::cpu::kernels::Level;
use crate::backend::cpu::matmul::Target;
use alone::multiply_alone;
use gated::PAIR;
use inputs::Bytes;
use std::array::from_fn;
use std::ops::Range;
use stretch::{Outlet, PANELS, Stretch};
use tile::Kernels;
use walk::multiply;

/// Products of rows with a range of panels of a type with codes. For other types, and with less scratch than [`scratch`]
/// says, nothing happens.
pub(crate) fn products(
    level: Level,
    weights: &Packed,
    panels: Range<usize>,
    inputs: &Bytes<'_>,
    target: &Target<'_>,
    scratch: &mut [f32],
) {
    if let Some(kernels) = Kernels::of(level, weights.dtype(), inputs.groups()) {
        products_with(&kernels, weights, panels, inputs, target, scratch);
    }
}

fn products_with(
    kernels: &Kernels,
    weights: &Packed,
    panels: Range<usize>,
    inputs: &Bytes<'_>,
    target: &Target<'_>,
    scratch: &mut [f32],
) {
    let outlet = Outlet::Rows(target);
    match kernels {
        Kernels::Direct(direct) => {
            // Two panels that lie far apart.
            let half = panels.len().div_ceil(2);
            for first in panels.start..panels.start + half {
                let count = if first + half < panels.end { 2 } else { 1 };
                let of = |index: usize| (weights, first + index.min(count - 1) * half);
                multiply_alone(direct, &Stretch { panels: from_fn(of), count }, inputs, outlet);
            }
        }
        Kernels::Pieces(pieces) => {
            let stretch = |number: usize| {
                let from = panels.start + number * PANELS;
                let count = PANELS.min(panels.end - from);
                Stretch { panels: from_fn(|index| (weights, from + index.min(count - 1))), count }
            };
            multiply(pieces, inputs, panels.len().div_ceil(PANELS), stretch, outlet, scratch);
        }
    }
}

/// Whether [`gated`] multiplies with these matrices: they are of one kind.
pub(crate) fn gates(weights: [&Packed; 2]) -> bool {
    let [gate, up] = weights.map(|weights| (weights.dtype(), weights.rows(), weights.cols()));
    gate == up
}

/// `activation(gate) * up` of the inputs' products with a range of panels of both matrices, which [`gates`] has found to be
/// alike and the target to be as wide. The range begins and ends with an even panel; the rest is as in [`products`].
pub(crate) fn gated(
    level: Level,
    [gate, up]: [&Packed; 2],
    panels: Range<usize>,
    inputs: &Bytes<'_>,
    target: &GatedBytes<'_>,
    scratch: &mut [f32],
) {
    assert!(panels.start.is_multiple_of(PAIR) && panels.len().is_multiple_of(PAIR), "pairs of panels");
    assert!(target.takes(inputs, gate.rows()), "a target for these rows and outputs");
    let Some(kernels) = Kernels::of(level, gate.dtype(), inputs.groups()) else { return };
    let stretch = |number: usize| {
        let from = panels.start + number * PAIR;
        Stretch { panels: [(gate, from), (gate, from + 1), (up, from), (up, from + 1)], count: PANELS }
    };
    let outlet = Outlet::Inputs(target);
    let stretches = panels.len() / PAIR;
    match &kernels {
        Kernels::Direct(direct) => {
            (0..stretches).for_each(|number| multiply_alone(direct, &stretch(number), inputs, outlet));
        }
        Kernels::Pieces(pieces) => multiply(pieces, inputs, stretches, stretch, outlet, scratch),
    }
}
