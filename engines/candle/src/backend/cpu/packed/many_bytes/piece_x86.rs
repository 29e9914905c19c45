//! Unpacking with AVX2 and AVX-512.

use super::super::layout::PANEL_ROWS;
use super::piece::{Line, Piece, Rows, Vectors, unpack};
use std::arch::x86_64::*;

/// 512 bits. A value is made only in functions that are compiled for its instructions.
#[derive(Clone, Copy)]
pub(super) struct Wide;
/// Twice 256 bits. The same holds.
#[derive(Clone, Copy)]
struct Slim;

/// [`unpack`] with AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) fn avx512<const NUMBER: usize, const NARROW: bool>(cells: &[u8], piece: &mut Piece) {
    unpack::<_, NUMBER, NARROW>(Wide, cells, piece);
}

/// [`unpack`] with AVX2.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn avx2<const NUMBER: usize>(cells: &[u8], piece: &mut Piece) {
    unpack::<_, NUMBER, true>(Slim, cells, piece);
}

/// A byte's worth of bits in every lane of 16 bits, so that shifted lanes carry nothing from byte to byte.
macro_rules! shifted {
    ($left:expr, $bytes:expr, $sll:ident, $srl:ident) => {{
        let count = _mm_cvtsi32_si128($left.abs());
        if $left < 0 { $srl($bytes, count) } else { $sll($bytes, count) }
    }};
}

impl Vectors for Wide {
    type Bytes = __m512i;
    type Floats = __m512;

    #[inline(always)]
    fn load(self, line: &Line) -> __m512i {
        // SAFETY: a line is 64 bytes.
        unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, bytes: __m512i, line: &mut Line) {
        // SAFETY: a line is 64 bytes.
        unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), bytes) }
    }

    #[inline(always)]
    fn field(self, bytes: __m512i, left: i32, mask: u8) -> __m512i {
        // SAFETY: the instructions are there.
        unsafe {
            let shifted = shifted!(left, bytes, _mm512_sll_epi16, _mm512_srl_epi16);
            _mm512_and_si512(shifted, _mm512_set1_epi8(mask.cast_signed()))
        }
    }

    #[inline(always)]
    fn add_bits(self, bytes: __m512i, bits: u64, value: u8) -> __m512i {
        // SAFETY: the instructions are there.
        unsafe { _mm512_mask_add_epi8(bytes, bits, bytes, _mm512_set1_epi8(value.cast_signed())) }
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the instructions are there.
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn flip(self, bytes: __m512i, mask: u8) -> __m512i {
        // SAFETY: the instructions are there.
        unsafe { _mm512_xor_si512(bytes, _mm512_set1_epi8(mask.cast_signed())) }
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], places: __m512i) -> __m512i {
        // SAFETY: the instructions are there, and the table is 16 bytes.
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, places)
        }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: the instructions are there.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn halves(self, bytes: &[u8; 2 * PANEL_ROWS]) -> __m512 {
        // SAFETY: the instructions are there, and 32 bytes.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast())) }
    }

    #[inline(always)]
    fn unsigned(self, bytes: &[u8; PANEL_ROWS]) -> __m512 {
        // SAFETY: the instructions are there, and 16 bytes.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn signed(self, bytes: &[u8; PANEL_ROWS]) -> __m512 {
        // SAFETY: the instructions are there, and 16 bytes.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the instructions are there.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn load_floats(self, rows: &Rows) -> __m512 {
        // SAFETY: 16 floats.
        unsafe { _mm512_loadu_ps(rows.as_ptr()) }
    }

    #[inline(always)]
    fn store_floats(self, floats: __m512, rows: &mut Rows) {
        // SAFETY: 16 floats.
        unsafe { _mm512_storeu_ps(rows.as_mut_ptr(), floats) }
    }
}

impl Vectors for Slim {
    type Bytes = [__m256i; 2];
    type Floats = [__m256; 2];

