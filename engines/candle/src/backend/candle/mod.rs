//! The candle backend: the same operations in plain candle tensors, all of them f32.
//!
//! It is what the CPU backend is measured against, and it runs wherever candle has a device. It is not built for speed:
//! weights are kept as f32, every operation makes a new tensor, and candle spreads its work over rayon's threads, whatever
//! the spec says. Its workspace is therefore an upper bound of what the tensors of a step take, held in the books and not
//! as memory (see [`workspace_values`]); the packing buffers inside candle's matrix product are not part of it.

mod attention;
mod weights;

#[cfg(test)]
mod tests;

pub(crate) use attention::Block;
pub(crate) use weights::{Matrix, Vector};

use super::{Attention, Backend, Fill, Into, KvDtype, Slot, Spans, StepSpec, check_spans};
use candle_core::{D, DType, Device, Tensor};
use plimsoll_engine::{Buffers, EngineError, Region, Source};
use plimsoll_formats::{Activation, Dtype};
use plimsoll_scheduler::Layers;
use std::sync::Arc;

/// Candle tensors on a device.
pub(crate) struct CandleBackend {
    spec: StepSpec,
    device: Device,
    slots: [Option<Tensor>; Slot::ALL.len()],
    /// Cosines and sines of the step's rows for each rotation, `[rows, pairs]` each.
    rotations: Vec<(Tensor, Tensor)>,
    /// The logits that were asked for last, on the host.
    logits: Vec<f32>,
    /// The router's scores that were asked for last.
    scores: Vec<f32>,
    workspace: u64,
}

/// What candle refuses is a mistake of the decoder, not of its input; its text may carry a backtrace.
pub(crate) fn failed(error: candle_core::Error) -> EngineError {
    let text = error.to_string();
    EngineError::Execution(format!("candle: {}", text.lines().next().unwrap_or_default()))
}

/// Tensors have no blocks of 8 bits with scales.
fn refused_kv() -> EngineError {
    EngineError::Invalid("the candle backend keeps KV in f16 or f32, not in q8_0".to_owned())
}

/// A list with room for exactly `len` values.
fn reserved<T>(len: usize) -> Result<Vec<T>, EngineError> {
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    let mut list = Vec::new();
    list.try_reserve_exact(len).map_err(|_| EngineError::OutOfMemory { region: Region::Host, bytes })?;
    Ok(list)
}

/// Values of f32 that a step holds at most; `None` on overflow. These are
/// - the slots and the rotations;
/// - for an operation on rows: four tensors of the widest of them (operand, two intermediate values, result);
/// - for attention over one sequence: its keys and values gathered from the blocks and once more as f32, four tensors of
///   scores or mask, and four of its rows;
/// - all logits and all scores of a router on the host.
fn workspace_values(spec: &StepSpec) -> Option<usize> {
    let experts = spec.experts.map_or(0, |experts| experts.count);
    let per_row = spec.head_dim.checked_mul(spec.ropes.len())?.checked_add(experts)?;
    let logits = spec.max_sequences.checked_mul(spec.vocab)?;
    let mut slots = spec.max_rows.checked_mul(per_row)?.checked_add(logits)?;
    let mut widest = 0;
    for slot in Slot::ALL {
        let (rows, width) = spec.extent(slot)?;
        let values = rows.checked_mul(width)?;
        slots = slots.checked_add(values)?;
        widest = widest.max(values);
    }
    let held = spec.context.checked_next_multiple_of(spec.block_tokens)?;
    let gathered = spec.kv_heads.checked_mul(held)?.checked_mul(spec.head_dim)?.checked_mul(4)?;
    let scores = attention::SCORES.max(spec.heads.checked_mul(held)?).checked_mul(4)?;
    let temporary = widest.checked_mul(4)?;
    slots.checked_add(temporary.max(gathered.checked_add(scores)?.checked_add(temporary)?))
}

impl CandleBackend {
    /// All rows of a slot.
    fn all(&self, slot: Slot) -> Result<&Tensor, EngineError> {
        let tensor = self.slots[slot as usize].as_ref();
        tensor.ok_or_else(|| EngineError::Execution(format!("{slot:?} is empty")))
    }

    /// The first rows of a slot.
    fn get(&self, slot: Slot, rows: usize) -> Result<Tensor, EngineError> {
        self.all(slot)?.narrow(0, 0, rows).map_err(failed)
    }

