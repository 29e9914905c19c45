//! Cells of formats whose scales are whole numbers times the scale of 256 inputs.

use super::cell::{Bits, Cell, Codes, Nibbles, Pairs, ahead, halved_products, quantised};
use super::isa::{Halves, Isa, LANES};
use super::legacy::{IQ4_CODES, add_scaled, add_shift};
use super::quantise::QuantBlock;

/// Scales of scales and of shifts, both for 32 inputs, then 4 bits.
#[repr(C)]
pub(super) struct Q4K {
    scale: Halves,
    shift: Halves,
    scales: [[u8; LANES]; 8],
    shifts: [[u8; LANES]; 8],
    codes: [Nibbles; 8],
}

/// The same with 5 bits.
#[repr(C)]
pub(super) struct Q5K {
    scale: Halves,
    shift: Halves,
    scales: [[u8; LANES]; 8],
    shifts: [[u8; LANES]; 8],
    codes: [Nibbles; 8],
    bits: [Bits; 8],
}

/// The scale of scales for 16 inputs, then 6 bits that stand for numbers 32 lower.
#[repr(C)]
pub(super) struct Q6K {
    scale: Halves,
    scales: [[[i8; LANES]; 2]; 8],
    unused: [u8; 32],
    codes: [Nibbles; 8],
    pairs: [Pairs; 8],
}

/// The scale of scales for 16 inputs, then 3 bits that stand for numbers 4 lower.
#[repr(C)]
pub(super) struct Q3K {
    scale: Halves,
    scales: [[[i8; LANES]; 2]; 8],
    unused: [u8; 32],
    codes: [Pairs; 8],
    bits: [Bits; 8],
}

/// Scales of scales (4 bits) and of shifts (the upper 4) for 16 inputs, then 2 bits.
#[repr(C)]
pub(super) struct Q2K {
    scale: Halves,
    shift: Halves,
    scales: [[[u8; LANES]; 2]; 8],
    codes: [Pairs; 8],
}

/// The scale of scales for 32 inputs, then 4 bits that choose from [`IQ4_CODES`].
#[repr(C)]
pub(super) struct Iq4Xs {
    scale: Halves,
    scales: [[i8; LANES]; 8],
    unused: [u8; 32],
    codes: [Nibbles; 8],
}

/// Adds `scale * (code - offset)` times the inputs of a block, with a scale for each half.
#[inline(always)]
fn add_halves<I: Isa, C: Codes, const R: usize>(
    isa: I,
    scales: [I::Floats; 2],
    codes: C,
    offset: i32,
    inputs: &[QuantBlock; R],
    sums: &mut [I::Floats; R],
) {
    let products = halved_products(isa, codes, offset, inputs);
    for row in 0..R {
        let [first, second] = products[row];
        let both = isa.add(isa.mul(scales[0], first), isa.mul(scales[1], second));
        sums[row] = isa.add(sums[row], isa.mul(isa.splat(inputs[row].scale), both));
    }
}

/// Adds `scale * scaled`.
#[inline(always)]
fn add_cell<I: Isa, const R: usize>(
    isa: I,
    scale: &Halves,
    scaled: [I::Floats; R],
    sums: &mut [I::Floats; R],
) {
    let scale = isa.halves(scale);
    for (sum, scaled) in sums.iter_mut().zip(scaled) {
        *sum = isa.add(*sum, isa.mul(scale, scaled));
    }
}

/// Adds `scale * scaled - shift * shifted`.
#[inline(always)]
fn add_shifted_cell<I: Isa, const R: usize>(
    isa: I,
    [scale, shift]: [&Halves; 2],
    scaled: [I::Floats; R],
    shifted: [I::Floats; R],
    sums: &mut [I::Floats; R],
) {
    let (scale, shift) = (isa.halves(scale), isa.halves(shift));
    for row in 0..R {
        let cell = isa.sub(isa.mul(scale, scaled[row]), isa.mul(shift, shifted[row]));
        sums[row] = isa.add(sums[row], cell);
    }
}

// SAFETY: as the trait demands; so for all below.
unsafe impl Cell for Q4K {
    quantised!(8);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<8>() else { return };
        let (mut scaled, mut shifted) = ([isa.zero(); R], [isa.zero(); R]);
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            add_scaled(isa, isa.unsigned(&self.scales[i]), &self.codes[i], 0, inputs, &mut scaled);
            add_shift(isa, isa.unsigned(&self.shifts[i]), inputs, &mut shifted);
        }
        add_shifted_cell(isa, [&self.scale, &self.shift], scaled, shifted, sums);
    }
}

// SAFETY: see above.
unsafe impl Cell for Q5K {
    quantised!(8);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<8>() else { return };
        let (mut scaled, mut shifted) = ([isa.zero(); R], [isa.zero(); R]);
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            let codes = (&self.codes[i], &self.bits[i]);
            add_scaled(isa, isa.unsigned(&self.scales[i]), codes, 0, inputs, &mut scaled);
            add_shift(isa, isa.unsigned(&self.shifts[i]), inputs, &mut shifted);
        }
        add_shifted_cell(isa, [&self.scale, &self.shift], scaled, shifted, sums);
    }
}

// SAFETY: see above.
unsafe impl Cell for Q6K {
    quantised!(8);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<8>() else { return };
        let mut scaled = [isa.zero(); R];
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            let [first, second] = &self.scales[i];
            let scales = [isa.signed(first), isa.signed(second)];
            add_halves(isa, scales, (&self.codes[i], &self.pairs[i]), 32, inputs, &mut scaled);
        }
        add_cell(isa, &self.scale, scaled, sums);
    }
}

// SAFETY: see above.
unsafe impl Cell for Q3K {
    quantised!(8);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<8>() else { return };
        let mut scaled = [isa.zero(); R];
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            let [first, second] = &self.scales[i];
            let scales = [isa.signed(first), isa.signed(second)];
            add_halves(isa, scales, (&self.codes[i], &self.bits[i]), 4, inputs, &mut scaled);
        }
        add_cell(isa, &self.scale, scaled, sums);
    }
}

// SAFETY: see above.
unsafe impl Cell for Q2K {
    quantised!(8);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<8>() else { return };
        let (mut scaled, mut shifted) = ([isa.zero(); R], [isa.zero(); R]);
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            let of = |half: usize, shift: u32| {
                isa.unsigned(&self.scales[i][half].map(|byte| (byte >> shift) & 15))
            };
            add_halves(isa, [of(0, 0), of(1, 0)], &self.codes[i], 0, inputs, &mut scaled);
            for half in 0..2 {
                let shift = of(half, 4);
                for (shifted, input) in shifted.iter_mut().zip(inputs) {
                    *shifted = isa.add(*shifted, isa.mul(shift, isa.splat(input.scaled_sums[half])));
                }
            }
        }
        add_shifted_cell(isa, [&self.scale, &self.shift], scaled, shifted, sums);
    }
}

// SAFETY: see above.
unsafe impl Cell for Iq4Xs {
    quantised!(8);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<8>() else { return };
        let mut scaled = [isa.zero(); R];
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            let codes = (&self.codes[i], &IQ4_CODES);
            add_scaled(isa, isa.signed(&self.scales[i]), codes, 128, inputs, &mut scaled);
        }
        add_cell(isa, &self.scale, scaled, sums);
    }
}