    #[inline(always)]
    fn load(self, line: &Line) -> [__m256i; 2] {
        let start = line.as_ptr().cast::<__m256i>();
        // SAFETY: a line is 64 bytes.
        unsafe { [_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))] }
    }

    #[inline(always)]
    fn store(self, bytes: [__m256i; 2], line: &mut Line) {
        let start = line.as_mut_ptr().cast::<__m256i>();
        // SAFETY: a line is 64 bytes.
        unsafe {
            _mm256_storeu_si256(start, bytes[0]);
            _mm256_storeu_si256(start.add(1), bytes[1]);
        }
    }

    #[inline(always)]
    fn field(self, bytes: [__m256i; 2], left: i32, mask: u8) -> [__m256i; 2] {
        bytes.map(|bytes| {
            // SAFETY: the instructions are there.
            unsafe {
                let shifted = shifted!(left, bytes, _mm256_sll_epi16, _mm256_srl_epi16);
                _mm256_and_si256(shifted, _mm256_set1_epi8(mask.cast_signed()))
            }
        })
    }

    #[inline(always)]
    fn add_bits(self, bytes: [__m256i; 2], bits: u64, value: u8) -> [__m256i; 2] {
        let halves = [bits as u32, (bits >> 32) as u32];
        std::array::from_fn(|half| {
            // SAFETY: the instructions are there.
            unsafe {
                // Every byte gets the eight bits that its own is among, then keeps its own.
                let spread = _mm256_setr_epi64x(
                    0,
                    0x0101_0101_0101_0101,
                    0x0202_0202_0202_0202,
                    0x0303_0303_0303_0303,
                );
                let own = _mm256_set1_epi64x(0x8040_2010_0804_0201u64.cast_signed());
                let bits = _mm256_shuffle_epi8(_mm256_set1_epi32(halves[half].cast_signed()), spread);
                let set = _mm256_cmpeq_epi8(_mm256_and_si256(bits, own), own);
                let value = _mm256_set1_epi8(value.cast_signed());
                _mm256_add_epi8(bytes[half], _mm256_and_si256(set, value))
            }
        })
    }

    #[inline(always)]
    fn or(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: the instructions are there.
        std::array::from_fn(|half| unsafe { _mm256_or_si256(a[half], b[half]) })
    }

    #[inline(always)]
    fn flip(self, bytes: [__m256i; 2], mask: u8) -> [__m256i; 2] {
        // SAFETY: the instructions are there.
        bytes.map(|bytes| unsafe { _mm256_xor_si256(bytes, _mm256_set1_epi8(mask.cast_signed())) })
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], places: [__m256i; 2]) -> [__m256i; 2] {
        places.map(|places| {
            // SAFETY: the instructions are there, and the table is 16 bytes.
            unsafe {
                let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
                _mm256_shuffle_epi8(table, places)
            }
        })
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [__m256; 2] {
        // SAFETY: the instructions are there.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    fn halves(self, bytes: &[u8; 2 * PANEL_ROWS]) -> [__m256; 2] {
        let start = bytes.as_ptr().cast::<__m128i>();
        // SAFETY: the instructions are there, and 32 bytes.
        std::array::from_fn(|half| unsafe { _mm256_cvtph_ps(_mm_loadu_si128(start.add(half))) })
    }

    #[inline(always)]
    fn unsigned(self, bytes: &[u8; PANEL_ROWS]) -> [__m256; 2] {
        let start = bytes.as_ptr();
        std::array::from_fn(|half| {
            // SAFETY: the instructions are there, and 16 bytes.
            unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(start.add(8 * half).cast()))) }
        })
    }

    #[inline(always)]
    fn signed(self, bytes: &[u8; PANEL_ROWS]) -> [__m256; 2] {
        let start = bytes.as_ptr();
        std::array::from_fn(|half| {
            // SAFETY: the instructions are there, and 16 bytes.
            unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(start.add(8 * half).cast()))) }
        })
    }

    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the instructions are there.
        std::array::from_fn(|half| unsafe { _mm256_mul_ps(a[half], b[half]) })
    }

    #[inline(always)]
    fn load_floats(self, rows: &Rows) -> [__m256; 2] {
        let start = rows.as_ptr();
        // SAFETY: 16 floats.
        unsafe { [_mm256_loadu_ps(start), _mm256_loadu_ps(start.add(8))] }
    }

    #[inline(always)]
    fn store_floats(self, floats: [__m256; 2], rows: &mut Rows) {
        let start = rows.as_mut_ptr();
        // SAFETY: 16 floats.
        unsafe {
            _mm256_storeu_ps(start, floats[0]);
            _mm256_storeu_ps(start.add(8), floats[1]);
        }
    }
}
