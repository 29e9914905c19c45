//! Products of several activation rows with panels, on AMX tiles.
//!
//! - `inputs`: activations as tiles; `weights`: the weights of a cell as tiles;
//! - `many`: the way of more than 32 rows; `multiply`: the innermost products of both ways;
//! - `operands`: whose panels are multiplied and where the products go; `gated`: straight into tiles.
//!
//! Up to 32 rows, a panel's sums stay in registers while its weights go by: each weight is unpacked once and multiplied at
//! once. With more rows, weights of two panels are unpacked in pieces of 256 inputs, 16 KiB, which stay in the first-level
//! cache while all rows go by, 32 at a time: each tile that is loaded serves two products. Between these the next piece is
//! unpacked, tile by tile: tiles multiply by themselves while the other units go on. Sums wait for the next piece in the
//! scratch.
//!
//! Types with blocks are rounded to bf16, and so are their activations: 8 bits of mantissa each, with f32 sums over all
//! inputs. bf16 and f16 weights are taken as they are; f16 ones, and bf16 ones where all is to be exact, with activations of 16
//! bits in two planes.

mod gated;
mod inputs;
mod many;
mod multiply;
mod operands;
mod sums;
mod weights;

#[cfg(test)]
mod tests;

pub(crate) use gated::GatedTiles;
pub(crate) use inputs::{BLOCK, Tiled, block_len, most_block_len, prepare};

use super::{PANEL_ROWS, Packed};
use crate::backend::cpu::kernels::{Amx, TILE, TILE_ROW, Tiles};
use crate::backend::cpu::matmul::Target;
use many::{Beside, many};
use multiply::{multiply, shifted};
use operands::Operands;
use plimsoll_formats::Dtype;
use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
use std::ops::Range;
use weights::{Kind, unpack, with_kind};

/// Most rows whose sums stay in registers.
const FEW: usize = 2 * BLOCK;
/// Rows that share unpacked weights.
const ROWS: usize = 512;
/// Panels whose sums wait in the scratch at the same time.
const PANELS: usize = 16;
/// Steps of 32 inputs in a piece.
const PIECE: usize = 8;
/// Bytes that weights are asked for ahead of their use, into the first- and the second-level cache.
const AHEAD: (usize, usize) = (576, 3072);

/// Values of a tile of sums.
const SUMS: usize = TILE / size_of::<f32>();
/// Values for two panels' pieces in two planes.
const WEIGHTS: usize = 2 * 2 * PIECE * TILE / size_of::<f32>();

/// Planes that activations have for weights of a type: two for f16, which has more bits than bf16, and where bf16 weights are to
/// meet `exact` inputs.
pub(crate) fn planes(dtype: Dtype, exact: bool) -> usize {
    if dtype == Dtype::F16 || dtype == Dtype::BF16 && exact { 2 } else { 1 }
}

/// Values of 4 bytes that [`products`] wants as scratch, for steps of at most so many rows; `None` on overflow.
pub(crate) fn scratch_len(rows: usize) -> Option<usize> {
    let blocks = rows.min(ROWS).checked_next_multiple_of(FEW)? / BLOCK;
    (blocks * PANELS * SUMS).checked_add(2 * WEIGHTS)
}

/// Products of the inputs with a range of panels. The inputs have [`planes`] of the weights' type and steps for all of their
/// inputs; `scratch` has [`scratch_len`] values and is aligned to cache lines.
pub(crate) fn products(
    amx: Amx,
    weights: &Packed,
    panels: Range<usize>,
    inputs: &Tiled<'_>,
    target: &Target<'_>,
    scratch: &mut [f32],
) {
    let steps = check(weights, inputs, scratch);
    let tiles = Tiles::new(amx);
    let job = Job { tiles: &tiles, operands: Operands::One(weights, target), inputs, steps };
    // SAFETY: the processor has AMX and so all of the features below it; sizes are checked above.
    with_kind!(weights.dtype(), inputs.planes(), K => unsafe {
        match inputs.rows() {
            0 => {}
            1..=BLOCK => few::<K, 1>(&job, (weights, target), panels, scratch),
            17..=FEW => few::<K, 2>(&job, (weights, target), panels, scratch),
            _ => many::<K>(&job, panels, scratch),
        }
    });
}

/// Whether [`gated`] takes these weights and so many rows.
pub(crate) fn gates(weights: [&Packed; 2], rows: usize) -> bool {
    let [gate, up] = weights.map(|weights| (weights.dtype(), weights.rows(), weights.cols()));
    rows > FEW && gate == up
}

