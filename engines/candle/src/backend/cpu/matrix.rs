//! Weights in memory: as in the file, aligned.

use super::buffer::Buffer;
use super::kernels::{Level, dequantise, with_format};
use crate::backend::Fill;
use plimsoll_engine::EngineError;
use plimsoll_formats::Dtype;

/// Most bytes that are asked of a file at once.
const PIECE: usize = 1 << 20;

/// A weight matrix `[rows, cols]` in its stored format, row after row.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub(super) dtype: Dtype,
    pub(super) rows: usize,
    pub(super) cols: usize,
    buffer: Buffer,
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
        let row = dtype.bytes_for(u64::try_from(cols).ok()?)?;
        usize::try_from(row.checked_mul(u64::try_from(rows).ok()?)?).ok()
    }

    /// Reads a matrix, whose bytes in the file are its bytes here.
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
        Ok(Matrix { dtype, rows, cols, buffer: Buffer::filled(bytes, PIECE, fill)? })
    }

    /// Bytes of one row.
    pub(super) fn row_bytes(&self) -> usize {
        self.buffer.len().checked_div(self.rows).unwrap_or(0)
    }

    /// The stored bytes of rows `from .. to`.
    pub(super) fn rows(&self, from: usize, to: usize) -> &[u8] {
        let row = self.row_bytes();
        &self.buffer.bytes()[from * row..to * row]
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
        assert_eq!(Matrix::bytes_for(Dtype::Q8_0, 3, 64), Some(3 * 68));
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
