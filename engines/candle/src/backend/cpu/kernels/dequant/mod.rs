//! ggml's block formats: how [`LANES`] values come out of a block, one file per family.
//!
//! Every format is a scale times a small whole number, some with an offset, so that one shape serves all: the numbers of a
//! group are unpacked to bytes, which compiles to vector code, and the rest is [`Simd`] arithmetic. The products are taken
//! in the order in which ggml takes them, so that values agree with its own to the bit.

mod iq4;
mod k_quants;
mod legacy;
mod mxfp4;

#[cfg(test)]
mod tests;

pub(crate) use iq4::{IQ4_LEVELS, Iq4Nl, Iq4Xs};
pub(crate) use k_quants::{Q2K, Q3K, Q4K, Q5K, Q6K};
pub(crate) use legacy::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
pub(crate) use mxfp4::{MXFP4_LEVELS, Mxfp4, half_of_power};

use super::format::f32_of_f16;
use super::{LANES, Simd};

/// What a block format has in common with all others: blocks of so many bytes and groups.
macro_rules! blocks {
    ($bytes:expr, $groups:expr) => {
        type Chunk = [u8; $bytes];

        const GROUPS: usize = $groups;
        const ZEROS: Self::Chunk = [0; $bytes];

        #[inline(always)]
        fn chunks(row: &[u8]) -> (&[Self::Chunk], &[u8]) {
            row.as_chunks()
        }
    };
}
use blocks;

/// Signed levels as bytes.
const fn unsigned(levels: [i8; 16]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut i = 0;
    while i < 16 {
        bytes[i] = levels[i].cast_unsigned();
        i += 1;
    }
    bytes
}

/// The half-precision number in two bytes.
#[inline(always)]
fn half_at(bytes: &[u8], at: usize) -> f32 {
    f32_of_f16(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// Two values for half of the lanes each.
#[inline(always)]
fn halves<S: Simd>(simd: S, [first, second]: [f32; 2]) -> S::Lanes {
    let mut values = [first; LANES];
    values[LANES / 2..].fill(second);
    simd.load(&values)
}

/// The lower halves of 16 bytes, then the upper ones.
#[inline(always)]
fn nibbles(bytes: &[u8; LANES / 2]) -> [u8; LANES] {
    let mut levels = [0; LANES];
    for (i, byte) in bytes.iter().enumerate() {
        levels[i] = byte & 15;
        levels[i + LANES / 2] = byte >> 4;
    }
    levels
}

/// `bits` bits of each byte from `shift` on.
#[inline(always)]
fn field(bytes: &[u8; LANES], shift: usize, bits: usize) -> [u8; LANES] {
    let mut levels = [0; LANES];
    for (level, byte) in levels.iter_mut().zip(bytes) {
        *level = (byte >> shift) & ((1 << bits) - 1);
    }
    levels
}

/// `levels + upper * 2^shift - offset`, as two's complement bytes.
#[inline(always)]
fn joined(levels: [u8; LANES], upper: [u8; LANES], shift: usize, offset: u8) -> [u8; LANES] {
    let mut joined = [0; LANES];
    for i in 0..LANES {
        joined[i] = (levels[i] | (upper[i] << shift)).wrapping_sub(offset);
    }
    joined
}