    /// Replaces a slot. Rows beyond the tensor's are gone.
    fn put(&mut self, slot: Slot, tensor: Tensor) -> Result<(), EngineError> {
        let (rows, width) = self.spec.extent(slot).ok_or(EngineError::PriceOverflow)?;
        match tensor.dims() {
            [given, columns]
                if *given <= rows && (*columns == width || slot.is_elastic() && *columns < width) =>
            {
                self.slots[slot as usize] = Some(tensor);
                Ok(())
            }
            dims => Err(EngineError::Execution(format!("{slot:?} cannot hold a tensor of shape {dims:?}"))),
        }
    }

    fn normed(values: &Tensor, weight: &Tensor, eps: f32) -> candle_core::Result<Tensor> {
        let mean = values.sqr()?.mean_keepdim(D::Minus1)?;
        values.broadcast_div(&(mean + f64::from(eps))?.sqrt()?)?.broadcast_mul(weight)
    }

    fn rotated(&self, rope: usize, values: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
        let (Some((cos, sin)), Some(spec)) = (self.rotations.get(rope), self.spec.ropes.get(rope)) else {
            candle_core::bail!("no rotation {rope} was prepared");
        };
        let (rows, pairs, head_dim) = (values.dim(0)?, spec.inv_freq.len(), self.spec.head_dim);
        let (cos, sin) = (cos.narrow(0, 0, rows)?, sin.narrow(0, 0, rows)?);
        let (cos, sin) = (cos.reshape((rows, 1, pairs))?, sin.reshape((rows, 1, pairs))?);
        let values = values.reshape((rows, heads, head_dim))?;
        let turning = values.narrow(2, 0, 2 * pairs)?;
        let (a, b) = match spec.interleaved {
            true => {
                let pairs = turning.reshape((rows, heads, pairs, 2))?;
                (pairs.narrow(3, 0, 1)?.squeeze(3)?, pairs.narrow(3, 1, 1)?.squeeze(3)?)
            }
            false => (turning.narrow(2, 0, pairs)?, turning.narrow(2, pairs, pairs)?),
        };
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
        let turned = match spec.interleaved {
            true => Tensor::stack(&[first, second], 3)?.reshape((rows, heads, 2 * pairs))?,
            false => Tensor::cat(&[first, second], 2)?,
        };
        let whole = match head_dim - 2 * pairs {
            0 => turned,
            rest => Tensor::cat(&[turned, values.narrow(2, 2 * pairs, rest)?], 2)?,
        };
        whole.reshape((rows, heads * head_dim))
    }

    /// `cap * tanh(values / cap)`.
    fn capped(values: &Tensor, cap: f32) -> candle_core::Result<Tensor> {
        (values / f64::from(cap))?.tanh()? * f64::from(cap)
    }

    /// Row numbers as a tensor, once they are found to be below `rows`.
    fn listed(&self, list: &[u32], rows: usize) -> Result<Tensor, EngineError> {
        if let Some(row) = list.iter().find(|row| **row as usize >= rows) {
            return Err(EngineError::Execution(format!("the step has no row {row}")));
        }
        Tensor::from_slice(list, list.len(), &self.device).map_err(failed)
    }
}

impl Backend for CandleBackend {
    type Matrix = Matrix;
    type Vector = Vector;
    type Block = Block;

    const NAME: &'static str = "candle";

    fn workspace_bytes(spec: &StepSpec) -> Result<u64, EngineError> {
        spec.validate()?;
        if spec.kv_dtype == KvDtype::Q8_0 {
            return Err(refused_kv());
        }
        let values = workspace_values(spec).and_then(|values| u64::try_from(values).ok());
        values.and_then(|values| values.checked_mul(4)).ok_or(EngineError::PriceOverflow)
    }

    fn arena(_: &StepSpec) -> Result<Option<(&'static Source, usize)>, EngineError> {
        Ok(None)
    }

    fn within(spec: StepSpec, _: &Arc<dyn Buffers>) -> Result<Self, EngineError> {
        let workspace = Self::workspace_bytes(&spec)?;
        let slots = [const { None }; Slot::ALL.len()];
        Ok(CandleBackend {
            spec,
            device: Device::Cpu,
            slots,
            rotations: Vec::new(),
            logits: Vec::new(),
            scores: Vec::new(),
            workspace,
        })
    }

    fn spec(&self) -> &StepSpec {
        &self.spec
    }

    fn workspace_held(&self) -> u64 {
        self.workspace
    }

    fn matrix_bytes(dtype: Dtype, rows: usize, cols: usize) -> Option<u64> {
        Matrix::bytes_for(dtype, rows, cols)
    }

