//! Which tensors a load reads, in which order, and what they will weigh. Pure.

use super::quantize::Quantize;
use crate::LoadError;
use crate::backend::Backend;
use plimsoll_engine::EngineError;
use plimsoll_formats::{Checkpoint, Dtype, FormatError, RopeScaling, Text, expected_tensors};

/// Tensors that are no weights.
const ROPE_FACTORS: [&str; 3] = [RopeScaling::FACTORS, RopeScaling::SHORT_FACTORS, RopeScaling::LONG_FACTORS];

/// The form of a tensor in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `[rows, cols]`: outputs by inputs.
    Matrix { rows: usize, cols: usize },
    /// This many f32.
    Vector { len: usize },
}

/// One tensor to read.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    /// Its type in the file.
    pub(crate) dtype: Dtype,
    /// The type that the backend is given: another one where it is quantised.
    pub(crate) stored: Dtype,
    pub(crate) form: Form,
    /// Index of its file.
    pub(crate) file: usize,
    /// Its first byte in the file.
    pub(crate) offset: u64,
    /// Its bytes in the file.
    pub(crate) bytes: u64,
}

/// The tensors of a load, in the order of the files and of their offsets.
#[derive(Clone, Debug)]
pub(crate) struct WeightsPlan {
    items: Vec<Item>,
    bytes: u64,
    file_bytes: u64,
    /// How many may quantise.
    pub(super) threads: usize,
}

impl WeightsPlan {
    /// The plan for a checkpoint on a backend, its matrices quantised as the option says, on so many
    /// threads. The rotary divisors are left out:
    /// they are no weights but a part of the step's spec.
    ///
    /// # Errors
    /// A tensor that the configuration calls for is missing or misshapen, or a size overflows.
    pub(crate) fn new<B: Backend>(
        checkpoint: &Checkpoint,
        quantize: Option<Quantize>,
        threads: usize,
    ) -> Result<Self, LoadError> {
        let mut items = Vec::new();
        let (mut bytes, mut file_bytes) = (0u64, 0u64);
        for (name, shape) in expected_tensors(&checkpoint.config) {
            if ROPE_FACTORS.contains(&name.as_str()) {
                continue;
            }
            let Some(tensor) = checkpoint.tensors.get(&name) else {
                return Err(FormatError::TensorMissing { tensor: Text::new(&name), expected: shape }.into());
            };
            if tensor.shape != shape {
                let (tensor, found) = (Text::new(&name), tensor.shape.clone());
                return Err(FormatError::Shape { tensor, expected: shape, found }.into());
            }
            let form = form_of(&shape).ok_or(EngineError::PriceOverflow)?;
            let stored = match (form, quantize) {
                (Form::Matrix { cols, .. }, Some(quantize)) => {
                    let stored = quantize.stored(&name, tensor.dtype, cols);
                    let wanted = quantize.wanted(&name, tensor.dtype);
                    if stored != wanted {
                        log::info!(
                            "{name} becomes {stored}: its rows of {cols} are no whole {wanted} blocks"
                        );
                    }
                    stored
                }
                _ => tensor.dtype,
            };
            let held = match form {
                Form::Matrix { rows, cols } => B::matrix_bytes(stored, rows, cols),
                Form::Vector { len } => B::vector_bytes(len),
            };
            let held = held.ok_or_else(|| {
                let dtype = tensor.dtype;
                EngineError::Invalid(format!(
                    "tensor {name} of type {dtype} and shape {shape:?} has no layout"
                ))
            })?;
            let add = |sum: u64, more: u64| sum.checked_add(more).ok_or(EngineError::PriceOverflow);
            bytes = add(bytes, held)?;
            file_bytes = add(file_bytes, tensor.bytes)?;
            let (dtype, file, offset) = (tensor.dtype, tensor.file, tensor.offset);
            items.push(Item { name, dtype, stored, form, file, offset, bytes: tensor.bytes });
        }
        items.sort_by_key(|item| (item.file, item.offset));
        Ok(WeightsPlan { items, bytes, file_bytes, threads })
    }

    /// Bytes of all weights in the backend's layout.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes to be read from files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The tensors of each file, in the order of their offsets.
    pub(crate) fn files(&self) -> impl Iterator<Item = &[Item]> {
        self.items.chunk_by(|a, b| a.file == b.file)
    }
}

fn form_of(shape: &[u64]) -> Option<Form> {
    let size = |dim: u64| usize::try_from(dim).ok();
    match *shape {
        [len] => Some(Form::Vector { len: size(len)? }),
        [rows, cols] => Some(Form::Matrix { rows: size(rows)?, cols: size(cols)? }),
        _ => None,
    }
}
