//! Products of several activation rows with panels, on AMX tiles.
//!
//! - `inputs`: activations as tiles; `weights`: the weights of a cell as tiles.
//!
//! Up to 32 rows, a panel's sums stay in registers while its weights go by: each weight is unpacked once and multiplied at
//! once. With more rows, weights of two panels are unpacked in pieces of 256 inputs, 16 KiB, which stay in the first-level
//! cache while all rows go by, 32 at a time: each tile that is loaded serves two products. Sums wait for the next piece in
//! the scratch.
//!
//! Types with blocks are rounded to bf16, and so are their activations: 8 bits of mantissa each, with f32 sums over all
//! inputs. bf16 and f16 weights are taken as they are, with activations of 16 bits in two planes.

mod inputs;
mod weights;

#[cfg(test)]
mod tests;

pub(crate) use inputs::{BLOCK, Tiled, block_len, most_block_len, prepare};

use super::{PANEL_ROWS, Packed};
use crate::backend::cpu::kernels::{Amx, TILE, TILE_ROW, Tiles};
use crate::backend::cpu::matmul::Target;
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
const AHEAD: (usize, usize) = (2304, 8192);

/// Values of a tile of sums.
const SUMS: usize = TILE / size_of::<f32>();
/// Values for two panels' pieces in two planes.
const WEIGHTS: usize = 2 * 2 * PIECE * TILE / size_of::<f32>();

/// Planes that activations have for weights of a type.
pub(crate) fn planes(dtype: Dtype) -> usize {
    if dtype.is_quantized() { 1 } else { 2 }
}

/// Values of 4 bytes that [`products`] wants as scratch, for steps of at most so many rows; `None` on overflow.
pub(crate) fn scratch_len(rows: usize) -> Option<usize> {
    let blocks = rows.min(ROWS).checked_next_multiple_of(FEW)? / BLOCK;
    (blocks * PANELS * SUMS).checked_add(WEIGHTS)
}

/// Products of the inputs with a range of panels. The inputs have the [`planes`] of the weights' type and steps for all of
/// their inputs; `scratch` has [`scratch_len`] values and is aligned to cache lines.
pub(crate) fn products(
    amx: Amx,
    weights: &Packed,
    panels: Range<usize>,
    inputs: &Tiled<'_>,
    target: &Target<'_>,
    scratch: &mut [f32],
) {
    let steps = weights.cell().count(weights.cols()) * weights.cell().inputs / inputs::STEP;
    assert!(inputs.steps() >= steps && inputs.planes() == planes(weights.dtype()));
    assert!(
        scratch.as_ptr().addr().is_multiple_of(TILE_ROW)
            && scratch_len(inputs.rows()).is_some_and(|len| len <= scratch.len())
    );
    let tiles = Tiles::new(amx);
    let job = Job { tiles: &tiles, weights, inputs, target, steps };
    // SAFETY: the processor has AMX and so all of the features below it; sizes are checked above.
    with_kind!(weights.dtype(), K => unsafe {
        match inputs.rows() {
            0 => {}
            1..=BLOCK => few::<K, 1>(&job, panels, scratch),
            17..=FEW => few::<K, 2>(&job, panels, scratch),
            _ => many::<K>(&job, panels, scratch),
        }
    });
}

/// The operands of a product.
struct Job<'a> {
    tiles: &'a Tiles,
    weights: &'a Packed,
    inputs: &'a Tiled<'a>,
    target: &'a Target<'a>,
    /// Tiles along the weights' inputs.
    steps: usize,
}

/// At most `R` blocks of rows.
///
/// # Safety
/// The processor has the features; scratch and inputs are as [`products`] wants them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vbmi,fma,f16c")]
unsafe fn few<K: Kind, const R: usize>(job: &Job<'_>, panels: Range<usize>, scratch: &mut [f32]) {
    let (weights, inputs, tiles) = (job.weights, job.inputs, job.tiles);
    let (sums, unpacked) = scratch.split_at_mut(R * SUMS);
    let blocks = [inputs.block(0, 0).as_ptr().cast::<u8>(), inputs.block(R - 1, 0).as_ptr().cast()];
    let per_step = inputs.planes() * TILE;
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
                    let rows = blocks.map(|block| block.add(step * per_step));
                    multiply::<K, R, 1>(tiles, rows, [from, from], 1);
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
            job.target.put_panel(weights, panel, row, sums);
        }
    }
}

