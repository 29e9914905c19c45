//! Weights as tiles: from a cell of a panel to bf16, `[16 pairs of inputs][16 rows][2 inputs]` for each 32 inputs.
//!
//! A code `c` of up to 8 bits becomes `1 + c / 256` by putting it into the mantissa of 1, and the value is
//! `256 * scale * (1 + c / 256) + (shift - 256 * scale)`, where a weight is `scale * c + shift`: one shift, one logical
//! operation and one multiplication with addition for 16 weights, without a conversion.

use super::super::layout::{Cell, Codes};
use crate::backend::cpu::kernels::{IQ4_LEVELS, MXFP4_LEVELS, TILE, TILE_ROW};
use plimsoll_formats::Dtype;
use std::arch::x86_64::*;

/// A storage type, for functions that are compiled for each.
pub(super) trait Kind {
    /// The type.
    const DTYPE: Dtype;
    /// Its cell.
    const CELL: Cell = match Cell::of(Self::DTYPE) {
        Some(cell) => cell,
        None => panic!("this type has no panels"),
    };
    /// Whether the cell is a tile already.
    const IS_TILE: bool = matches!(Self::DTYPE, Dtype::BF16);
    /// Tiles for 32 inputs: f16 has more bits than bf16, and the rest goes into a second tile.
    const PLANES: usize = if matches!(Self::DTYPE, Dtype::F16) { 2 } else { 1 };
    /// Tiles of activations for 32 inputs.
    const ROW_PLANES: usize = Self::PLANES;
}

macro_rules! kinds {
    ($($name:ident),*) => {
        $(
            #[allow(non_camel_case_types)]
            pub(super) struct $name;
            impl Kind for $name {
                const DTYPE: Dtype = Dtype::$name;
            }
        )*

        /// Evaluates an expression for the [`Kind`] of a type that has panels, with so many planes of activations; for f32,
        /// which has none, nothing.
        macro_rules! with_kind {
            ($dtype:expr, $planes:expr, $kind:ident => $body:expr) => {
                match $dtype {
                    Dtype::F32 => {}
                    Dtype::BF16 if $planes == 2 => { type $kind = weights::ExactBf16; $body }
                    $(Dtype::$name => { type $kind = weights::$name; $body })*
                }
            };
        }
        pub(super) use with_kind;
    };
}

/// bf16 weights with activations in two planes.
pub(super) struct ExactBf16;

impl Kind for ExactBf16 {
    const DTYPE: Dtype = Dtype::BF16;
    const ROW_PLANES: usize = 2;
}

kinds!(F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2K, Q3K, Q4K, Q5K, Q6K, IQ4NL, IQ4XS, MXFP4);

/// 256 times the scales of the panel's rows, and what is added to the products with them.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    scale: __m512,
    shift: __m512,
}

impl Scales {
    /// What the first part replaces.
    pub(super) fn none() -> Self {
        // SAFETY: vectors of floats, for which zeros will do.
        unsafe { std::mem::zeroed() }
    }
}

/// Parts of a tile that can be unpacked by themselves, of two lines each.
pub(super) const PARTS: usize = 8;

/// Unpacks 32 inputs of a cell, from `32 * run` on, into a tile, or [`Kind::PLANES`] of them.
///
/// # Safety
/// The processor has AVX-512 F, BW, DQ, VL, BF16 and VBMI. There is a whole cell, and room for the tiles, both aligned to
/// cache lines.
#[inline(always)]
pub(super) unsafe fn unpack<K: Kind>(cell: *const u8, run: usize, tile: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut scales = Scales::none();
        for part in 0..PARTS {
            unpack_part::<K>(cell, run, part, &mut scales, tile);
        }
    }
}

/// The same for one of the [`PARTS`]; the scales are those that the part before it left.
///
/// # Safety
/// As [`unpack`].
#[inline(always)]
pub(super) unsafe fn unpack_part<K: Kind>(
    cell: *const u8,
    run: usize,
    part: usize,
    scales: &mut Scales,
    tile: *mut u8,
) {
    // SAFETY: the caller's promise; offsets are those of the cell's sections.
    unsafe {
        if matches!(K::CELL.kind, Codes::Plain) {
            for line in 2 * part..2 * part + 2 {
                plain(cell.add(TILE_ROW * line), tile.add(TILE_ROW * line));
            }
            return;
        }
        if part == 0 {
            *scales = self::scales::<K>(cell, run * 32 / K::CELL.group);
        } else if part == PARTS / 2 && K::CELL.group == 16 {
            *scales = self::scales::<K>(cell, 2 * run + 1);
        }
        let codes = codes::<K>(cell, run, part);
        let a = values(_mm512_slli_epi32::<15>(codes), *scales);
        let b = values(_mm512_slli_epi32::<7>(codes), *scales);
        let c = values(_mm512_srli_epi32::<1>(codes), *scales);
        let d = values(_mm512_srli_epi32::<9>(codes), *scales);
        let line = tile.add(2 * TILE_ROW * part);
        _mm512_store_si512(line.cast(), paired(a, b));
        _mm512_store_si512(line.add(TILE_ROW).cast(), paired(c, d));
    }
}

