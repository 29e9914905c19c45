//! Products against their definition in f64, and every level's against the plain tile's, to the bit.

use super::inputs::{Groups, MOST_ROWS, depth, prepare};
use super::piece::Code;
use super::walk::GROUPS;
use super::*;
use crate::backend::Into;
use crate::backend::cpu::kernels::reference::Random;
use crate::backend::cpu::packed::tests::{packed, types};
use crate::backend::cpu::packed::unpack_row;
use crate::backend::cpu::tests::stored;
use plimsoll_formats::Dtype;

/// Memory that begins at a multiple of 64 bytes.
pub(super) struct Aligned(Vec<f32>, usize);

impl Aligned {
    pub(super) fn new(len: usize) -> Self {
        let values = vec![f32::NAN; len + 16];
        let start = values.as_ptr().align_offset(64);
        Aligned(values, start)
    }

    pub(super) fn get(&mut self, len: usize) -> &mut [f32] {
        &mut self.0[self.1..self.1 + len]
    }
}

/// All products of `inputs`, with these kernels or with a level's.
pub(super) fn all(level: Level, plain: bool, weights: &Packed, inputs: &[f32]) -> Vec<f32> {
    let (rows, depth) = (inputs.len() / weights.cols(), depth(weights.cols()));
    let groups = Groups::of(rows, depth);
    let len = groups.len() * groups.count;
    assert_eq!(Some(len), Groups::most(rows, depth));
    let mut values = Aligned::new(len);
    for (group, values) in values.get(len).chunks_mut(groups.len()).enumerate() {
        let of = groups.rows_of(group, rows);
        let cols = weights.cols();
        prepare(level, groups, &inputs[of.start * cols..of.end * cols], cols, values);
    }
    let bytes = Bytes::new(rows, depth, values.get(len)).unwrap();
    let kernels = match plain {
        true => Kernels::plain(level, weights.dtype(), groups.rows),
        false => Kernels::of(level, weights.dtype(), groups),
    };
    let kernels = kernels.unwrap();
    let mut out = vec![f32::NAN; rows * weights.rows()];
    let target = Target::new(&mut out, weights.rows(), None, Into::Set);
    let mut room = Aligned::new(scratch(rows));
    // Two tasks, as two threads would have.
    let middle = weights.panels() / 2;
    for panels in [0..middle, middle..weights.panels()] {
        products_with(&kernels, weights, panels, &bytes, &target, room.get(scratch(rows)));
    }
    out
}

pub(super) fn kinds() -> impl Iterator<Item = (Dtype, usize)> {
    types().filter(|(dtype, _)| dtype.is_quantized()).map(|(dtype, cell)| (dtype, cell.inputs))
}

/// Whether two numbers are the same; which NaN it is is nobody's concern.
pub(super) fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn products_follow_the_definition_on_every_level() {
    let mut random = Random::new(71);
    for (dtype, cell) in kinds() {
        let block = dtype.block_len() as usize;
        for (rows, outputs, cols) in
            [(1, 16, block), (5, 35, cell + block), (12, 70, 3 * block), (13, 1, 512), (31, 33, 256 + block)]
        {
            let cols = cols.next_multiple_of(block);
            let (weights, values) = packed(dtype, outputs, cols, &stored(dtype, outputs * cols, &mut random));
            let inputs = random.floats(rows * cols);
            for level in Level::all() {
                let got = all(level, false, &weights, &inputs);
                for (row, input) in inputs.chunks(cols).enumerate() {
                    for (output, weight) in values.chunks(cols).enumerate() {
                        let (mut exact, mut rounded, mut magnitude, mut bound) = (0.0, 0.0, 0.0, 0.0);
                        for (input, weight) in input.chunks(32).zip(weight.chunks(32)) {
                            let largest = input.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                            for (x, w) in input.iter().zip(weight) {
                                let code = (x * (127.0 / largest)).round_ties_even();
                                let (x, w) = (f64::from(*x), f64::from(*w));
                                exact += x * w;
                                rounded += f64::from(code * largest / 127.0) * w;
                                magnitude += (x * w).abs();
                                // Half a code's step.
                                bound += f64::from(largest) / 254.0 * w.abs();
                            }
                        }
                        let got = f64::from(got[row * outputs + output]);
                        let place = || format!("{dtype} {} {row} {output}: {got}", level.name());
                        assert!((got - rounded).abs() <= 1e-4 + 1e-5 * magnitude, "{} {rounded}", place());
                        assert!((got - exact).abs() <= 1e-4 + bound, "{} {exact}", place());
                    }
                }
            }
        }
    }
}

