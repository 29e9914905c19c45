//! AVX2 and AVX-512 vectors of 16 values.

use super::wide::{EXP2, EXP2_LEAST, WIDTH, Wide};
use crate::backend::cpu::kernels::{Avx2, Avx512};
use std::arch::x86_64::*;

/// Two registers, one operation.
#[inline(always)]
fn both(operation: impl Fn(usize) -> __m256) -> [__m256; 2] {
    [operation(0), operation(1)]
}

/// The sum of eight values: lane `i` takes lane `i + 4`, then `i + 2`, then 1.
///
/// # Safety
/// The processor has AVX.
#[inline(always)]
unsafe fn sum_of_eight(lanes: __m256) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

// Every `unsafe` below: the value `self` proves that the processor has the instructions, and what is loaded or stored lies
// within the array that the reference is to. A prefetch never faults.
impl Wide for Avx2 {
    type V = [__m256; 2];

    const MANY: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        // SAFETY: see above.
        both(|_| unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    fn load(self, values: &[f32; WIDTH]) -> Self::V {
        // SAFETY: see above.
        both(|i| unsafe { _mm256_loadu_ps(values.as_ptr().add(8 * i)) })
    }

    #[inline(always)]
    fn store(self, vector: Self::V, values: &mut [f32; WIDTH]) {
        for (i, half) in vector.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(values.as_mut_ptr().add(8 * i), half) };
        }
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8; 4 * WIDTH]) -> Self::V {
        // SAFETY: see above.
        both(|i| unsafe { _mm256_loadu_ps(bytes.as_ptr().add(32 * i).cast()) })
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 2 * WIDTH]) -> Self::V {
        // SAFETY: see above.
        both(|i| unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bytes.as_ptr().add(16 * i).cast())) })
    }

    #[inline(always)]
    fn store_f16(self, vector: Self::V, bytes: &mut [u8; 2 * WIDTH]) {
        for (i, half) in vector.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe {
                let rounded = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(half);
                _mm_storeu_si128(bytes.as_mut_ptr().add(16 * i).cast(), rounded);
            }
        }
    }

    #[inline(always)]
    fn load_i8(self, bytes: &[u8; WIDTH]) -> Self::V {
        // SAFETY: see above.
        both(|i| unsafe {
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(bytes.as_ptr().add(8 * i).cast())))
        })
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        both(|i| unsafe { _mm256_mul_ps(a[i], b[i]) })
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: see above.
        both(|i| unsafe { _mm256_fmadd_ps(a[i], b[i], c[i]) })
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        both(|i| unsafe { _mm256_max_ps(a[i], b[i]) })
    }

    #[inline(always)]
    fn max_of(self, [a, b]: Self::V) -> f32 {
        // SAFETY: see above.
        unsafe {
            let eight = _mm256_max_ps(a, b);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }

    #[inline(always)]
    fn sum_of(self, [a, b]: Self::V) -> f32 {
        // SAFETY: see above.
        unsafe { sum_of_eight(_mm256_add_ps(a, b)) }
    }

    #[inline(always)]
    fn exp2(self, x: Self::V, most: Self::V) -> Self::V {
        // SAFETY: see above.
        both(|i| unsafe {
            let exact = _mm256_sub_ps(x[i], most[i]);
            let least = _mm256_set1_ps(EXP2_LEAST);
            // The second operand is what comes out for NaN.
            let bounded = _mm256_max_ps(least, exact);
            let whole = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(bounded);
            let rest = _mm256_sub_ps(bounded, whole);
            let mut p = _mm256_set1_ps(EXP2[0]);
            for coefficient in &EXP2[1..] {
                p = _mm256_fmadd_ps(p, rest, _mm256_set1_ps(*coefficient));
            }
            p = _mm256_fmadd_ps(p, rest, _mm256_set1_ps(1.0));
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127));
            let value = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)));
            _mm256_and_ps(value, _mm256_cmp_ps::<_CMP_NLT_UQ>(exact, least))
        })
    }

    #[inline(always)]
    fn prefetch(self, address: *const u8) {
        // SAFETY: see above.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
}

impl Wide for Avx512 {
    type V = __m512;

    const MANY: bool = true;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, values: &[f32; WIDTH]) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, vector: Self::V, values: &mut [f32; WIDTH]) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), vector) };
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8; 4 * WIDTH]) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 2 * WIDTH]) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn store_f16(self, vector: Self::V, bytes: &mut [u8; 2 * WIDTH]) {
        // SAFETY: see above.
        unsafe {
            let rounded = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(vector);
            _mm256_storeu_si256(bytes.as_mut_ptr().cast(), rounded);
        }
    }

    #[inline(always)]
    fn load_i8(self, bytes: &[u8; WIDTH]) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn max_of(self, vector: Self::V) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_max_ps(vector) }
    }

    #[inline(always)]
    fn sum_of(self, vector: Self::V) -> f32 {
        // SAFETY: see above.
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(vector);
            sum_of_eight(_mm256_add_ps(_mm512_castps512_ps256(vector), high))
        }
    }

    #[inline(always)]
    fn exp2(self, x: Self::V, most: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let exact = _mm512_sub_ps(x, most);
            let least = _mm512_set1_ps(EXP2_LEAST);
            // The second operand is what comes out for NaN.
            let bounded = _mm512_max_ps(least, exact);
            let whole = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(bounded);
            let rest = _mm512_sub_ps(bounded, whole);
            let mut p = _mm512_set1_ps(EXP2[0]);
            for coefficient in &EXP2[1..] {
                p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(*coefficient));
            }
            p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(1.0));
            let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(exact, least);
            _mm512_maskz_scalef_ps(kept, p, whole)
        }
    }

    #[inline(always)]
    fn prefetch(self, address: *const u8) {
        // SAFETY: see above.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
}