/// A line of f16 to two: the nearest bf16, then, a tile further on, what is left, which is exact.
///
/// # Safety
/// As [`unpack`].
#[inline(always)]
unsafe fn plain(halves: *const u8, line: *mut u8) {
    // SAFETY: the caller's promise: a line of the cell and of each tile.
    unsafe {
        let halves = _mm512_load_si512(halves.cast());
        let low = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
        let high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(halves));
        let upper: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
        let widen = |half| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
        let low = _mm512_sub_ps(low, widen(_mm512_castsi512_si256(upper)));
        let high = _mm512_sub_ps(high, widen(_mm512_extracti64x4_epi64::<1>(upper)));
        let rest: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
        _mm512_store_si512(line.cast(), upper);
        _mm512_store_si512(line.add(TILE).cast(), rest);
    }
}

/// `256 * scale * (1 + c / 256) + shift` for the code in the upper eight bits of each mantissa.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn values(codes: __m512i, scales: Scales) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        const AND_OR: i32 = 0xea;
        let one = _mm512_set1_epi32(0x3f80_0000);
        let number = _mm512_ternarylogic_epi32::<AND_OR>(codes, _mm512_set1_epi32(0x007f_8000), one);
        _mm512_fmadd_ps(_mm512_castsi512_ps(number), scales.scale, scales.shift)
    }
}

/// bf16 of two registers, those of the first in the even places. Rounds to the nearest, halves up. A NaN must have no bits in
/// the lower half.
///
/// # Safety
/// The processor has AVX-512 BW.
#[inline(always)]
unsafe fn paired(even: __m512, odd: __m512) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let half = _mm512_set1_epi32(0x8000);
        let even = _mm512_srli_epi32::<16>(_mm512_add_epi32(_mm512_castps_si512(even), half));
        let odd = _mm512_add_epi32(_mm512_castps_si512(odd), half);
        _mm512_mask_blend_epi16(0xaaaa_aaaa, even, odd)
    }
}

/// The scales of a group of inputs.
///
/// # Safety
/// As [`unpack`].
#[inline(always)]
unsafe fn scales<K: Kind>(cell: *const u8, group: usize) -> Scales {
    let half = |at: usize| {
        // SAFETY: the caller's promise: 16 numbers of the cell.
        unsafe { _mm512_cvtph_ps(_mm256_load_si256(cell.add(at).cast())) }
    };
    // SAFETY: as above.
    let byte = |at: usize| unsafe { _mm_load_si128(cell.add(at + 16 * group).cast()) };
    let of = K::CELL;
    // SAFETY: the caller's promise.
    unsafe {
        let unsigned = |bytes| _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
        let (scale, shift) = match K::DTYPE {
            Dtype::Q4_1 | Dtype::Q5_1 => (half(32 * group), half(of.mins + 32 * group)),
            Dtype::Q4K | Dtype::Q5K => {
                let min = _mm512_mul_ps(half(of.mins), unsigned(byte(of.min_factors)));
                (_mm512_mul_ps(half(0), unsigned(byte(of.factors))), _mm512_sub_ps(_mm512_setzero_ps(), min))
            }
            Dtype::Q2K => {
                let (factors, nibble) = (byte(of.factors), _mm_set1_epi8(15));
                let min = unsigned(_mm_and_si128(_mm_srli_epi16::<4>(factors), nibble));
                let min = _mm512_mul_ps(half(of.mins), min);
                let scale = _mm512_mul_ps(half(0), unsigned(_mm_and_si128(factors, nibble)));
                (scale, _mm512_sub_ps(_mm512_setzero_ps(), min))
            }
            _ => {
                let scale = match K::DTYPE {
                    Dtype::Q6K | Dtype::Q3K | Dtype::IQ4XS => {
                        _mm512_mul_ps(half(0), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(byte(of.factors))))
                    }
                    Dtype::MXFP4 => halves_of_powers(byte(0)),
                    _ => half(32 * group),
                };
                (scale, _mm512_mul_ps(scale, _mm512_set1_ps(-zero_of(K::DTYPE))))
            }
        };
        let scale = _mm512_mul_ps(scale, _mm512_set1_ps(256.0));
        // NaNs as `paired` wants them.
        let clean = |value| {
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
            _mm512_mask_blend_ps(nan, value, _mm512_set1_ps(f32::NAN))
        };
        Scales { scale: clean(scale), shift: clean(_mm512_sub_ps(shift, scale)) }
    }
}

