//! AVX2 and AVX-512 vectors.

use super::LANES;
use super::proof::{Avx2, Avx512};
use super::simd::Simd;
use std::arch::x86_64::*;

impl Avx2 {
    /// Applies an operation to each register.
    #[inline(always)]
    fn each(self, operation: impl Fn(usize) -> __m256) -> [__m256; 4] {
        [operation(0), operation(1), operation(2), operation(3)]
    }
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

/// The bytes of a table at places below 16.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn shuffled(table: &[u8; 16], places: &[u8; LANES]) -> [u8; LANES] {
    let mut found = [0; LANES];
    // SAFETY: the caller's promise; each load and the store are as long as the arrays.
    unsafe {
        let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
        let places = _mm256_loadu_si256(places.as_ptr().cast());
        _mm256_storeu_si256(found.as_mut_ptr().cast(), _mm256_shuffle_epi8(table, places));
    }
    found
}

// Every `unsafe` below: the value `self` proves that the processor has the instructions, and what is loaded or stored lies
// within the array that the reference is to (offsets are register numbers times register sizes).
impl Simd for Avx2 {
    type Lanes = [__m256; 4];
    type Wide = Self;

    #[inline(always)]
    fn wide(self) -> Self {
        self
    }

    #[inline(always)]
    fn zero(self) -> Self::Lanes {
        // SAFETY: see above.
        self.each(|_| unsafe { _mm256_setzero_ps() })
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Lanes {
        // SAFETY: see above.
        self.each(|_| unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::Lanes {
        // SAFETY: see above.
        self.each(|i| unsafe { _mm256_loadu_ps(values.as_ptr().add(8 * i)) })
    }

    #[inline(always)]
    fn store(self, lanes: Self::Lanes, values: &mut [f32; LANES]) {
        for (i, lanes) in lanes.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(values.as_mut_ptr().add(8 * i), lanes) };
        }
    }

    #[inline(always)]
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        self.each(|i| unsafe { _mm256_add_ps(a[i], b[i]) })
    }

    #[inline(always)]
    fn mul(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        self.each(|i| unsafe { _mm256_mul_ps(a[i], b[i]) })
    }

    #[inline(always)]
    fn sum(self, [a, b, c, d]: Self::Lanes) -> f32 {
        // SAFETY: see above.
        unsafe { sum_of_eight(_mm256_add_ps(_mm256_add_ps(a, c), _mm256_add_ps(b, d))) }
    }

    #[inline(always)]
    fn at_least(self, lanes: Self::Lanes, bound: f32) -> u32 {
        let bits = |i: usize| {
            // SAFETY: see above.
            let bits =
                unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(lanes[i], _mm256_set1_ps(bound))) };
            bits.cast_unsigned() << (8 * i)
        };
        bits(0) | bits(1) | bits(2) | bits(3)
    }

    #[inline(always)]
    fn keep(self, lanes: Self::Lanes, bound: f32) -> Self::Lanes {
        // SAFETY: see above.
        self.each(|i| unsafe {
            _mm256_and_ps(lanes[i], _mm256_cmp_ps::<_CMP_GE_OQ>(lanes[i], _mm256_set1_ps(bound)))
        })
    }

    #[inline(always)]
    fn reverse_pairs(self, lanes: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        self.each(|i| unsafe { _mm256_permute_ps::<0b10_11_00_01>(lanes[i]) })
    }

    #[inline(always)]
    fn decode_f32(self, bytes: &[u8; 4 * LANES]) -> Self::Lanes {
        // SAFETY: see above.
        self.each(|i| unsafe { _mm256_loadu_ps(bytes.as_ptr().add(32 * i).cast()) })
    }

    #[inline(always)]
    fn decode_f16(self, bytes: &[u8; 2 * LANES]) -> Self::Lanes {
        // SAFETY: see above.
        self.each(|i| unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bytes.as_ptr().add(16 * i).cast())) })
    }

    #[inline(always)]
    fn decode_bf16(self, bytes: &[u8; 2 * LANES]) -> Self::Lanes {
        // SAFETY: see above.
        self.each(|i| unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(bytes.as_ptr().add(16 * i).cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        })
    }

    #[inline(always)]
    fn decode_i8(self, bytes: &[u8; LANES]) -> Self::Lanes {
        // SAFETY: see above.
        self.each(|i| unsafe {
            let wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64(bytes.as_ptr().add(8 * i).cast()));
            _mm256_cvtepi32_ps(wide)
        })
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], places: &[u8; LANES]) -> [u8; LANES] {
        // SAFETY: see above.
        unsafe { shuffled(table, places) }
    }
}

