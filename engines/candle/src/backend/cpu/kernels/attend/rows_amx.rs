//! Many rows of one sequence on AMX tiles.
//!
//! Tiles multiply bf16, whose 8 bits would lose three of a key's 11. So every number is a sum of two of them, its rounding
//! and the rest, and a product is three: high by high, high by low, low by high. What is left out is below 2^-16 of it.

use super::rows::{Rows, rows_at_once};
use super::stored::{QUAD, SCALED, Stored};
use super::tile::{GROUPS, LOWEST, State, TILE, soften};
use super::wide::{WIDTH, Wide};
use super::{Head, Shape};
use crate::backend::cpu::kernels::{Amx, Avx512, TILE as TILE_BYTES, TILE_ROW, Tiles};
use std::arch::x86_64::*;

/// Inputs of a product that one tile takes.
const DEPTH: usize = 32;
/// bf16 of a tile.
const HALVES: usize = TILE_BYTES / 2;

/// Where things are in the scratch of a task, in floats. Everything that is bf16 has its high parts first, then as many low
/// ones.
struct Sizes {
    /// Dimensions, rounded up to whole tiles.
    dims: usize,
    /// Keys `[group][dims / 32]` tiles, values `[tokens / 32][dims / 16]` tiles.
    tokens: usize,
    /// Queries `[vectors / 16][dims / 32]` tiles, and as many floats of results.
    vectors: usize,
    states: usize,
}

impl Sizes {
    fn of(group: usize, head_dim: usize) -> Option<Self> {
        let dims = head_dim.checked_next_multiple_of(DEPTH)?;
        let vectors = rows_at_once(group).checked_mul(group)?.checked_next_multiple_of(WIDTH)?;
        Some(Sizes {
            dims,
            tokens: dims.checked_mul(TILE)?,
            vectors: dims.checked_mul(vectors)?,
            states: vectors.checked_mul(2)?,
        })
    }
}

/// Floats of scratch for a group of so many query heads; `None` on overflow.
pub(super) fn scratch_len(group: usize, head_dim: usize) -> Option<usize> {
    let Sizes { tokens, vectors, states, .. } = Sizes::of(group, head_dim)?;
    let both = tokens.checked_mul(2)?.checked_add(vectors.checked_mul(2)?)?;
    both.checked_add(states)?.checked_add(2 * WIDTH * TILE)
}

/// A number's rounding to bf16 and that of the rest.
///
/// # Safety
/// The processor has AVX-512 BF16.
#[inline(always)]
unsafe fn parted(vector: __m512) -> [__m256i; 2] {
    // SAFETY: the caller's promise; both types are 16 halves.
    unsafe {
        let round = |vector| std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(vector));
        let high = round(vector);
        let back = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high)));
        [high, round(_mm512_sub_ps(vector, back))]
    }
}

/// Writes both parts of 32 numbers as a row of an A tile each: the high one at `to`, the low one `apart` halves further.
///
/// # Safety
/// The processor has AVX-512 BF16, and both places are in bounds.
#[inline(always)]
unsafe fn put_row(to: *mut u16, apart: usize, first: __m512, second: __m512) {
    // SAFETY: the caller's promise.
    unsafe {
        for (part, (a, b)) in parted(first).into_iter().zip(parted(second)).enumerate() {
            let row = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b);
            _mm512_storeu_si512(to.add(part * apart).cast(), row);
        }
    }
}

/// The same for a row of a B tile: two inputs of 16 outputs.
///
/// # Safety
/// As above.
#[inline(always)]
unsafe fn put_pairs(to: *mut u16, apart: usize, even: __m512, odd: __m512) {
    // SAFETY: the caller's promise.
    unsafe {
        for (part, (a, b)) in parted(even).into_iter().zip(parted(odd)).enumerate() {
            let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(b));
            let row = _mm512_or_si512(_mm512_cvtepu16_epi32(a), high);
            _mm512_storeu_si512(to.add(part * apart).cast(), row);
        }
    }
}

