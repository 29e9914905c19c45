//! Activations as whole numbers: 15 bits with one scale per 32 inputs.
//!
//! A product with them is as exact as one in f32 to about 1e-4 of its largest terms, yet its sums are of whole numbers, so
//! every instruction set computes the same.

use crate::backend::cpu::kernels::{ROUND, per_level};

/// Inputs that share a scale.
pub(crate) const BLOCK: usize = 32;

/// The largest quantised input: both of its planes fit in signed bytes.
const MOST: f32 = 16256.0;

/// Blocks whose largest magnitude is below count as zeros: the factor to whole numbers would overflow.
const LEAST: f32 = 1e-30;

/// 32 quantised inputs. All fields are of 4 bytes, so that blocks may lie in memory for f32.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct QuantBlock {
    /// The numbers, in the order of [`Order`].
    words: [u32; 16],
    /// What one step of the numbers stands for; NaN when an input was not finite.
    pub(super) scale: f32,
    /// Minus the sum of the numbers.
    pub(super) minus_sum: i32,
    /// The same of each half of the block.
    pub(super) minus_sums: [i32; 2],
    /// The sum times the scale.
    pub(super) scaled_sum: f32,
    /// The same of each half of the block.
    pub(super) scaled_sums: [f32; 2],
    unused: f32,
}

/// How the numbers of a block lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Signed bytes `high`, then `low`, of numbers `128 * high + low`: for products of bytes.
    Planes,
    /// 16 bits each, the middle two of every four swapped: for products of the even and of the odd bytes.
    Shorts,
}

impl QuantBlock {
    /// Zeros.
    pub(crate) const ZERO: Self = QuantBlock {
        words: [0; 16],
        scale: 0.0,
        minus_sum: 0,
        minus_sums: [0; 2],
        scaled_sum: 0.0,
        scaled_sums: [0.0; 2],
        unused: 0.0,
    };

    /// The high and the low plane of a group of four inputs.
    #[inline(always)]
    pub(super) fn planes(&self, group: usize) -> [i32; 2] {
        [self.words[group].cast_signed(), self.words[8 + group].cast_signed()]
    }

    /// The numbers of a group: first and third, then second and fourth.
    #[inline(always)]
    pub(super) fn words(&self, group: usize) -> [i32; 2] {
        [self.words[2 * group].cast_signed(), self.words[2 * group + 1].cast_signed()]
    }

    /// The four numbers of a group.
    #[inline(always)]
    pub(super) fn shorts(&self, group: usize) -> [i16; 4] {
        let [even, odd] = self.words(group);
        [even as i16, odd as i16, (even >> 16) as i16, (odd >> 16) as i16]
    }

    /// One of the numbers.
    #[cfg(test)]
    pub(super) fn number(&self, k: usize, order: Order) -> i32 {
        match order {
            Order::Planes => {
                let [high, low] = self.planes(k / 4).map(|plane| i32::from((plane >> (8 * (k % 4))) as i8));
                128 * high + low
            }
            Order::Shorts => i32::from(self.shorts(k / 4)[k % 4]),
        }
    }

    /// Quantises.
    #[inline(always)]
    fn of(values: &[f32; BLOCK], order: Order) -> Self {
        // The order of magnitudes is that of their bits, and infinities and NaNs come last.
        let mut most = 0;
        for value in values {
            most = most.max((value.to_bits() & 0x7fff_ffff).cast_signed());
        }
        let most = f32::from_bits(most.cast_unsigned());
        if most < LEAST {
            return Self::ZERO;
        }
        if !most.is_finite() {
            return QuantBlock {
                scale: f32::NAN,
                scaled_sum: f32::NAN,
                scaled_sums: [f32::NAN; 2],
                ..Self::ZERO
            };
        }
        let (scale, factor) = (most / MOST, MOST / most);
        let mut numbers = [0; BLOCK];
        for (number, value) in numbers.iter_mut().zip(values) {
            // In the sum the last bit counts ones, so it is rounded to a whole number, ties to even.
            *number = (value * factor + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).cast_signed();
        }
        let sums = [0, 1].map(|half| numbers[16 * half..16 * half + 16].iter().sum::<i32>());
        let sum = sums[0] + sums[1];
        QuantBlock {
            words: match order {
                Order::Planes => planes(&numbers),
                Order::Shorts => shorts(&numbers),
            },
            scale,
            minus_sum: -sum,
            minus_sums: sums.map(|sum| -sum),
            scaled_sum: scale * sum as f32,
            scaled_sums: sums.map(|sum| scale * sum as f32),
            unused: 0.0,
        }
    }
}

#[inline(always)]
fn planes(numbers: &[i32; BLOCK]) -> [u32; 16] {
    let mut bytes = [0u8; 2 * BLOCK];
    let (highs, lows) = bytes.split_at_mut(BLOCK);
    for ((high, low), number) in highs.iter_mut().zip(lows).zip(numbers) {
        let upper = (number + 64) >> 7;
        *high = upper as u8;
        *low = (number - 128 * upper) as u8;
    }
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    words
}

#[inline(always)]
fn shorts(numbers: &[i32; BLOCK]) -> [u32; 16] {
    let mut words = [0; 16];
    for (words, numbers) in words.as_chunks_mut::<2>().0.iter_mut().zip(numbers.as_chunks::<4>().0) {
        let [a, b, c, d] = numbers.map(i32::cast_unsigned);
        *words = [(a & 0xffff) | (c << 16), (b & 0xffff) | (d << 16)];
    }
    words
}

per_level! {
    /// Quantises rows of `cols` inputs: block `i` of row `r` of the result is number `i * rows + r`.
    pub(super) fn quantise[_simd](inputs: &[f32], cols: usize, order: Order, blocks: &mut [QuantBlock]) {
        let rows = inputs.len() / cols;
        for (row, inputs) in inputs.chunks_exact(cols).enumerate() {
            let mut places = blocks[row..].iter_mut().step_by(rows);
            let (whole, rest) = inputs.as_chunks::<BLOCK>();
            for (place, values) in places.by_ref().take(whole.len()).zip(whole) {
                *place = QuantBlock::of(values, order);
            }
            if !rest.is_empty() {
                let mut values = [0.0; BLOCK];
                values[..rest.len()].copy_from_slice(rest);
                if let Some(place) = places.next() {
                    *place = QuantBlock::of(&values, order);
                }
            }
            places.for_each(|place| *place = QuantBlock::ZERO);
        }
    }
}
