//! AVX2, with and without products of bytes (AVX-VNNI). A vector of lanes is two registers.

use super::isa::{Halves, Isa, LANES, Line};
use super::quantise::QuantBlock;
use std::arch::x86_64::*;

/// AVX2 and F16C; AVX-VNNI too if so marked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ymm<const VNNI: bool>(());

impl<const VNNI: bool> Ymm<VNNI> {
    /// # Safety
    /// The processor has the instructions.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        Ymm(())
    }

    /// Applies an operation to both registers.
    #[inline(always)]
    fn both<T>(self, operation: impl Fn(usize) -> T) -> [T; 2] {
        [operation(0), operation(1)]
    }
}

/// Eight bytes of 16.
#[inline(always)]
fn eight(bytes: &[u8; LANES], half: usize) -> *const __m128i {
    bytes.as_chunks::<8>().0[half].as_ptr().cast()
}

// Every `unsafe` below: the value `self` proves that the processor has the instructions, and what is loaded or stored lies
// within the array that the reference is to.
impl<const VNNI: bool> Isa for Ymm<VNNI> {
    type Codes = [__m256i; 2];
    /// With VNNI the sums over the high and over the low plane, else the sums and nothing.
    type Sums = ([__m256i; 2], [__m256i; 2]);
    type Floats = [__m256; 2];

    const ROWS: usize = 2;

    #[inline(always)]
    fn codes(self, line: &Line) -> Self::Codes {
        let (halves, _) = line.0.as_chunks::<32>();
        // SAFETY: see above.
        self.both(|i| unsafe { _mm256_loadu_si256(halves[i].as_ptr().cast()) })
    }

    #[inline(always)]
    fn low(self, codes: Self::Codes) -> Self::Codes {
        // SAFETY: see above.
        self.both(|i| unsafe { _mm256_and_si256(codes[i], _mm256_set1_epi8(15)) })
    }

    #[inline(always)]
    fn high(self, codes: Self::Codes) -> Self::Codes {
        // SAFETY: see above.
        self.both(|i| unsafe { _mm256_and_si256(_mm256_srli_epi16::<4>(codes[i]), _mm256_set1_epi8(15)) })
    }

    #[inline(always)]
    fn pair(self, pairs: Self::Codes, index: usize) -> Self::Codes {
        // SAFETY: see above.
        self.both(|i| unsafe {
            let shifted = match index {
                0 => pairs[i],
                1 => _mm256_srli_epi16::<2>(pairs[i]),
                2 => _mm256_srli_epi16::<4>(pairs[i]),
                _ => _mm256_srli_epi16::<6>(pairs[i]),
            };
            _mm256_and_si256(shifted, _mm256_set1_epi8(3))
        })
    }

    #[inline(always)]
    fn with_pair(self, codes: Self::Codes, pairs: Self::Codes, index: usize) -> Self::Codes {
        // SAFETY: see above.
        self.both(|i| unsafe {
            let shifted = match index {
                0 => _mm256_slli_epi16::<4>(pairs[i]),
                1 => _mm256_slli_epi16::<2>(pairs[i]),
                2 => pairs[i],
                _ => _mm256_srli_epi16::<2>(pairs[i]),
            };
            _mm256_or_si256(codes[i], _mm256_and_si256(shifted, _mm256_set1_epi8(0x30)))
        })
    }

