//! A few query vectors against a few groups of tokens: what both ways of attention are made of.

use super::Shape;
use super::stored::{QUAD, SCALED, Stored};
use super::wide::{WIDTH, Wide};
use crate::backend::cpu::kernels::tanh;

/// Tokens whose scores are kept at a time; tiles begin at its multiples.
pub(crate) const TILE: usize = 64;

/// Groups of a tile.
pub(super) const GROUPS: usize = TILE / WIDTH;

/// Query vectors that share each load, at most.
pub(crate) const VECTORS: usize = 8;

/// The first running maximum: below every score, yet a number.
pub(super) const LOWEST: f32 = f32::MIN;

/// Floats of a query vector as it is packed.
pub(super) const fn packed_len(head_dim: usize) -> Option<usize> {
    head_dim.checked_next_multiple_of(QUAD)
}

/// How many query vectors go together where there are so many: 1, 2, 4 or, with registers enough, 8.
#[inline(always)]
pub(super) fn vectors_at_once<W: Wide>(count: usize) -> usize {
    let most = if W::MANY { VECTORS } else { 4 };
    count.next_power_of_two().min(most)
}

/// Packs up to `M` query vectors (`[.., head_dim]`) dimension by dimension, times a factor; zeros where there are none.
#[inline(always)]
pub(super) fn pack<const M: usize>(query: &[f32], head_dim: usize, factor: f32, packed: &mut [f32]) {
    for (at, places) in packed.as_chunks_mut::<M>().0.iter_mut().enumerate() {
        for (m, place) in places.iter_mut().enumerate() {
            *place = if at < head_dim {
                query.get(m * head_dim + at).map_or(0.0, |value| value * factor)
            } else {
                0.0
            };
        }
    }
}

/// Scores of `M` packed query vectors and `N` groups of keys: `scores[m * TILE + 16 * n ..]`. With `FETCH` the groups at
/// `ahead` are brought to the cache meanwhile.
#[inline(always)]
pub(super) fn score<W: Wide, F: Stored, const M: usize, const N: usize, const FETCH: bool>(
    wide: W,
    head_dim: usize,
    keys: [&[u8]; N],
    ahead: [*const u8; N],
    packed: &[f32],
    scores: &mut [f32],
) {
    let query = packed.as_chunks::<M>().0.as_chunks::<QUAD>().0;
    let whole = head_dim / QUAD;
    let mut quads: [&[F::Quad]; N] = [&[]; N];
    for n in 0..N {
        quads[n] = &F::quads(keys[n], head_dim).0[..whole];
    }
    let line_count = if FETCH { size_of::<F::Quad>() / 64 } else { 0 };
    let mut sums = [[wide.splat(0.0); N]; M];
    // Dimensions that share a scale; all of them where there is none.
    let block = if F::SCALES { SCALED / QUAD } else { whole.max(1) };
    let mut from = 0;
    while from < whole {
        let to = (from + block).min(whole);
        let mut part = if F::SCALES { [[wide.splat(0.0); N]; M] } else { sums };
        let mut of: [&[F::Quad]; N] = [&[]; N];
        for n in 0..N {
            of[n] = &quads[n][from..to];
        }
        for (at, query) in query[from..to].iter().enumerate() {
            for start in ahead {
                for line in 0..line_count {
                    wide.prefetch(start.wrapping_add(((from + at) * line_count + line) * 64));
                }
            }
            for j in 0..QUAD {
                let mut key = [wide.splat(0.0); N];
                for n in 0..N {
                    key[n] = F::key(wide, &of[n][at], j);
                }
                for m in 0..M {
                    let query = wide.splat(query[j][m]);
                    for n in 0..N {
                        part[m][n] = wide.fma(query, key[n], part[m][n]);
                    }
                }
            }
        }
        if F::SCALES {
            for n in 0..N {
                let scale = wide.load_f16(&F::scales(keys[n], head_dim)[from / block]);
                for m in 0..M {
                    sums[m][n] = wide.fma(part[m][n], scale, sums[m][n]);
                }
            }
        } else {
            sums = part;
        }
        from = to;
    }
    if whole * QUAD < head_dim {
        for n in 0..N {
            let tail = F::quads(keys[n], head_dim).1;
            let mut quad = F::ZEROS;
            quad.as_mut()[..tail.len()].copy_from_slice(tail);
            for (j, query) in query[whole].iter().enumerate() {
                let key = F::key(wide, &quad, j);
                for m in 0..M {
                    sums[m][n] = wide.fma(wide.splat(query[m]), key, sums[m][n]);
                }
            }
        }
    }
    for m in 0..M {
        let row = &mut scores[m * TILE..][..N * WIDTH];
        for (n, places) in row.as_chunks_mut().0.iter_mut().enumerate() {
            wide.store(sums[m][n], places);
        }
    }
}

/// A query vector's running maximum and sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) most: f32,
    pub(super) sum: f32,
}

/// Turns scores (whole groups) into weights relative to the running maximum, those outside `from .. to` into 0. Returns what
/// earlier weights have to be multiplied by.
#[inline(always)]
pub(super) fn soften<W: Wide>(
    wide: W,
    shape: Shape,
    scores: &mut [f32],
    (from, to): (usize, usize),
    state: &mut State,
) -> f32 {
    if let Some(cap) = shape.softcap {
        for score in scores.iter_mut() {
            *score = cap * tanh(*score / cap) * std::f32::consts::LOG2_E;
        }
    }
    if from > 0 || to < scores.len() {
        scores[..from].fill(f32::NEG_INFINITY);
        scores[to..].fill(f32::NEG_INFINITY);
    }
    let chunks = scores.as_chunks_mut::<WIDTH>().0;
    let mut most = wide.splat(state.most);
    for chunk in chunks.iter() {
        most = wide.max(wide.load(chunk), most);
    }
    let new = wide.max_of(most);
    let at = wide.splat(new);
    let mut shrink = [1.0; WIDTH];
    if new != state.most {
        wide.store(wide.exp2(wide.splat(state.most), at), &mut shrink);
    }
    let (one, mut sum) = (wide.splat(1.0), wide.splat(0.0));
    for chunk in chunks {
        let weight = wide.exp2(wide.load(chunk), at);
        sum = wide.fma(weight, one, sum);
        wide.store(weight, chunk);
    }
    *state = State { most: new, sum: state.sum * shrink[0] + wide.sum_of(sum) };
    shrink[0]
}