/// Any number of rows.
///
/// # Safety
/// As [`few`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vbmi,fma,f16c")]
unsafe fn many<K: Kind>(job: &Job<'_>, panels: Range<usize>, scratch: &mut [f32]) {
    let (unpacked, sums) = scratch.split_at_mut(WEIGHTS);
    let blocks = job.inputs.rows().div_ceil(BLOCK);
    for first in panels.clone().step_by(PANELS) {
        let panels = first..(first + PANELS).min(panels.end);
        for first in (0..blocks).step_by(ROWS / BLOCK) {
            let blocks = first..(first + ROWS / BLOCK).min(blocks);
            for step in (0..job.steps).step_by(PIECE) {
                for pair in panels.clone().step_by(2) {
                    let pair = pair..(pair + 2).min(panels.end);
                    let at = (pair.start - panels.start) * blocks.len().next_multiple_of(2) * SUMS;
                    let piece = Piece {
                        panels: pair,
                        blocks: blocks.clone(),
                        steps: step..(step + PIECE).min(job.steps),
                    };
                    // SAFETY: the caller's promise.
                    unsafe { piece_of::<K>(job, &piece, unpacked, &mut sums[at..]) };
                }
            }
        }
    }
}

/// A part of a product.
struct Piece {
    /// One or two.
    panels: Range<usize>,
    blocks: Range<usize>,
    /// At most [`PIECE`].
    steps: Range<usize>,
}

/// # Safety
/// As [`few`].
#[inline(always)]
unsafe fn piece_of<K: Kind>(job: &Job<'_>, piece: &Piece, unpacked: &mut [f32], sums: &mut [f32]) {
    let per_cell = K::CELL.inputs / inputs::STEP;
    let Range { start, end } = piece.steps;
    let mut from = [unpacked.as_ptr().cast::<u8>(); 2];
    for (index, panel) in piece.panels.clone().enumerate() {
        let cells = job.weights.panel(panel);
        if K::IS_TILE {
            from[index] = cells[start * TILE..].as_ptr();
            continue;
        }
        let buffer = unpacked[index * K::PLANES * PIECE * SUMS..][..K::PLANES * PIECE * SUMS]
            .as_mut_ptr()
            .cast::<u8>();
        for step in start..end {
            let cell = &cells[step / per_cell * K::CELL.bytes..][..K::CELL.bytes];
            // SAFETY: the cell is whole and the scratch has room for a piece; both are aligned.
            unsafe {
                unpack::<K>(cell.as_ptr(), step % per_cell, buffer.add((step - start) * K::PLANES * TILE))
            };
        }
        from[index] = buffer.cast_const();
    }
    // The weights that are unpacked next come while the rows go by.
    for panel in piece.panels.end..(piece.panels.end + 2).min(job.weights.panels()) {
        let cells = job.weights.panel(panel);
        let bytes = start / per_cell * K::CELL.bytes..end.div_ceil(per_cell) * K::CELL.bytes;
        for line in cells[bytes].chunks_exact(TILE_ROW) {
            // SAFETY: a hint, which no address makes fail.
            #[allow(unused_unsafe, reason = "newer compilers take it for safe")]
            unsafe {
                _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
            }
        }
    }
    let (ends, both) = ((start == 0, end == job.steps), piece.panels.len() == 2);
    let mut sums = sums.chunks_exact_mut(4 * SUMS);
    for block in piece.blocks.clone().step_by(2) {
        let Some(sums) = sums.next() else { return };
        let two = block + 1 < piece.blocks.end;
        let rows = [block, if two { block + 1 } else { block }]
            .map(|block| job.inputs.block(block, start).as_ptr().cast::<u8>());
        // SAFETY: blocks and pieces have so many steps; there is room for four tiles of sums.
        unsafe {
            match (two, both) {
                (true, true) => tile_sums::<K, 2, 2>(job.tiles, rows, from, end - start, sums, ends.0),
                (true, false) => tile_sums::<K, 2, 1>(job.tiles, rows, from, end - start, sums, ends.0),
                (false, true) => tile_sums::<K, 1, 2>(job.tiles, rows, from, end - start, sums, ends.0),
                (false, false) => tile_sums::<K, 1, 1>(job.tiles, rows, from, end - start, sums, ends.0),
            }
        }
        if !ends.1 {
            continue;
        }
        for (at, sums) in sums.as_chunks::<SUMS>().0.iter().enumerate() {
            let (first, panel) = ((block + at / 2) * BLOCK, piece.panels.start + at % 2);
            if at / 2 > usize::from(two) || panel >= piece.panels.end {
                continue;
            }
            let count = BLOCK.min(job.inputs.rows() - first);
            for (row, sums) in sums.as_chunks::<PANEL_ROWS>().0.iter().take(count).enumerate() {
                job.target.put_panel(job.weights, panel, first + row, sums);
            }
        }
    }
}