#[test]
fn every_level_gives_the_bits_of_the_plain_tile() {
    let mut random = Random::new(72);
    for (dtype, cell) in kinds() {
        let block = dtype.block_len() as usize;
        for rows in (1..=17).chain([23, 25, 70]) {
            let (outputs, cols) = (16 * (rows % 3) + 1 + rows % 16, (cell + rows * block).min(1024));
            let mut bytes = stored(dtype, outputs * cols, &mut random);
            if rows % 2 == 0 {
                // Every scale and code there is, infinite and NaN ones too.
                bytes.iter_mut().for_each(|byte| *byte = ((random.float() + 1.0) * 128.0) as u8);
            }
            let (weights, _) = packed(dtype, outputs, cols, &bytes);
            let mut inputs = random.floats(rows * cols);
            for (index, input) in inputs.iter_mut().enumerate() {
                *input *= [1.0, 1e-30, 3e38, 0.0, 1e-42, 1e20][index / 64 % 6];
            }
            for level in Level::all() {
                let (got, want) = (all(level, false, &weights, &inputs), all(level, true, &weights, &inputs));
                for (at, (got, want)) in got.iter().zip(want).enumerate() {
                    let place = (at / outputs, at % outputs);
                    assert!(same(*got, want), "{dtype} {} {rows} {place:?}: {got} {want}", level.name());
                }
            }
        }
    }
}

