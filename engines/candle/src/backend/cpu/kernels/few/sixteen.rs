//! Cells of 16-bit floats: activations stay f32.

use super::cell::{Cell, ahead};
use super::isa::{Isa, Line};

/// The inputs of a cell.
type Inputs = [f32; 32];

/// 32 inputs, two of every row in a line.
#[repr(C)]
pub(super) struct Bf16([Line; 16]);

/// 32 inputs, two of every row in a line.
#[repr(C)]
pub(super) struct F16([Line; 16]);

/// Adds products to the sums of the first and of the second inputs of lines.
#[inline(always)]
fn add_line<I: Isa>(isa: I, weights: [I::Floats; 2], inputs: [I::Floats; 2], sum: &mut [I::Floats; 2]) {
    for i in 0..2 {
        sum[i] = isa.add(sum[i], isa.mul(weights[i], inputs[i]));
    }
}

// SAFETY: as the trait demands; so below.
unsafe impl Cell for Bf16 {
    type Inputs = Inputs;
    type Sum<I: Isa> = [I::Floats; 2];

    const BLOCKS: usize = 1;

    #[inline(always)]
    fn start<I: Isa>(isa: I) -> [I::Floats; 2] {
        [isa.zero(); 2]
    }

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[Inputs; R]], sums: &mut [[I::Floats; 2]; R]) {
        let Some(inputs) = inputs.first() else { return };
        ahead(self, 0);
        for (i, line) in self.0.iter().enumerate() {
            let weights = isa.bf16(line);
            for (sum, inputs) in sums.iter_mut().zip(inputs) {
                add_line(isa, weights, [isa.splat(inputs[2 * i]), isa.splat(inputs[2 * i + 1])], sum);
            }
        }
    }

    #[inline(always)]
    fn finish<I: Isa>(isa: I, [first, second]: [I::Floats; 2]) -> I::Floats {
        isa.add(first, second)
    }
}

// SAFETY: see above.
unsafe impl Cell for F16 {
    type Inputs = Inputs;
    type Sum<I: Isa> = [I::Floats; 2];

    const BLOCKS: usize = 1;

    #[inline(always)]
    fn start<I: Isa>(isa: I) -> [I::Floats; 2] {
        [isa.zero(); 2]
    }

    #[inline(always)]
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[Inputs; R]], sums: &mut [[I::Floats; 2]; R]) {
        let Some(inputs) = inputs.first() else { return };
        ahead(self, 0);
        for (i, line) in self.0.iter().enumerate() {
            let weights = isa.f16(line);
            for (sum, inputs) in sums.iter_mut().zip(inputs) {
                add_line(isa, weights, isa.f16_inputs([inputs[2 * i], inputs[2 * i + 1]]), sum);
            }
        }
    }

    #[inline(always)]
    fn finish<I: Isa>(isa: I, sum: [I::Floats; 2]) -> I::Floats {
        isa.f16_sum(sum)
    }
}
