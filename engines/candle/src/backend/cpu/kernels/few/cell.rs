//! What the cells of packed weights have in common.

use super::isa::{Isa, Line};
use super::quantise::QuantBlock;
use std::hint::black_box;

/// A cell: some inputs of the 16 rows of a panel, as stored.
///
/// # Safety
/// Any bytes are a valid value, there is no padding, and the size is a multiple of 64.
pub(super) unsafe trait Cell: Sized + 'static {
    /// 32 inputs of one activation row.
    type Inputs: Copy;
    /// The running sum of a panel and one activation row.
    type Sum<I: Isa>: Copy;

    /// Blocks of 32 inputs.
    const BLOCKS: usize;

    /// A sum of nothing.
    fn start<I: Isa>(isa: I) -> Self::Sum<I>;

    /// Adds the cell's products with [`Cell::BLOCKS`] blocks of each activation row.
    fn add<I: Isa, const R: usize>(&self, isa: I, inputs: &[[Self::Inputs; R]], sums: &mut [Self::Sum<I>; R]);

    /// The sum.
    fn finish<I: Isa>(isa: I, sum: Self::Sum<I>) -> I::Floats;
}

/// How far ahead of a stream lines are asked for, in bytes: into the second cache, and from there into the first.
/// Measured with two streams: 8 KiB and 2 KiB are 5 to 15 % slower, in every type.
const FAR: usize = 3072;
const NEAR: usize = 576;

/// Asks for a block's share of the lines that lie so far behind its cell. They may be lines of the next panel, of another
/// thread's, or of nothing at all: a hint never faults.
#[inline(always)]
pub(super) fn ahead<C: Cell>(cell: &C, block: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        let (lines, start) = (size_of::<C>() / 64, std::ptr::from_ref(cell).cast::<i8>());
        let (share, rest) = (lines / C::BLOCKS, lines % C::BLOCKS);
        let ask = |line: usize| {
            // SAFETY: every processor of this architecture has the instruction, which reads no memory.
            unsafe {
                _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(64 * line + FAR));
                _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(64 * line + NEAR));
            }
        };
        if block == 0 {
            (0..rest).for_each(ask);
        }
        (0..share).for_each(|line| ask(rest + block * share + line));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (cell, block, FAR, NEAR);
}

/// The codes of 32 inputs: eight groups of four inputs.
pub(super) trait Codes: Copy {
    /// The codes of a group.
    fn group<I: Isa>(self, isa: I, group: usize) -> I::Codes;
}

/// 8-bit codes: a line for each group.
pub(super) type Bytes = [Line; 8];
/// 4-bit codes: line `g` has group `g` in the lower bits and `g + 4` in the upper ones.
pub(super) type Nibbles = [Line; 4];
/// 2-bit codes: line `h` has group `4 h + t` in the bits from `2 t` on.
pub(super) type Pairs = [Line; 2];
/// 1-bit codes: word `g` has those of group `g`.
pub(super) type Bits = [u64; 8];

impl Codes for &Bytes {
    #[inline(always)]
    fn group<I: Isa>(self, isa: I, group: usize) -> I::Codes {
        isa.codes(&self[group])
    }
}

impl Codes for &Nibbles {
    #[inline(always)]
    fn group<I: Isa>(self, isa: I, group: usize) -> I::Codes {
        let line = isa.codes(&self[group % 4]);
        if group < 4 { isa.low(line) } else { isa.high(line) }
    }
}

impl Codes for &Pairs {
    #[inline(always)]
    fn group<I: Isa>(self, isa: I, group: usize) -> I::Codes {
        isa.pair(isa.codes(&self[group / 4]), group % 4)
    }
}

/// Five bits: the upper one apart.
impl Codes for (&Nibbles, &Bits) {
    #[inline(always)]
    fn group<I: Isa>(self, isa: I, group: usize) -> I::Codes {
        isa.with_bit(self.0.group(isa, group), self.1[group], 16)
    }
}

