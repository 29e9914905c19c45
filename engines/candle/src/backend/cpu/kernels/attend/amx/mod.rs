//! Many rows of one sequence on AMX tiles.
//!
//! Tiles multiply bf16. Keys and values are not rounded to it, or by less than their own type has rounded them, and queries
//! are as exact as keys ([`planes`]). Weights have 8 bits, and so have their sums: results stay averages ([`soften`]).
//!
//! While tiles multiply, the processor's vectors stand still, however their instructions are mixed: what counts is how many
//! there are of both, and that what a block of queries needs stays in the first-level cache.

mod planes;
mod product;
mod soften;

use super::rows::Rows;
use super::stored::{QUAD, Stored};
use super::tile::{GROUPS, LOWEST, TILE};
use super::wide::{WIDTH, Wide};
use super::{Head, Shape};
use crate::backend::cpu::kernels::{Amx, Avx512, TILE as TILE_BYTES, TILE_ROW, Tiles};
use product::{Left, Right, Sums, product};
use soften::{State, soften};

/// Inputs of a product that one tile takes.
const DEPTH: usize = 32;
/// bf16 of a tile.
const HALVES: usize = TILE_BYTES / 2;
/// Query vectors that are multiplied together.
const BLOCK: usize = 32;
/// Query vectors of a task: converting keys and values for them is some hundredths of their work.
const AT_ONCE: usize = 256;
/// Blocks of queries that ask for a part each of the next keys and values.
const FETCHES: usize = AT_ONCE / BLOCK;

/// Rows of a task, for a group of so many query heads.
pub(super) fn rows_at_once(group: usize) -> usize {
    (AT_ONCE / group).max(1)
}

/// Where things are in the scratch of a task, in floats.
struct Sizes {
    /// Dimensions, rounded up to whole tiles.
    dims: usize,
    /// Two planes of a block of keys, `[group][dims / 32]` tiles, or of values, `[32 tokens][dims / 16]` tiles.
    tokens: usize,
    /// Query vectors, rounded up to whole blocks.
    vectors: usize,
    /// A plane of queries, `[vectors / 16][dims / 32]` tiles.
    queries: usize,
    /// Results, `[vectors][dims]`.
    out: usize,
    /// Sums of weights, `[vectors][16]`.
    sums: usize,
}

impl Sizes {
    fn of(group: usize, head_dim: usize) -> Option<Self> {
        let dims = head_dim.checked_next_multiple_of(DEPTH)?;
        let vectors = rows_at_once(group).checked_mul(group)?.checked_next_multiple_of(BLOCK)?;
        let out = dims.checked_mul(vectors)?;
        Some(Sizes {
            dims,
            tokens: dims.checked_mul(TILE)?,
            vectors,
            queries: out / 2,
            out,
            sums: vectors.checked_mul(WIDTH)?,
        })
    }
}

/// Floats of scratch for a group of so many query heads; `None` on overflow.
pub(super) fn scratch_len(group: usize, head_dim: usize) -> Option<usize> {
    let Sizes { tokens, vectors, queries, out, sums, .. } = Sizes::of(group, head_dim)?;
    let both = tokens.checked_mul(2)?.checked_add(queries.checked_mul(2)?)?.checked_add(out)?;
    both.checked_add(sums)?.checked_add(vectors)?.checked_add(BLOCK * TILE * 3 / 2)
}

/// A task's memory.
struct Room {
    dims: usize,
    /// Tiles of a row of dimensions.
    deep: usize,
    queries: *mut u16,
    keys: *mut u16,
    values: *mut u16,
    /// Halves from a plane of keys or values to the second one.
    apart: usize,
    /// The same of queries; 0 where they have one plane.
    queries_apart: usize,
    /// A block's scores and weights, `[32][64]`, in f32 and bf16.
    scores: *mut f32,
    weights: *mut f32,
    out: *mut f32,
    most: *mut f32,
    sums: *mut f32,
}

