//! The inputs' preparation with AVX-512.

use super::super::inputs::{LEAST, RUN};
use super::inputs::{MOST, Run};
use std::arch::x86_64::*;

/// See [`super::inputs::quantise`], whose bits it gives.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) fn quantise(values: &[f32; RUN]) -> Run {
    let start = values.as_ptr();
    // SAFETY: 32 floats.
    let values = unsafe { [_mm512_loadu_ps(start), _mm512_loadu_ps(start.add(16))] };
    // Without their signs, floats are in the order of their bits, and what is not finite is above all others.
    let magnitudes =
        values.map(|values| _mm512_and_si512(_mm512_castps_si512(values), _mm512_set1_epi32(0x7fff_ffff)));
    let largest = _mm512_reduce_max_epi32(_mm512_max_epi32(magnitudes[0], magnitudes[1]));
    let largest = f32::from_bits(largest.cast_unsigned());
    if !largest.is_finite() {
        return Run { scale: f32::NAN, ..Run::default() };
    }
    if largest < LEAST {
        return Run::default();
    }
    let inverse = _mm512_set1_ps(MOST / largest);
    let bytes = values.map(|values| _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(values, inverse))));
    let bytes = _mm256_set_m128i(bytes[1], bytes[0]);
    // Unsigned bytes can be added up: each is 128 too large, and there are 16 in each half.
    let eights = _mm256_sad_epu8(_mm256_xor_si256(bytes, _mm256_set1_epi8(-128)), _mm256_setzero_si256());
    let halves = _mm256_add_epi64(eights, _mm256_srli_si256::<8>(eights));
    let sums = [_mm256_castsi256_si128(halves), _mm256_extracti128_si256::<1>(halves)];
    let sums = sums.map(|sum| _mm_cvtsi128_si32(sum) - 16 * 128);
    let mut run = Run { scale: largest / MOST, sums, codes: [0; RUN / 4] };
    // SAFETY: 32 bytes.
    unsafe { _mm256_storeu_si256(run.codes.as_mut_ptr().cast(), bytes) };
    run
}
