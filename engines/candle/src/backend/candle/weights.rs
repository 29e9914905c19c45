//! Weights as f32 tensors, whatever their format in the file.

use super::{failed, reserved};
use crate::backend::Fill;
use crate::backend::cpu::kernels::{Level, dequantise, with_format};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use plimsoll_engine::EngineError;
use plimsoll_formats::Dtype;
use std::borrow::Cow;

/// Values read from a file at once, a whole number of blocks of every format: at most 1 MiB.
const PIECE: usize = 256 * 1024;

/// Values of the largest block.
const BLOCK: usize = 256;

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

    /// Adds a constant to every value.
    pub(super) fn shift(&mut self, by: f32) -> candle_core::Result<()> {
        self.0 = (&self.0 + f64::from(by))?;
        Ok(())
    }

    /// `[len]` of f32.
    pub(crate) fn tensor(&self) -> &Tensor {
        &self.0
    }
}

/// Reads so many values in pieces. Where candle knows a format it decodes it, apart from the CPU backend's kernels.
fn read(dtype: Dtype, len: usize, fill: &mut Fill<'_>) -> Result<Vec<f32>, EngineError> {
    let size = |values: usize| {
        let bytes = dtype.bytes_for(values as u64).and_then(|bytes| usize::try_from(bytes).ok());
        bytes.ok_or_else(|| EngineError::Invalid(format!("{values} values of {dtype:?} are no whole blocks")))
    };
    let mut values = reserved(len)?;
    let mut piece = reserved(size(len.min(PIECE).next_multiple_of(BLOCK))?)?;
    while values.len() < len {
        piece.resize(size(PIECE.min(len - values.len()))?, 0);
        fill(&mut piece)?;
        match own_type(dtype) {
            Own::Plain(convert) => values.extend(convert(&piece)),
            Own::Quantised(kind) => {
                let count = piece.len() / kind.type_size() * kind.block_size();
                let decoded =
                    QStorage::from_data(Cow::Borrowed(&piece), &Device::Cpu, kind).and_then(|storage| {
                        QTensor::new(storage, count)?.dequantize(&Device::Cpu)?.to_vec1::<f32>()
                    });
                values.extend(decoded.map_err(failed)?);
            }
            Own::Absent => {
                let from = values.len();
                values.resize(PIECE.min(len - from) + from, 0.0);
                with_format!(dtype, F => dequantise::<F>(Level::detect(), &piece, &mut values[from..]));
            }
        }
    }
    Ok(values)
}

/// What candle has for a format.
enum Own {
    /// Numbers that stand alone.
    Plain(fn(&[u8]) -> Vec<f32>),
    /// Blocks that it decodes.
    Quantised(GgmlDType),
    /// Nothing: the kernels of the CPU backend do it, which are held to the same golden values.
    Absent,
}

fn own_type(dtype: Dtype) -> Own {
    Own::Quantised(match dtype {
        Dtype::F32 => {
            return Own::Plain(|bytes| bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect());
        }
        Dtype::F16 => {
            return Own::Plain(|bytes| {
                bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
            });
        }
        Dtype::BF16 => {
            return Own::Plain(|bytes| {
                bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
            });
        }
        Dtype::Q4_0 => GgmlDType::Q4_0,
        Dtype::Q4_1 => GgmlDType::Q4_1,
        Dtype::Q5_0 => GgmlDType::Q5_0,
        Dtype::Q5_1 => GgmlDType::Q5_1,
        Dtype::Q8_0 => GgmlDType::Q8_0,
        Dtype::Q2K => GgmlDType::Q2K,
        Dtype::Q3K => GgmlDType::Q3K,
        Dtype::Q4K => GgmlDType::Q4K,
        Dtype::Q5K => GgmlDType::Q5K,
        Dtype::Q6K => GgmlDType::Q6K,
        Dtype::IQ4NL | Dtype::IQ4XS | Dtype::MXFP4 => return Own::Absent,
    })
}
