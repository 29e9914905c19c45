//! Cells of formats whose scales stand in them as floats, one for 32 inputs.

use super::cell::{Bits, Bytes, Cell, Codes, Nibbles, ahead, products, quantised};
use super::isa::{Halves, Isa, LANES};
use super::quantise::QuantBlock;
use crate::backend::cpu::kernels::{IQ4_LEVELS, MXFP4_LEVELS};

/// Scales, then bytes that stand for numbers 128 lower.
#[repr(C)]
pub(super) struct Q8_0 {
    scales: [Halves; 2],
    codes: [Bytes; 2],
}

/// Scales, then 4 bits that stand for numbers 8 lower.
#[repr(C)]
pub(super) struct Q4_0 {
    scales: [Halves; 2],
    codes: [Nibbles; 2],
}

/// Scales, smallest values, then 4 bits.
#[repr(C)]
pub(super) struct Q4_1 {
    scales: [Halves; 2],
    shifts: [Halves; 2],
    codes: [Nibbles; 2],
}

/// Scales, then 5 bits that stand for numbers 16 lower.
#[repr(C)]
pub(super) struct Q5_0 {
    scales: [Halves; 2],
    codes: [Nibbles; 2],
    bits: [Bits; 2],
}

/// Scales, smallest values, then 5 bits.
#[repr(C)]
pub(super) struct Q5_1 {
    scales: [Halves; 2],
    shifts: [Halves; 2],
    codes: [Nibbles; 2],
    bits: [Bits; 2],
}

/// Scales, then 4 bits that choose from [`IQ4_CODES`].
#[repr(C)]
pub(super) struct Iq4Nl {
    scales: [Halves; 2],
    codes: [Nibbles; 2],
}

/// Exponents of powers of two, then 4-bit floats (E2M1).
#[repr(C)]
pub(super) struct Mxfp4 {
    exponents: [[u8; LANES]; 4],
    codes: [Nibbles; 4],
}

/// The levels of IQ4_NL and IQ4_XS, 128 higher.
pub(super) const IQ4_CODES: [u8; 16] = raised(IQ4_LEVELS);

/// Those of MXFP4, 128 higher.
const MXFP4_CODES: [u8; 16] = raised(MXFP4_LEVELS);

/// Levels as unsigned numbers, 128 higher.
const fn raised(levels: [i8; 16]) -> [u8; 16] {
    let mut codes = [0; 16];
    let mut i = 0;
    while i < 16 {
        codes[i] = levels[i].cast_unsigned() ^ 128;
        i += 1;
    }
    codes
}

/// Adds `scale * (code - offset)` times the inputs of a block.
#[inline(always)]
pub(super) fn add_scaled<I: Isa, C: Codes, const R: usize>(
    isa: I,
    scale: I::Floats,
    codes: C,
    offset: i32,
    inputs: &[QuantBlock; R],
    sums: &mut [I::Floats; R],
) {
    let products = products(isa, codes, offset, inputs);
    for row in 0..R {
        let scale = isa.mul(scale, isa.splat(inputs[row].scale));
        sums[row] = isa.add(sums[row], isa.mul(scale, products[row]));
    }
}

/// Adds `shift` times the inputs of a block.
#[inline(always)]
pub(super) fn add_shift<I: Isa, const R: usize>(
    isa: I,
    shift: I::Floats,
    inputs: &[QuantBlock; R],
    sums: &mut [I::Floats; R],
) {
    for (sum, input) in sums.iter_mut().zip(inputs) {
        *sum = isa.add(*sum, isa.mul(shift, isa.splat(input.scaled_sum)));
    }
}

// SAFETY: as the trait demands; so for all below.
unsafe impl Cell for Q8_0 {
    quantised!(2);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<2>() else { return };
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            add_scaled(isa, isa.halves(&self.scales[i]), &self.codes[i], 128, inputs, sums);
        }
    }
}

// SAFETY: see above.
unsafe impl Cell for Q4_0 {
    quantised!(2);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<2>() else { return };
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            add_scaled(isa, isa.halves(&self.scales[i]), &self.codes[i], 8, inputs, sums);
        }
    }
}

// SAFETY: see above.
unsafe impl Cell for Q4_1 {
    quantised!(2);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<2>() else { return };
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            add_scaled(isa, isa.halves(&self.scales[i]), &self.codes[i], 0, inputs, sums);
            add_shift(isa, isa.halves(&self.shifts[i]), inputs, sums);
        }
    }
}

// SAFETY: see above.
unsafe impl Cell for Q5_0 {
    quantised!(2);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<2>() else { return };
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            let codes = (&self.codes[i], &self.bits[i]);
            add_scaled(isa, isa.halves(&self.scales[i]), codes, 16, inputs, sums);
        }
    }
}

// SAFETY: see above.
unsafe impl Cell for Q5_1 {
    quantised!(2);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<2>() else { return };
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            let codes = (&self.codes[i], &self.bits[i]);
            add_scaled(isa, isa.halves(&self.scales[i]), codes, 0, inputs, sums);
            add_shift(isa, isa.halves(&self.shifts[i]), inputs, sums);
        }
    }
}

// SAFETY: see above.
unsafe impl Cell for Iq4Nl {
    quantised!(2);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<2>() else { return };
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            let codes = (&self.codes[i], &IQ4_CODES);
            add_scaled(isa, isa.halves(&self.scales[i]), codes, 128, inputs, sums);
        }
    }
}

// SAFETY: see above.
unsafe impl Cell for Mxfp4 {
    quantised!(4);

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[QuantBlock; R]], sums: &mut [I::Floats; R]) {
        let Some(inputs) = inputs.first_chunk::<4>() else { return };
        for (i, inputs) in inputs.iter().enumerate() {
            ahead(self, i);
            let codes = (&self.codes[i], &MXFP4_CODES);
            add_scaled(isa, isa.half_powers(&self.exponents[i]), codes, 128, inputs, sums);
        }
    }
}
