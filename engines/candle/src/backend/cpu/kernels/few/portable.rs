//! The plain twin of the vector code, for any processor.

use super::isa::{Halves, Isa, LANES, Line};
use super::quantise::QuantBlock;
use crate::backend::cpu::kernels::{f32_of_f16, half_of_power};

/// What every processor has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

#[inline(always)]
fn each(operation: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(operation)
}

/// The `index`th 16 bits of a line.
#[inline(always)]
fn short(line: &Line, index: usize) -> u16 {
    u16::from_le_bytes([line.0[2 * index], line.0[2 * index + 1]])
}

impl Isa for Plain {
    type Codes = [u8; 64];
    type Sums = [i32; LANES];
    type Floats = [f32; LANES];

    const ROWS: usize = 1;

    #[inline(always)]
    fn codes(self, line: &Line) -> Self::Codes {
        line.0
    }

    #[inline(always)]
    fn low(self, codes: Self::Codes) -> Self::Codes {
        codes.map(|code| code & 15)
    }

    #[inline(always)]
    fn high(self, codes: Self::Codes) -> Self::Codes {
        codes.map(|code| code >> 4)
    }

    #[inline(always)]
    fn pair(self, pairs: Self::Codes, index: usize) -> Self::Codes {
        pairs.map(|pairs| (pairs >> (2 * index)) & 3)
    }

    #[inline(always)]
    fn with_pair(self, codes: Self::Codes, pairs: Self::Codes, index: usize) -> Self::Codes {
        std::array::from_fn(|i| codes[i] | (((pairs[i] >> (2 * index)) & 3) << 4))
    }

    #[inline(always)]
    fn with_bit(self, codes: Self::Codes, word: u64, value: u8) -> Self::Codes {
        std::array::from_fn(|i| codes[i] + value * ((word >> i) & 1) as u8)
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], places: Self::Codes) -> Self::Codes {
        places.map(|place| table[usize::from(place & 15)])
    }

    #[inline(always)]
    fn start(self, value: i32) -> Self::Sums {
        [value; LANES]
    }

    #[inline(always)]
    fn dot(self, mut sums: Self::Sums, codes: Self::Codes, block: &QuantBlock, group: usize) -> Self::Sums {
        let inputs = block.shorts(group).map(i32::from);
        for (sum, codes) in sums.iter_mut().zip(codes.as_chunks::<4>().0) {
            for (code, input) in codes.iter().zip(inputs) {
                *sum += i32::from(*code) * input;
            }
        }
        sums
    }

    #[inline(always)]
    fn rounded(self, sums: Self::Sums) -> Self::Floats {
        sums.map(|sum| sum as f32)
    }

    #[inline(always)]
    fn zero(self) -> Self::Floats {
        [0.0; LANES]
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::Floats {
        [value; LANES]
    }

    #[inline(always)]
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        each(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn store(self, floats: Self::Floats, to: &mut [f32; LANES]) {
        *to = floats;
    }

    #[inline(always)]
    fn halves(self, stored: &Halves) -> Self::Floats {
        stored.map(f32_of_f16)
    }

    #[inline(always)]
    fn unsigned(self, bytes: &[u8; LANES]) -> Self::Floats {
        bytes.map(f32::from)
    }

    #[inline(always)]
    fn signed(self, bytes: &[i8; LANES]) -> Self::Floats {
        bytes.map(f32::from)
    }

    #[inline(always)]
    fn half_powers(self, exponents: &[u8; LANES]) -> Self::Floats {
        exponents.map(half_of_power)
    }

    #[inline(always)]
    fn bf16(self, line: &Line) -> [Self::Floats; 2] {
        [0, 1].map(|input| each(|i| f32::from_bits(u32::from(short(line, 2 * i + input)) << 16)))
    }

    #[inline(always)]
    fn f16(self, line: &Line) -> [Self::Floats; 2] {
        [0, 1].map(|input| each(|i| f32_of_f16(short(line, 2 * i + input))))
    }

    #[inline(always)]
    fn f16_inputs(self, inputs: [f32; 2]) -> [Self::Floats; 2] {
        inputs.map(|input| [input; LANES])
    }

    #[inline(always)]
    fn f16_sum(self, [first, second]: [Self::Floats; 2]) -> Self::Floats {
        self.add(first, second)
    }
}
