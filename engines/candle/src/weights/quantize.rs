//! Weights that are quantised while they are read.
//!
//! Only matrices of plain numbers are; vectors (norms, biases), a mixture's routers and what a file has in blocks already
//! stay as they are. The embedding and the output matrix, which every token passes through, become Q8_0 at any setting, as
//! 4 bits there cost more quality than they save bytes. A matrix whose rows are no whole number of blocks becomes Q8_0, and
//! where that does not fit either it keeps the file's type.

use crate::backend::Fill;
use crate::backend::candle::failed;
use crate::backend::cpu::kernels::{Level, dequantise, with_format};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use plimsoll_engine::{EngineError, Region};
use plimsoll_formats::Dtype;
use std::panic::resume_unwind;
use std::thread::{self, ScopedJoinHandle};

/// What matrices of plain numbers (f32, f16, bf16) become when they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantize {
    /// 8.5 bits a weight.
    Q8_0,
    /// 4.5 bits a weight, in blocks of 32.
    Q4_0,
    /// 4.5 bits a weight, in blocks of 256 with scales and offsets for each 32.
    Q4K,
}

impl Quantize {
    /// The type for a matrix of this name and type, if its rows are whole blocks.
    pub(super) fn wanted(self, name: &str, dtype: Dtype) -> Dtype {
        let chooses = [".gate.weight", ".shared_expert_gate.weight"].iter().any(|end| name.ends_with(end));
        if dtype.is_quantized() || chooses {
            return dtype;
        }
        match (self, name) {
            (Quantize::Q8_0, _) | (_, "model.embed_tokens.weight" | "lm_head.weight") => Dtype::Q8_0,
            (Quantize::Q4_0, _) => Dtype::Q4_0,
            (Quantize::Q4K, _) => Dtype::Q4K,
        }
    }

    /// The type that it has in memory with rows of this length.
    pub(super) fn stored(self, name: &str, dtype: Dtype, cols: usize) -> Dtype {
        let fits = |stored: &Dtype| (cols as u64).is_multiple_of(stored.block_len());
        [self.wanted(name, dtype), Dtype::Q8_0].into_iter().find(fits).unwrap_or(dtype)
    }
}

/// Values quantised at once, a whole number of blocks of every type: what is held of them is below 4 MiB.
const PIECE: usize = 256 * 1024;

/// Values of the largest block.
const BLOCK: usize = 256;

/// Turns a tensor's plain numbers into blocks, in pieces, by candle's quantisers. Finding good scales is the longest part of
/// such a load, so several threads share a piece.
pub(super) struct Quantizer<'a> {
    /// For messages.
    tensor: &'a str,
    from: Dtype,
    to: Dtype,
    kind: GgmlDType,
    threads: usize,
    /// Values that have not been read.
    left: usize,
    /// Values of the piece, as in the file.
    plain: Vec<u8>,
    /// Blocks of the piece.
    blocks: Vec<u8>,
    /// How many of their bytes have been handed out.
    given: usize,
}

impl<'a> Quantizer<'a> {
    /// A quantiser for so many values, on so many threads.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when the values are no whole number of blocks, or nothing makes such blocks.
    pub(super) fn new(
        tensor: &'a str,
        from: Dtype,
        to: Dtype,
        values: usize,
        threads: usize,
    ) -> Result<Self, EngineError> {
        let kind = match to {
            Dtype::Q8_0 => Some(GgmlDType::Q8_0),
            Dtype::Q4_0 => Some(GgmlDType::Q4_0),
            Dtype::Q4K => Some(GgmlDType::Q4K),
            _ => None,
        };
        let whole = (values as u64).is_multiple_of(to.block_len()) && !from.is_quantized();
        let Some(kind) = kind.filter(|_| whole) else {
            let text = format!("tensor {tensor}: {values} values of {from} cannot become {to}");
            return Err(EngineError::Invalid(text));
        };
        let (plain, blocks) = (Vec::new(), Vec::new());
        Ok(Quantizer { tensor, from, to, kind, threads, left: values, plain, blocks, given: 0 })
    }

