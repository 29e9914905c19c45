//! Attention over groups of 16 tokens of the KV cache, one pass with a running maximum.
//!
//! - [`attend_stretch`]: one row over a stretch of its tokens; its query heads of one key head share each load of keys and
//!   values. [`merge`] puts the stretches of a row together.
//! - [`attend_rows`]: many rows of one sequence; each tile of keys and values is converted once for all of them.
//!
//! A row's result depends neither on the rows beside it nor on the number of threads. In both ways scores are sums in the
//! order of dimensions, and the running maximum moves once per 64 tokens from a multiple of it on, so a row gets the same
//! bits both ways as long as it is one stretch and its keys have no scales. On AMX tiles rows are sums in another order,
//! of queries and weights in bf16.

#[cfg(target_arch = "x86_64")]
mod amx;
mod q8;
mod rows;
mod stored;
mod stretch;
mod tile;
mod wide;
#[cfg(target_arch = "x86_64")]
mod wide_x86;

#[cfg(test)]
mod tests;

pub(crate) use q8::KvQ8;
pub(crate) use rows::Rows;
pub(crate) use stored::{KvF16, KvF32, Stored};
pub(crate) use stretch::{STRETCHES, attend_stretch, merge, record_len, stretch_scratch_len, stretch_tokens};
pub(crate) use wide::{WIDTH, Wide};

#[cfg(target_arch = "x86_64")]
use super::Set;
use super::{Level, per_level};
use std::f32::consts::LOG2_E;

/// Keys and values of one head, group by group.
pub(crate) trait Head {
    /// Keys and values of tokens `16 * index ..` of the sequence, as stored.
    fn group(&self, index: usize) -> (&[u8], &[u8]);
}

/// What is the same for all rows of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// What products of queries and keys are multiplied by.
    pub(crate) scale: f32,
    /// Scores then become `cap * tanh(score / cap)`.
    pub(crate) softcap: Option<f32>,
}

impl Shape {
    /// What queries are multiplied by: weights are powers of 2, not of e. Capped scores are multiplied after their cap.
    fn factor(self) -> f32 {
        if self.softcap.is_some() { self.scale } else { self.scale * LOG2_E }
    }
}

per_level! {
    /// Stores rows of keys into a group, from its token `first` on: one every `stride` floats, `head_dim` of each.
    pub(crate) fn put_keys<F: Stored>[simd](
        keys: &mut [u8], head_dim: usize, first: usize, rows: &[f32], stride: usize,
    ) {
        F::put_keys(simd.wide(), keys, head_dim, first, rows, stride);
    }
}

per_level! {
    /// The same for values.
    pub(crate) fn put_values<F: Stored>[simd](
        values: &mut [u8], head_dim: usize, first: usize, rows: &[f32], stride: usize,
    ) {
        F::put_values(simd.wide(), values, head_dim, first, rows, stride);
    }
}

/// Causal attention of rows: `query` begins with the first row's query heads of the key head (`[group, head_dim]`, rows
/// `stride` apart). `put` gets each row's number and result, `[group, head_dim]`.
pub(crate) fn attend_rows<F: Stored>(
    level: Level,
    shape: Shape,
    head: &dyn Head,
    rows: Rows,
    query: &[f32],
    put: &dyn Fn(usize, &[f32]),
    scratch: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    if F::PLANES > 0
        && let Set::Amx(amx) = level.set()
    {
        return amx::attend::<F>(amx, shape, head, rows, query, put, scratch);
    }
    rows::attend_rows::<F>(level, shape, head, rows, query, put, scratch);
}

/// Rows of a task of [`attend_rows`], for a group of so many query heads.
pub(crate) fn rows_at_once<F: Stored>(level: Level, group: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if F::PLANES > 0 && matches!(level.set(), Set::Amx(_)) {
        return amx::rows_at_once(group);
    }
    let _ = level;
    rows::rows_at_once(group)
}

/// Floats of scratch that [`attend_rows`] takes for a group of so many query heads; `None` on overflow.
pub(crate) fn rows_scratch_len(group: usize, head_dim: usize) -> Option<usize> {
    let len = rows::rows_scratch_len(group, head_dim)?;
    #[cfg(target_arch = "x86_64")]
    let len = len.max(amx::scratch_len(group, head_dim)?);
    Some(len)
}
