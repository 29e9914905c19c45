//! Scores to weights: bf16, which the next product takes.

use super::super::Shape;
use super::super::tile::TILE;
use super::super::wide::WIDTH;
use crate::backend::cpu::kernels::tanh;
use std::arch::x86_64::*;

/// `2^x` over `x` from 0 to 1, lowest power first, within 8e-5 of it: bf16 keep 2e-3.
const EXP2: [f32; 4] = [0.999_925_2, 0.695_833_56, 0.226_067_16, 0.078_024_52];

/// How far a score may be above the maximum that weights are relative to. Weights grow to 2^8, and only a row's first tokens
/// move it.
const SLACK: f32 = 8.0;

/// A query vector's running maximum, about, and sums.
pub(super) struct State<'a> {
    pub(super) most: &'a mut f32,
    pub(super) sums: &'a mut [f32; WIDTH],
}

/// `2^x`; 0 for minus infinity.
///
/// # Safety
/// The processor has AVX-512 F and DQ.
#[inline(always)]
unsafe fn exp2(x: __m512) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        // Less its floor, which is what scales.
        let rest = _mm512_reduce_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(x);
        let mut power = _mm512_set1_ps(EXP2[EXP2.len() - 1]);
        for coefficient in EXP2.iter().rev().skip(1) {
            power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(*coefficient));
        }
        _mm512_scalef_ps(power, x)
    }
}

/// Turns a row of scores into weights, those of tokens without a bit in `seen` into 0. Sums are of the rounded weights, so
/// what rounding does to all of them alike does nothing. Returns what earlier weights have to be multiplied by.
///
/// # Safety
/// The processor has AVX-512 F, BW, DQ and BF16.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(super) unsafe fn soften(
    shape: Shape,
    scores: &mut [f32; TILE],
    seen: u64,
    state: State<'_>,
    weights: &mut [f32; TILE / 2],
) -> f32 {
    if let Some(cap) = shape.softcap {
        for score in scores.iter_mut() {
            *score = cap * tanh(*score / cap) * std::f32::consts::LOG2_E;
        }
    }
    // SAFETY: the caller's promise; all loads and stores are of the arrays.
    unsafe {
        let none = _mm512_set1_ps(f32::NEG_INFINITY);
        let mut chunks = [none; TILE / WIDTH];
        for (number, chunk) in chunks.iter_mut().enumerate() {
            let seen = (seen >> (number * WIDTH)) as u16;
            *chunk = _mm512_mask_loadu_ps(none, seen, scores.as_ptr().add(number * WIDTH));
        }
        let most = _mm512_max_ps(_mm512_max_ps(chunks[0], chunks[1]), _mm512_max_ps(chunks[2], chunks[3]));
        let mut at = _mm512_set1_ps(*state.most);
        let mut sums = _mm512_loadu_ps(state.sums.as_ptr());
        let mut shrink = 1.0;
        if _mm512_cmp_ps_mask::<_CMP_GT_OQ>(most, _mm512_add_ps(at, _mm512_set1_ps(SLACK))) != 0 {
            *state.most = _mm512_reduce_max_ps(most);
            let new = _mm512_set1_ps(*state.most);
            let by = exp2(_mm512_sub_ps(at, new));
            shrink = _mm512_cvtss_f32(by);
            sums = _mm512_mul_ps(sums, by);
            at = new;
        }
        let ones = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi16(0x3f80));
        for half in 0..2 {
            let both = _mm512_cvtne2ps_pbh(
                exp2(_mm512_sub_ps(chunks[2 * half + 1], at)),
                exp2(_mm512_sub_ps(chunks[2 * half], at)),
            );
            sums = _mm512_dpbf16_ps(sums, both, ones);
            let to = weights.as_mut_ptr().add(half * WIDTH);
            _mm512_storeu_si512(to.cast(), std::mem::transmute::<__m512bh, __m512i>(both));
        }
        _mm512_storeu_ps(state.sums.as_mut_ptr(), sums);
        shrink
    }
}