#[test]
fn levels_that_take_the_same_codes_give_the_same_bits() {
    let mut random = Random::new(73);
    for (dtype, _) in kinds() {
        let (weights, _) = packed(dtype, 33, 512, &stored(dtype, 33 * 512, &mut random));
        let inputs = random.floats(20 * 512);
        let mut seen: [Option<Vec<f32>>; 2] = [None, None];
        for level in Level::all() {
            let got = all(level, false, &weights, &inputs);
            let seen = &mut seen[usize::from(Kernels::code(level) == Code::Narrow)];
            assert!(seen.as_ref().is_none_or(|seen| *seen == got), "{dtype} {}", level.name());
            *seen = Some(got);
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_others() {
    let mut random = Random::new(74);
    let (outputs, cols) = (40, 512);
    for dtype in [Dtype::Q4_0, Dtype::Q8_0, Dtype::Q4K, Dtype::Q6K, Dtype::Q2K] {
        let (weights, _) = packed(dtype, outputs, cols, &stored(dtype, outputs * cols, &mut random));
        // More groups than have their sums together.
        let inputs = random.floats((GROUPS * MOST_ROWS + 20) * cols);
        for level in Level::all() {
            let most = if level.name() == "portable" { 70 } else { inputs.len() / cols };
            let want = all(level, false, &weights, &inputs[..most * cols]);
            for rows in [1, 2, 6, 11, 12, 13, 16, 17, 29, 70] {
                let got = all(level, false, &weights, &inputs[..rows * cols]);
                assert!(got == want[..rows * outputs], "{dtype} {} {rows}", level.name());
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row_and_is_never_lost() {
    let mut random = Random::new(75);
    for (dtype, _) in kinds() {
        let (weights, _) = packed(dtype, 17, 512, &stored(dtype, 17 * 512, &mut random));
        let clean = random.floats(7 * 512);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 31, 300, 511] {
                let mut inputs = clean.clone();
                inputs[3 * 512 + place] = bad;
                for level in Level::all() {
                    let (got, want) =
                        (all(level, false, &weights, &inputs), all(level, false, &weights, &clean));
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
    let mut random = Random::new(76);
    let (weights, _) = packed(Dtype::Q4_0, 20, 64, &stored(Dtype::Q4_0, 20 * 64, &mut random));
    let (inputs, bias) = (random.floats(9 * 64), random.floats(20));
    let plain = all(Level::detect(), false, &weights, &inputs);
    let groups = Groups::of(9, depth(64));
    let len = groups.len() * groups.count;
    let mut values = Aligned::new(len);
    prepare(Level::detect(), groups, &inputs, 64, values.get(len));
    let bytes = Bytes::new(9, depth(64), values.get(len)).unwrap();
    let mut out = vec![2.0; 9 * 20];
    let mut room = Aligned::new(scratch(9));
    let target = Target::new(&mut out, 20, Some(&bias), Into::Add);
    products(Level::detect(), &weights, 0..2, &bytes, &target, room.get(scratch(9)));
    for (at, (got, product)) in out.iter().zip(plain).enumerate() {
        assert_eq!(*got, 2.0 + (product + bias[at % 20]));
    }
}

#[test]
fn every_level_quantises_alike() {
    let mut random = Random::new(78);
    for (rows, cols) in [(1, 32), (5, 70), (12, 512), (30, 96)] {
        let mut inputs = random.floats(rows * cols);
        for (index, input) in inputs.iter_mut().enumerate() {
            *input *= [1.0, 1e-30, 3e38, 0.0, 1e-42, 1e20, f32::INFINITY, f32::NAN][index / 17 % 8];
        }
        let depth = depth(cols);
        let groups = Groups::of(rows, depth);
        let mut want: Option<Vec<u32>> = None;
        for level in Level::all() {
            let mut values = vec![0.0; groups.len() * groups.count];
            for (group, values) in values.chunks_mut(groups.len()).enumerate() {
                let of = groups.rows_of(group, rows);
                prepare(level, groups, &inputs[of.start * cols..of.end * cols], cols, values);
            }
            let got: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
            assert!(want.as_ref().is_none_or(|want| *want == got), "{} {rows} {cols}", level.name());
            want = Some(got);
        }
    }
}

#[test]
fn fewer_rows_never_want_more_room() {
    for rows in 1..600 {
        assert!(Groups::most(rows, 256) <= Groups::most(rows + 1, 256), "{rows}");
        assert!(scratch(rows) <= scratch(rows + 1));
        let groups = Groups::of(rows, 256);
        assert!(groups.bounds().contains(&groups.rows) && groups.rows * groups.count >= rows, "{rows}");
        assert!(
            groups.rows * groups.count < rows + groups.count || rows < 5,
            "a row is wasted at most, of each group"
        );
    }
    assert_eq!(Groups::most(usize::MAX / 8, 1 << 20), None);
}

#[test]
fn the_look_up_of_a_row_is_what_products_are_made_of() {
    let mut random = Random::new(77);
    let mut values = vec![0.0; 256];
    for (dtype, _) in kinds() {
        let (weights, _) = packed(dtype, 5, 256, &stored(dtype, 5 * 256, &mut random));
        // One input that is 1 shows a weight.
        let mut inputs = vec![0.0; 6 * 256];
        let places = [0, 17, 33, 100, 200, 255];
        places.iter().enumerate().for_each(|(row, place)| inputs[row * 256 + place] = 1.0);
        for level in Level::all() {
            let got = all(level, false, &weights, &inputs);
            for output in 0..5 {
                unpack_row(&weights, output, &mut values);
                for (row, place) in places.into_iter().enumerate() {
                    let (got, want) = (got[row * 5 + output], values[place]);
                    assert!(
                        (got - want).abs() <= 1e-5 * want.abs().max(0.1),
                        "{dtype} {}: {got} {want}",
                        level.name()
                    );
                }
            }
        }
    }
}