/// The tokens that a block of keys and values holds.
struct Tokens<'a> {
    /// The first one's position.
    base: usize,
    /// How many there are.
    count: usize,
    /// Groups of keys and of values; those that no row looks at are empty.
    keys: [&'a [u8]; GROUPS],
    values: [&'a [u8]; GROUPS],
}

impl<'a> Tokens<'a> {
    /// Those from `base` on that any of the rows looks at.
    fn of(head: &'a dyn Head, rows: Rows, base: usize) -> Self {
        let (from, end) = (rows.first(0), rows.held(rows.count - 1));
        let (mut keys, mut values): ([&[u8]; GROUPS], [&[u8]; GROUPS]) = ([&[]; GROUPS], [&[]; GROUPS]);
        for group in from.max(base) / WIDTH..end.div_ceil(WIDTH).min((base + TILE) / WIDTH) {
            (keys[group - base / WIDTH], values[group - base / WIDTH]) = head.group(group);
        }
        Tokens { base, count: end.saturating_sub(base).min(TILE), keys, values }
    }

    /// Brings a block of queries' share of these groups to the cache, of which each has so many lines in keys and in values.
    #[inline(always)]
    fn fetch(&self, wide: Avx512, lines: usize, block: usize) {
        for group in self.keys.iter().chain(&self.values) {
            for line in lines * block / FETCHES..lines * (block + 1) / FETCHES {
                wide.prefetch(group.as_ptr().wrapping_add(line * TILE_ROW));
            }
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
    let vectors = rows.count * group;
    let enough = scratch_len(group, head_dim).is_some_and(|len| scratch.len() >= len);
    assert!(enough && vectors <= sizes.vectors && rows.count > 0, "rows of one task");
    let Sizes { dims, .. } = sizes;
    let deep = dims / DEPTH;
    let (most, rest) = scratch.split_at_mut(sizes.vectors);
    let (sums, rest) = rest.split_at_mut(sizes.sums);
    let (out, rest) = rest.split_at_mut(sizes.out);
    most.fill(LOWEST);
    sums.fill(0.0);
    out.fill(0.0);
    let rest = rest.as_mut_ptr();
    let keys = rest.wrapping_add(BLOCK * TILE * 3 / 2);
    let room = Room {
        dims,
        deep,
        queries: keys.wrapping_add(2 * sizes.tokens).cast(),
        keys: keys.cast(),
        values: keys.wrapping_add(sizes.tokens).cast(),
        apart: sizes.tokens,
        queries_apart: if F::PLANES == 2 { 2 * sizes.queries } else { 0 },
        scores: rest,
        weights: rest.wrapping_add(BLOCK * TILE),
        out: out.as_mut_ptr(),
        most: most.as_mut_ptr(),
        sums: sums.as_mut_ptr(),
    };
    for vector in 0..vectors.next_multiple_of(BLOCK) {
        let at = vector / group * rows.stride + vector % group * head_dim;
        let query = if vector < vectors { &query[at..at + head_dim] } else { &[] };
        // SAFETY: a row of the vectors' `deep` tiles.
        unsafe {
            let to = room.queries.add(vector / WIDTH * deep * HALVES + vector % WIDTH * DEPTH);
            planes::put_query(wide, query, shape.factor(), deep, to, room.queries_apart);
        }
    }
    let tiles = Tiles::new(amx);
    let end = rows.held(rows.count - 1);
    let mut tokens = Tokens::of(head, rows, rows.first(0) / TILE * TILE);
    let row_of = |vector: usize| vector.min(vectors - 1) / group;
    let lines = F::group_bytes(head_dim).div_ceil(TILE_ROW);
    while tokens.base < end {
        let base = tokens.base;
        let next = Tokens::of(head, rows, base + TILE);
        for (number, group) in tokens.keys.iter().enumerate().filter(|(_, group)| !group.is_empty()) {
            for at in 0..dims / QUAD {
                // SAFETY: one of four groups, `deep` tiles each, with room for a second plane.
                unsafe {
                    let to = room.keys.add(number * deep * HALVES);
                    planes::put_keys::<F>(wide, head_dim, group, at, to, room.apart);
                }
            }
        }
        for half in 0..2 {
            let groups = [tokens.values[2 * half], tokens.values[2 * half + 1]];
            // What a block holds beyond the sequence's end is of no one: it must not be multiplied, not even by 0.
            let count = tokens.count.saturating_sub(half * DEPTH);
            for chunk in 0..dims / WIDTH {
                // SAFETY: one of two halves, `dims / 16` tiles each, with room for a second plane.
                unsafe {
                    let to = room.values.add((half * dims / WIDTH + chunk) * HALVES);
                    planes::put_values::<F>(wide, head_dim, groups, count, chunk, to, room.apart);
                }
            }
        }
        for block in 0..vectors.div_ceil(BLOCK) {
            let (top, bottom) = (row_of(block * BLOCK), row_of(block * BLOCK + BLOCK - 1));
            let (seen_from, seen_to) = (rows.first(top), rows.held(bottom));
            if base >= seen_to || base + TILE <= seen_from {
                continue;
            }
            let halves = (seen_to - base).min(TILE).div_ceil(DEPTH);
            let whole = rows.first(bottom) <= base && rows.held(top) >= base + TILE;
            // SAFETY: the block is one of the room's, which nobody else uses; the processor has the instructions.
            unsafe {
                room.score::<F>(&tiles, block, halves);
                for m in 0..BLOCK.min(vectors - block * BLOCK) {
                    let row = row_of(block * BLOCK + m);
                    let limit = |token: usize| token.saturating_sub(base).min(TILE);
                    let seen =
                        if whole { (0, TILE) } else { (limit(rows.first(row)), limit(rows.held(row))) };
                    room.soften(shape, block, m, seen);
                }
                room.gather::<F>(&tiles, block, halves);
            }
            next.fetch(wide, lines, block);
        }
        tokens = next;
    }
    drop(tiles);
    for vector in 0..vectors {
        let sums = sums.as_chunks::<WIDTH>().0[vector];
        let scale = 1.0 / wide.sum_of(wide.load(&sums));
        out[vector * dims..][..head_dim].iter_mut().for_each(|value| *value *= scale);
        // One after the other without what rounds them up.
        out.copy_within(vector * dims..vector * dims + head_dim, vector * head_dim);
    }
    for (row, out) in out.chunks_exact(group * head_dim).take(rows.count).enumerate() {
        put(row, out);
    }
}

impl Room {
    /// Scores of a block of queries and the keys, 32 tokens `halves` times.
    ///
    /// # Safety
    /// The block is one of the room's, and nobody else uses the room's memory.
    #[inline(always)]
    unsafe fn score<F: Stored>(&self, tiles: &Tiles, block: usize, halves: usize) {
        let group = self.deep * HALVES;
        for half in 0..halves {
            let at = self.queries.wrapping_add(block * 2 * group).cast_const();
            let left = Left { at, stride: TILE_ROW, down: group, step: HALVES, apart: self.queries_apart };
            let at = self.keys.wrapping_add(half * 2 * group).cast_const();
            let right = Right { at, side: group, apart: self.apart, step: HALVES };
            let sums = Sums { at: self.scores.wrapping_add(half * DEPTH), stride: TILE };
            // SAFETY: the caller's promise.
            unsafe { product::<F, true>(tiles, self.deep, left, right, sums) };
        }
    }

    /// Adds a block's weights times the values to its results, over `halves` times 32 tokens.
    ///
    /// # Safety
    /// As for [`Room::score`].
    #[inline(always)]
    unsafe fn gather<F: Stored>(&self, tiles: &Tiles, block: usize, halves: usize) {
        let row = 2 * TILE;
        for pair in 0..self.deep {
            let left = Left {
                at: self.weights.cast_const().cast(),
                stride: row,
                down: WIDTH * TILE,
                step: DEPTH,
                apart: 0,
            };
            let at = self.values.wrapping_add(pair * 2 * HALVES).cast_const();
            let right = Right { at, side: HALVES, apart: self.apart, step: self.deep * 2 * HALVES };
            let at = self.out.wrapping_add(block * BLOCK * self.dims + pair * DEPTH);
            // SAFETY: the caller's promise.
            unsafe {
                product::<F, false>(tiles, halves, left, right, Sums { at, stride: self.dims });
            }
        }
    }

    /// Weights of row `m` of a block from its scores of tokens `from .. to`.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW, DQ and BF16; the row is one of the room's, which nobody else uses.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn soften(&self, shape: Shape, block: usize, m: usize, (from, to): (usize, usize)) {
        let vector = block * BLOCK + m;
        let below = |token: usize| if token < TILE { (1u64 << token) - 1 } else { u64::MAX };
        // SAFETY: the caller's promise.
        unsafe {
            let scores = &mut *self.scores.add(m * TILE).cast();
            let weights = &mut *self.weights.add(m * TILE / 2).cast();
            let state =
                State { most: &mut *self.most.add(vector), sums: &mut *self.sums.add(vector * WIDTH).cast() };
            let shrink = soften(shape, scores, below(to) & !below(from), state, weights);
            if shrink != 1.0 {
                let row = std::slice::from_raw_parts_mut(self.out.add(vector * self.dims), self.dims);
                row.iter_mut().for_each(|value| *value *= shrink);
            }
        }
    }
}
