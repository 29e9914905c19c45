//! Tiles with AVX2, or with AVX-512 without VNNI: products of pairs of bytes in sums of 16 bits, which hold so many of them
//! as the codes are small.
//!
//! The sum of the products of two codes of 4 bits with inputs of 8 is below 2^12, so eight such sums fit into 16 bits before
//! they must be widened; with 5 bits four, with 6 bits two. Signed codes of 8 bits fit once, when the sign moves to the input.

use super::inputs::{HALVES, MAIN, MOST_ROWS, ORIGIN};
use super::piece::{Line, Rows};
use super::tile::Operands;
use std::arch::x86_64::*;

/// 512 bits. A value is made only in functions that are compiled for its instructions.
#[derive(Clone, Copy)]
struct Wide;
/// Twice 256 bits. The same holds.
#[derive(Clone, Copy)]
struct Slim;

/// Vectors over the 16 rows of a panel. A value is the proof that the processor has their instructions.
trait Products: Copy {
    /// Unsigned codes.
    type Codes: Copy;
    /// Signed codes, as magnitudes and signs.
    type Signed: Copy;
    /// The four inputs of a row, for every row of the panel.
    type Input: Copy;
    /// Sums of products of two codes, 16 bits.
    type Pairs: Copy;
    /// Sums of 32 bits.
    type Sums: Copy;
    /// Scales, and [`ORIGIN`] times as much less than nothing.
    type Scales: Copy;

    fn codes(self, line: &Line) -> Self::Codes;
    fn signed(self, line: &Line) -> Self::Signed;
    fn input(self, four: i32) -> Self::Input;
    fn pairs(self, codes: Self::Codes, input: Self::Input) -> Self::Pairs;
    fn signed_pairs(self, codes: Self::Signed, input: Self::Input) -> Self::Pairs;
    fn add(self, a: Self::Pairs, b: Self::Pairs) -> Self::Pairs;
    /// Sums that begin at [`ORIGIN`].
    fn origin(self) -> Self::Sums;
    /// Adds the pairs' sums up by two.
    fn widen(self, sums: Self::Sums, pairs: Self::Pairs) -> Self::Sums;
    fn scales(self, scales: &Rows) -> Self::Scales;
    /// Adds `scales * scale * sums` to the totals and, of shifted types, `shifts * share`.
    ///
    /// # Safety
    /// The pointers are to 16 floats.
    unsafe fn finish(
        self,
        sums: Self::Sums,
        scales: Self::Scales,
        scale: f32,
        shift: Option<(*const f32, f32)>,
        first: bool,
        totals: *mut f32,
    );
}

impl Products for Wide {
    type Codes = __m512i;
    type Signed = (__m512i, __mmask64);
    type Input = __m512i;
    type Pairs = __m512i;
    type Sums = __m512i;
    type Scales = [__m512; 2];

    #[inline(always)]
    fn codes(self, line: &Line) -> __m512i {
        // SAFETY: a line is 64 bytes.
        unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
    }

    #[inline(always)]
    fn signed(self, line: &Line) -> (__m512i, __mmask64) {
        let codes = self.codes(line);
        // SAFETY: the instructions are there.
        unsafe { (_mm512_abs_epi8(codes), _mm512_movepi8_mask(codes)) }
    }

    #[inline(always)]
    fn input(self, four: i32) -> __m512i {
        // SAFETY: the instructions are there.
        unsafe { _mm512_set1_epi32(four) }
    }

    #[inline(always)]
    fn pairs(self, codes: __m512i, input: __m512i) -> __m512i {
        // SAFETY: the instructions are there.
        unsafe { _mm512_maddubs_epi16(codes, input) }
    }

    #[inline(always)]
    fn signed_pairs(self, codes: (__m512i, __mmask64), input: __m512i) -> __m512i {
        // SAFETY: the instructions are there.
        unsafe {
            let input = _mm512_mask_sub_epi8(input, codes.1, _mm512_setzero_si512(), input);
            _mm512_maddubs_epi16(codes.0, input)
        }
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the instructions are there.
        unsafe { _mm512_add_epi16(a, b) }
    }

    #[inline(always)]
    fn origin(self) -> __m512i {
        // SAFETY: the instructions are there.
        unsafe { _mm512_castps_si512(_mm512_set1_ps(ORIGIN)) }
    }

    #[inline(always)]
    fn widen(self, sums: __m512i, pairs: __m512i) -> __m512i {
        // SAFETY: the instructions are there.
        unsafe { _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1))) }
    }

    #[inline(always)]
    fn scales(self, scales: &Rows) -> [__m512; 2] {
        // SAFETY: the instructions are there, and 16 floats.
        unsafe {
            let scales = _mm512_loadu_ps(scales.as_ptr());
            [scales, _mm512_mul_ps(scales, _mm512_set1_ps(-ORIGIN))]
        }
    }

    #[inline(always)]
    unsafe fn finish(
        self,
        sums: __m512i,
        [scales, origin]: [__m512; 2],
        scale: f32,
        shift: Option<(*const f32, f32)>,
        first: bool,
        totals: *mut f32,
    ) {
        // SAFETY: the instructions are there, and 16 floats at each pointer.
        unsafe {
            let total = if first { _mm512_setzero_ps() } else { _mm512_loadu_ps(totals) };
            let whole = _mm512_fmadd_ps(_mm512_castsi512_ps(sums), scales, origin);
            let mut total = _mm512_fmadd_ps(whole, _mm512_set1_ps(scale), total);
            if let Some((shifts, share)) = shift {
                total = _mm512_fmadd_ps(_mm512_loadu_ps(shifts), _mm512_set1_ps(share), total);
            }
            _mm512_storeu_ps(totals, total);
        }
    }
}

