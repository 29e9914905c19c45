//! Vectors of [`LANES`] values, over whatever registers an instruction set has.
//!
//! A value of a [`Simd`] type is the proof that the processor has its instructions, so its methods are safe. All types
//! compute the same bits: nothing is fused, and sums fold in one fixed tree.

use super::LANES;
use super::attend::Wide;
use super::format::f32_of_f16;

/// An instruction set, as operations on vectors of [`LANES`] values.
pub(crate) trait Simd: Copy {
    /// Values of f32 in registers.
    type Lanes: Copy;

    /// The same instruction set, over vectors of 16 values.
    type Wide: Wide;

    /// The proof of it.
    fn wide(self) -> Self::Wide;
    /// Zeros.
    fn zero(self) -> Self::Lanes;
    /// The same value everywhere.
    fn splat(self, value: f32) -> Self::Lanes;
    /// Values from memory.
    fn load(self, values: &[f32; LANES]) -> Self::Lanes;
    /// Values to memory.
    fn store(self, lanes: Self::Lanes, values: &mut [f32; LANES]);
    /// `a + b`.
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// `a * b`.
    fn mul(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// The sum: lane `i` takes lane `i + 16`, then `i + 8`, 4, 2, 1.
    fn sum(self, lanes: Self::Lanes) -> f32;
    /// A bit for each lane, the first one lowest: whether it is at least `bound`.
    fn at_least(self, lanes: Self::Lanes, bound: f32) -> u32;
    /// The lanes that are at least `bound`, and 0 for the others.
    fn keep(self, lanes: Self::Lanes, bound: f32) -> Self::Lanes;
    /// Each two neighbours in reverse order.
    fn reverse_pairs(self, lanes: Self::Lanes) -> Self::Lanes;
    /// Little-endian f32.
    fn decode_f32(self, bytes: &[u8; 4 * LANES]) -> Self::Lanes;
    /// Little-endian f16.
    fn decode_f16(self, bytes: &[u8; 2 * LANES]) -> Self::Lanes;
    /// Little-endian bf16.
    fn decode_bf16(self, bytes: &[u8; 2 * LANES]) -> Self::Lanes;
    /// Signed bytes.
    fn decode_i8(self, bytes: &[u8; LANES]) -> Self::Lanes;
    /// The bytes that a table has at these places, which are below 16.
    fn look_up(self, table: &[u8; 16], places: &[u8; LANES]) -> [u8; LANES];
}

/// What every processor has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

impl Simd for Portable {
    type Lanes = [f32; LANES];
    type Wide = Self;

    #[inline(always)]
    fn wide(self) -> Self {
        self
    }

    #[inline(always)]
    fn zero(self) -> [f32; LANES] {
        [0.0; LANES]
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> [f32; LANES] {
        *values
    }

    #[inline(always)]
    fn store(self, lanes: [f32; LANES], values: &mut [f32; LANES]) {
        *values = lanes;
    }

    #[inline(always)]
    fn add(self, mut a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        for i in 0..LANES {
            a[i] += b[i];
        }
        a
    }

    #[inline(always)]
    fn mul(self, mut a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        for i in 0..LANES {
            a[i] *= b[i];
        }
        a
    }

    #[inline(always)]
    fn sum(self, mut lanes: [f32; LANES]) -> f32 {
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
            width /= 2;
        }
        lanes[0]
    }

    #[inline(always)]
    fn at_least(self, lanes: [f32; LANES], bound: f32) -> u32 {
        lanes.iter().enumerate().fold(0, |bits, (lane, value)| bits | u32::from(*value >= bound) << lane)
    }

    #[inline(always)]
    fn keep(self, lanes: [f32; LANES], bound: f32) -> [f32; LANES] {
        lanes.map(|value| if value >= bound { value } else { 0.0 })
    }

    #[inline(always)]
    fn reverse_pairs(self, mut lanes: [f32; LANES]) -> [f32; LANES] {
        lanes.as_chunks_mut::<2>().0.iter_mut().for_each(|[a, b]| std::mem::swap(a, b));
        lanes
    }

    #[inline(always)]
    fn decode_f32(self, bytes: &[u8; 4 * LANES]) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        values
    }

    #[inline(always)]
    fn decode_f16(self, bytes: &[u8; 2 * LANES]) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32_of_f16(u16::from_le_bytes(*bytes));
        }
        values
    }

    #[inline(always)]
    fn decode_bf16(self, bytes: &[u8; 2 * LANES]) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
        values
    }

    #[inline(always)]
    fn decode_i8(self, bytes: &[u8; LANES]) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        for (value, byte) in values.iter_mut().zip(bytes) {
            *value = f32::from(byte.cast_signed());
        }
        values
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], places: &[u8; LANES]) -> [u8; LANES] {
        places.map(|place| table[usize::from(place & 15)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::reference::Random;
    use crate::backend::cpu::kernels::{Level, per_level};

    per_level! {
        /// Everything at once: what each operation gives for the same bytes.
        fn everything[simd](bytes: &[u8; 4 * LANES], floats: &[f32; LANES]) -> Vec<u32> {
            let half: &[u8; 2 * LANES] = bytes.first_chunk().unwrap();
            let loaded = simd.load(floats);
            let results = [
                simd.zero(),
                simd.splat(1.5),
                simd.keep(loaded, floats[5]),
                simd.reverse_pairs(loaded),
                simd.decode_f32(bytes),
                simd.decode_f16(half),
                simd.decode_bf16(half),
                simd.decode_i8(bytes.first_chunk().unwrap()),
                simd.decode_i8(&simd.look_up(bytes.last_chunk().unwrap(), &half.first_chunk().unwrap().map(|byte: u8| byte & 15))),
                simd.add(loaded, simd.splat(0.1)),
                simd.mul(loaded, simd.decode_i8(bytes.last_chunk().unwrap())),
            ];
            let mut bits = vec![simd.sum(loaded).to_bits(), simd.at_least(loaded, floats[7])];
            bits.push(simd.at_least(simd.decode_bf16(half), 0.5));
            for result in results {
                let mut values = [0.0; LANES];
                simd.store(result, &mut values);
                // The payload of a NaN is nobody's concern.
                bits.extend(values.map(|value| if value.is_nan() { f32::NAN } else { value }.to_bits()));
            }
            bits
        }
    }

    #[test]
    fn all_sets_compute_the_same_bits() {
        let mut random = Random::new(31);
        for _ in 0..200 {
            let floats = std::array::from_fn(|_| random.float());
            let bytes = std::array::from_fn(|_| (random.float() * 128.0) as i8 as u8);
            let want = everything(Level::all()[0], &bytes, &floats);
            for level in Level::all() {
                assert_eq!(everything(level, &bytes, &floats), want, "{level:?}");
            }
        }
    }
}
