//! Every way against the scalar twin, to the bit, and against the definition.

use super::*;
use crate::backend::cpu::kernels::reference::Random;
use crate::backend::cpu::kernels::{dequantise, with_format};
use crate::backend::cpu::packed::{Cell, Packed};
use crate::backend::cpu::tests::{from_bytes, stored};

/// Every way of this processor, the scalar twin first.
fn ways() -> Vec<(Level, Way)> {
    let of = |level: Level| Way::all(level).into_iter().map(move |way| (level, way));
    Level::all().into_iter().flat_map(of).collect()
}

fn load(dtype: Dtype, outputs: usize, cols: usize, bytes: &[u8]) -> Packed {
    Packed::load(dtype, outputs, cols, &mut from_bytes(bytes)).unwrap().unwrap()
}

/// The products `[rows, outputs]`, computed in stretches of so many panels.
fn multiply((level, way): (Level, Way), weights: &Packed, inputs: &[f32], stretch: usize) -> Vec<f32> {
    let (dtype, outputs, cols) = (weights.dtype(), weights.rows(), weights.cols());
    let (rows, quantised, depth) = (inputs.len() / cols, dtype.is_quantized(), cols.next_multiple_of(256));
    let record = if quantised { depth / BLOCK * QUANTISED } else { depth };
    let mut records = vec![f32::NAN; rows * record];
    prepare(way, level, quantised, inputs, cols, &mut records);
    let prepared = Inputs::new(way, quantised, rows, &records);
    let mut products = vec![f32::NAN; rows * outputs];
    let cells = weights.cell().count(cols);
    for first in (0..weights.panels()).step_by(stretch) {
        let panels = first..(first + stretch).min(weights.panels());
        let mut put = |panel: usize, row: usize, sums: &[[f32; 16]]| {
            let from = (first + panel) * 16;
            let to = (from + 16).min(outputs);
            for (index, sums) in sums.iter().enumerate() {
                products[(row + index) * outputs..][from..to].copy_from_slice(&sums[..to - from]);
            }
        };
        super::products(dtype, weights.stretch(panels), cells, &prepared, &mut put);
    }
    products
}

/// Bits, with all NaNs alike.
fn bits(products: &[f32]) -> Vec<u32> {
    products.iter().map(|value| if value.is_nan() { f32::NAN } else { *value }.to_bits()).collect()
}

fn types() -> impl Iterator<Item = (Dtype, Cell)> {
    Dtype::ALL.into_iter().filter_map(|dtype| Some((dtype, Cell::of(dtype)?)))
}