impl Simd for Avx512 {
    type Lanes = [__m512; 2];
    type Wide = Self;

    #[inline(always)]
    fn wide(self) -> Self {
        self
    }

    #[inline(always)]
    fn zero(self) -> Self::Lanes {
        // SAFETY: see above.
        [unsafe { _mm512_setzero_ps() }; 2]
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Lanes {
        // SAFETY: see above.
        [unsafe { _mm512_set1_ps(value) }; 2]
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::Lanes {
        let start = values.as_ptr();
        // SAFETY: see above.
        unsafe { [_mm512_loadu_ps(start), _mm512_loadu_ps(start.add(16))] }
    }

    #[inline(always)]
    fn store(self, [a, b]: Self::Lanes, values: &mut [f32; LANES]) {
        let start = values.as_mut_ptr();
        // SAFETY: see above.
        unsafe {
            _mm512_storeu_ps(start, a);
            _mm512_storeu_ps(start.add(16), b);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        unsafe { [_mm512_add_ps(a[0], b[0]), _mm512_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        unsafe { [_mm512_mul_ps(a[0], b[0]), _mm512_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn sum(self, [a, b]: Self::Lanes) -> f32 {
        // SAFETY: see above.
        unsafe {
            let lanes = _mm512_add_ps(a, b);
            let high = _mm512_extractf32x8_ps::<1>(lanes);
            sum_of_eight(_mm256_add_ps(_mm512_castps512_ps256(lanes), high))
        }
    }

    #[inline(always)]
    fn at_least(self, [a, b]: Self::Lanes, bound: f32) -> u32 {
        // SAFETY: see above.
        unsafe {
            let bound = _mm512_set1_ps(bound);
            let low = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, bound);
            u32::from(low) | u32::from(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(b, bound)) << 16
        }
    }

    #[inline(always)]
    fn keep(self, [a, b]: Self::Lanes, bound: f32) -> Self::Lanes {
        // SAFETY: see above.
        unsafe {
            let bound = _mm512_set1_ps(bound);
            let kept = |lanes| _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(lanes, bound), lanes);
            [kept(a), kept(b)]
        }
    }

    #[inline(always)]
    fn reverse_pairs(self, [a, b]: Self::Lanes) -> Self::Lanes {
        // SAFETY: see above.
        unsafe { [_mm512_permute_ps::<0b10_11_00_01>(a), _mm512_permute_ps::<0b10_11_00_01>(b)] }
    }

    #[inline(always)]
    fn decode_f32(self, bytes: &[u8; 4 * LANES]) -> Self::Lanes {
        let start = bytes.as_ptr().cast::<f32>();
        // SAFETY: see above.
        unsafe { [_mm512_loadu_ps(start), _mm512_loadu_ps(start.add(16))] }
    }

    #[inline(always)]
    fn decode_f16(self, bytes: &[u8; 2 * LANES]) -> Self::Lanes {
        let start = bytes.as_ptr().cast::<__m256i>();
        // SAFETY: see above.
        unsafe {
            [_mm512_cvtph_ps(_mm256_loadu_si256(start)), _mm512_cvtph_ps(_mm256_loadu_si256(start.add(1)))]
        }
    }

    #[inline(always)]
    fn decode_bf16(self, bytes: &[u8; 2 * LANES]) -> Self::Lanes {
        let start = bytes.as_ptr().cast::<__m256i>();
        // SAFETY: see above.
        unsafe {
            let wide = |half| _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half));
            [
                _mm512_castsi512_ps(wide(_mm256_loadu_si256(start))),
                _mm512_castsi512_ps(wide(_mm256_loadu_si256(start.add(1)))),
            ]
        }
    }

    #[inline(always)]
    fn decode_i8(self, bytes: &[u8; LANES]) -> Self::Lanes {
        let start = bytes.as_ptr().cast::<__m128i>();
        // SAFETY: see above.
        unsafe {
            [
                _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(start))),
                _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(start.add(1)))),
            ]
        }
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], places: &[u8; LANES]) -> [u8; LANES] {
        // SAFETY: see above.
        unsafe { shuffled(table, places) }
    }
}