/// `activation(gate) * up` of the inputs' products with a range of panels of both matrices, which [`gates`] has found to be
/// alike. The range begins and ends with an even panel, since two panels' outputs share lines of tiles; the rest is as in
/// [`products`].
pub(crate) fn gated(
    amx: Amx,
    weights: [&Packed; 2],
    panels: Range<usize>,
    inputs: &Tiled<'_>,
    target: &GatedTiles<'_>,
    scratch: &mut [f32],
) {
    let [gate, up] = weights;
    let steps = check(gate, inputs, scratch);
    assert!(gates(weights, inputs.rows()) && target.holds(inputs.rows()) && target.width() == gate.rows());
    let tiles = Tiles::new(amx);
    let job = Job { tiles: &tiles, operands: Operands::Gated([gate, up], target), inputs, steps };
    // Panels of both in turn.
    let panels = 2 * panels.start..2 * panels.end;
    // SAFETY: as in `products`.
    with_kind!(gate.dtype(), inputs.planes(), K => unsafe { many::<K>(&job, panels, scratch) });
}

/// Checks that the inputs and the scratch suit the weights. Returns the tiles along the weights' inputs.
fn check(weights: &Packed, inputs: &Tiled<'_>, scratch: &[f32]) -> usize {
    let steps = weights.cell().count(weights.cols()) * weights.cell().inputs / inputs::STEP;
    assert!(
        inputs.steps() >= steps
            && [false, true].map(|exact| planes(weights.dtype(), exact)).contains(&inputs.planes())
    );
    assert!(
        scratch.as_ptr().addr().is_multiple_of(TILE_ROW)
            && scratch_len(inputs.rows()).is_some_and(|len| len <= scratch.len())
    );
    steps
}

/// A product.
struct Job<'a> {
    tiles: &'a Tiles,
    operands: Operands<'a>,
    inputs: &'a Tiled<'a>,
    /// Tiles along the weights' inputs.
    steps: usize,
}

/// At most `R` blocks of rows.
///
/// # Safety
/// The processor has the features; scratch and inputs are as [`products`] wants them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vbmi,fma,f16c")]
unsafe fn few<K: Kind, const R: usize>(
    job: &Job<'_>,
    (weights, target): (&Packed, &Target<'_>),
    panels: Range<usize>,
    scratch: &mut [f32],
) {
    let (inputs, tiles) = (job.inputs, job.tiles);
    let (sums, unpacked) = scratch.split_at_mut(R * SUMS);
    let blocks = [inputs.block(0, 0).as_ptr().cast::<u8>(), inputs.block(R - 1, 0).as_ptr().cast()];
    let per_step = inputs.planes() * TILE;
    let mut nothing = Beside { unpacking: None, share: 0 };
    for panel in panels {
        tiles.zero::<0>();
        tiles.zero::<2>();
        let mut step = 0;
        for (number, cell) in weights.panel(panel).chunks_exact(K::CELL.bytes).enumerate() {
            for line in 0..K::CELL.bytes / TILE_ROW {
                let from = cell.as_ptr().wrapping_add(line * TILE_ROW);
                // SAFETY: a hint, which no address makes fail.
                #[allow(unused_unsafe, reason = "newer compilers take it for safe")]
                unsafe {
                    _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD.0).cast());
                    _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(AHEAD.1).cast());
                }
            }
            for run in 0..K::CELL.inputs / inputs::STEP {
                // Buffers in turn: the next weights are unpacked while the last ones are still being read.
                let turn = (number + run) % 4;
                let buffer = unpacked[turn * K::PLANES * SUMS..].as_mut_ptr().cast::<u8>();
                // SAFETY: the cell is whole and the scratch has room; both are aligned. The inputs have as many steps as the
                // panel.
                unsafe {
                    let from = match K::IS_TILE {
                        true => cell.as_ptr(),
                        false => {
                            unpack::<K>(cell.as_ptr(), run, buffer);
                            buffer.cast_const()
                        }
                    };
                    let rows = shifted(blocks, step * per_step);
                    multiply::<K, R, 1>(tiles, rows, [from, from], 1, &mut nothing, None);
                }
                step += 1;
            }
        }
        // SAFETY: there are as many tiles of sums as blocks.
        unsafe {
            tiles.store::<0>(sums.as_mut_ptr().cast(), TILE_ROW);
            if R == 2 {
                tiles.store::<2>(sums[SUMS..].as_mut_ptr().cast(), TILE_ROW);
            }
        }
        for (row, sums) in sums.as_chunks::<PANEL_ROWS>().0.iter().take(inputs.rows()).enumerate() {
            target.put_panel(weights, panel, row, sums);
        }
    }
}
