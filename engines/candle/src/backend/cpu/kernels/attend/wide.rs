//! Vectors of [`WIDTH`] values for attention: one value of each of 16 tokens, or 16 values of one token.
//!
//! Products are fused with additions where the processor can, so results differ between instruction sets in the last
//! bits; on one processor they depend on nothing but the operands.

use crate::backend::cpu::kernels::ROUND;
use crate::backend::cpu::kernels::format::f32_of_f16;
use crate::backend::cpu::kernels::simd::Portable;

/// Values in a vector, and tokens in a group of the KV cache.
pub(crate) const WIDTH: usize = 16;

/// `2^x` less 1, over `x`, for `|x| <= 1/2`, highest power first; the result is within 2e-9.
pub(super) const EXP2: [f32; 6] =
    [1.535_336_2e-4, 1.339_887_4e-3, 9.618_437e-3, 5.550_332_4e-2, 2.402_264_8e-1, std::f32::consts::LN_2];

/// Below it `2^x` is 0: no denormals.
pub(super) const EXP2_LEAST: f32 = -126.0;

/// An instruction set, as operations on vectors of [`WIDTH`] values. A value of the type proves that the processor has
/// the instructions.
pub(crate) trait Wide: Copy {
    /// Values of f32 in registers.
    type V: Copy;

    /// Whether there are registers for 16 vectors of sums and their operands.
    const MANY: bool;

    /// The same value everywhere.
    fn splat(self, value: f32) -> Self::V;
    /// Values from memory.
    fn load(self, values: &[f32; WIDTH]) -> Self::V;
    /// Values to memory.
    fn store(self, vector: Self::V, values: &mut [f32; WIDTH]);
    /// Values from memory in the machine's byte order.
    fn load_bytes(self, bytes: &[u8; 4 * WIDTH]) -> Self::V;
    /// Little-endian f16.
    fn load_f16(self, bytes: &[u8; 2 * WIDTH]) -> Self::V;
    /// Rounded to little-endian f16.
    fn store_f16(self, vector: Self::V, bytes: &mut [u8; 2 * WIDTH]);
    /// Signed bytes.
    fn load_i8(self, bytes: &[u8; WIDTH]) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger of each pair; of `b` where `a` is no number.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The largest value.
    fn max_of(self, vector: Self::V) -> f32;
    /// The sum of all values: lane `i` takes lane `i + 8`, then 4, 2, 1.
    fn sum_of(self, vector: Self::V) -> f32;
    /// `2^(x - most)`; 0 where that is below 2^-126.
    fn exp2(self, x: Self::V, most: Self::V) -> Self::V;
    /// Asks for the cache line at an address, which need not be one.
    fn prefetch(self, address: *const u8);
}

impl Wide for Portable {
    type V = [f32; WIDTH];

    const MANY: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        [value; WIDTH]
    }

    #[inline(always)]
    fn load(self, values: &[f32; WIDTH]) -> Self::V {
        *values
    }

    #[inline(always)]
    fn store(self, vector: Self::V, values: &mut [f32; WIDTH]) {
        *values = vector;
    }

    #[inline(always)]
    fn load_bytes(self, bytes: &[u8; 4 * WIDTH]) -> Self::V {
        let mut values = [0.0; WIDTH];
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32::from_ne_bytes(*bytes);
        }
        values
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 2 * WIDTH]) -> Self::V {
        let mut values = [0.0; WIDTH];
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32_of_f16(u16::from_le_bytes(*bytes));
        }
        values
    }

    #[inline(always)]
    fn store_f16(self, vector: Self::V, bytes: &mut [u8; 2 * WIDTH]) {
        for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(vector) {
            *bytes = half::f16::from_f32(value).to_le_bytes();
        }
    }

    #[inline(always)]
    fn load_i8(self, bytes: &[u8; WIDTH]) -> Self::V {
        bytes.map(|byte| f32::from(byte.cast_signed()))
    }

    #[inline(always)]
    fn mul(self, mut a: Self::V, b: Self::V) -> Self::V {
        for i in 0..WIDTH {
            a[i] *= b[i];
        }
        a
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, mut c: Self::V) -> Self::V {
        for i in 0..WIDTH {
            c[i] += a[i] * b[i];
        }
        c
    }

    #[inline(always)]
    fn max(self, mut a: Self::V, b: Self::V) -> Self::V {
        for i in 0..WIDTH {
            a[i] = if a[i] > b[i] { a[i] } else { b[i] };
        }
        a
    }

    #[inline(always)]
    fn max_of(self, vector: Self::V) -> f32 {
        vector.into_iter().fold(f32::NEG_INFINITY, |most, value| if value > most { value } else { most })
    }

    #[inline(always)]
    fn sum_of(self, mut vector: Self::V) -> f32 {
        let mut width = WIDTH / 2;
        while width > 0 {
            for i in 0..width {
                vector[i] += vector[i + width];
            }
            width /= 2;
        }
        vector[0]
    }

    #[inline(always)]
    fn exp2(self, mut x: Self::V, most: Self::V) -> Self::V {
        for i in 0..WIDTH {
            let exact = x[i] - most[i];
            // Not `clamp`, which would hide nothing either; NaN goes through.
            let bounded = if exact < EXP2_LEAST { EXP2_LEAST } else { exact };
            let shifted = bounded + ROUND;
            let rest = bounded - (shifted - ROUND);
            let mut p = EXP2[0];
            for coefficient in &EXP2[1..] {
                p = p * rest + coefficient;
            }
            let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
            let value = (p * rest + 1.0) * f32::from_bits(exponent << 23);
            x[i] = if exact < EXP2_LEAST { 0.0 } else { value };
        }
        x
    }

    #[inline(always)]
    fn prefetch(self, _: *const u8) {}
}
