//! One pass over panels: two at once, as two streams of memory keep more reads in flight than one.

use super::cell::Cell;
use super::isa::{Isa, LANES};
use std::hint::black_box;

/// Sums of some activation rows and a panel: the panel's number, the first row, and the sums of each row.
pub(crate) type Put<'a> = dyn FnMut(usize, usize, &[[f32; LANES]]) + 'a;

/// How many activation rows the next pass over a panel takes when so many are left: what is compiled, and no more.
#[inline(always)]
pub(super) fn taken<I: Isa>(left: usize) -> usize {
    match left {
        4.. if I::ROWS >= 4 => 4,
        2.. if I::ROWS >= 2 => 2,
        _ => 1,
    }
}

/// Multiplies whole panels of `per_panel` cells with `rows` activation rows. `inputs` are laid out by [`super::prepare`].
#[inline(always)]
pub(super) fn multiply<I: Isa, C: Cell>(
    isa: I,
    cells: &[C],
    per_panel: usize,
    inputs: &[C::Inputs],
    rows: usize,
    put: &mut Put<'_>,
) {
    let panels = cells.len() / per_panel;
    let second = panels.div_ceil(2);
    let (first_half, second_half) = cells.split_at(second * per_panel);
    let mut others = second_half.chunks_exact(per_panel);
    for (panel, cells) in first_half.chunks_exact(per_panel).enumerate() {
        let other = others.next().unwrap_or_default();
        let (mut row, mut inputs) = (0, inputs);
        while row < rows {
            let taken = taken::<I>(rows - row);
            let (these, rest) = inputs.split_at(inputs.len() / (rows - row) * taken);
            match taken {
                4 => {
                    both::<I, C, 4>(isa, [cells, other], these, |i, sums| put(i * second + panel, row, sums))
                }
                2 => {
                    both::<I, C, 2>(isa, [cells, other], these, |i, sums| put(i * second + panel, row, sums))
                }
                _ => {
                    both::<I, C, 1>(isa, [cells, other], these, |i, sums| put(i * second + panel, row, sums))
                }
            }
            (row, inputs) = (row + taken, rest);
        }
    }
}

/// Puts the sums of `R` rows with a panel and with another one, if there is one.
#[inline(always)]
fn both<I: Isa, C: Cell, const R: usize>(
    isa: I,
    [cells, others]: [&[C]; 2],
    inputs: &[C::Inputs],
    mut put: impl FnMut(usize, &[[f32; LANES]]),
) {
    let mut sums = [[C::start(isa); R]; 2];
    let inputs = inputs.as_chunks::<R>().0.chunks_exact(C::BLOCKS);
    if others.is_empty() {
        for (cell, inputs) in cells.iter().zip(inputs) {
            cell.add(isa, inputs, &mut sums[0]);
        }
    } else {
        for ((cell, other), inputs) in cells.iter().zip(others).zip(inputs) {
            cell.add(isa, inputs, &mut sums[0]);
            // Else the compiler keeps each input in a register of its own for this second use, and has too few of them.
            other.add(isa, black_box(inputs), &mut sums[1]);
        }
    }
    let mut floats = [[0.0; LANES]; R];
    for (i, sums) in sums.into_iter().enumerate().take(if others.is_empty() { 1 } else { 2 }) {
        for (floats, sum) in floats.iter_mut().zip(sums) {
            isa.store(C::finish(isa, sum), floats);
        }
        put(i, &floats);
    }
}
