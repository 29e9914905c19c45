//! AVX-512, with and without products of bytes (VNNI).

use super::isa::{Halves, Isa, LANES, Line};
use super::quantise::QuantBlock;
use std::arch::x86_64::*;

/// AVX-512 F, BW, DQ and VL; VNNI too if so marked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zmm<const VNNI: bool>(());

impl<const VNNI: bool> Zmm<VNNI> {
    /// # Safety
    /// The processor has the instructions.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        Zmm(())
    }
}

// Every `unsafe` below: the value `self` proves that the processor has the instructions, and what is loaded or stored lies
// within the array that the reference is to.
impl<const VNNI: bool> Isa for Zmm<VNNI> {
    type Codes = __m512i;
    /// With VNNI the sums over the high and over the low plane, else the sums and nothing.
    type Sums = (__m512i, __m512i);
    type Floats = __m512;

    const ROWS: usize = 4;

    #[inline(always)]
    fn codes(self, line: &Line) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
    }

    #[inline(always)]
    fn low(self, codes: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_and_si512(codes, _mm512_set1_epi8(15)) }
    }

    #[inline(always)]
    fn high(self, codes: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_and_si512(_mm512_srli_epi16::<4>(codes), _mm512_set1_epi8(15)) }
    }

    #[inline(always)]
    fn pair(self, pairs: __m512i, index: usize) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let shifted = match index {
                0 => pairs,
                1 => _mm512_srli_epi16::<2>(pairs),
                2 => _mm512_srli_epi16::<4>(pairs),
                _ => _mm512_srli_epi16::<6>(pairs),
            };
            _mm512_and_si512(shifted, _mm512_set1_epi8(3))
        }
    }

    #[inline(always)]
    fn with_pair(self, codes: __m512i, pairs: __m512i, index: usize) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let shifted = match index {
                0 => _mm512_slli_epi16::<4>(pairs),
                1 => _mm512_slli_epi16::<2>(pairs),
                2 => pairs,
                _ => _mm512_srli_epi16::<2>(pairs),
            };
            // a | (b & c)
            _mm512_ternarylogic_epi32::<0xf8>(codes, shifted, _mm512_set1_epi8(0x30))
        }
    }

    #[inline(always)]
    fn with_bit(self, codes: __m512i, word: u64, value: u8) -> __m512i {
        // SAFETY: see above.
        unsafe { _mm512_mask_add_epi8(codes, word, codes, _mm512_set1_epi8(value.cast_signed())) }
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], places: __m512i) -> __m512i {
        // SAFETY: see above.
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, places)
        }
    }

    #[inline(always)]
    fn start(self, value: i32) -> Self::Sums {
        // SAFETY: see above.
        unsafe {
            let (value, zero) = (_mm512_set1_epi32(value), _mm512_setzero_si512());
            if VNNI { (zero, value) } else { (value, zero) }
        }
    }

    #[inline(always)]
    fn dot(
        self,
        (first, second): Self::Sums,
        codes: __m512i,
        block: &QuantBlock,
        group: usize,
    ) -> Self::Sums {
        // SAFETY: see above.
        unsafe {
            if VNNI {
                let [high, low] = block.planes(group);
                let high = _mm512_dpbusd_epi32(first, codes, _mm512_set1_epi32(high));
                (high, _mm512_dpbusd_epi32(second, codes, _mm512_set1_epi32(low)))
            } else {
                let [even, odd] = block.words(group);
                let evens = _mm512_and_si512(codes, _mm512_set1_epi16(0xff));
                let even = _mm512_madd_epi16(evens, _mm512_set1_epi32(even));
                let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(codes), _mm512_set1_epi32(odd));
                (_mm512_add_epi32(first, _mm512_add_epi32(even, odd)), second)
            }
        }
    }

    #[inline(always)]
    fn rounded(self, (first, second): Self::Sums) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let sums = if VNNI { _mm512_add_epi32(_mm512_slli_epi32::<7>(first), second) } else { first };
            _mm512_cvtepi32_ps(sums)
        }
    }

    #[inline(always)]
    fn zero(self) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn store(self, floats: __m512, to: &mut [f32; LANES]) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), floats) }
    }

    #[inline(always)]
    fn halves(self, stored: &Halves) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(stored.as_ptr().cast())) }
    }

    #[inline(always)]
    fn unsigned(self, bytes: &[u8; LANES]) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn signed(self, bytes: &[i8; LANES]) -> __m512 {
        // SAFETY: see above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn half_powers(self, exponents: &[u8; LANES]) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let exponents = _mm512_cvtepu8_epi32(_mm_loadu_si128(exponents.as_ptr().cast()));
            let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(exponents, _mm512_set1_epi32(1)));
            let least = _mm512_cmplt_epu32_mask(exponents, _mm512_set1_epi32(2));
            let tiny = _mm512_set1_epi32(0x0020_0000);
            _mm512_castsi512_ps(_mm512_mask_sllv_epi32(normal, least, tiny, exponents))
        }
    }

    #[inline(always)]
    fn bf16(self, line: &Line) -> [__m512; 2] {
        // SAFETY: see above.
        unsafe {
            let both = self.codes(line);
            let second = _mm512_and_si512(both, _mm512_set1_epi32(0xffff_0000_u32.cast_signed()));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(both)), _mm512_castsi512_ps(second)]
        }
    }

    /// The first eight lanes with both inputs next to each other, and the other lanes.
    #[inline(always)]
    fn f16(self, line: &Line) -> [__m512; 2] {
        let (halves, _) = line.0.as_chunks::<32>();
        // SAFETY: see above.
        unsafe {
            [
                _mm512_cvtph_ps(_mm256_loadu_si256(halves[0].as_ptr().cast())),
                _mm512_cvtph_ps(_mm256_loadu_si256(halves[1].as_ptr().cast())),
            ]
        }
    }

    #[inline(always)]
    fn f16_inputs(self, [first, second]: [f32; 2]) -> [__m512; 2] {
        let both = u64::from(first.to_bits()) | (u64::from(second.to_bits()) << 32);
        // SAFETY: see above.
        [unsafe { _mm512_castsi512_ps(_mm512_set1_epi64(both.cast_signed())) }; 2]
    }

    #[inline(always)]
    fn f16_sum(self, [low, high]: [__m512; 2]) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            self.add(_mm512_permutex2var_ps(low, even, high), _mm512_permutex2var_ps(low, odd, high))
        }
    }
}