/// Six bits: the upper two apart.
impl Codes for (&Nibbles, &Pairs) {
    #[inline(always)]
    fn group<I: Isa>(self, isa: I, group: usize) -> I::Codes {
        isa.with_pair(self.0.group(isa, group), isa.codes(&self.1[group / 4]), group % 4)
    }
}

/// Three bits: the upper one apart.
impl Codes for (&Pairs, &Bits) {
    #[inline(always)]
    fn group<I: Isa>(self, isa: I, group: usize) -> I::Codes {
        isa.with_bit(self.0.group(isa, group), self.1[group], 4)
    }
}

/// Four bits that stand for what a table has.
impl Codes for (&Nibbles, &[u8; 16]) {
    #[inline(always)]
    fn group<I: Isa>(self, isa: I, group: usize) -> I::Codes {
        isa.look_up(self.1, self.0.group(isa, group))
    }
}

// Below and in the cells, vectors are kept in arrays by loops: what `map` makes of them is not always inlined, and then it is
// compiled for the portable set.

/// The same inputs at an address that the compiler knows nothing of, in one register. An operand at the sum of two registers counts
/// twice where instructions are issued, and what two panels share would be kept in more registers than there are: two rows took
/// as long as four.
#[inline(always)]
fn in_register<const R: usize>(inputs: &[QuantBlock; R]) -> &[QuantBlock; R] {
    black_box(inputs)
}

/// The products of a block's codes less `offset` with each activation row, in whole numbers.
#[inline(always)]
pub(super) fn products<I: Isa, C: Codes, const R: usize>(
    isa: I,
    codes: C,
    offset: i32,
    inputs: &[QuantBlock; R],
) -> [I::Floats; R] {
    let inputs = in_register(inputs);
    let mut sums = [isa.start(0); R];
    for (sum, input) in sums.iter_mut().zip(inputs) {
        *sum = isa.start(input.minus_sum.wrapping_mul(offset));
    }
    // Groups of one line of nibbles follow each other.
    for line in 0..4 {
        for group in [line, line + 4] {
            let codes = codes.group(isa, group);
            for (sum, input) in sums.iter_mut().zip(inputs) {
                *sum = isa.dot(*sum, codes, input, group);
            }
        }
    }
    let mut rounded = [isa.zero(); R];
    for (rounded, sum) in rounded.iter_mut().zip(sums) {
        *rounded = isa.rounded(sum);
    }
    rounded
}

/// The same of the first and of the second 16 inputs.
#[inline(always)]
pub(super) fn halved_products<I: Isa, C: Codes, const R: usize>(
    isa: I,
    codes: C,
    offset: i32,
    inputs: &[QuantBlock; R],
) -> [[I::Floats; 2]; R] {
    let inputs = in_register(inputs);
    let mut sums = [[isa.start(0); 2]; R];
    for (sums, input) in sums.iter_mut().zip(inputs) {
        for (sum, minus_sum) in sums.iter_mut().zip(input.minus_sums) {
            *sum = isa.start(minus_sum.wrapping_mul(offset));
        }
    }
    for line in 0..4 {
        for half in 0..2 {
            let group = line + 4 * half;
            let codes = codes.group(isa, group);
            for (sums, input) in sums.iter_mut().zip(inputs) {
                sums[half] = isa.dot(sums[half], codes, input, group);
            }
        }
    }
    let mut rounded = [[isa.zero(); 2]; R];
    for (rounded, [first, second]) in rounded.iter_mut().zip(sums) {
        *rounded = [isa.rounded(first), isa.rounded(second)];
    }
    rounded
}

/// What is the same for all cells whose inputs are quantised: a sum is a vector of floats.
macro_rules! quantised {
    ($blocks:literal) => {
        type Inputs = $crate::backend::cpu::kernels::few::quantise::QuantBlock;
        type Sum<I: Isa> = I::Floats;

        const BLOCKS: usize = $blocks;

        #[inline(always)]
        fn start<I: Isa>(isa: I) -> I::Floats {
            isa.zero()
        }

        #[inline(always)]
        fn finish<I: Isa>(_: I, sum: I::Floats) -> I::Floats {
            sum
        }
    };
}
pub(super) use quantised;
