//! Packing, unpacking and the plain products, against the numbers that the file's blocks stand for.

use super::*;
use crate::backend::cpu::kernels::reference::Random;
use crate::backend::cpu::kernels::{Level, dequantise, with_format};
use crate::backend::cpu::tests::{from_bytes, stored};

/// The types that have panels.
pub(crate) fn types() -> impl Iterator<Item = (Dtype, Cell)> {
    Dtype::ALL.into_iter().filter_map(|dtype| Some((dtype, Cell::of(dtype)?)))
}

/// A matrix of any bytes, so of every scale and code.
fn any_bytes(dtype: Dtype, values: usize, random: &mut Random) -> Vec<u8> {
    let bytes = dtype.bytes_for(values as u64).unwrap() as usize;
    (0..bytes).map(|_| ((random.float() + 1.0) * 128.0) as u8).collect()
}

/// Whether two numbers are the same; which NaN it is is nobody's concern.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// A packed matrix and its values.
pub(crate) fn packed(dtype: Dtype, rows: usize, cols: usize, bytes: &[u8]) -> (Packed, Vec<f32>) {
    let mut values = vec![0.0; rows * cols];
    with_format!(dtype, F => dequantise::<F>(Level::detect(), bytes, &mut values));
    (Packed::load(dtype, rows, cols, &mut from_bytes(bytes)).unwrap().unwrap(), values)
}

#[test]
fn what_is_packed_is_unpacked_to_the_bit() {
    let mut random = Random::new(61);
    for (dtype, cell) in types() {
        let block = dtype.block_len() as usize;
        for rows in [1, 15, 16, 17, 35] {
            // One cell, a part of one where there is such, and several.
            for cols in [block, cell.inputs, cell.inputs + block, 3 * cell.inputs, 33 * block] {
                for any in [false, true] {
                    let bytes = match any {
                        true => any_bytes(dtype, rows * cols, &mut random),
                        false => stored(dtype, rows * cols, &mut random),
                    };
                    let (matrix, want) = packed(dtype, rows, cols, &bytes);
                    assert_eq!(
                        matrix.panels() * matrix.panel_bytes(),
                        matrix_bytes(dtype, rows, cols).unwrap()
                    );
                    let mut columns = vec![f32::NAN; cols.next_multiple_of(cell.inputs) * 20];
                    let mut row_values = vec![f32::NAN; cols];
                    for (row, want) in want.chunks(cols).enumerate() {
                        unpack_row(&matrix, row, &mut row_values);
                        if row.is_multiple_of(PANEL_ROWS) {
                            match any {
                                true => unpack_columns(&matrix, row / PANEL_ROWS, 0..cols, &mut columns, 20),
                                false => {
                                    let level = Level::detect();
                                    fill_columns(level, &matrix, row / PANEL_ROWS, 0..cols, &mut columns, 20);
                                }
                            }
                        }
                        for k in 0..cols {
                            let column = columns[20 * k + row % PANEL_ROWS];
                            let what = || format!("{dtype} {rows}x{cols}, {row} {k}: {}", row_values[k]);
                            assert!(same(row_values[k], want[k]), "{} is not {}", what(), want[k]);
                            assert!(same(column, want[k]), "{} is not {}", what(), want[k]);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn columns_begin_at_any_cell() {
    let mut random = Random::new(62);
    for (dtype, cell) in types() {
        let cols = 3 * cell.inputs;
        let (matrix, want) = packed(dtype, 20, cols, &stored(dtype, 20 * cols, &mut random));
        let range = cell.inputs..cols;
        let mut columns = vec![f32::NAN; range.len() * PANEL_ROWS];
        fill_columns(Level::all()[0], &matrix, 1, range.clone(), &mut columns, PANEL_ROWS);
        for (k, column) in range.zip(columns.chunks(PANEL_ROWS)) {
            for (row, value) in column.iter().enumerate() {
                let want = want.get((16 + row) * cols + k).copied().unwrap_or(0.0);
                assert!(*value == want, "{dtype} {row} {k}");
            }
        }
    }
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let mut none = |_: &mut [u8]| Ok(());
    assert!(matches!(Packed::load(Dtype::Q8_0, 1, 33, &mut none), Err(EngineError::Invalid(_))));
    assert!(matches!(Packed::load(Dtype::Q4K, 2, 32, &mut none), Err(EngineError::Invalid(_))));
    assert!(matches!(
        Packed::load(Dtype::F16, usize::MAX / 256, 32, &mut none),
        Err(EngineError::OutOfMemory { .. })
    ));
    assert!(matches!(
        Packed::load(Dtype::F16, 1, usize::MAX / 128, &mut none),
        Err(EngineError::OutOfMemory { .. })
    ));
    assert!(Packed::load(Dtype::F32, 1, 33, &mut none).unwrap().is_none());
    let empty = Packed::load(Dtype::Q8_0, 0, 32, &mut none).unwrap().unwrap();
    assert_eq!((empty.panels(), empty.panel_bytes()), (0, 0));
    let refuse = &mut |_: &mut [u8]| Err(EngineError::Closed);
    assert_eq!(Packed::load(Dtype::F16, 1, 33, refuse).unwrap_err(), EngineError::Closed);
}