    fn load_matrix(
        dtype: Dtype,
        rows: usize,
        cols: usize,
        fill: &mut Fill<'_>,
    ) -> Result<Matrix, EngineError> {
        Matrix::load(dtype, rows, cols, fill, &Device::Cpu)
    }

    fn vector_bytes(len: usize) -> Option<u64> {
        u64::try_from(len.checked_mul(size_of::<f32>())?).ok()
    }

    fn load_vector(dtype: Dtype, len: usize, fill: &mut Fill<'_>) -> Result<Vector, EngineError> {
        Vector::load(dtype, len, fill, &Device::Cpu)
    }

    fn shift_vector(vector: &mut Vector, by: f32) -> Result<(), EngineError> {
        vector.shift(by).map_err(failed)
    }

    fn allocate_block(&mut self, layers: Layers) -> Result<Block, EngineError> {
        Block::new(&self.spec, layers, &self.device)
    }

    fn copy_block(&mut self, from: &Block, to: &Block) -> Result<(), EngineError> {
        from.copy_to(to).map_err(failed)
    }

    fn embed(&mut self, table: &Matrix, ids: &[u32]) -> Result<(), EngineError> {
        let rows = table.tensor().dim(0).map_err(failed)?;
        if let Some(id) = ids.iter().find(|id| **id as usize >= rows) {
            return Err(EngineError::Execution(format!("token id {id} has no row in the embedding")));
        }
        let ids = Tensor::from_slice(ids, ids.len(), &self.device).map_err(failed)?;
        let hidden = table.tensor().index_select(&ids, 0).map_err(failed)?;
        self.put(Slot::Hidden, hidden)
    }

    fn rms_norm(
        &mut self,
        src: Slot,
        weight: &Vector,
        eps: f32,
        dst: Slot,
        rows: usize,
    ) -> Result<(), EngineError> {
        let normed = Self::normed(&self.get(src, rows)?, weight.tensor(), eps).map_err(failed)?;
        self.put(dst, normed)
    }

    fn head_norm(&mut self, slot: Slot, weight: &Vector, eps: f32, rows: usize) -> Result<(), EngineError> {
        let values = self.get(slot, rows)?;
        let normed = || {
            let heads = values.reshape((rows, (), self.spec.head_dim))?;
            Self::normed(&heads, weight.tensor(), eps)?.reshape(values.shape())
        };
        let normed = normed().map_err(failed)?;
        self.put(slot, normed)
    }

    fn matmul(
        &mut self,
        matrix: &Matrix,
        bias: Option<&Vector>,
        src: Slot,
        dst: Slot,
        how: Into,
        rows: usize,
    ) -> Result<(), EngineError> {
        let inputs = self.get(src, rows)?;
        let before = match how {
            Into::Set => None,
            Into::Add => Some(self.get(dst, rows)?),
        };
        let product = || {
            let mut product = inputs.matmul(&matrix.tensor().t()?)?;
            if let Some(bias) = bias {
                product = product.broadcast_add(bias.tensor())?;
            }
            match before {
                None => Ok(product),
                Some(before) => before + product,
            }
        };
        let product = product().map_err(failed)?;
        self.put(dst, product)
    }

    fn rope_prepare(&mut self, positions: &[u32]) -> Result<(), EngineError> {
        let tables = self.spec.ropes.iter().map(|rope| {
            let freqs = &rope.inv_freq;
            let angles =
                positions.iter().flat_map(|position| freqs.iter().map(|freq| *position as f32 * *freq));
            let angles = Tensor::from_iter(angles, &self.device)?.reshape((positions.len(), freqs.len()))?;
            let magnitude = f64::from(rope.magnitude);
            Ok(((angles.cos()? * magnitude)?, (angles.sin()? * magnitude)?))
        });
        self.rotations = tables.collect::<candle_core::Result<_>>().map_err(failed)?;
        Ok(())
    }

    fn rope(&mut self, rope: usize, rows: usize) -> Result<(), EngineError> {
        for (slot, heads) in [(Slot::Query, self.spec.heads), (Slot::Key, self.spec.kv_heads)] {
            let rotated = self.rotated(rope, &self.get(slot, rows)?, heads).map_err(failed)?;
            self.put(slot, rotated)?;
        }
        Ok(())
    }