/// Adds the products of a piece to the sums of `R` blocks and `N` panels, or begins them.
///
/// # Safety
/// As [`multiply`]; there are four tiles of sums.
#[inline(always)]
unsafe fn tile_sums<K: Kind, const R: usize, const N: usize>(
    tiles: &Tiles,
    rows: [*const u8; 2],
    from: [*const u8; 2],
    steps: usize,
    sums: &mut [f32],
    begin: bool,
) {
    let sums = sums[..4 * SUMS].as_mut_ptr().cast::<u8>();
    // SAFETY: the caller's promise.
    unsafe {
        if begin {
            tiles.zero::<0>();
            tiles.zero::<1>();
            tiles.zero::<2>();
            tiles.zero::<3>();
        } else {
            tiles.load::<0>(sums, TILE_ROW);
            if N == 2 {
                tiles.load::<1>(sums.add(TILE), TILE_ROW);
            }
            if R == 2 {
                tiles.load::<2>(sums.add(2 * TILE), TILE_ROW);
            }
            if R == 2 && N == 2 {
                tiles.load::<3>(sums.add(3 * TILE), TILE_ROW);
            }
        }
        multiply::<K, R, N>(tiles, rows, from, steps);
        tiles.store::<0>(sums, TILE_ROW);
        if N == 2 {
            tiles.store::<1>(sums.add(TILE), TILE_ROW);
        }
        if R == 2 {
            tiles.store::<2>(sums.add(2 * TILE), TILE_ROW);
        }
        if R == 2 && N == 2 {
            tiles.store::<3>(sums.add(3 * TILE), TILE_ROW);
        }
    }
}

/// Adds the products of `R` blocks of rows with `N` panels to registers 0 to 3, `2 * block + panel`.
///
/// # Safety
/// There are so many steps of tiles at each pointer, in the planes of the type.
#[inline(always)]
unsafe fn multiply<K: Kind, const R: usize, const N: usize>(
    tiles: &Tiles,
    rows: [*const u8; 2],
    from: [*const u8; 2],
    steps: usize,
) {
    let row_planes = if K::IS_PLAIN { 2 } else { 1 };
    for step in 0..steps {
        // SAFETY: the caller's promise.
        unsafe {
            let rows = rows.map(|rows| rows.add(step * row_planes * TILE));
            let from = from.map(|from| from.add(step * K::PLANES * TILE));
            if row_planes == 2 {
                // The small parts first; what is in the registers serves the next product.
                one::<R, N, true, true>(tiles, rows.map(|rows| rows.add(TILE)), from);
                one::<R, N, true, false>(tiles, rows, from);
            } else {
                one::<R, N, true, true>(tiles, rows, from);
            }
            if K::PLANES == 2 {
                one::<R, N, false, true>(tiles, rows, from.map(|from| from.add(TILE)));
            }
        }
    }
}

/// One product of `R` with `N` tiles, after loading the rows' (`A`) and the weights' (`B`), or with those that are loaded.
///
/// # Safety
/// There is a tile at each pointer.
#[inline(always)]
unsafe fn one<const R: usize, const N: usize, const A: bool, const B: bool>(
    tiles: &Tiles,
    rows: [*const u8; 2],
    from: [*const u8; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        if B {
            tiles.load::<6>(from[0], TILE_ROW);
        }
        if A {
            tiles.load::<4>(rows[0], TILE_ROW);
        }
        tiles.multiply::<0, 4, 6>();
        if N == 2 {
            if B {
                tiles.load::<7>(from[1], TILE_ROW);
            }
            tiles.multiply::<1, 4, 7>();
        }
        if R == 2 {
            if A {
                tiles.load::<5>(rows[1], TILE_ROW);
            }
            tiles.multiply::<2, 5, 6>();
            if N == 2 {
                tiles.multiply::<3, 5, 7>();
            }
        }
    }
}
