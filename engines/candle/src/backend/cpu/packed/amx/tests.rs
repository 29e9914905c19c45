//! Products on tiles against sums in f64 over the numbers that the blocks stand for.

use super::*;
use crate::backend::Into;
use crate::backend::cpu::kernels::reference::Random;
use crate::backend::cpu::kernels::{Level, Set};
use crate::backend::cpu::packed::tests::{packed, types};
use crate::backend::cpu::tests::stored;

/// The proof; none on a machine without AMX, which is told.
fn amx() -> Option<Amx> {
    match Level::all().last().map(|level| level.set()) {
        Some(Set::Amx(amx)) => Some(amx),
        _ => {
            eprintln!("SKIPPED: no AMX on this machine");
            None
        }
    }
}

/// Floats that begin with a cache line.
struct Aligned(Vec<[f32; 16]>);

impl Aligned {
    fn new(len: usize) -> Self {
        // The allocator gives at least the alignment of a number: find the line.
        Aligned(vec![[f32::NAN; 16]; len.div_ceil(16) + 1])
    }

    fn take(&mut self, len: usize) -> &mut [f32] {
        let all = self.0.as_flattened_mut();
        let skip = all.as_ptr().align_offset(64);
        &mut all[skip..skip + len]
    }
}

/// The products of a matrix with rows of inputs.
fn product(
    amx: Amx,
    matrix: &Packed,
    inputs: &[f32],
    bias: Option<&[f32]>,
    how: Into,
    out: &mut [f32],
    (stretch, exact): (usize, bool),
) {
    let (cols, planes) = (matrix.cols(), planes(matrix.dtype(), exact));
    let (rows, depth) = (inputs.len() / cols, cols.next_multiple_of(256));
    let len = block_len(depth, planes).unwrap();
    let mut blocks = Aligned::new(len * rows.div_ceil(BLOCK));
    let blocks = blocks.take(len * rows.div_ceil(BLOCK));
    for (block, rows) in blocks.chunks_mut(len).zip(inputs.chunks(BLOCK * cols)) {
        prepare(amx, rows, cols, depth, planes, block);
    }
    let tiled = Tiled::new(blocks, rows, depth, planes).unwrap();
    let target = Target::new(out, matrix.rows(), bias, how);
    let len = scratch_len(rows).unwrap();
    let mut scratch = Aligned::new(len);
    for first in (0..matrix.panels()).step_by(stretch) {
        let panels = first..(first + stretch).min(matrix.panels());
        products(amx, matrix, panels, &tiled, &target, scratch.take(len));
    }
}

#[test]
fn products_of_all_types_and_sizes_are_near_the_exact_ones() {
    let Some(amx) = amx() else { return };
    let mut random = Random::new(72);
    for (dtype, cell, exact) in
        types().flat_map(|(dtype, cell)| [false, true].map(|exact| (dtype, cell, exact)))
    {
        if exact && dtype != Dtype::BF16 {
            continue;
        }
        let block = dtype.block_len() as usize;
        // bf16 rounds both factors by a part of 256 at most, two planes together by a part of 65536.
        let unit = if planes(dtype, exact) == 1 { 1.0 / 256.0 } else { 1.0 / 65536.0 };
        for (outputs, cols) in
            [(35, 3 * cell.inputs + block), (16, 512 + cell.inputs), (300, cell.inputs), (1, block)]
        {
            let (matrix, weights) = packed(dtype, outputs, cols, &stored(dtype, outputs * cols, &mut random));
            for rows in [1, 5, 16, 17, 32, 33, 48, 70] {
                let inputs = random.floats(rows * cols);
                let (mut out, mut errors, mut norms) = (vec![f32::NAN; rows * outputs], 0.0, 0.0);
                product(amx, &matrix, &inputs, None, Into::Set, &mut out, (7, exact));
                for (at, got) in out.iter().enumerate() {
                    let row = &inputs[at / outputs * cols..][..cols];
                    let weights = &weights[at % outputs * cols..][..cols];
                    let terms = || row.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w));
                    let (want, most): (f64, f64) = (terms().sum(), terms().map(f64::abs).sum());
                    let error = (f64::from(*got) - want).abs();
                    assert!(
                        error <= 2.05 * unit * most + 1e-30,
                        "{dtype} {rows}x{cols} at {at}: {got} {want} {most}"
                    );
                    errors += error * error;
                    norms += terms().map(|term| term * term).sum::<f64>();
                }
                // Roundings are independent of each other, but of the inputs' for each row: their sum grows as the norm does.
                let (error, norm) = (errors.sqrt(), norms.sqrt());
                let bound = if out.len() < 200 || rows == 1 { 2.0 } else { 0.75 };
                assert!(
                    error <= bound * unit * norm + 1e-30,
                    "{dtype} {outputs}x{cols}, {rows} rows: {error} of {norm}"
                );
            }
        }
    }
}