/// Keys of a group as B tiles: inputs are dimensions, outputs tokens.
///
/// # Safety
/// The processor has AVX-512 BF16; at `to`, and `apart` halves further, is room for `dims / 32` tiles.
#[inline(always)]
unsafe fn put_keys<F: Stored>(
    wide: Avx512,
    head_dim: usize,
    dims: usize,
    stored: &[u8],
    to: *mut u16,
    apart: usize,
) {
    let (quads, tail) = F::quads(stored, head_dim);
    let scales = F::scales(stored, head_dim);
    let mut last = F::ZEROS;
    if quads.len() * QUAD < head_dim {
        last.as_mut()[..tail.len()].copy_from_slice(tail);
    }
    for at in 0..dims / QUAD {
        let mut keys = [wide.splat(0.0); QUAD];
        let quad = if at * QUAD < head_dim { quads.get(at).unwrap_or(&last) } else { &F::ZEROS };
        for (j, key) in keys.iter_mut().enumerate() {
            *key = F::key(wide, quad, j);
            if F::SCALES
                && let Some(scale) = scales.get(at / (SCALED / QUAD))
            {
                *key = wide.mul(*key, wide.load_f16(scale));
            }
        }
        // SAFETY: the caller's promise; a quad is two rows of 32 halves.
        unsafe {
            put_pairs(to.add(at * 2 * DEPTH), apart, keys[0], keys[1]);
            put_pairs(to.add((at * 2 + 1) * DEPTH), apart, keys[2], keys[3]);
        }
    }
}

/// Values of the first `tokens` of two groups as B tiles: inputs are tokens, outputs dimensions. Zeros after them.
///
/// # Safety
/// The processor has AVX-512 BF16; at `to`, and `apart` halves further, is room for `dims / 16` tiles.
#[inline(always)]
unsafe fn put_values<F: Stored>(
    wide: Avx512,
    head_dim: usize,
    dims: usize,
    groups: [&[u8]; 2],
    tokens: usize,
    to: *mut u16,
    apart: usize,
) {
    for chunk in 0..dims / WIDTH {
        let mut scales = [[1.0; WIDTH]; 2];
        for (scales, group) in scales.iter_mut().zip(groups) {
            if F::SCALES
                && !group.is_empty()
                && let Some(stored) = F::scales(group, head_dim).get(chunk * WIDTH / SCALED)
            {
                wide.store(wide.load_f16(stored), scales);
            }
        }
        let value = |token: usize| {
            let (group, token_in) = (groups[token / WIDTH], token % WIDTH);
            let width = head_dim.saturating_sub(chunk * WIDTH);
            if token >= tokens || width == 0 {
                return wide.splat(0.0);
            }
            if width < WIDTH {
                let mut values = [0.0; WIDTH];
                for (at, value) in values[..width].iter_mut().enumerate() {
                    *value = F::single(group, head_dim, token_in, chunk * WIDTH + at);
                }
                return wide.load(&values);
            }
            assert_eq!(group.len(), F::group_bytes(head_dim), "a whole group");
            // SAFETY: the group is whole and has this chunk and token.
            let value = unsafe { F::value(wide, group, head_dim, token_in, chunk) };
            if F::SCALES { wide.mul(value, wide.splat(scales[token / WIDTH][token_in])) } else { value }
        };
        for pair in 0..DEPTH / 2 {
            // SAFETY: the caller's promise.
            unsafe {
                let to = to.add(chunk * HALVES + pair * DEPTH);
                put_pairs(to, apart, value(2 * pair), value(2 * pair + 1));
            }
        }
    }
}

/// Adds to register `C` the three products of the parts in registers 4 and 5 with those at `from`.
///
/// # Safety
/// At `from`, and `apart` halves further, is a tile.
#[inline(always)]
unsafe fn multiply<const C: u8>(tiles: &Tiles, from: *const u16, apart: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        tiles.load::<6>(from.cast(), TILE_ROW);
        tiles.load::<7>(from.add(apart).cast(), TILE_ROW);
    }
    tiles.multiply::<C, 4, 6>();
    tiles.multiply::<C, 5, 6>();
    tiles.multiply::<C, 4, 7>();
}

