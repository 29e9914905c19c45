//! GGUF's tensor descriptions and where their bytes lie.

use std::collections::HashSet;

use crate::gguf::cursor::Cursor;
use crate::source::reserved;
use crate::{Dtype, FormatError, Result, TensorInfo};

/// The most tensors a file may have; the largest supported model has half of it.
pub(super) const MAX_TENSORS: u64 = 1 << 14;
/// ggml keeps names in 64 bytes with a terminator.
const MAX_NAME: u64 = 63;
/// A name's length and one byte of it, the rank, one dimension, a type and an offset.
const MIN_RECORD: u64 = 33;
const MAX_RANK: u32 = 4;

/// Reads the descriptions. Names are as in the file, and offsets are still counted from the start of the data.
pub(super) fn read(cursor: &mut Cursor<'_>, file: &str, count: u64) -> Result<Vec<TensorInfo>> {
    if count > MAX_TENSORS {
        return Err(FormatError::too_large(file, "the number of tensors", count, MAX_TENSORS));
    }
    let count = cursor.count(count, MIN_RECORD, "tensors")?;
    let mut tensors: Vec<TensorInfo> = reserved(count, "tensor descriptions")?;
    for _ in 0..count {
        tensors.push(read_one(cursor, file)?);
    }
    let mut seen = HashSet::new();
    match tensors.iter().find(|tensor| !seen.insert(tensor.name.as_str())) {
        None => Ok(tensors),
        Some(twice) => {
            Err(FormatError::malformed(file, format_args!("tensor {:?} appears twice", twice.name)))
        }
    }
}

fn read_one(cursor: &mut Cursor<'_>, file: &str) -> Result<TensorInfo> {
    let name = cursor.string(MAX_NAME, "a tensor's name")?;
    let malformed =
        |what: std::fmt::Arguments<'_>| FormatError::malformed(file, format_args!("tensor {name:?} {what}"));
    if name.is_empty() {
        return Err(malformed(format_args!("has no name")));
    }
    let rank = cursor.u32()?;
    if !(1..=MAX_RANK).contains(&rank) {
        return Err(malformed(format_args!("has {rank} dimensions; 1 to {MAX_RANK} are possible")));
    }
    let mut shape = Vec::with_capacity(rank as usize);
    for _ in 0..rank {
        shape.push(cursor.u64()?);
    }
    // Innermost first in the file.
    let row = shape[0];
    shape.reverse();
    let elements = shape.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim));
    // Sizes past the signed range are refused too: other readers would see them as negative.
    let elements = elements.filter(|n| (1..=i64::MAX as u64).contains(n));
    let elements = elements.ok_or_else(|| malformed(format_args!("has the impossible shape {shape:?}")))?;

    let number = cursor.u32()?;
    let dtype = Dtype::from_ggml(number).map_err(|kind| {
        FormatError::unsupported(file, format_args!("tensor {name:?} of ggml type {number} ({kind})"))
    })?;
    if !row.is_multiple_of(dtype.block_len()) {
        let block = dtype.block_len();
        return Err(malformed(format_args!("of type {dtype} has rows of {row}, no multiple of {block}")));
    }
    let bytes = dtype.bytes_for(elements).filter(|n| *n <= i64::MAX as u64);
    let bytes = bytes.ok_or_else(|| malformed(format_args!("has the impossible shape {shape:?}")))?;
    let offset = cursor.u64()?;
    Ok(TensorInfo { name, dtype, shape, file: 0, offset, bytes })
}

/// Turns offsets into positions in the file, after checking that the tensors follow each other from `data` on with
/// nothing between them but the padding to the next multiple of `alignment`, and end inside the file.
pub(super) fn place(
    mut tensors: Vec<TensorInfo>,
    file: &str,
    data: u64,
    file_len: u64,
    alignment: u64,
) -> Result<Vec<TensorInfo>> {
    tensors.sort_unstable_by_key(|tensor| tensor.offset);
    let mut due = 0_u64;
    for tensor in &mut tensors {
        let (name, offset, bytes) = (&tensor.name, tensor.offset, tensor.bytes);
        if offset != due {
            let what = format_args!("tensor {name:?} begins at {offset} of the data; {due} is due");
            return Err(FormatError::malformed(file, what));
        }
        let start = data.checked_add(offset);
        let end = start.and_then(|start| start.checked_add(bytes));
        match (start, end) {
            (Some(start), Some(end)) if end <= file_len => tensor.offset = start,
            _ => {
                let what = format_args!("tensor {name:?} of {bytes} bytes ends past the file's {file_len}");
                return Err(FormatError::malformed(file, what));
            }
        }
        // Inside the file, so neither the sum nor its rounding can pass the range by much; checked all the same.
        let next = offset.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(alignment));
        due = next.ok_or_else(|| FormatError::malformed(file, "the tensors' sizes add up past 64 bits"))?;
    }
    Ok(tensors)
}
