//! What the kernels of packed weights ask of an instruction set.

use super::quantise::QuantBlock;

/// Output rows in a panel: the lanes of every vector here.
pub(crate) const LANES: usize = 16;

/// A cache line of packed weights.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

/// Half-precision numbers, one per lane, as they are stored.
pub(crate) type Halves = [u16; LANES];

/// An instruction set, as operations on [`LANES`] output rows side by side. A value is the proof that the processor has it,
/// so its methods are safe.
///
/// All sets compute the same bits: the sums are of whole numbers, no multiplication is fused with an addition, and
/// conversions round to nearest.
pub(super) trait Isa: Copy {
    /// 64 unsigned bytes: of every lane, four inputs next to each other.
    type Codes: Copy;
    /// Running sums of products with quantised activations.
    type Sums: Copy;
    /// f32 per lane.
    type Floats: Copy;

    /// Most activation rows that one pass over the weights multiplies: as many as there are registers for.
    const ROWS: usize;

    /// A line as it is.
    fn codes(self, line: &Line) -> Self::Codes;
    /// The lower four bits of every byte.
    fn low(self, codes: Self::Codes) -> Self::Codes;
    /// The upper four bits of every byte.
    fn high(self, codes: Self::Codes) -> Self::Codes;
    /// The two bits from `2 * index` on of every byte.
    fn pair(self, pairs: Self::Codes, index: usize) -> Self::Codes;
    /// `codes` with the two bits from `2 * index` on of every byte of `pairs` as their bits 4 and 5, which are zero.
    fn with_pair(self, codes: Self::Codes, pairs: Self::Codes, index: usize) -> Self::Codes;
    /// `codes` plus `value` where the bit of `word` with the byte's number is set.
    fn with_bit(self, codes: Self::Codes, word: u64, value: u8) -> Self::Codes;
    /// What a table has at these places, which are below 16.
    fn look_up(self, table: &[u8; 16], places: Self::Codes) -> Self::Codes;

    /// Sums that begin with a value.
    fn start(self, value: i32) -> Self::Sums;
    /// Adds the products with the inputs of a group, `4 * group ..` of the block.
    fn dot(self, sums: Self::Sums, codes: Self::Codes, block: &QuantBlock, group: usize) -> Self::Sums;
    /// The sums, rounded to f32.
    fn rounded(self, sums: Self::Sums) -> Self::Floats;

    /// Zeros.
    fn zero(self) -> Self::Floats;
    /// The same value in every lane.
    fn splat(self, value: f32) -> Self::Floats;
    /// `a + b`.
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a - b`.
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b`.
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The lanes to memory.
    fn store(self, floats: Self::Floats, to: &mut [f32; LANES]);

    /// Stored half-precision numbers.
    fn halves(self, stored: &Halves) -> Self::Floats;
    /// Unsigned bytes.
    fn unsigned(self, bytes: &[u8; LANES]) -> Self::Floats;
    /// Signed bytes.
    fn signed(self, bytes: &[i8; LANES]) -> Self::Floats;
    /// Half of the powers of two with these biased exponents (E8M0).
    fn half_powers(self, exponents: &[u8; LANES]) -> Self::Floats;

    /// A line of bf16, two inputs per lane: the first ones and the second ones.
    fn bf16(self, line: &Line) -> [Self::Floats; 2];
    /// A line of f16, two inputs per lane, in an order of the set's own.
    fn f16(self, line: &Line) -> [Self::Floats; 2];
    /// Two inputs in the order of [`Isa::f16`].
    fn f16_inputs(self, inputs: [f32; 2]) -> [Self::Floats; 2];
    /// Out of that order: the sums of both values of every lane.
    fn f16_sum(self, pair: [Self::Floats; 2]) -> Self::Floats;
}