#[test]
fn sums_over_several_groups_of_rows_and_panels_are_right() {
    let Some(amx) = amx() else { return };
    let mut random = Random::new(73);
    let (outputs, cols, rows) = (16 * PANELS + 40, 1100, ROWS + 50);
    let (matrix, weights) =
        packed(Dtype::BF16, outputs, cols, &stored(Dtype::BF16, outputs * cols, &mut random));
    let (inputs, bias) = (random.floats(rows * cols), random.floats(outputs));
    let before = random.floats(rows * outputs);
    let mut out = before.clone();
    product(amx, &matrix, &inputs, Some(&bias), Into::Add, &mut out, (usize::MAX, true));
    for (at, got) in out.iter().enumerate().step_by(7) {
        let row = &inputs[at / outputs * cols..][..cols];
        let weights = &weights[at % outputs * cols..][..cols];
        let want: f64 = row.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        let want = want + f64::from(bias[at % outputs]) + f64::from(before[at]);
        assert!((f64::from(*got) - want).abs() < 2e-3, "{at}: {got} {want}");
    }
}

#[test]
fn a_row_does_not_depend_on_how_panels_are_shared() {
    let Some(amx) = amx() else { return };
    let mut random = Random::new(74);
    let (outputs, cols) = (100, 768);
    let (matrix, _) = packed(Dtype::Q4K, outputs, cols, &stored(Dtype::Q4K, outputs * cols, &mut random));
    for rows in [8, 40] {
        let inputs = random.floats(rows * cols);
        let [mut a, mut b] = [(); 2].map(|()| vec![0.0; rows * outputs]);
        product(amx, &matrix, &inputs, None, Into::Set, &mut a, (1, false));
        product(amx, &matrix, &inputs, None, Into::Set, &mut b, (7, false));
        assert_eq!(a, b);
    }
}

#[test]
fn what_is_no_number_stays_none_and_stays_where_it_is() {
    let Some(amx) = amx() else { return };
    let mut random = Random::new(75);
    for dtype in [Dtype::Q8_0, Dtype::Q4_0, Dtype::F16, Dtype::BF16] {
        let (outputs, cols) = (20, 96);
        let mut bytes = stored(dtype, outputs * cols, &mut random);
        // A NaN whose upper bits are all set, in the first number of output 3: a scale, or a weight.
        let row = bytes.len() / outputs;
        bytes[3 * row..3 * row + 2].copy_from_slice(&0x7fffu16.to_le_bytes());
        let (matrix, _) = packed(dtype, outputs, cols, &bytes);
        for rows in [6, 40] {
            for bad in [f32::NAN, f32::from_bits(0x7fff_ffff), f32::INFINITY, f32::NEG_INFINITY] {
                let mut inputs = random.floats(rows * cols);
                inputs[2 * cols + 50] = bad;
                let mut out = vec![0.0; rows * outputs];
                product(amx, &matrix, &inputs, None, Into::Set, &mut out, (1, false));
                for (at, got) in out.iter().enumerate() {
                    let hit = at / outputs == 2 || at % outputs == 3;
                    assert_eq!(got.is_finite(), !hit, "{dtype} {rows} rows, {at}: {got}");
                }
            }
        }
    }
}

#[test]
fn extreme_scales_keep_their_precision() {
    let Some(amx) = amx() else { return };
    let mut random = Random::new(76);
    let (outputs, cols) = (16, 64);
    for scale in [6e-8f32, 1e-5, 6e4] {
        for magnitude in [1e-25f32, 1.0, 1e25] {
            let mut bytes = stored(Dtype::Q8_0, outputs * cols, &mut random);
            for block in bytes.chunks_mut(34) {
                block[..2].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
            }
            let (matrix, weights) = packed(Dtype::Q8_0, outputs, cols, &bytes);
            let inputs: Vec<f32> = random.floats(9 * cols).iter().map(|value| value * magnitude).collect();
            let mut out = vec![0.0; 9 * outputs];
            product(amx, &matrix, &inputs, None, Into::Set, &mut out, (1, false));
            for (at, got) in out.iter().enumerate() {
                let (row, output) = (at / outputs, at % outputs);
                let terms = || {
                    (0..cols)
                        .map(|k| f64::from(inputs[row * cols + k]) * f64::from(weights[output * cols + k]))
                };
                let most: f64 = terms().map(f64::abs).sum();
                assert!(
                    (f64::from(*got) - terms().sum::<f64>()).abs() <= most / 250.0,
                    "{scale} {magnitude}: {got}"
                );
            }
        }
    }
}
