//! KV blocks and attention in tensors.

use super::{CandleBackend, failed, reserved};
use crate::backend::{Attention, KvDtype, Place, Span, StepSpec};
use candle_core::{D, DType, Device, Result, Tensor, WithDType};
use half::f16;
use plimsoll_engine::EngineError;
use plimsoll_scheduler::Layers;

/// Scores that are computed at once, unless a single row has more: query rows are taken in groups to stay below.
pub(super) const SCORES: usize = 1 << 20;

/// Keys and values of `block_tokens` tokens: one tensor `[layers, 2, kv_heads, block_tokens, head_dim]`, written in place.
#[derive(Debug)]
pub(crate) struct Block(Tensor);

impl Block {
    /// A zeroed block with its pages committed.
    pub(super) fn new(
        spec: &StepSpec,
        layers: Layers,
        device: &Device,
    ) -> std::result::Result<Self, EngineError> {
        let value = match spec.kv_dtype {
            KvDtype::F32 => 4,
            KvDtype::F16 => 2,
            KvDtype::Q8_0 => return Err(super::refused_kv()),
        };
        let values = spec.block_bytes(layers).map(|bytes| bytes / value);
        let values =
            values.and_then(|values| usize::try_from(values).ok()).ok_or(EngineError::PriceOverflow)?;
        let shape = [spec.layers_of(layers), 2, spec.kv_heads, spec.block_tokens, spec.head_dim];
        let tensor = match spec.kv_dtype {
            KvDtype::F32 => Tensor::from_vec(committed(values, 0f32, 1.0)?, &shape[..], device),
            _ => Tensor::from_vec(committed(values, f16::ZERO, f16::ONE)?, &shape[..], device),
        };
        Ok(Block(tensor.map_err(failed)?))
    }

    /// Copies what it holds to another block.
    pub(super) fn copy_to(&self, to: &Block) -> Result<()> {
        to.0.slice_set(&self.0, 0, 0)
    }

    /// Keys (part 0) or values (part 1) of a layer: `[kv_heads, block_tokens, head_dim]`.
    fn part(&self, layer: usize, part: usize) -> Result<Tensor> {
        self.0.get(layer)?.get(part)
    }
}

/// Zeros on pages that are real: memory asked for as zeros may be given as pages that exist only once written.
fn committed<T: WithDType>(len: usize, zero: T, one: T) -> std::result::Result<Vec<T>, EngineError> {
    let mut values = reserved(len)?;
    values.resize(len, one);
    std::hint::black_box(&mut values).fill(zero);
    Ok(values)
}

/// The span's rows of `[rows, kv_heads * head_dim]` keys and values into its blocks.
pub(super) fn store(
    spec: &StepSpec,
    place: Place,
    span: &Span<'_, Block>,
    keys: &Tensor,
    values: &Tensor,
) -> Result<()> {
    let dtype = match spec.kv_dtype {
        KvDtype::F32 => DType::F32,
        // Blocks of other types are refused.
        _ => DType::F16,
    };
    let (blocks, before) = place.blocks(span);
    for (part, rows) in [keys, values].into_iter().enumerate() {
        let rows = rows.narrow(0, span.first_row, span.rows)?;
        let heads =
            rows.reshape((span.rows, spec.kv_heads, spec.head_dim))?.transpose(0, 1)?.to_dtype(dtype)?;
        let mut done = 0;
        while done < span.rows {
            let (block, token) =
                ((span.position + done) / spec.block_tokens, (span.position + done) % spec.block_tokens);
            let count = (spec.block_tokens - token).min(span.rows - done);
            let piece = heads.narrow(1, done, count)?.contiguous()?;
            blocks[block - before].data().part(place.number, part)?.slice_set(&piece, 1, token)?;
            done += count;
        }
    }
    Ok(())
}

/// Causal attention of the span's rows of `query` into the same rows of `attended`, `[rows, heads * head_dim]` both.
pub(super) fn attend(
    spec: &StepSpec,
    place: Place,
    attention: Attention,
    span: &Span<'_, Block>,
    query: &Tensor,
    attended: &Tensor,
) -> Result<()> {
    let StepSpec { heads, kv_heads, head_dim, block_tokens, .. } = *spec;
    let (blocks, gone) = place.blocks(span);
    // Tokens from the first one that the first row looks at.
    let (before, end) = (attention.first(span.position), span.position + span.rows);
    let (group, held) = (heads / kv_heads, end - before);
    let gathered = |part: usize| {
        let blocks = &blocks[before / block_tokens - gone..end.div_ceil(block_tokens) - gone];
        let parts =
            blocks.iter().map(|block| block.data().part(place.number, part)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&parts, 1)?.narrow(1, before % block_tokens, held)?.to_dtype(DType::F32)?.contiguous()
    };
    let (keys, values) = (gathered(0)?, gathered(1)?);
    let at_once = (SCORES / (heads * held)).clamp(1, span.rows);
    for from in (0..span.rows).step_by(at_once) {
        let rows = at_once.min(span.rows - from);
        let query = query.narrow(0, span.first_row + from, rows)?;
        let query = query.reshape((rows, kv_heads, group, head_dim))?.permute((1, 2, 0, 3))?.contiguous()?;
        let scores = query.reshape((kv_heads, group * rows, head_dim))?.matmul(&keys.t()?)?;
        let mut scores = (scores * f64::from(attention.scale))?.reshape((kv_heads, group, rows, held))?;
        if let Some(cap) = attention.softcap {
            scores = CandleBackend::capped(&scores, cap)?;
        }
        let visible = |row: usize, token: usize| {
            let position = span.position + from + row;
            (attention.first(position)..=position).contains(&(before + token))
        };
        let mask = (0..rows).flat_map(|row| {
            (0..held).map(move |token| if visible(row, token) { 0f32 } else { f32::NEG_INFINITY })
        });
        let mask = Tensor::from_iter(mask, query.device())?.reshape((rows, held))?;
        let scores = scores.broadcast_add(&mask)?;
        let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
        let out = weights.reshape((kv_heads, group * rows, held))?.matmul(&values)?;
        let out = out.reshape((kv_heads, group, rows, head_dim))?.permute((2, 0, 1, 3))?;
        let out = out.contiguous()?.reshape((rows, heads * head_dim))?;
        attended.slice_set(&out, 0, span.first_row + from)?;
    }
    Ok(())
}
