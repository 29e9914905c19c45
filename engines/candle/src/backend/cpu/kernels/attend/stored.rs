//! Element types of the KV cache, and how a group of [`WIDTH`] tokens of one head lies in memory.
//!
//! Keys are dimension after dimension, 16 tokens side by side, so that a vector of scores needs no sum across its lanes;
//! values are token after token. All of it is private to this machine: byte order is the processor's where it has one.

use super::wide::{WIDTH, Wide};
use crate::backend::cpu::kernels::format::f32_of_f16;

/// Dimensions that are read together.
pub(super) const QUAD: usize = 4;

/// Dimensions that share a scale, in types that have scales.
pub(crate) const SCALED: usize = 32;

/// An element type of the KV cache.
pub(crate) trait Stored: Copy + Send + Sync + 'static {
    /// Keys of a group in [`QUAD`] neighbouring dimensions.
    type Quad: AsMut<[u8]> + AsRef<[u8]>;

    /// No keys.
    const ZEROS: Self::Quad;

    /// Whether each token has a scale for every [`SCALED`] dimensions.
    const SCALES: bool;

    /// Of how many bf16 its numbers are sums, with no loss to speak of beside its own; 0 where that is more than two.
    const PLANES: usize;

    /// Bytes of a group's keys, and as many of its values.
    fn group_bytes(head_dim: usize) -> usize;

    /// The scales of a group's keys or values, f16 of 16 tokens for each [`SCALED`] dimensions.
    fn scales(group: &[u8], head_dim: usize) -> &[[u8; 2 * WIDTH]];

    /// A group's keys, and those of the last dimensions where these are not [`QUAD`].
    fn quads(keys: &[u8], head_dim: usize) -> (&[Self::Quad], &[u8]);

    /// Keys of one dimension of a quad, without their scales.
    fn key<W: Wide>(wide: W, quad: &Self::Quad, number: usize) -> W::V;

    /// 16 values of one token from dimension `16 * chunk` on, without their scale.
    ///
    /// # Safety
    /// `values` are [`Stored::group_bytes`], `token` is below 16, and the head has that many whole chunks.
    unsafe fn value<W: Wide>(wide: W, values: &[u8], head_dim: usize, token: usize, chunk: usize) -> W::V;

    /// One value, of a type without scales.
    fn single(values: &[u8], head_dim: usize, token: usize, at: usize) -> f32;

    /// Writes a group's tokens from `first` on: `rows` of keys (or values), `stride` floats apart, `head_dim` of each.
    fn put_keys<W: Wide>(
        wide: W,
        keys: &mut [u8],
        head_dim: usize,
        first: usize,
        rows: &[f32],
        stride: usize,
    );

    /// The same for values.
    fn put_values<W: Wide>(
        wide: W,
        values: &mut [u8],
        head_dim: usize,
        first: usize,
        rows: &[f32],
        stride: usize,
    );
}

/// The rows that begin every `stride` floats, `width` of each.
#[inline(always)]
pub(super) fn strided(rows: &[f32], stride: usize, width: usize) -> impl Iterator<Item = &[f32]> {
    rows.chunks(stride).map(move |row| &row[..width])
}

/// Single precision, in the machine's byte order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvF32;

/// Half precision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvF16;

impl Stored for KvF32 {
    type Quad = [u8; QUAD * WIDTH * 4];

    const ZEROS: Self::Quad = [0; QUAD * WIDTH * 4];
    const SCALES: bool = false;
    const PLANES: usize = 0;

    #[inline(always)]
    fn group_bytes(head_dim: usize) -> usize {
        head_dim * WIDTH * 4
    }

    #[inline(always)]
    fn scales(_: &[u8], _: usize) -> &[[u8; 2 * WIDTH]] {
        &[]
    }

    #[inline(always)]
    fn quads(keys: &[u8], _: usize) -> (&[Self::Quad], &[u8]) {
        keys.as_chunks()
    }

    #[inline(always)]
    fn key<W: Wide>(wide: W, quad: &Self::Quad, number: usize) -> W::V {
        wide.load_bytes(&quad.as_chunks().0[number])
    }

    #[inline(always)]
    unsafe fn value<W: Wide>(wide: W, values: &[u8], head_dim: usize, token: usize, chunk: usize) -> W::V {
        let at = 4 * (token * head_dim + WIDTH * chunk);
        debug_assert!(at + 4 * WIDTH <= values.len(), "a chunk lies within its group");
        // SAFETY: in bounds by the caller's promise.
        let bytes = unsafe { &*values.as_ptr().add(at).cast() };
        wide.load_bytes(bytes)
    }