/// Adds products to two registers' worth of outputs, or four: `inputs` tiles deep, A tiles from `a` on, B tiles `step`
/// halves from one depth to the next and `side` from one output to the next; sums are at `sums`, rows `stride` floats apart.
///
/// # Safety
/// All of that is in bounds, and nobody else uses the sums.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the operands of a product")]
unsafe fn product<const FRESH: bool>(
    tiles: &Tiles,
    outputs: usize,
    inputs: usize,
    (a, a_apart): (*const u16, usize),
    (b, b_apart): (*const u16, usize),
    (step, side): (usize, usize),
    sums: *mut f32,
    stride: usize,
) {
    let bytes = 4 * stride;
    let at = |output: usize| sums.wrapping_add(output * WIDTH).cast::<u8>();
    // SAFETY: the caller's promise. Outputs beyond those asked for are not touched.
    unsafe {
        if FRESH {
            tiles.zero::<0>();
            tiles.zero::<1>();
            tiles.zero::<2>();
            tiles.zero::<3>();
        } else {
            tiles.load::<0>(at(0), bytes);
            tiles.load::<1>(at(1), bytes);
            if outputs > 2 {
                tiles.load::<2>(at(2), bytes);
                tiles.load::<3>(at(3), bytes);
            }
        }
        for input in 0..inputs {
            let (a, b) = (a.add(input * HALVES), b.add(input * step));
            tiles.load::<4>(a.cast(), TILE_ROW);
            tiles.load::<5>(a.add(a_apart).cast(), TILE_ROW);
            multiply::<0>(tiles, b, b_apart);
            if outputs > 1 {
                multiply::<1>(tiles, b.add(side), b_apart);
            }
            if outputs > 2 {
                multiply::<2>(tiles, b.add(2 * side), b_apart);
            }
            if outputs > 3 {
                multiply::<3>(tiles, b.add(3 * side), b_apart);
            }
        }
        tiles.store::<0>(at(0), bytes);
        if outputs > 1 {
            tiles.store::<1>(at(1), bytes);
        }
        if outputs > 2 {
            tiles.store::<2>(at(2), bytes);
        }
        if outputs > 3 {
            tiles.store::<3>(at(3), bytes);
        }
    }
}