    #[inline(always)]
    fn with_bit(self, codes: Self::Codes, word: u64, value: u8) -> Self::Codes {
        // SAFETY: see above.
        self.both(|i| unsafe {
            // Every byte gets the byte of the word that has its bit, and keeps that bit alone.
            let word = _mm256_set1_epi32((word >> (32 * i)) as i32);
            let spread =
                _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
            let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
            let alone = _mm256_and_si256(_mm256_shuffle_epi8(word, spread), bit);
            let set = _mm256_cmpeq_epi8(alone, bit);
            _mm256_add_epi8(codes[i], _mm256_and_si256(set, _mm256_set1_epi8(value.cast_signed())))
        })
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], places: Self::Codes) -> Self::Codes {
        // SAFETY: see above.
        self.both(|i| unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            _mm256_shuffle_epi8(table, places[i])
        })
    }

    #[inline(always)]
    fn start(self, value: i32) -> Self::Sums {
        // SAFETY: see above.
        unsafe {
            let (value, zero) = ([_mm256_set1_epi32(value); 2], [_mm256_setzero_si256(); 2]);
            if VNNI { (zero, value) } else { (value, zero) }
        }
    }

    #[inline(always)]
    fn dot(
        self,
        (first, second): Self::Sums,
        codes: Self::Codes,
        block: &QuantBlock,
        group: usize,
    ) -> Self::Sums {
        if VNNI {
            // SAFETY: see above.
            let [high, low] = block.planes(group).map(|plane| unsafe { _mm256_set1_epi32(plane) });
            // SAFETY: see above.
            let dot = |sums, i: usize, plane| unsafe { _mm256_dpbusd_avx_epi32(sums, codes[i], plane) };
            (self.both(|i| dot(first[i], i, high)), self.both(|i| dot(second[i], i, low)))
        } else {
            // SAFETY: see above.
            let [even, odd] = block.words(group).map(|word| unsafe { _mm256_set1_epi32(word) });
            // SAFETY: see above.
            let sums = self.both(|i| unsafe {
                let even = _mm256_madd_epi16(_mm256_and_si256(codes[i], _mm256_set1_epi16(0xff)), even);
                let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(codes[i]), odd);
                _mm256_add_epi32(first[i], _mm256_add_epi32(even, odd))
            });
            (sums, second)
        }
    }

    #[inline(always)]
    fn rounded(self, (first, second): Self::Sums) -> Self::Floats {
        // SAFETY: see above.
        self.both(|i| unsafe {
            let sums = match VNNI {
                true => _mm256_add_epi32(_mm256_slli_epi32::<7>(first[i]), second[i]),
                false => first[i],
            };
            _mm256_cvtepi32_ps(sums)
        })
    }

    #[inline(always)]
    fn zero(self) -> Self::Floats {
        // SAFETY: see above.
        self.both(|_| unsafe { _mm256_setzero_ps() })
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Floats {
        // SAFETY: see above.
        self.both(|_| unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: see above.
        self.both(|i| unsafe { _mm256_add_ps(a[i], b[i]) })
    }

    #[inline(always)]
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: see above.
        self.both(|i| unsafe { _mm256_sub_ps(a[i], b[i]) })
    }

    #[inline(always)]
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        // SAFETY: see above.
        self.both(|i| unsafe { _mm256_mul_ps(a[i], b[i]) })
    }

    #[inline(always)]
    fn store(self, floats: Self::Floats, to: &mut [f32; LANES]) {
        for (to, floats) in to.as_chunks_mut::<8>().0.iter_mut().zip(floats) {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), floats) };
        }
    }

    #[inline(always)]
    fn halves(self, stored: &Halves) -> Self::Floats {
        let (halves, _) = stored.as_chunks::<8>();
        // SAFETY: see above.
        self.both(|i| unsafe { _mm256_cvtph_ps(_mm_loadu_si128(halves[i].as_ptr().cast())) })
    }

    #[inline(always)]
    fn unsigned(self, bytes: &[u8; LANES]) -> Self::Floats {
        // SAFETY: see above.
        self.both(|i| unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(eight(bytes, i)))) })
    }

    #[inline(always)]
    fn signed(self, bytes: &[i8; LANES]) -> Self::Floats {
        let (halves, _) = bytes.as_chunks::<8>();
        // SAFETY: see above.
        self.both(|i| unsafe {
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(halves[i].as_ptr().cast())))
        })
    }

    #[inline(always)]
    fn half_powers(self, exponents: &[u8; LANES]) -> Self::Floats {
        // SAFETY: see above.
        self.both(|i| unsafe {
            let exponents = _mm256_cvtepu8_epi32(_mm_loadl_epi64(eight(exponents, i)));
            let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(exponents, _mm256_set1_epi32(1)));
            let tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), exponents);
            let least = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), exponents);
            _mm256_castsi256_ps(_mm256_blendv_epi8(normal, tiny, least))
        })
    }

    #[inline(always)]
    fn bf16(self, line: &Line) -> [Self::Floats; 2] {
        let both = self.codes(line);
        // SAFETY: see above.
        unsafe {
            let upper = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
            [
                self.both(|i| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(both[i]))),
                self.both(|i| _mm256_castsi256_ps(_mm256_and_si256(both[i], upper))),
            ]
        }
    }

    /// Lanes with both inputs next to each other, four to a register.
    #[inline(always)]
    fn f16(self, line: &Line) -> [Self::Floats; 2] {
        let (quarters, _) = line.0.as_chunks::<16>();
        // SAFETY: see above.
        let values = |i: usize| unsafe { _mm256_cvtph_ps(_mm_loadu_si128(quarters[i].as_ptr().cast())) };
        [[values(0), values(1)], [values(2), values(3)]]
    }

    #[inline(always)]
    fn f16_inputs(self, [first, second]: [f32; 2]) -> [Self::Floats; 2] {
        let both = u64::from(first.to_bits()) | (u64::from(second.to_bits()) << 32);
        // SAFETY: see above.
        [[unsafe { _mm256_castsi256_ps(_mm256_set1_epi64x(both.cast_signed())) }; 2]; 2]
    }

    #[inline(always)]
    fn f16_sum(self, pair: [Self::Floats; 2]) -> Self::Floats {
        // SAFETY: see above.
        self.both(|i| unsafe {
            // Within each half of the registers: lanes 0, 1 (or 2, 3) of the first, then of the second.
            let sums = _mm256_hadd_ps(pair[i][0], pair[i][1]);
            _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(sums)))
        })
    }
}
