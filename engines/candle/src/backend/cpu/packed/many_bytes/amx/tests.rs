//! Products on tiles against the plain tile's, to the bit.

use super::super::inputs::depth;
use super::super::tests::{Aligned, all, kinds, same};
use super::*;
use crate::backend::Into;
use crate::backend::cpu::kernels::reference::Random;
use crate::backend::cpu::kernels::{Level, Set};
use crate::backend::cpu::packed::tests::packed;
use crate::backend::cpu::tests::stored;

/// The level and its proof; none on a machine without AMX, which is told.
fn amx() -> Option<(Level, Amx)> {
    let level = *Level::all().last()?;
    match level.set() {
        Set::Amx(amx) => Some((level, amx)),
        _ => {
            eprintln!("SKIPPED: no AMX on this machine");
            None
        }
    }
}

/// The products of a matrix with rows of inputs, some panels at a time.
fn product(amx: Amx, weights: &Packed, inputs: &[f32], target: &Target<'_>, stretch: usize) {
    let cols = weights.cols();
    let (rows, depth) = (inputs.len() / cols, depth(cols));
    let blocks = Blocks::of(rows, depth);
    let (len, parts) = (blocks.values().unwrap(), blocks.parts());
    let mut values = Aligned::new(len);
    // Parts in any order.
    for (part, values) in values.get(len).chunks_mut(len / parts).enumerate().rev() {
        prepare(amx, blocks, part, inputs, cols, values);
    }
    let inputs = TileBytes::new(rows, depth, values.get(len)).unwrap();
    for first in (0..weights.panels()).step_by(stretch) {
        let panels = first..(first + stretch).min(weights.panels());
        products(amx, weights, panels, &inputs, target);
    }
}

fn set(amx: Amx, weights: &Packed, inputs: &[f32], stretch: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; inputs.len() / weights.cols() * weights.rows()];
    product(amx, weights, inputs, &Target::new(&mut out, weights.rows(), None, Into::Set), stretch);
    out
}

#[test]
fn products_have_the_bits_of_the_plain_tile() {
    let Some((level, amx)) = amx() else { return };
    let mut random = Random::new(81);
    for (dtype, cell) in kinds() {
        let block = dtype.block_len() as usize;
        for (rows, outputs, cols) in [
            (1, 1, block),
            (5, 35, cell + block),
            (8, 16, 3 * block),
            (8, 150, 2048 + cell),
            (9, 33, 1024),
            (14, 16, cell),
            (16, 70, 1024 + block),
            (MOST, 100, 2 * 1024 + block),
        ] {
            let mut bytes = stored(dtype, outputs * cols, &mut random);
            if rows == 16 || rows == 5 {
                // Every scale and code there is, infinite and NaN ones too.
                bytes.iter_mut().for_each(|byte| *byte = ((random.float() + 1.0) * 128.0) as u8);
            }
            let (weights, _) = packed(dtype, outputs, cols, &bytes);
            let mut inputs = random.floats(rows * cols);
            for (index, input) in inputs.iter_mut().enumerate() {
                *input *= [1.0, 1e-30, 3e38, 0.0, 1e-42, 1e20][index / 64 % 6];
            }
            let want = all(level, true, &weights, &inputs);
            for stretch in [3, 100] {
                let got = set(amx, &weights, &inputs, stretch);
                for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                    let place = (at / outputs, at % outputs);
                    assert!(same(*got, *want), "{dtype} {rows}x{cols} {place:?}: {got} {want}");
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row_and_is_never_lost() {
    let Some((_, amx)) = amx() else { return };
    let mut random = Random::new(82);
    for (dtype, _) in kinds() {
        let (weights, _) = packed(dtype, 17, 512, &stored(dtype, 17 * 512, &mut random));
        for rows in [7, 16] {
            let clean = random.floats(rows * 512);
            let want = set(amx, &weights, &clean, 2);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for place in [0, 31, 300, 511] {
                    let mut inputs = clean.clone();
                    inputs[3 * 512 + place] = bad;
                    let got = set(amx, &weights, &inputs, 2);
                    for (row, (got, want)) in got.chunks(17).zip(want.chunks(17)).enumerate() {
                        match row {
                            3 => assert!(got.iter().all(|value| !value.is_finite()), "{dtype} {bad} {got:?}"),
                            _ => assert_eq!(got, want),
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn products_are_added_with_their_bias() {
    let Some((_, amx)) = amx() else { return };
    let mut random = Random::new(83);
    let (weights, _) = packed(Dtype::Q4_0, 20, 64, &stored(Dtype::Q4_0, 20 * 64, &mut random));
    let (inputs, bias) = (random.floats(9 * 64), random.floats(20));
    let plain = set(amx, &weights, &inputs, 1);
    let mut out = vec![2.0; 9 * 20];
    product(amx, &weights, &inputs, &Target::new(&mut out, 20, Some(&bias), Into::Add), 1);
    for (at, (got, product)) in out.iter().zip(plain).enumerate() {
        assert_eq!(*got, 2.0 + (product + bias[at % 20]));
    }
}

#[test]
fn fewer_rows_never_want_more_room() {
    for rows in 1..200 {
        let values = |rows| Blocks::of(rows, 512).values().unwrap();
        assert!(values(rows) <= values(rows + 1), "{rows}");
        assert!(values(rows).is_multiple_of(Blocks::of(rows, 512).parts()));
    }
    assert_eq!(Blocks::of(usize::MAX - 100, 1 << 20).values(), None);
}