/// [`super::attend_rows`] on tiles.
pub(super) fn attend<F: Stored>(
    amx: Amx,
    shape: Shape,
    head: &dyn Head,
    rows: Rows,
    query: &[f32],
    put: &dyn Fn(usize, &[f32]),
    scratch: &mut [f32],
) {
    // SAFETY: the value in hand exists only where the processor has the instructions.
    unsafe { on_tiles::<F>(amx, shape, head, rows, query, put, scratch) }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn on_tiles<F: Stored>(
    amx: Amx,
    shape: Shape,
    head: &dyn Head,
    rows: Rows,
    query: &[f32],
    put: &dyn Fn(usize, &[f32]),
    scratch: &mut [f32],
) {
    let (wide, head_dim, group) = (amx.avx512(), shape.head_dim, rows.group);
    let Some(sizes) = Sizes::of(group, head_dim) else { return };
    let Sizes { dims, tokens: token_floats, vectors: vector_floats, .. } = sizes;
    let (scores, scratch) = scratch.split_at_mut(WIDTH * TILE);
    let (weights, scratch) = scratch.split_at_mut(WIDTH * TILE);
    let (keys, scratch) = scratch.split_at_mut(token_floats);
    let (values, scratch) = scratch.split_at_mut(token_floats);
    let (queries, scratch) = scratch.split_at_mut(vector_floats);
    let (out, states) = scratch.split_at_mut(vector_floats);
    let (vectors, deep) = (rows.count * group, dims / DEPTH);
    assert!(vectors * dims <= vector_floats && states.len() >= 2 * vectors, "rows of one task");
    let states = &mut states.as_chunks_mut::<2>().0[..vectors];
    states.fill([LOWEST, 0.0]);
    out.fill(0.0);
    let factor = shape.factor();
    // As many low parts follow as there are high ones.
    let (keys, values, queries, weights) = (
        keys.as_mut_ptr().cast::<u16>(),
        values.as_mut_ptr().cast::<u16>(),
        queries.as_mut_ptr().cast::<u16>(),
        weights.as_mut_ptr().cast::<u16>(),
    );
    for vector in 0..vectors.next_multiple_of(WIDTH) {
        for depth in 0..deep {
            let mut padded = [0.0; DEPTH];
            if vector < vectors {
                let from = vector / group * rows.stride + vector % group * head_dim + depth * DEPTH;
                let width = DEPTH.min(head_dim.saturating_sub(depth * DEPTH));
                for (place, value) in padded.iter_mut().zip(&query[from..from + width]) {
                    *place = value * factor;
                }
            }
            let halves = padded.as_chunks::<WIDTH>().0;
            let at = (vector / WIDTH * deep + depth) * HALVES + vector % WIDTH * DEPTH;
            // SAFETY: the tile is one of `vectors / 16 * deep`, and there are as many low ones.
            unsafe { put_row(queries.add(at), vector_floats, wide.load(&halves[0]), wide.load(&halves[1])) };
        }
    }
    let tiles = Tiles::new(amx);
    let (from, end) = (rows.first(0), rows.held(rows.count - 1));
    let mut start = from / TILE * TILE;
    while start < end {
        let first = start.max(from) / WIDTH;
        let count = (start / WIDTH + GROUPS).min(end.div_ceil(WIDTH)) - first;
        let base = first * WIDTH;
        let mut groups: [&[u8]; GROUPS] = [&[]; GROUPS];
        for (at, values) in groups.iter_mut().take(count).enumerate() {
            let (stored, stored_values) = head.group(first + at);
            *values = stored_values;
            // SAFETY: one of at most four groups, `deep` tiles each.
            unsafe {
                put_keys::<F>(wide, head_dim, dims, stored, keys.add(at * deep * HALVES), token_floats)
            };
        }
        let halves = count.div_ceil(2);
        for half in 0..halves {
            // What a block holds beyond the sequence's end is of no one: it must not be multiplied, not even by 0.
            let tokens = (end - base).min(count * WIDTH).saturating_sub(half * DEPTH);
            let groups = [groups[2 * half], groups[2 * half + 1]];
            let to = half * dims / WIDTH * HALVES;
            // SAFETY: one of two halves, `dims / 16` tiles each.
            unsafe {
                put_values::<F>(wide, head_dim, dims, groups, tokens, values.add(to), token_floats);
            }
        }
        for (block, states) in states.chunks_mut(WIDTH).enumerate() {
            let row_of = |m: usize| (block * WIDTH + m) / group;
            let (seen_from, seen_to) = (rows.first(row_of(0)), rows.held(row_of(states.len() - 1)));
            if base >= seen_to || base + count * WIDTH <= seen_from {
                continue;
            }
            let count = count.min((seen_to - base).div_ceil(WIDTH));
            // SAFETY: the block's `deep` tiles by `deep` of each group, into 16 rows of `TILE` scores.
            unsafe {
                let a = (queries.add(block * deep * HALVES).cast_const(), vector_floats);
                let b = (keys.cast_const(), token_floats);
                let steps = (HALVES, deep * HALVES);
                product::<true>(&tiles, count, deep, a, b, steps, scores.as_mut_ptr(), TILE);
            }
            for (m, [most, sum]) in states.iter_mut().enumerate() {
                let row = row_of(m);
                let limit = |token: usize| token.saturating_sub(base).min(count * WIDTH);
                let row_scores = &mut scores[m * TILE..][..TILE];
                let mut state = State { most: *most, sum: *sum };
                let tokens = (limit(rows.first(row)), limit(rows.held(row)));
                let shrink = soften(wide, shape, &mut row_scores[..count * WIDTH], tokens, &mut state);
                (*most, *sum) = (state.most, state.sum);
                row_scores[count * WIDTH..].fill(0.0);
                let row_weights = row_scores.as_chunks::<WIDTH>().0;
                for half in 0..count.div_ceil(2) {
                    let (low, high) =
                        (wide.load(&row_weights[2 * half]), wide.load(&row_weights[2 * half + 1]));
                    // SAFETY: a row of one of two tiles, and of the low ones after these.
                    unsafe { put_row(weights.add(half * HALVES + m * DEPTH), WIDTH * TILE, low, high) };
                }
                if shrink != 1.0 {
                    let row = &mut out[(block * WIDTH + m) * dims..][..dims];
                    let by = wide.splat(shrink);
                    for values in row.as_chunks_mut().0 {
                        wide.store(wide.mul(wide.load(values), by), values);
                    }
                }
            }
            let sums = &mut out[block * WIDTH * dims..][..WIDTH * dims];
            let mut chunk = 0;
            while chunk < dims / WIDTH {
                let outputs = if chunk + 4 <= dims / WIDTH { 4 } else { 2 };
                // SAFETY: two tiles of weights by those of these chunks, into 16 rows of results.
                unsafe {
                    let a = (weights.cast_const(), WIDTH * TILE);
                    let b = (values.add(chunk * HALVES).cast_const(), token_floats);
                    let steps = (dims / WIDTH * HALVES, HALVES);
                    let sums = sums.as_mut_ptr().add(chunk * WIDTH);
                    product::<false>(&tiles, outputs, count.div_ceil(2), a, b, steps, sums, dims);
                }
                chunk += outputs;
            }
        }
        start += TILE;
    }
    drop(tiles);
    for (vector, [_, sum]) in states.iter().enumerate() {
        let scale = 1.0 / sum;
        out[vector * dims..][..head_dim].iter_mut().for_each(|value| *value *= scale);
        // One after the other without what rounds them up.
        out.copy_within(vector * dims..vector * dims + head_dim, vector * head_dim);
    }
    for (row, out) in out.chunks_exact(group * head_dim).take(rows.count).enumerate() {
        put(row, out);
    }
}
