//! Weights as f32 tensors, whatever their format in the file.

use super::{failed, reserved};
use crate::backend::Fill;
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use plimsoll_engine::EngineError;
use plimsoll_formats::Dtype;

/// Values read from a file at once, a whole number of blocks of every format: at most 1 MiB.
const PIECE: usize = 256 * 1024;

/// A weight matrix `[rows, cols]`.
#[derive(Debug)]
pub(crate) struct Matrix(Tensor);

/// A vector.
#[derive(Debug)]
pub(crate) struct Vector(Tensor);

impl Matrix {
    /// Bytes of a matrix; `None` on overflow or when a row is no whole number of blocks.
    pub(super) fn bytes_for(dtype: Dtype, rows: usize, cols: usize) -> Option<u64> {
        dtype.bytes_for(u64::try_from(cols).ok()?)?;
        u64::try_from(rows.checked_mul(cols)?.checked_mul(size_of::<f32>())?).ok()
    }

    pub(super) fn load(
        dtype: Dtype,
        rows: usize,
        cols: usize,
        fill: &mut Fill<'_>,
        device: &Device,
    ) -> Result<Self, EngineError> {
        Self::bytes_for(dtype, rows, cols).ok_or_else(|| {
            EngineError::Invalid(format!(
                "a {dtype:?} matrix of {rows} rows and {cols} columns cannot be stored"
            ))
        })?;
        let values = read(dtype, rows * cols, fill)?;
        Ok(Matrix(Tensor::from_vec(values, (rows, cols), device).map_err(failed)?))
    }

    /// `[rows, cols]` of f32.
    pub(super) fn tensor(&self) -> &Tensor {
        &self.0
    }
}

impl Vector {
    pub(super) fn load(
        dtype: Dtype,
        len: usize,
        fill: &mut Fill<'_>,
        device: &Device,
    ) -> Result<Self, EngineError> {
        let values = read(dtype, len, fill)?;
        Ok(Vector(Tensor::from_vec(values, len, device).map_err(failed)?))
    }

    /// `[len]` of f32.
    pub(super) fn tensor(&self) -> &Tensor {
        &self.0
    }
}

/// Reads so many values in pieces. The formats are decoded by the `half` crate here, apart from the CPU backend's kernels.
fn read(dtype: Dtype, len: usize, fill: &mut Fill<'_>) -> Result<Vec<f32>, EngineError> {
    let size = |values: usize| {
        let bytes = dtype.bytes_for(values as u64).and_then(|bytes| usize::try_from(bytes).ok());
        bytes.ok_or_else(|| EngineError::Invalid(format!("{values} values of {dtype:?} are no whole blocks")))
    };
    let mut values = reserved(len)?;
    let mut piece = reserved(size(len.min(PIECE).next_multiple_of(32))?)?;
    while values.len() < len {
        piece.resize(size(PIECE.min(len - values.len()))?, 0);
        fill(&mut piece)?;
        match dtype {
            Dtype::F32 => values.extend(piece.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
            Dtype::F16 => {
                values.extend(piece.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()));
            }
            Dtype::BF16 => {
                values.extend(piece.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()));
            }
            Dtype::Q8_0 => {
                for [low, high, bytes @ ..] in piece.as_chunks::<34>().0 {
                    let scale = f16::from_le_bytes([*low, *high]).to_f32();
                    values.extend(bytes.iter().map(|byte| scale * f32::from(byte.cast_signed())));
                }
            }
        }
    }
    Ok(values)
}