impl Products for Slim {
    type Codes = [__m256i; 2];
    type Signed = [__m256i; 2];
    type Input = __m256i;
    type Pairs = [__m256i; 2];
    type Sums = [__m256i; 2];
    type Scales = [[__m256; 2]; 2];

    #[inline(always)]
    fn codes(self, line: &Line) -> [__m256i; 2] {
        let start = line.as_ptr().cast::<__m256i>();
        // SAFETY: a line is 64 bytes.
        unsafe { [_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))] }
    }

    #[inline(always)]
    fn signed(self, line: &Line) -> [__m256i; 2] {
        self.codes(line)
    }

    #[inline(always)]
    fn input(self, four: i32) -> __m256i {
        // SAFETY: the instructions are there.
        unsafe { _mm256_set1_epi32(four) }
    }

    #[inline(always)]
    fn pairs(self, codes: [__m256i; 2], input: __m256i) -> [__m256i; 2] {
        // SAFETY: the instructions are there.
        unsafe { [_mm256_maddubs_epi16(codes[0], input), _mm256_maddubs_epi16(codes[1], input)] }
    }

    #[inline(always)]
    fn signed_pairs(self, codes: [__m256i; 2], input: __m256i) -> [__m256i; 2] {
        let [a, b] = codes;
        // SAFETY: the instructions are there.
        unsafe {
            [
                _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(input, a)),
                _mm256_maddubs_epi16(_mm256_abs_epi8(b), _mm256_sign_epi8(input, b)),
            ]
        }
    }

    #[inline(always)]
    fn add(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: the instructions are there.
        unsafe { [_mm256_add_epi16(a[0], b[0]), _mm256_add_epi16(a[1], b[1])] }
    }

    #[inline(always)]
    fn origin(self) -> [__m256i; 2] {
        // SAFETY: the instructions are there.
        unsafe { [_mm256_castps_si256(_mm256_set1_ps(ORIGIN)); 2] }
    }

    #[inline(always)]
    fn widen(self, sums: [__m256i; 2], pairs: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: the instructions are there.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            [
                _mm256_add_epi32(sums[0], _mm256_madd_epi16(pairs[0], ones)),
                _mm256_add_epi32(sums[1], _mm256_madd_epi16(pairs[1], ones)),
            ]
        }
    }

    #[inline(always)]
    fn scales(self, scales: &Rows) -> [[__m256; 2]; 2] {
        let [lower, upper] = [0, 8].map(|from| scales[from..].as_ptr());
        // SAFETY: the instructions are there, and 8 floats from each place on.
        unsafe {
            let (lower, upper) = (_mm256_loadu_ps(lower), _mm256_loadu_ps(upper));
            let origin = _mm256_set1_ps(-ORIGIN);
            [[lower, _mm256_mul_ps(lower, origin)], [upper, _mm256_mul_ps(upper, origin)]]
        }
    }

    #[inline(always)]
    unsafe fn finish(
        self,
        sums: [__m256i; 2],
        scales: [[__m256; 2]; 2],
        scale: f32,
        shift: Option<(*const f32, f32)>,
        first: bool,
        totals: *mut f32,
    ) {
        for (half, (sums, [scales, origin])) in sums.into_iter().zip(scales).enumerate() {
            // SAFETY: the instructions are there, and 16 floats at each pointer.
            unsafe {
                let totals = totals.add(8 * half);
                let total = if first { _mm256_setzero_ps() } else { _mm256_loadu_ps(totals) };
                let whole = _mm256_fmadd_ps(_mm256_castsi256_ps(sums), scales, origin);
                let mut total = _mm256_fmadd_ps(whole, _mm256_set1_ps(scale), total);
                if let Some((shifts, share)) = shift {
                    let shifts = _mm256_loadu_ps(shifts.add(8 * half));
                    total = _mm256_fmadd_ps(shifts, _mm256_set1_ps(share), total);
                }
                _mm256_storeu_ps(totals, total);
            }
        }
    }
}

