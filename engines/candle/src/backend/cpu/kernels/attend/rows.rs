//! Many rows of one sequence.

use super::stored::{KvF32, QUAD, SCALED, Stored};
use super::stretch::scores_of;
use super::tile::{GROUPS, LOWEST, State, TILE, VECTORS, gather, pack, packed_len, soften};
use super::wide::{WIDTH, Wide};
use super::{Head, Shape};
use crate::backend::cpu::kernels::per_level;

/// Query vectors of a task: so many that converting keys and values for them is little work beside theirs.
const AT_ONCE: usize = 64;

/// Rows of a task, for a group of so many query heads.
pub(super) fn rows_at_once(group: usize) -> usize {
    (AT_ONCE / group).max(1)
}

/// The rows of one task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    /// Position of the first row in its sequence.
    pub(crate) position: usize,
    /// Rows.
    pub(crate) count: usize,
    /// How many tokens a row looks at, its own included; `None` for all before it.
    pub(crate) window: Option<usize>,
    /// Floats from one row's queries to the next row's.
    pub(crate) stride: usize,
    /// Query heads of the key head.
    pub(crate) group: usize,
}

impl Rows {
    /// The first token that a row looks at.
    pub(super) fn first(self, row: usize) -> usize {
        self.window.map_or(0, |window| (self.position + row + 1).saturating_sub(window))
    }

    /// The end of its tokens.
    pub(super) fn held(self, row: usize) -> usize {
        self.position + row + 1
    }
}

/// Where things are in the scratch of a task.
struct Sizes {
    keys: usize,
    values: usize,
    packed: usize,
    out: usize,
    states: usize,
}

impl Sizes {
    fn of(group: usize, head_dim: usize) -> Option<Self> {
        let vectors = rows_at_once(group).checked_mul(group)?.checked_next_multiple_of(VECTORS)?;
        Some(Sizes {
            keys: head_dim.checked_mul(TILE)?,
            values: head_dim.checked_mul(TILE)?,
            packed: vectors.checked_mul(packed_len(head_dim)?)?,
            out: vectors.checked_mul(head_dim)?,
            states: vectors.checked_mul(2)?,
        })
    }
}

/// Floats of scratch for a group of so many query heads; `None` on overflow.
pub(crate) fn rows_scratch_len(group: usize, head_dim: usize) -> Option<usize> {
    let Sizes { keys, values, packed, out, states } = Sizes::of(group, head_dim)?;
    let sum = keys.checked_add(values)?.checked_add(packed)?.checked_add(out)?.checked_add(states)?;
    sum.checked_add(VECTORS * TILE)
}

per_level! {
    /// Causal attention of rows: `query` begins with the first row's query heads of the key head (`[group, head_dim]`, rows
    /// `stride` apart). `put` gets each row's number and result, `[group, head_dim]`.
    pub(crate) fn attend_rows<F: Stored>[simd](
        shape: Shape, head: &dyn Head, rows: Rows, query: &[f32], put: &dyn Fn(usize, &[f32]), scratch: &mut [f32],
    ) {
        let wide = simd.wide();
        if S::Wide::MANY {
            tiles::<S::Wide, F, VECTORS>(wide, shape, head, rows, query, put, scratch);
        } else {
            tiles::<S::Wide, F, 4>(wide, shape, head, rows, query, put, scratch);
        }
    }
}