    /// Fills `out` with the next blocks' bytes, reading plain numbers through `read`.
    ///
    /// # Errors
    /// Those of `read`; [`EngineError::Invalid`] for values that are not finite, which blocks would hide;
    /// [`EngineError::OutOfMemory`].
    pub(super) fn fill(&mut self, mut out: &mut [u8], read: &mut Fill<'_>) -> Result<(), EngineError> {
        while !out.is_empty() {
            if self.given == self.blocks.len() {
                self.next(read)?;
            }
            let count = out.len().min(self.blocks.len() - self.given);
            let (now, later) = out.split_at_mut(count);
            now.copy_from_slice(&self.blocks[self.given..self.given + count]);
            self.given += count;
            out = later;
        }
        Ok(())
    }

    fn next(&mut self, read: &mut Fill<'_>) -> Result<(), EngineError> {
        let count = PIECE.min(self.left);
        if count == 0 {
            return Err(EngineError::Execution(format!("tensor {} was read past its end", self.tensor)));
        }
        self.left -= count;
        // Plain types have one element a block.
        let bytes = count * self.from.block_bytes() as usize;
        resize(&mut self.plain, bytes)?;
        read(&mut self.plain)?;
        let mut values = Vec::new();
        resize(&mut values, count)?;
        let plain = &self.plain;
        with_format!(self.from, F => dequantise::<F>(Level::detect(), plain, &mut values));
        if !values.iter().all(|value| value.is_finite()) {
            let text = format!("tensor {} has values that are not finite", self.tensor);
            return Err(EngineError::Invalid(text));
        }
        self.blocks.clear();
        self.given = 0;
        let share = count.div_ceil(self.threads.max(1)).next_multiple_of(BLOCK);
        for blocks in on_threads(&values, share, self.kind) {
            let blocks = blocks?;
            let end = self.blocks.len();
            resize(&mut self.blocks, end + blocks.len())?;
            self.blocks[end..].copy_from_slice(&blocks);
        }
        match self.to.bytes_for(count as u64) {
            Some(bytes) if bytes == self.blocks.len() as u64 => Ok(()),
            _ => Err(EngineError::Execution(format!("candle's {} blocks have another size", self.to))),
        }
    }
}

/// The blocks of each share of the values, every share on a thread of its own where the system has one.
fn on_threads(values: &[f32], share: usize, kind: GgmlDType) -> Vec<Result<Vec<u8>, EngineError>> {
    if values.len() <= share {
        return vec![blocks_of(values, kind)];
    }
    thread::scope(|scope| {
        let begin = |part| {
            let named = thread::Builder::new().name("plimsoll-quantize".to_owned());
            named.spawn_scoped(scope, move || blocks_of(part, kind)).map_err(|_| part)
        };
        let begun: Vec<_> = values.chunks(share).map(begin).collect();
        let end = |begun: Result<ScopedJoinHandle<'_, _>, &[f32]>| match begun {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(part) => blocks_of(part, kind),
        };
        begun.into_iter().map(end).collect()
    })
}

fn blocks_of(values: &[f32], kind: GgmlDType) -> Result<Vec<u8>, EngineError> {
    let values = Tensor::from_slice(values, values.len(), &Device::Cpu).map_err(failed)?;
    let quantised = QTensor::quantize(&values, kind).map_err(failed)?;
    Ok(quantised.data().map_err(failed)?.into_owned())
}