/// `2^(x - 128)` of bytes.
///
/// # Safety
/// The processor has AVX-512 F.
#[inline(always)]
unsafe fn halves_of_powers(bytes: __m128i) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let powers = _mm512_cvtepu8_epi32(bytes);
        let normal = _mm512_slli_epi32::<23>(_mm512_sub_epi32(powers, _mm512_set1_epi32(1)));
        let small = _mm512_cmplt_epu32_mask(powers, _mm512_set1_epi32(2));
        let denormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), powers);
        _mm512_castsi512_ps(_mm512_mask_blend_epi32(small, normal, denormal))
    }
}

/// The code that stands for zero in types without offsets.
const fn zero_of(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::Q4_0 => 8.0,
        Dtype::Q5_0 => 16.0,
        Dtype::Q6K => 32.0,
        Dtype::Q3K => 4.0,
        // Q8_0, and the levels of tables, which have 128 added.
        _ => 128.0,
    }
}

/// The codes of four inputs, a byte each, `[16 rows][4 inputs]`. Table types give their levels, 128 more each.
///
/// # Safety
/// As [`unpack`].
#[inline(always)]
unsafe fn codes<K: Kind>(cell: *const u8, run: usize, group: usize) -> __m512i {
    let of = K::CELL;
    // SAFETY: the caller's promise: lines of the cell's sections.
    let line = |at: usize| unsafe { _mm512_load_si512(cell.add(at).cast()) };
    let word = |number: u8| {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_epi8(number.cast_signed()) }
    };
    let nibble = || {
        let both = line(of.codes + 256 * run + 64 * (group % 4));
        // SAFETY: the caller's promise.
        unsafe { _mm512_and_si512(if group < 4 { both } else { _mm512_srli_epi16::<4>(both) }, word(15)) }
    };
    // Two bits of each byte, at bit `to`.
    let pair = |section: usize, to: usize| {
        let four = line(section + 128 * run + 64 * (group / 4));
        let at = 2 * (group % 4);
        // SAFETY: the caller's promise.
        unsafe {
            let moved = match at > to {
                true => _mm512_srlv_epi16(four, _mm512_set1_epi16((at - to) as i16)),
                false => _mm512_sllv_epi16(four, _mm512_set1_epi16((to - at) as i16)),
            };
            _mm512_and_si512(moved, word(3 << to))
        }
    };
    // SAFETY: the caller's promise.
    let bit = || unsafe { cell.add(of.upper + 64 * run + 8 * group).cast::<u64>().read() };
    // SAFETY: the caller's promise.
    unsafe {
        match of.kind {
            Codes::Plain => _mm512_setzero_si512(),
            Codes::Bytes => line(of.codes + 512 * run + 64 * group),
            Codes::Nibbles => match levels(K::DTYPE) {
                Some(levels) => _mm512_shuffle_epi8(_mm512_loadu_si512(levels.as_ptr().cast()), nibble()),
                None => nibble(),
            },
            Codes::NibblesBits => {
                let codes = nibble();
                _mm512_mask_add_epi8(codes, bit(), codes, word(16))
            }
            Codes::NibblesPairs => _mm512_or_si512(nibble(), pair(of.upper, 4)),
            Codes::Pairs => pair(of.codes, 0),
            Codes::PairsBits => {
                let codes = pair(of.codes, 0);
                _mm512_mask_add_epi8(codes, bit(), codes, word(4))
            }
        }
    }
}

/// The levels that codes choose from, 128 more each, for each sixteen bytes of a register.
const fn levels(dtype: Dtype) -> Option<&'static [u8; 64]> {
    const fn raised(levels: &[i8; 16]) -> [u8; 64] {
        let mut all = [0; 64];
        let mut at = 0;
        while at < 64 {
            all[at] = levels[at % 16].cast_unsigned().wrapping_add(128);
            at += 1;
        }
        all
    }
    static IQ4: [u8; 64] = raised(&IQ4_LEVELS);
    static MXFP4: [u8; 64] = raised(&MXFP4_LEVELS);
    match dtype {
        Dtype::IQ4NL | Dtype::IQ4XS => Some(&IQ4),
        Dtype::MXFP4 => Some(&MXFP4),
        _ => None,
    }
}
