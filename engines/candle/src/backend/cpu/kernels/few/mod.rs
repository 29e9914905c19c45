//! Products of a few activation rows with panels of packed weights, as fast as memory gives the weights.
//!
//! One body serves all: `pass` walks the panels, a `cell` of a storage type says how its codes and scales come out (`legacy`,
//! `k_quants`, `sixteen`), and an `isa` computes on the 16 rows of a panel (`portable`, `x86_256`, `x86_512`). All of them
//! give the same bits, and a row's results do not depend on the rows beside it.
//!
//! Weights of 16 bits are multiplied with f32 activations, all others with 15-bit ones (`quantise`).

mod cell;
mod isa;
mod k_quants;
mod legacy;
mod pass;
mod portable;
mod quantise;
mod sixteen;
mod way;
#[cfg(target_arch = "x86_64")]
mod x86_256;
#[cfg(target_arch = "x86_64")]
mod x86_512;

#[cfg(test)]
mod tests;

pub(crate) use pass::Put;
pub(crate) use way::Way;

use super::{Level, per_level};
use cell::Cell;
use isa::Isa;
use plimsoll_formats::Dtype;
use quantise::QuantBlock;
use way::per_way;

/// Inputs of a block of either form.
const BLOCK: usize = quantise::BLOCK;

/// Values of 4 bytes that a quantised input takes, times [`BLOCK`].
pub(crate) const QUANTISED: usize = size_of::<QuantBlock>() / 4;

/// Activation rows in the form and order of a [`Way`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    way: Way,
    rows: usize,
    blocks: Blocks<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Blocks<'a> {
    Quantised(&'a [QuantBlock]),
    Floats(&'a [[f32; BLOCK]]),
}

impl<'a> Inputs<'a> {
    /// Rows as [`prepare`] made them for the same way and number of rows.
    pub(crate) fn new(way: Way, quantised: bool, rows: usize, records: &'a [f32]) -> Self {
        let blocks = if quantised {
            let count = size_of_val(records) / size_of::<QuantBlock>();
            // SAFETY: the memory is large enough; a block is made of numbers of the size and alignment of f32, which may
            // be any bytes.
            Blocks::Quantised(unsafe { std::slice::from_raw_parts(records.as_ptr().cast(), count) })
        } else {
            Blocks::Floats(records.as_chunks().0)
        };
        Inputs { way, rows, blocks }
    }
}

/// Brings `[rows, cols]` inputs into the form for a way: 15 bits, [`QUANTISED`] values for 32 inputs, or f32. The records of
/// all rows are as long as rows padded to whole 256 inputs take.
pub(crate) fn prepare(
    way: Way,
    level: Level,
    quantised: bool,
    inputs: &[f32],
    cols: usize,
    records: &mut [f32],
) {
    let rows = inputs.len().checked_div(cols).unwrap_or(0);
    if rows == 0 {
        return;
    }
    let per_row = records.len() / rows;
    for (first, taken) in groups(way, rows) {
        let inputs = &inputs[first * cols..(first + taken) * cols];
        let records = &mut records[first * per_row..(first + taken) * per_row];
        if quantised {
            let count = size_of_val(records) / size_of::<QuantBlock>();
            // SAFETY: the memory is borrowed mutably and large enough; a block is made of numbers of the size and
            // alignment of f32, which may be any bytes.
            let blocks = unsafe { std::slice::from_raw_parts_mut(records.as_mut_ptr().cast(), count) };
            quantise::quantise(level, inputs, cols, way.order(), blocks);
        } else {
            interleave(level, inputs, cols, records.as_chunks_mut().0);
        }
    }
}

/// First rows and counts of the rows that go over the weights together.
fn groups(way: Way, rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let group = (first, way.taken(rows.checked_sub(first).filter(|left| *left > 0)?));
        first += group.1;
        Some(group)
    })
}

per_level! {
    /// Puts block `i` of row `r` at number `i * rows + r`, with zeros behind the last input.
    fn interleave[_simd](inputs: &[f32], cols: usize, blocks: &mut [[f32; BLOCK]]) {
        let rows = inputs.len() / cols;
        for (row, inputs) in inputs.chunks_exact(cols).enumerate() {
            let (whole, rest) = inputs.as_chunks::<BLOCK>();
            let mut places = blocks[row..].iter_mut().step_by(rows);
            for (place, values) in places.by_ref().take(whole.len()).zip(whole) {
                *place = *values;
            }
            for (number, place) in places.enumerate() {
                *place = [0.0; BLOCK];
                if number == 0 {
                    place[..rest.len()].copy_from_slice(rest);
                }
            }
        }
    }
}