fn resize<T: Clone + Default>(list: &mut Vec<T>, len: usize) -> Result<(), EngineError> {
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    list.try_reserve_exact(len.saturating_sub(list.len()))
        .map_err(|_| EngineError::OutOfMemory { region: Region::Host, bytes })?;
    list.resize(len, T::default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::reference::Random;
    use crate::backend::cpu::tests::from_bytes;

    const KINDS: [(Dtype, GgmlDType); 3] =
        [(Dtype::Q8_0, GgmlDType::Q8_0), (Dtype::Q4_0, GgmlDType::Q4_0), (Dtype::Q4K, GgmlDType::Q4K)];

    fn file(dtype: Dtype, values: &[f32]) -> Vec<u8> {
        let bytes = |value: &f32| match dtype {
            Dtype::F32 => value.to_le_bytes().to_vec(),
            Dtype::F16 => half::f16::from_f32(*value).to_le_bytes().to_vec(),
            _ => half::bf16::from_f32(*value).to_le_bytes().to_vec(),
        };
        values.iter().flat_map(bytes).collect()
    }

    #[test]
    fn blocks_are_candles_however_they_are_asked_for() {
        // More than two pieces.
        let count = 2 * PIECE + 1536;
        let values = Random::new(51).floats(count);
        for (to, kind) in KINDS {
            for from in [Dtype::F32, Dtype::F16, Dtype::BF16] {
                let bytes = file(from, &values);
                let plain = match from {
                    Dtype::F32 => values.clone(),
                    Dtype::F16 => values.iter().map(|value| half::f16::from_f32(*value).to_f32()).collect(),
                    _ => values.iter().map(|value| half::bf16::from_f32(*value).to_f32()).collect(),
                };
                let whole = Tensor::from_vec(plain, count, &Device::Cpu).unwrap();
                let whole = QTensor::quantize(&whole, kind).unwrap();
                let whole = whole.data().unwrap();
                for (piece, threads) in [(7, 1), (1000, 3), (1 << 20, 16)] {
                    let mut quantizer = Quantizer::new("t", from, to, count, threads).unwrap();
                    let mut read = from_bytes(&bytes);
                    let mut blocks = vec![0; to.bytes_for(count as u64).unwrap() as usize];
                    blocks.chunks_mut(piece).for_each(|out| quantizer.fill(out, &mut read).unwrap());
                    assert!(blocks == *whole, "{from} to {to} in pieces of {piece}");
                    assert!(matches!(quantizer.fill(&mut [0], &mut read), Err(EngineError::Execution(_))));
                }
            }
        }
    }

    #[test]
    fn values_that_blocks_would_hide_are_refused() {
        for (to, _) in KINDS {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = vec![0.25; 512];
                values[300] = bad;
                let mut quantizer = Quantizer::new("some.weight", Dtype::F32, to, 512, 2).unwrap();
                let bytes = file(Dtype::F32, &values);
                let error = quantizer.fill(&mut [0; 64], &mut from_bytes(&bytes)).unwrap_err();
                assert!(error.to_string().contains("some.weight has values that are not finite"), "{error}");
            }
            let huge = file(Dtype::F32, &[f32::MAX, f32::MIN, 1e-45, 0.0].repeat(64));
            let mut quantizer = Quantizer::new("t", Dtype::F32, to, 256, 2).unwrap();
            quantizer.fill(&mut [0; 128], &mut from_bytes(&huge)).unwrap();
            assert!(Quantizer::new("t", Dtype::F32, to, 257, 2).is_err());
            assert!(Quantizer::new("t", Dtype::Q8_0, to, 256, 2).is_err());
        }
        assert!(Quantizer::new("t", Dtype::F32, Dtype::Q2K, 256, 2).is_err());
    }

    #[test]
    fn types_follow_names_and_row_lengths() {
        let q = "model.layers.0.self_attn.q_proj.weight";
        for (setting, name, dtype, cols, stored) in [
            (Quantize::Q8_0, q, Dtype::F32, 96, Dtype::Q8_0),
            (Quantize::Q8_0, q, Dtype::BF16, 80, Dtype::BF16),
            (Quantize::Q4_0, q, Dtype::F16, 96, Dtype::Q4_0),
            (Quantize::Q4K, q, Dtype::F16, 512, Dtype::Q4K),
            (Quantize::Q4K, q, Dtype::F16, 96, Dtype::Q8_0),
            (Quantize::Q4K, q, Dtype::F16, 100, Dtype::F16),
            (Quantize::Q4K, q, Dtype::Q6K, 512, Dtype::Q6K),
            (Quantize::Q4K, "model.embed_tokens.weight", Dtype::BF16, 512, Dtype::Q8_0),
            (Quantize::Q4_0, "lm_head.weight", Dtype::BF16, 512, Dtype::Q8_0),
            (Quantize::Q4K, "model.layers.0.mlp.gate_proj.weight", Dtype::F32, 512, Dtype::Q4K),
            (Quantize::Q4K, "model.layers.0.mlp.experts.3.gate_proj.weight", Dtype::F32, 512, Dtype::Q4K),
            (Quantize::Q4K, "model.layers.0.mlp.gate.weight", Dtype::F32, 512, Dtype::F32),
            (Quantize::Q8_0, "model.layers.0.mlp.shared_expert_gate.weight", Dtype::F16, 512, Dtype::F16),
        ] {
            assert_eq!(setting.stored(name, dtype, cols), stored, "{setting:?} {name} {dtype} {cols}");
        }
    }
}
