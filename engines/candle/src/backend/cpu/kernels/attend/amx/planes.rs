//! Keys and values as tiles of bf16.
//!
//! f16 is a sum of two bf16, which lie in two planes of tiles: the first 8 of its 11 bits, and the others. 8 bits and a
//! scale are one bf16: its rounding is below theirs.

use super::super::stored::{QUAD, SCALED, Stored};
use super::super::wide::{WIDTH, Wide};
use super::{DEPTH, HALVES};
use crate::backend::cpu::kernels::Avx512;
use std::arch::x86_64::*;

/// Writes a row of a B tile, two inputs of 16 outputs: at `to`, and `apart` halves further for the second plane.
///
/// # Safety
/// The processor has AVX-512 BF16, and both places are in bounds.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn put_pairs<F: Stored>(to: *mut u16, apart: usize, even: __m512, odd: __m512) {
    // SAFETY: the caller's promise.
    unsafe {
        if F::PLANES == 1 {
            let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(odd, even));
            // Word 2i is that of `even`, 2i + 1 that of `odd`.
            let order = _mm512_add_epi32(
                _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                _mm512_set1_epi32(16 << 16),
            );
            let order = _mm512_or_si512(order, _mm512_slli_epi32::<16>(order));
            _mm512_storeu_si512(to.cast(), _mm512_permutexvar_epi16(order, both));
            return;
        }
        let high = _mm512_set1_epi32(0xffff_0000_u32 as i32);
        let bits = |vector| _mm512_castps_si512(vector);
        let top = |vector| _mm512_castsi512_ps(_mm512_and_si512(bits(vector), high));
        // high ? odd : even >> 16
        let joined = |even, odd| {
            _mm512_ternarylogic_epi32::<0xca>(high, bits(odd), _mm512_srli_epi32::<16>(bits(even)))
        };
        _mm512_storeu_si512(to.cast(), joined(even, odd));
        // What is left has so few bits that cutting it off leaves it as it is.
        let rest = |vector| _mm512_sub_ps(vector, top(vector));
        _mm512_storeu_si512(to.add(apart).cast(), joined(rest(even), rest(odd)));
    }
}

/// Four dimensions of a group's keys, the `at`th, as rows of its B tiles: inputs are dimensions, outputs tokens.
///
/// # Safety
/// The processor has AVX-512 BF16; at `to`, and `apart` halves further, are the group's tiles.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(super) unsafe fn put_keys<F: Stored>(
    wide: Avx512,
    head_dim: usize,
    stored: &[u8],
    at: usize,
    to: *mut u16,
    apart: usize,
) {
    let (quads, tail) = F::quads(stored, head_dim);
    let mut padded = F::ZEROS;
    let quad = quads.get(at).unwrap_or_else(|| {
        if at == quads.len() {
            padded.as_mut()[..tail.len()].copy_from_slice(tail);
        }
        &padded
    });
    let mut keys = [wide.splat(0.0); QUAD];
    for (number, key) in keys.iter_mut().enumerate() {
        *key = F::key(wide, quad, number);
    }
    if F::SCALES
        && let Some(scale) = F::scales(stored, head_dim).get(at / (SCALED / QUAD))
    {
        let scale = wide.load_f16(scale);
        for key in &mut keys {
            *key = wide.mul(*key, scale);
        }
    }
    // SAFETY: the caller's promise; a quad is two rows of 32 halves.
    unsafe {
        put_pairs::<F>(to.add(at * 2 * DEPTH), apart, keys[0], keys[1]);
        put_pairs::<F>(to.add((at * 2 + 1) * DEPTH), apart, keys[2], keys[3]);
    }
}

/// 16 dimensions, the `chunk`th, of the first `tokens` of two groups as a B tile: inputs are tokens, outputs dimensions.
/// Zeros after them, and for a group that is not there.
///
/// # Safety
/// The processor has AVX-512 BF16; at `to`, and `apart` halves further, is the tile.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(super) unsafe fn put_values<F: Stored>(
    wide: Avx512,
    head_dim: usize,
    groups: [&[u8]; 2],
    tokens: usize,
    chunk: usize,
    to: *mut u16,
    apart: usize,
) {
    let width = head_dim.saturating_sub(chunk * WIDTH);
    for (number, group) in groups.into_iter().enumerate() {
        let tokens = if group.is_empty() || width == 0 { 0 } else { tokens.saturating_sub(number * WIDTH) };
        let mut scales = [1.0; WIDTH];
        if F::SCALES
            && tokens > 0
            && let Some(stored) = F::scales(group, head_dim).get(chunk * WIDTH / SCALED)
        {
            wide.store(wide.load_f16(stored), &mut scales);
        }
        assert!(tokens == 0 || group.len() == F::group_bytes(head_dim), "a whole group");
        let to = to.wrapping_add(number * HALVES / 2);
        let mut values = [wide.splat(0.0); 2];
        for pair in 0..WIDTH / 2 {
            for (token, value) in (2 * pair..).zip(&mut values) {
                *value = if token >= tokens {
                    wide.splat(0.0)
                } else if width >= WIDTH {
                    // SAFETY: the group is whole and has this chunk and token.
                    let value = unsafe { F::value(wide, group, head_dim, token, chunk) };
                    if F::SCALES { wide.mul(value, wide.splat(scales[token])) } else { value }
                } else {
                    let mut last = [0.0; WIDTH];
                    for (at, value) in last[..width].iter_mut().enumerate() {
                        *value = F::single(group, head_dim, token, chunk * WIDTH + at);
                    }
                    wide.load(&last)
                };
            }
            // SAFETY: the caller's promise.
            unsafe { put_pairs::<F>(to.add(pair * DEPTH), apart, values[0], values[1]) };
        }
    }
}

/// A query vector's dimensions times a factor, as a row of each of its A tiles, zeros after them. What bf16 leaves of them
/// goes `apart` halves further, unless that is 0.
///
/// # Safety
/// The processor has AVX-512 BF16; at `to` is a row of the first of `deep` tiles.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(super) unsafe fn put_query(
    wide: Avx512,
    query: &[f32],
    factor: f32,
    deep: usize,
    to: *mut u16,
    apart: usize,
) {
    let factor = wide.splat(factor);
    for depth in 0..deep {
        let rest = query.get(depth * DEPTH..).unwrap_or(&[]);
        let mut padded = [0.0; DEPTH];
        let halves = match rest.first_chunk() {
            Some(halves) => halves,
            None => {
                padded[..rest.len()].copy_from_slice(rest);
                &padded
            }
        };
        // SAFETY: the caller's promise; the loads are of the array.
        unsafe {
            let first = wide.mul(_mm512_loadu_ps(halves.as_ptr()), factor);
            let second = wide.mul(_mm512_loadu_ps(halves.as_ptr().add(WIDTH)), factor);
            let row = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
            _mm512_storeu_si512(to.add(depth * HALVES).cast(), row);
            if apart > 0 {
                let wide_of =
                    |half: __m256i| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
                let low = _mm512_sub_ps(first, wide_of(_mm512_castsi512_si256(row)));
                let high = _mm512_sub_ps(second, wide_of(_mm512_extracti64x4_epi64::<1>(row)));
                let row = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_si512(to.add(apart + depth * HALVES).cast(), row);
            }
        }
    }
}