/// `SOME` rows of a tile of `rows`, from one on. `SPAN` groups' products are added up in 16 bits; one of signed codes.
///
/// # Safety
/// See [`Operands`].
#[inline(always)]
unsafe fn rows<P: Products, const SOME: usize, const GROUPS: usize, const SPAN: usize>(
    products: P,
    rows: usize,
    from: usize,
    operands: &Operands,
) {
    let Operands { piece, main, halves, runs, first, sums, .. } = *operands;
    let parts = 8 / GROUPS;
    for run in 0..runs {
        if from == 0 {
            fetch(operands, run);
        }
        // SAFETY: by the caller's promise, here and below: there are `runs` runs of inputs and of the piece, and what is read
        // of each is within what `MAIN` and `HALVES` count.
        let (main, halves) =
            unsafe { (main.add(run * rows * MAIN + from), halves.add(run * rows * HALVES + from)) };
        for part in 0..parts {
            let mut dots = [products.origin(); SOME];
            let mut g = part * GROUPS;
            while g < (part + 1) * GROUPS {
                // Neither here nor in the vectors' methods are there closures: the compiler leaves them as calls when they are many.
                macro_rules! input {
                    ($g:expr, $row:expr) => {
                        // SAFETY: as above.
                        products.input(unsafe { main.add($g * rows + $row).cast::<i32>().read() })
                    };
                }
                // SAFETY: as above.
                let lines = unsafe { &(&(*piece).codes)[run] };
                if SPAN == 1 {
                    let codes = products.signed(&lines[g]);
                    for (row, dot) in dots.iter_mut().enumerate() {
                        *dot = products.widen(*dot, products.signed_pairs(codes, input!(g, row)));
                    }
                } else {
                    let codes = products.codes(&lines[g]);
                    let mut pairs = [products.pairs(codes, input!(g, 0)); SOME];
                    for (row, pairs) in pairs.iter_mut().enumerate().skip(1) {
                        *pairs = products.pairs(codes, input!(g, row));
                    }
                    for (line, g) in lines[g..g + SPAN].iter().zip(g..).skip(1) {
                        let codes = products.codes(line);
                        for (row, pairs) in pairs.iter_mut().enumerate() {
                            *pairs = products.add(*pairs, products.pairs(codes, input!(g, row)));
                        }
                    }
                    for (dot, pairs) in dots.iter_mut().zip(pairs) {
                        *dot = products.widen(*dot, pairs);
                    }
                }
                g += SPAN;
            }
            let shares = match GROUPS {
                // SAFETY: as above.
                8 => unsafe { main.add(10 * rows) },
                // SAFETY: as above.
                _ => unsafe { halves.add((2 + part) * rows) },
            };
            let at = run * parts + part;
            // SAFETY: as above.
            let scales = products.scales(unsafe { &(&(*piece).scales)[at] });
            for (row, dot) in dots.into_iter().enumerate() {
                // SAFETY: as above; there are `rows` sums, of 16 floats each.
                unsafe {
                    let shifts = (&raw const (*piece).shifts[at]).cast::<f32>();
                    let scale = main.add(8 * rows + row).read();
                    let shift = (SPAN > 1).then(|| (shifts, shares.add(row).read()));
                    let totals = sums.add(from + row).cast::<f32>();
                    products.finish(dot, scales, scale, shift, first && run + part == 0, totals);
                }
            }
        }
    }
}

/// Fetches a run's share of what is soon wanted.
#[inline(always)]
fn fetch(operands: &Operands, run: usize) {
    for line in run * operands.lines..(run + 1) * operands.lines {
        // SAFETY: a hint, for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(operands.ahead.wrapping_add(64 * line).cast()) };
    }
}

/// See [`super::plain::tile`], whose bits it gives.
///
/// # Safety
/// See [`Operands`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn avx512<const ROWS: usize, const GROUPS: usize, const SPAN: usize>(operands: &Operands) {
    // SAFETY: the caller's promise.
    unsafe {
        if ROWS <= MOST_ROWS {
            return rows::<_, ROWS, GROUPS, SPAN>(Wide, ROWS, 0, operands);
        }
        // More than registers hold.
        rows::<_, 8, GROUPS, SPAN>(Wide, ROWS, 0, operands);
        match ROWS - 8 {
            5 => rows::<_, 5, GROUPS, SPAN>(Wide, ROWS, 8, operands),
            6 => rows::<_, 6, GROUPS, SPAN>(Wide, ROWS, 8, operands),
            7 => rows::<_, 7, GROUPS, SPAN>(Wide, ROWS, 8, operands),
            _ => rows::<_, 8, GROUPS, SPAN>(Wide, ROWS, 8, operands),
        }
    }
}

/// See [`super::plain::tile`], whose bits it gives.
///
/// # Safety
/// See [`Operands`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn avx2<const ROWS: usize, const GROUPS: usize, const SPAN: usize>(operands: &Operands) {
    let mut from = 0;
    while from < ROWS {
        // SAFETY: the caller's promise.
        unsafe {
            match ROWS - from {
                1 => rows::<_, 1, GROUPS, SPAN>(Slim, ROWS, from, operands),
                2 => rows::<_, 2, GROUPS, SPAN>(Slim, ROWS, from, operands),
                3 => rows::<_, 3, GROUPS, SPAN>(Slim, ROWS, from, operands),
                _ => rows::<_, 4, GROUPS, SPAN>(Slim, ROWS, from, operands),
            }
        }
        from += 4;
    }
}