    fn store_kv<S: Spans<Block>>(&mut self, layer: usize, spans: &S) -> Result<(), EngineError> {
        let (rows, place) = check_spans(&self.spec, layer, None, spans)?;
        let (keys, values) = (self.get(Slot::Key, rows)?, self.get(Slot::Value, rows)?);
        for index in 0..spans.count() {
            attention::store(&self.spec, place, &spans.span(index), &keys, &values).map_err(failed)?;
        }
        Ok(())
    }

    fn attention<S: Spans<Block>>(
        &mut self,
        layer: usize,
        attention: Attention,
        spans: &S,
    ) -> Result<(), EngineError> {
        let (rows, place) = check_spans(&self.spec, layer, Some(attention), spans)?;
        let query = self.all(Slot::Query)?;
        if rows > query.dim(0).map_err(failed)? {
            return Err(EngineError::Execution(format!("the step has fewer than {rows} rows of queries")));
        }
        // Rows of no sequence attend to nothing and stay zero.
        let attended = query.zeros_like().map_err(failed)?;
        for index in 0..spans.count() {
            let span = spans.span(index);
            attention::attend(&self.spec, place, attention, &span, query, &attended).map_err(failed)?;
        }
        self.put(Slot::Attended, attended)
    }

    fn gate(&mut self, activation: Activation, width: usize, rows: usize) -> Result<(), EngineError> {
        let (gate, up) = (self.get(Slot::Gate, rows)?, self.get(Slot::Up, rows)?);
        if gate.dim(1).map_err(failed)? != width {
            return Err(EngineError::Execution(format!("the gate is not {width} wide")));
        }
        let gated = match activation {
            Activation::Silu => gate.silu(),
            Activation::GeluTanh => gate.gelu(),
        };
        let gate = gated.and_then(|gate| gate * up).map_err(failed)?;
        self.put(Slot::Gate, gate)
    }

    fn scale(&mut self, slot: Slot, factor: f32, rows: usize) -> Result<(), EngineError> {
        let scaled = (self.get(slot, rows)? * f64::from(factor)).map_err(failed)?;
        self.put(slot, scaled)
    }

    fn softcap(&mut self, slot: Slot, cap: f32, rows: usize) -> Result<(), EngineError> {
        let capped = Self::capped(&self.get(slot, rows)?, cap).map_err(failed)?;
        self.put(slot, capped)
    }

    fn add(&mut self, src: Slot, dst: Slot, rows: usize) -> Result<(), EngineError> {
        let sum = (self.get(dst, rows)? + self.get(src, rows)?).map_err(failed)?;
        self.put(dst, sum)
    }

    fn router(&mut self, width: usize, rows: usize) -> Result<&[f32], EngineError> {
        let scores = self.get(Slot::Router, rows)?;
        if scores.dim(1).map_err(failed)? != width {
            return Err(EngineError::Execution(format!("the router does not score {width} experts")));
        }
        self.scores = scores.flatten_all().and_then(|scores| scores.to_vec1()).map_err(failed)?;
        Ok(&self.scores)
    }

    fn gather(&mut self, rows: &[u32]) -> Result<(), EngineError> {
        let normed = self.all(Slot::Normed)?;
        let rows = self.listed(rows, normed.dim(0).map_err(failed)?)?;
        let routed = normed.index_select(&rows, 0).map_err(failed)?;
        self.put(Slot::Routed, routed)
    }

    fn scatter(&mut self, dst: Slot, rows: &[u32], weights: &[f32]) -> Result<(), EngineError> {
        let (values, routed) = (self.all(dst)?, self.get(Slot::Routed, rows.len())?);
        let places = self.listed(rows, values.dim(0).map_err(failed)?)?;
        let sum = || {
            let weights = Tensor::from_slice(weights, (weights.len(), 1), &self.device)?;
            values.index_add(&places, &routed.broadcast_mul(&weights)?, 0)
        };
        let sum = sum().map_err(failed)?;
        self.put(dst, sum)
    }

    fn select(&mut self, rows: &[u32]) -> Result<(), EngineError> {
        let hidden = self.all(Slot::Hidden)?;
        let rows = self.listed(rows, hidden.dim(0).map_err(failed)?)?;
        let last = hidden.index_select(&rows, 0).map_err(failed)?;
        self.put(Slot::Last, last)
    }

    fn logits(&mut self, rows: usize) -> Result<&[f32], EngineError> {
        // Those of the step before are gone first: one copy is priced.
        self.logits = Vec::new();
        let logits = self.all(Slot::Logits)?.narrow(0, 0, rows);
        let logits = logits.and_then(|logits| logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1());
        self.logits = logits.map_err(failed)?;
        Ok(&self.logits)
    }
}