/// Multiplies whole panels with the inputs and puts the sums. `weights` are panels of `cells` cells each of this type,
/// aligned to a cache line.
///
/// # Panics
/// The weights are no such panels, or the inputs are for weights of another kind.
pub(crate) fn products(dtype: Dtype, weights: &[u8], cells: usize, inputs: &Inputs<'_>, put: &mut Put<'_>) {
    match (dtype, inputs.blocks) {
        (Dtype::Q8_0, Blocks::Quantised(blocks)) => of::<legacy::Q8_0>(weights, cells, inputs, blocks, put),
        (Dtype::Q4_0, Blocks::Quantised(blocks)) => of::<legacy::Q4_0>(weights, cells, inputs, blocks, put),
        (Dtype::Q4_1, Blocks::Quantised(blocks)) => of::<legacy::Q4_1>(weights, cells, inputs, blocks, put),
        (Dtype::Q5_0, Blocks::Quantised(blocks)) => of::<legacy::Q5_0>(weights, cells, inputs, blocks, put),
        (Dtype::Q5_1, Blocks::Quantised(blocks)) => of::<legacy::Q5_1>(weights, cells, inputs, blocks, put),
        (Dtype::IQ4NL, Blocks::Quantised(blocks)) => of::<legacy::Iq4Nl>(weights, cells, inputs, blocks, put),
        (Dtype::MXFP4, Blocks::Quantised(blocks)) => of::<legacy::Mxfp4>(weights, cells, inputs, blocks, put),
        (Dtype::Q2K, Blocks::Quantised(blocks)) => of::<k_quants::Q2K>(weights, cells, inputs, blocks, put),
        (Dtype::Q3K, Blocks::Quantised(blocks)) => of::<k_quants::Q3K>(weights, cells, inputs, blocks, put),
        (Dtype::Q4K, Blocks::Quantised(blocks)) => of::<k_quants::Q4K>(weights, cells, inputs, blocks, put),
        (Dtype::Q5K, Blocks::Quantised(blocks)) => of::<k_quants::Q5K>(weights, cells, inputs, blocks, put),
        (Dtype::Q6K, Blocks::Quantised(blocks)) => of::<k_quants::Q6K>(weights, cells, inputs, blocks, put),
        (Dtype::IQ4XS, Blocks::Quantised(blocks)) => {
            of::<k_quants::Iq4Xs>(weights, cells, inputs, blocks, put)
        }
        (Dtype::BF16, Blocks::Floats(blocks)) => of::<sixteen::Bf16>(weights, cells, inputs, blocks, put),
        (Dtype::F16, Blocks::Floats(blocks)) => of::<sixteen::F16>(weights, cells, inputs, blocks, put),
        // The form follows from the type where the way is chosen, and f32 weights are not packed.
        _ => panic!("{dtype:?} weights and inputs of another form"),
    }
}

/// The products with panels of one type.
fn of<C: Cell>(
    weights: &[u8],
    per_panel: usize,
    inputs: &Inputs<'_>,
    blocks: &[C::Inputs],
    put: &mut Put<'_>,
) {
    let (rows, size) = (inputs.rows, size_of::<C>());
    if rows == 0 || per_panel == 0 {
        return;
    }
    assert!(weights.len().is_multiple_of(size * per_panel), "the weights are whole panels");
    assert!(weights.as_ptr().cast::<C>().is_aligned(), "panels begin at cache lines");
    // SAFETY: aligned and long enough, both just checked, and any bytes make a cell.
    let cells = unsafe { std::slice::from_raw_parts(weights.as_ptr().cast::<C>(), weights.len() / size) };
    let depth = blocks.len() / rows;
    assert!(per_panel * C::BLOCKS <= depth, "the inputs are as many as the weights'");
    #[inline(always)]
    fn body<I: Isa, C: Cell>(
        isa: I,
        cells: &[C],
        per_panel: usize,
        inputs: &[C::Inputs],
        rows: usize,
        put: &mut Put<'_>,
    ) {
        pass::multiply(isa, cells, per_panel, inputs, rows, put);
    }
    per_way!(inputs.way, body<C>(cells: &[C], per_panel: usize, blocks: &[C::Inputs], rows: usize, put: &mut Put<'_>));
}