#[inline(always)]
fn tiles<W: Wide, F: Stored, const M: usize>(
    wide: W,
    shape: Shape,
    head: &dyn Head,
    rows: Rows,
    query: &[f32],
    put: &dyn Fn(usize, &[f32]),
    scratch: &mut [f32],
) {
    let (head_dim, group) = (shape.head_dim, rows.group);
    let Some(sizes) = Sizes::of(group, head_dim) else { return };
    let (scores, scratch) = scratch.split_at_mut(VECTORS * TILE);
    let (keys, scratch) = scratch.split_at_mut(sizes.keys);
    let (values, scratch) = scratch.split_at_mut(sizes.values);
    let (packed, scratch) = scratch.split_at_mut(sizes.packed);
    let (out, states) = scratch.split_at_mut(sizes.out);
    let (vectors, width, padded) = (rows.count * group, group * head_dim, head_dim.next_multiple_of(QUAD));
    // Queries one after the other where the results will be, from there packed.
    for (row, out) in out.chunks_exact_mut(width).take(rows.count).enumerate() {
        out.copy_from_slice(&query[row * rows.stride..][..width]);
    }
    let out = &mut out[..vectors * head_dim];
    for (query, packed) in out.chunks(M * head_dim).zip(packed.chunks_mut(M * padded)) {
        pack::<M>(query, head_dim, shape.factor(), packed);
    }
    out.fill(0.0);
    let states = &mut states.as_chunks_mut::<2>().0[..vectors];
    states.fill([LOWEST, 0.0]);
    let (from, end) = (rows.first(0), rows.held(rows.count - 1));
    let mut start = from / TILE * TILE;
    while start < end {
        let first = start.max(from) / WIDTH;
        let count = (start / WIDTH + GROUPS).min(end.div_ceil(WIDTH)) - first;
        let base = first * WIDTH;
        let group_floats = head_dim * WIDTH;
        for at in 0..count {
            let (stored_keys, stored_values) = head.group(first + at);
            let places = at * group_floats..(at + 1) * group_floats;
            expand_keys::<W, F>(wide, head_dim, stored_keys, &mut keys[places.clone()]);
            expand_values::<W, F>(wide, head_dim, stored_values, &mut values[places]);
        }
        // What a block holds beyond the sequence's end is of no one: it must not be multiplied, not even by 0.
        if end < base + count * WIDTH {
            values[(end - base) * head_dim..count * group_floats].fill(0.0);
        }
        let mut key_groups: [&[u8]; GROUPS] = [&[]; GROUPS];
        let mut value_groups: [&[u8]; GROUPS] = [&[]; GROUPS];
        for at in 0..count {
            key_groups[at] = bytes_of(&keys[at * group_floats..(at + 1) * group_floats]);
            value_groups[at] = bytes_of(&values[at * group_floats..(at + 1) * group_floats]);
        }
        let sets = out.chunks_mut(M * head_dim).zip(states.chunks_mut(M));
        for (set, ((out, states), packed)) in sets.zip(packed.chunks(M * padded)).enumerate() {
            let row_of = |m: usize| (set * M + m) / group;
            let heads = states.len();
            let (seen_from, seen_to) = (rows.first(row_of(0)), rows.held(row_of(heads - 1)));
            if base >= seen_to || base + count * WIDTH <= seen_from {
                continue;
            }
            let count = count.min((seen_to - base).div_ceil(WIDTH));
            let none = [std::ptr::null(); GROUPS];
            scores_of::<W, KvF32, M, false>(wide, head_dim, &key_groups[..count], &none, packed, scores);
            let mut shrink = [1.0; M];
            for (m, [most, sum]) in states.iter_mut().enumerate() {
                let row = row_of(m);
                let limit = |token: usize| token.saturating_sub(base).min(count * WIDTH);
                let scores = &mut scores[m * TILE..][..count * WIDTH];
                let mut state = State { most: *most, sum: *sum };
                let tokens = (limit(rows.first(row)), limit(rows.held(row)));
                shrink[m] = soften(wide, shape, scores, tokens, &mut state);
                (*most, *sum) = (state.most, state.sum);
            }
            let tokens = (seen_from.saturating_sub(base), (seen_to - base).min(count * WIDTH));
            let values = &value_groups[..count];
            gather::<W, KvF32, M, false>(wide, head_dim, values, &none, tokens, scores, &shrink, heads, out);
        }
        start += TILE;
    }
    for (out, [_, sum]) in out.chunks_exact_mut(head_dim).zip(states.iter()) {
        let scale = 1.0 / sum;
        out.iter_mut().for_each(|value| *value *= scale);
    }
    for (row, out) in out.chunks_exact(width).enumerate() {
        put(row, out);
    }
}

/// Keys of a group in single precision, in the order that [`KvF32`] has them.
#[inline(always)]
fn expand_keys<W: Wide, F: Stored>(wide: W, head_dim: usize, stored: &[u8], keys: &mut [f32]) {
    let (quads, tail) = F::quads(stored, head_dim);
    let scales = F::scales(stored, head_dim);
    let (places, rest) = keys.as_chunks_mut::<WIDTH>().0.as_chunks_mut::<QUAD>();
    for (at, (places, quad)) in places.iter_mut().zip(quads).enumerate() {
        for (j, place) in places.iter_mut().enumerate() {
            let mut key = F::key(wide, quad, j);
            if F::SCALES {
                key = wide.mul(key, wide.load_f16(&scales[at / (SCALED / QUAD)]));
            }
            wide.store(key, place);
        }
    }
    if !rest.is_empty() {
        let mut quad = F::ZEROS;
        quad.as_mut()[..tail.len()].copy_from_slice(tail);
        for (j, place) in rest.iter_mut().enumerate() {
            wide.store(F::key(wide, &quad, j), place);
        }
    }
}

/// Values of a group in single precision, in the order that [`KvF32`] has them.
#[inline(always)]
fn expand_values<W: Wide, F: Stored>(wide: W, head_dim: usize, stored: &[u8], values: &mut [f32]) {
    assert_eq!(stored.len(), F::group_bytes(head_dim), "a whole group");
    let chunks = head_dim / WIDTH;
    let mut scale = [1.0; WIDTH];
    for chunk in 0..chunks {
        if F::SCALES {
            wide.store(wide.load_f16(&F::scales(stored, head_dim)[chunk * WIDTH / SCALED]), &mut scale);
        }
        for (token, scale) in scale.iter().enumerate() {
            // SAFETY: the group is whole, see above, token and chunk are below their ends.
            let mut value = unsafe { F::value(wide, stored, head_dim, token, chunk) };
            if F::SCALES {
                value = wide.mul(value, wide.splat(*scale));
            }
            if let Some(place) = values[token * head_dim + chunk * WIDTH..].first_chunk_mut() {
                wide.store(value, place);
            }
        }
    }
    for (token, values) in values.chunks_exact_mut(head_dim).enumerate() {
        for (at, place) in values.iter_mut().enumerate().skip(chunks * WIDTH) {
            *place = F::single(stored, head_dim, token, at);
        }
    }
}

/// The bytes of floats.
#[inline(always)]
fn bytes_of(floats: &[f32]) -> &[u8] {
    // SAFETY: floats are plain bytes, four each, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), size_of_val(floats)) }
}