/// `out[m] = out[m] * shrink[m] + weights[m] . values` over tokens `from .. to` of the groups; rows of weights are `TILE`
/// apart, rows of `out` `head_dim`, and there are `heads` of them. `FETCH` and `ahead` as for [`score`].
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the operands of a product")]
pub(super) fn gather<W: Wide, F: Stored, const M: usize, const FETCH: bool>(
    wide: W,
    head_dim: usize,
    values: &[&[u8]],
    ahead: &[*const u8; GROUPS],
    tokens: (usize, usize),
    weights: &[f32],
    shrink: &[f32; M],
    heads: usize,
    out: &mut [f32],
) {
    let chunks = head_dim / WIDTH;
    let mut at = 0;
    // Two chunks share a scale; without scales more accumulators hide more latency.
    let most = if !F::SCALES && M <= if W::MANY { 4 } else { 1 } { 4 } else { 2 };
    let tile = (values, ahead, tokens, weights, shrink, heads);
    while at + most <= chunks {
        match most {
            4 => gather_chunks::<W, F, M, 4, FETCH>(wide, head_dim, tile, at, out),
            _ => gather_chunks::<W, F, M, 2, FETCH>(wide, head_dim, tile, at, out),
        }
        at += most;
    }
    while at < chunks {
        gather_chunks::<W, F, M, 1, FETCH>(wide, head_dim, tile, at, out);
        at += 1;
    }
    for (m, out) in out.chunks_exact_mut(head_dim).take(heads).enumerate() {
        for (at, place) in out.iter_mut().enumerate().skip(chunks * WIDTH) {
            let mut sum = *place * shrink[m];
            for token in tokens.0..tokens.1 {
                let value = F::single(values[token / WIDTH], head_dim, token % WIDTH, at);
                sum += weights[m * TILE + token] * value;
            }
            *place = sum;
        }
    }
}

/// Values, what is ahead of them, tokens, weights, shrinking factors and heads of [`gather`].
type Tile<'a, const M: usize> =
    (&'a [&'a [u8]], &'a [*const u8; GROUPS], (usize, usize), &'a [f32], &'a [f32; M], usize);

/// [`gather`] for `C` chunks of 16 dimensions.
#[inline(always)]
fn gather_chunks<W: Wide, F: Stored, const M: usize, const C: usize, const FETCH: bool>(
    wide: W,
    head_dim: usize,
    (values, ahead, (from, to), weights, shrink, heads): Tile<'_, M>,
    first: usize,
    out: &mut [f32],
) {
    let mut sums = [[wide.splat(0.0); C]; M];
    for m in 0..M {
        if m < heads {
            let row = &out[m * head_dim + first * WIDTH..][..C * WIDTH];
            for (sum, values) in sums[m].iter_mut().zip(row.as_chunks().0) {
                *sum = wide.mul(wide.load(values), wide.splat(shrink[m]));
            }
        }
    }
    // Of the group's bytes each call fetches its share.
    let lines = (F::group_bytes(head_dim) * C * WIDTH).div_ceil(head_dim * WIDTH * 64);
    for (group, (values, fetched)) in values.iter().zip(ahead).enumerate() {
        assert!(
            values.len() == F::group_bytes(head_dim) && first + C <= head_dim / WIDTH,
            "chunks of a group"
        );
        let start = group * WIDTH;
        let (low, high) = (from.saturating_sub(start), to.saturating_sub(start).min(WIDTH));
        let mut scaled = [[0.0; WIDTH]; M];
        for m in 0..M {
            let row = &weights[m * TILE + start..][..WIDTH];
            let Some(row) = row.first_chunk() else { continue };
            let mut weight = wide.load(row);
            if F::SCALES {
                let scale = wide.load_f16(&F::scales(values, head_dim)[first * WIDTH / SCALED]);
                weight = wide.mul(weight, scale);
            }
            wide.store(weight, &mut scaled[m]);
        }
        for token in low..high {
            if FETCH {
                for line in 0..lines {
                    let line = first / C * lines * WIDTH + token * lines + line;
                    wide.prefetch(fetched.wrapping_add(line * 64));
                }
            }
            let mut value = [wide.splat(0.0); C];
            for (c, value) in value.iter_mut().enumerate() {
                // SAFETY: the group is as long as it should be and the chunk below its chunks, see above; `token` is
                // below 16.
                *value = unsafe { F::value(wide, values, head_dim, token, first + c) };
            }
            for m in 0..M {
                let weight = wide.splat(scaled[m][token % WIDTH]);
                for c in 0..C {
                    sums[m][c] = wide.fma(weight, value[c], sums[m][c]);
                }
            }
        }
    }
    for m in 0..M {
        if m < heads {
            let row = &mut out[m * head_dim + first * WIDTH..][..C * WIDTH];
            for (sum, values) in sums[m].iter().zip(row.as_chunks_mut().0) {
                wide.store(*sum, values);
            }
        }
    }
}
