//! Weights in memory, aligned: f32 as in the file, all other matrices in panels.

use super::buffer::Buffer;
use super::kernels::{F32, Level, dequantise, with_format};
use super::packed::{self, Packed, unpack_row};
use crate::backend::Fill;
use plimsoll_engine::EngineError;
use plimsoll_formats::Dtype;

/// Most bytes that are asked of a file at once.
const PIECE: usize = 1 << 20;

/// A weight matrix `[rows, cols]`.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) stored: Stored,
}

/// How a matrix is stored.
#[derive(Debug)]
pub(super) enum Stored {
    /// f32, row after row.
    Floats(Buffer),
    /// All other types.
    Panels(Packed),
}

/// A vector of f32.
#[derive(Debug)]
pub(crate) struct Vector {
    buffer: Buffer,
    len: usize,
}

impl Matrix {
    /// Bytes of a matrix; `None` on overflow or when a row is no whole number of blocks.
    pub(super) fn bytes_for(dtype: Dtype, rows: usize, cols: usize) -> Option<usize> {
        packed::matrix_bytes(dtype, rows, cols)
    }

    /// Reads a matrix.
    pub(super) fn load(
        dtype: Dtype,
        rows: usize,
        cols: usize,
        fill: &mut Fill<'_>,
    ) -> Result<Self, EngineError> {
        let bytes = Self::bytes_for(dtype, rows, cols).ok_or_else(|| {
            EngineError::Invalid(format!(
                "a {dtype:?} matrix of {rows} rows and {cols} columns cannot be stored"
            ))
        })?;
        let stored = match Packed::load(dtype, rows, cols, fill)? {
            Some(packed) => Stored::Panels(packed),
            None => Stored::Floats(Buffer::filled(bytes, PIECE, fill)?),
        };
        Ok(Matrix { rows, cols, stored })
    }

    /// The values of one row.
    pub(super) fn row(&self, level: Level, row: usize, values: &mut [f32]) {
        match &self.stored {
            Stored::Panels(packed) => unpack_row(packed, row, values),
            Stored::Floats(buffer) => {
                let bytes = size_of::<f32>() * self.cols;
                dequantise::<F32>(level, &buffer.bytes()[row * bytes..(row + 1) * bytes], values);
            }
        }
    }
}

impl Vector {
    /// Bytes of a vector; `None` on overflow.
    pub(super) fn bytes_for(len: usize) -> Option<usize> {
        len.checked_mul(size_of::<f32>())
    }

    /// Reads a vector of any format as f32, piece by piece.
    pub(super) fn load(dtype: Dtype, len: usize, fill: &mut Fill<'_>) -> Result<Self, EngineError> {
        let invalid = || EngineError::Invalid(format!("a {dtype:?} vector of {len} values cannot be stored"));
        let bytes = Self::bytes_for(len).ok_or_else(invalid)?;
        dtype.bytes_for(len as u64).ok_or_else(invalid)?;
        if dtype == Dtype::F32 {
            return Ok(Vector { buffer: Buffer::filled(bytes, PIECE, fill)?, len });
        }
        // A whole number of blocks of every format.
        const VALUES: usize = 256;
        let level = Level::detect();
        let mut stored = [0; 2 * VALUES];
        let mut values = [0.0; VALUES];
        let mut decode = |bytes: &mut [u8]| {
            let count = bytes.len() / size_of::<f32>();
            let stored = match dtype.bytes_for(count as u64) {
                Some(bytes) => &mut stored[..bytes as usize],
                None => return Err(invalid()),
            };
            fill(stored)?;
            with_format!(dtype, F => dequantise::<F>(level, stored, &mut values[..count]));
            for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                *bytes = value.to_ne_bytes();
            }
            Ok(())
        };
        Ok(Vector { buffer: Buffer::filled(bytes, VALUES * size_of::<f32>(), &mut decode)?, len })
    }

    /// Adds a constant to every value.
    pub(super) fn shift(&mut self, by: f32) {
        let start = self.buffer.start().as_ptr().cast::<f32>();
        // SAFETY: the buffer is aligned for f32, holds `len` of them, all initialised, and is borrowed mutably.
        let values = unsafe { std::slice::from_raw_parts_mut(start, self.len) };
        values.iter_mut().for_each(|value| *value += by);
    }

    /// The values.
    pub(super) fn values(&self) -> &[f32] {
        // SAFETY: the buffer is aligned for f32, holds `len` of them, all initialised, and nobody writes it.
        unsafe { std::slice::from_raw_parts(self.buffer.start().as_ptr().cast::<f32>(), self.len) }
    }
}

/// F32 vectors and activations are used as they lie in memory.
#[cfg(target_endian = "big")]
compile_error!("model files are little-endian, and so must be the host");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_every_format_become_f32() {
        for len in [1, 255, 256, 257, 1000] {
            let want: Vec<f32> = (0..len).map(|i| (i % 128) as f32 - 60.0).collect();
            type Store = fn(f32) -> Vec<u8>;
            let cases: [(Dtype, Store); 3] = [
                (Dtype::F32, |value| value.to_le_bytes().to_vec()),
                (Dtype::F16, |value| half::f16::from_f32(value).to_le_bytes().to_vec()),
                (Dtype::BF16, |value| half::bf16::from_f32(value).to_le_bytes().to_vec()),
            ];
            for (dtype, store) in cases {
                let mut file = want.iter().flat_map(|&value| store(value));
                let vector = Vector::load(dtype, len, &mut |bytes| {
                    bytes.iter_mut().for_each(|byte| *byte = file.next().unwrap());
                    Ok(())
                })
                .unwrap();
                assert_eq!(vector.values(), want);
                assert!(file.next().is_none(), "all bytes are read");
            }
        }
    }

    #[test]
    fn sizes_are_exact_and_bad_ones_refused() {
        assert_eq!(Matrix::bytes_for(Dtype::Q8_0, 3, 64), Some(16 * 68));
        assert_eq!(Matrix::bytes_for(Dtype::Q8_0, 3, 65), None);
        assert_eq!(Matrix::bytes_for(Dtype::F32, usize::MAX / 4, 8), None);
        let mut none = |_: &mut [u8]| Ok(());
        assert!(matches!(Matrix::load(Dtype::Q8_0, 1, 33, &mut none), Err(EngineError::Invalid(_))));
        assert!(matches!(
            Matrix::load(Dtype::F32, usize::MAX / 64, 8, &mut none),
            Err(EngineError::OutOfMemory { .. })
        ));
        assert!(matches!(Vector::load(Dtype::F16, usize::MAX / 2, &mut none), Err(EngineError::Invalid(_))));
    }
}