    #[inline(always)]
    fn single(values: &[u8], head_dim: usize, token: usize, at: usize) -> f32 {
        f32::from_ne_bytes(values.as_chunks().0[token * head_dim + at])
    }

    #[inline(always)]
    fn put_keys<W: Wide>(_: W, keys: &mut [u8], head_dim: usize, first: usize, rows: &[f32], stride: usize) {
        for (token, row) in strided(rows, stride, head_dim).enumerate() {
            let places = keys.as_chunks_mut::<4>().0.iter_mut().skip(first + token).step_by(WIDTH);
            for (place, value) in places.zip(row) {
                *place = value.to_ne_bytes();
            }
        }
    }

    #[inline(always)]
    fn put_values<W: Wide>(
        _: W,
        values: &mut [u8],
        head_dim: usize,
        first: usize,
        rows: &[f32],
        stride: usize,
    ) {
        let tokens = values.chunks_exact_mut(4 * head_dim).skip(first);
        for (token, row) in tokens.zip(strided(rows, stride, head_dim)) {
            for (place, value) in token.as_chunks_mut().0.iter_mut().zip(row) {
                *place = value.to_ne_bytes();
            }
        }
    }
}

/// Calls `put` with 16 values of the row in half precision at a time, and their first place; zeros after the row's end.
#[inline(always)]
fn halves<W: Wide>(wide: W, row: &[f32], mut put: impl FnMut(usize, &[[u8; 2]])) {
    let (chunks, rest) = row.as_chunks::<WIDTH>();
    let mut bytes = [0; 2 * WIDTH];
    for (chunk, values) in chunks.iter().enumerate() {
        wide.store_f16(wide.load(values), &mut bytes);
        put(chunk * WIDTH, bytes.as_chunks().0);
    }
    if !rest.is_empty() {
        let mut values = [0.0; WIDTH];
        values[..rest.len()].copy_from_slice(rest);
        wide.store_f16(wide.load(&values), &mut bytes);
        put(chunks.len() * WIDTH, &bytes.as_chunks().0[..rest.len()]);
    }
}

impl Stored for KvF16 {
    type Quad = [u8; QUAD * WIDTH * 2];

    const ZEROS: Self::Quad = [0; QUAD * WIDTH * 2];
    const SCALES: bool = false;
    const PLANES: usize = 2;

    #[inline(always)]
    fn group_bytes(head_dim: usize) -> usize {
        head_dim * WIDTH * 2
    }

    #[inline(always)]
    fn scales(_: &[u8], _: usize) -> &[[u8; 2 * WIDTH]] {
        &[]
    }

    #[inline(always)]
    fn quads(keys: &[u8], _: usize) -> (&[Self::Quad], &[u8]) {
        keys.as_chunks()
    }

    #[inline(always)]
    fn key<W: Wide>(wide: W, quad: &Self::Quad, number: usize) -> W::V {
        wide.load_f16(&quad.as_chunks().0[number])
    }

    #[inline(always)]
    unsafe fn value<W: Wide>(wide: W, values: &[u8], head_dim: usize, token: usize, chunk: usize) -> W::V {
        let at = 2 * (token * head_dim + WIDTH * chunk);
        debug_assert!(at + 2 * WIDTH <= values.len(), "a chunk lies within its group");
        // SAFETY: in bounds by the caller's promise.
        let bytes = unsafe { &*values.as_ptr().add(at).cast() };
        wide.load_f16(bytes)
    }

    #[inline(always)]
    fn single(values: &[u8], head_dim: usize, token: usize, at: usize) -> f32 {
        f32_of_f16(u16::from_le_bytes(values.as_chunks().0[token * head_dim + at]))
    }

    #[inline(always)]
    fn put_keys<W: Wide>(
        wide: W,
        keys: &mut [u8],
        head_dim: usize,
        first: usize,
        rows: &[f32],
        stride: usize,
    ) {
        let places = keys.as_chunks_mut::<2>().0.as_chunks_mut::<WIDTH>().0;
        for (token, row) in strided(rows, stride, head_dim).enumerate() {
            halves(wide, row, |at, values| {
                for (place, value) in places[at..].iter_mut().zip(values) {
                    place[first + token] = *value;
                }
            });
        }
    }

    #[inline(always)]
    fn put_values<W: Wide>(
        wide: W,
        values: &mut [u8],
        head_dim: usize,
        first: usize,
        rows: &[f32],
        stride: usize,
    ) {
        let tokens = values.chunks_exact_mut(2 * head_dim).skip(first);
        for (token, row) in tokens.zip(strided(rows, stride, head_dim)) {
            let places = token.as_chunks_mut::<2>().0;
            halves(wide, row, |at, values| places[at..at + values.len()].copy_from_slice(values));
        }
    }
}