#[test]
fn all_ways_compute_the_same_bits_for_any_bytes_and_rows() {
    let mut random = Random::new(71);
    for (dtype, cell) in types() {
        let block = dtype.block_len() as usize;
        for cols in [block, cell.inputs + block, 3 * cell.inputs] {
            // Five panels, the last one not full. Scales of random bytes are subnormal, huge, infinite and NaN too.
            let (outputs, bytes) = (69, dtype.bytes_for((69 * cols) as u64).unwrap());
            let any: Vec<u8> = (0..bytes).map(|_| ((random.float() + 1.0) * 128.0) as u8).collect();
            for bytes in [any, stored(dtype, outputs * cols, &mut random)] {
                let weights = load(dtype, outputs, cols, &bytes);
                let inputs = random.floats(9 * cols);
                let want = bits(&multiply(ways()[0], &weights, &inputs, 5));
                for way in ways() {
                    for rows in 1..=9 {
                        let got = multiply(way, &weights, &inputs[..rows * cols], 1 + rows % 5);
                        assert_eq!(bits(&got), want[..rows * outputs], "{dtype:?} {cols} {rows} {way:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_largest_sums_have_the_same_bits_on_all_ways() {
    for (dtype, cell) in types() {
        let cols = cell.inputs;
        // Planes as large as they get, of either sign; the first input of a block sets its scale.
        let plane = |rest: f32| (0..cols).map(move |k| if k % BLOCK == 0 { 1.0 } else { rest });
        let inputs: Vec<f32> =
            [16256.0, -16256.0, 16191.0, -16192.0].into_iter().flat_map(|n| plane(n / 16256.0)).collect();
        for byte in 0..=u8::MAX {
            let bytes = vec![byte; dtype.bytes_for(16 * cols as u64).unwrap() as usize];
            let weights = load(dtype, 16, cols, &bytes);
            let want = bits(&multiply(ways()[0], &weights, &inputs, 1));
            for way in ways() {
                assert_eq!(bits(&multiply(way, &weights, &inputs, 1)), want, "{dtype:?} {byte} {way:?}");
            }
        }
    }
}

#[test]
fn products_are_those_of_the_values() {
    let mut random = Random::new(72);
    for (dtype, cell) in types() {
        let (outputs, cols) = (37, cell.inputs + dtype.block_len() as usize);
        let bytes = stored(dtype, outputs * cols, &mut random);
        let weights = load(dtype, outputs, cols, &bytes);
        let mut values = vec![0.0; outputs * cols];
        with_format!(dtype, F => dequantise::<F>(Level::detect(), &bytes, &mut values));
        for magnitude in [1e-20, 1.0, 1e28] {
            let inputs: Vec<f32> = random.floats(3 * cols).iter().map(|value| value * magnitude).collect();
            let got = multiply(ways()[0], &weights, &inputs, 2);
            for (row, got) in got.chunks(outputs).enumerate() {
                for (output, got) in got.iter().enumerate() {
                    let terms = inputs[row * cols..][..cols].iter().zip(&values[output * cols..][..cols]);
                    let terms = terms.map(|(x, w)| (f64::from(*x) * f64::from(*w), f64::from(w.abs())));
                    let (want, sizes, weight) =
                        terms.fold((0.0, 0.0, 0.0), |(a, b, c), (x, w)| (a + x, b + x.abs(), c + w));
                    let step = if dtype.is_quantized() { f64::from(magnitude) / 16256.0 / 2.0 } else { 0.0 };
                    let off = (f64::from(*got) - want).abs();
                    assert!(off <= 1e-6 * sizes + step * weight, "{dtype:?} {row} {output}: {got} {want}");
                }
            }
        }
    }
}

#[test]
fn rows_that_are_not_finite_stay_so_and_harm_no_other() {
    let mut random = Random::new(73);
    for (dtype, cell) in types() {
        let (outputs, cols) = (20, 2 * cell.inputs);
        let bytes = stored(dtype, outputs * cols, &mut random);
        let weights = load(dtype, outputs, cols, &bytes);
        for way in ways() {
            let mut inputs = random.floats(4 * cols);
            inputs[..cols].fill(0.0);
            let want = bits(&multiply(way, &weights, &inputs, 2));
            for (row, bad) in [(1, f32::NAN), (3, f32::INFINITY)] {
                inputs[row * cols + cols - 5] = bad;
            }
            let got = multiply(way, &weights, &inputs, 2);
            let rows: Vec<&[f32]> = got.chunks(outputs).collect();
            assert!(rows[0].iter().all(|value| *value == 0.0), "{dtype:?} {way:?}");
            assert_eq!(bits(rows[2]), want[2 * outputs..3 * outputs], "{dtype:?} {way:?}");
            assert!(rows[1].iter().chain(rows[3]).all(|value| !value.is_finite()), "{dtype:?} {way:?}");
        }
    }
}

#[test]
fn quantised_inputs_are_near_and_add_up() {
    let mut random = Random::new(74);
    for (level, way) in ways() {
        for magnitude in [1e-31, 1e-20, 1.0, 3e38] {
            let values: Vec<f32> = random.floats(2 * 45).iter().map(|value| value * magnitude).collect();
            let mut blocks = vec![QuantBlock::ZERO; 2 * 8];
            quantise::quantise(level, &values, 45, way.order(), &mut blocks);
            for (number, block) in blocks.iter().enumerate() {
                let (index, row) = (number / 2, number % 2);
                let of =
                    |k: usize| values[row * 45..(row + 1) * 45].get(32 * index + k).copied().unwrap_or(0.0);
                let numbers: Vec<i32> = (0..32).map(|k| block.number(k, way.order())).collect();
                for (k, number) in numbers.iter().enumerate() {
                    let off = (*number as f32 * block.scale - of(k)).abs();
                    assert!(off <= 0.501 * block.scale + 1e-30, "{off} {way:?}");
                }
                assert_eq!(block.minus_sum, -numbers.iter().sum::<i32>());
                assert_eq!(block.minus_sums[1], -numbers[16..].iter().sum::<i32>());
                assert_eq!(block.scaled_sum, block.scale * -block.minus_sum as f32);
            }
        }
    }
}

#[test]
#[should_panic(expected = "whole panels")]
fn weights_that_are_no_panels_are_caught() {
    let records = vec![0.0; 8 * QUANTISED];
    let inputs = Inputs::new(Way::of(Level::detect()), true, 1, &records);
    super::products(Dtype::Q8_0, &[0; 100], 1, &inputs, &mut |_, _, _| ());
}
