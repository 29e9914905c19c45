//! The CPU backend against this one, operation by operation.

use super::*;
use crate::backend::cpu::CpuBackend;
use crate::backend::cpu::kernels::reference::Random;
use crate::backend::cpu::tests::{Sequences, from_bytes, sequences, spec, stored};
use crate::backend::{KvDtype, RopeSpec};

/// Both backends side by side.
struct Pair {
    cpu: CpuBackend,
    candle: CandleBackend,
    random: Random,
}

impl Pair {
    fn new(spec: &StepSpec, seed: u64) -> Self {
        Pair {
            cpu: CpuBackend::new(spec.clone()).unwrap(),
            candle: CandleBackend::new(spec.clone()).unwrap(),
            random: Random::new(seed),
        }
    }

    fn matrix(
        &mut self,
        dtype: Dtype,
        rows: usize,
        cols: usize,
    ) -> (<CpuBackend as Backend>::Matrix, Matrix) {
        let bytes = stored(dtype, rows * cols, &mut self.random);
        (
            CpuBackend::load_matrix(dtype, rows, cols, &mut from_bytes(&bytes)).unwrap(),
            CandleBackend::load_matrix(dtype, rows, cols, &mut from_bytes(&bytes)).unwrap(),
        )
    }

    fn vector(&mut self, dtype: Dtype, len: usize) -> (<CpuBackend as Backend>::Vector, Vector) {
        let bytes = stored(dtype, len, &mut self.random);
        (
            CpuBackend::load_vector(dtype, len, &mut from_bytes(&bytes)).unwrap(),
            CandleBackend::load_vector(dtype, len, &mut from_bytes(&bytes)).unwrap(),
        )
    }

    /// The same random rows into a slot of both.
    fn fill(&mut self, slot: Slot, rows: usize) {
        let width = self.cpu.spec().extent(slot).unwrap().1;
        let values = self.random.floats(rows * width);
        self.cpu.slot(slot, rows).copy_from_slice(&values);
        self.candle.put(slot, Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()).unwrap();
    }

    /// Runs an operation on both.
    fn on_both(
        &mut self,
        cpu: impl FnOnce(&mut CpuBackend) -> Result<(), EngineError>,
        candle: impl FnOnce(&mut CandleBackend) -> Result<(), EngineError>,
    ) {
        cpu(&mut self.cpu).unwrap();
        candle(&mut self.candle).unwrap();
    }

    /// Compares a slot's rows.
    fn compare(&mut self, slot: Slot, rows: usize, tolerance: f32, what: &str) {
        let want: Vec<f32> = self.candle.get(slot, rows).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let got = self.cpu.slot(slot, rows);
        assert_eq!(got.len(), want.len());
        let largest = want.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        assert!(largest > 1e-3, "{what}: there is something to compare");
        for (at, (got, want)) in got.iter().zip(&want).enumerate() {
            assert!((got - want).abs() <= tolerance * largest.max(1.0), "{what} at {at}: {got} {want}");
        }
    }
}

#[test]
fn products_agree_for_every_format() {
    for dtype in Dtype::ALL {
        let cols = if dtype.block_len() == 256 { 256 } else { 96 };
        let mut pair = Pair::new(&StepSpec { hidden: cols, intermediate: 67, ..spec() }, 21);
        let matrix = pair.matrix(dtype, 67, cols);
        let bias = pair.vector(Dtype::F16, 67);
        for rows in [1, 5, 16, 17, 50] {
            for how in [Into::Set, Into::Add] {
                pair.fill(Slot::Normed, rows);
                pair.fill(Slot::Gate, rows);
                pair.on_both(
                    |cpu| cpu.matmul(&matrix.0, Some(&bias.0), Slot::Normed, Slot::Gate, how, rows),
                    |candle| candle.matmul(&matrix.1, Some(&bias.1), Slot::Normed, Slot::Gate, how, rows),
                );
                pair.compare(Slot::Gate, rows, 2e-6, &format!("{dtype:?} {rows} rows {how:?}"));
            }
        }
    }
}

#[test]
fn embedding_selection_and_logits_agree() {
    for dtype in Dtype::ALL {
        let hidden = if dtype.block_len() == 256 { 512 } else { 64 };
        let mut pair = Pair::new(&StepSpec { hidden, ..spec() }, 22);
        let table = pair.matrix(dtype, 131, hidden);
        let ids = [0, 130, 7, 7, 64];
        pair.on_both(|cpu| cpu.embed(&table.0, &ids), |candle| candle.embed(&table.1, &ids));
        pair.compare(Slot::Hidden, 5, 0.0, "embed");
        pair.on_both(|cpu| cpu.select(&[4, 0, 1]), |candle| candle.select(&[4, 0, 1]));
        pair.compare(Slot::Last, 3, 0.0, "select");
        pair.on_both(
            |cpu| cpu.matmul(&table.0, None, Slot::Last, Slot::Logits, Into::Set, 3),
            |candle| candle.matmul(&table.1, None, Slot::Last, Slot::Logits, Into::Set, 3),
        );
        for index in 0..3 {
            let want = pair.candle.logits(index).unwrap().to_vec();
            let got = pair.cpu.logits(index).unwrap();
            assert_eq!((got.len(), want.len()), (131, 131));
            let largest = want.iter().fold(10f32, |largest, value| largest.max(value.abs()));
            assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() < 2e-6 * largest), "{dtype}");
        }
    }
}

#[test]
fn norms_and_the_gate_agree() {
    let mut pair = Pair::new(&spec(), 23);
    for (rows, dtype) in [(1, Dtype::F32), (50, Dtype::BF16), (7, Dtype::F16)] {
        let weight = pair.vector(dtype, 40);
        let head = pair.vector(dtype, 20);
        for (src, dst) in [(Slot::Hidden, Slot::Normed), (Slot::Hidden, Slot::Hidden)] {
            pair.fill(src, rows);
            pair.on_both(
                |cpu| cpu.rms_norm(src, &weight.0, 1e-6, dst, rows),
                |candle| candle.rms_norm(src, &weight.1, 1e-6, dst, rows),
            );
            pair.compare(dst, rows, 1e-6, "rms_norm");
        }
        for slot in [Slot::Query, Slot::Key] {
            pair.fill(slot, rows);
            pair.on_both(
                |cpu| cpu.head_norm(slot, &head.0, 1e-6, rows),
                |candle| candle.head_norm(slot, &head.1, 1e-6, rows),
            );
            pair.compare(slot, rows, 1e-6, "head_norm");
        }
        pair.fill(Slot::Gate, rows);
        pair.fill(Slot::Up, rows);
        pair.on_both(|cpu| cpu.swiglu(rows), |candle| candle.swiglu(rows));
        pair.compare(Slot::Gate, rows, 1e-6, "swiglu");
    }
}

#[test]
fn rotations_agree_at_near_and_far_positions() {
    for interleaved in [false, true] {
        let inv_freq = (0..10).map(|i| 10_000f32.powf(-i as f32 / 10.0)).collect();
        let spec = StepSpec { rope: RopeSpec { inv_freq, interleaved }, ..spec() };
        let mut pair = Pair::new(&spec, 24);
        let positions = [0, 1, 2, 4095, 131_071, 12];
        pair.fill(Slot::Query, 6);
        pair.fill(Slot::Key, 6);
        pair.on_both(|cpu| cpu.rope_prepare(&positions), |candle| candle.rope_prepare(&positions));
        pair.on_both(|cpu| cpu.rope(6), |candle| candle.rope(6));
        pair.compare(Slot::Query, 6, 1e-6, "rope");
        pair.compare(Slot::Key, 6, 1e-6, "rope");
    }
}

/// Gives a sequence its rows in the next step, and the blocks that it needs for them.
fn extend<B: Backend>(
    backend: &mut B,
    spans: &mut Sequences<B::Block>,
    index: usize,
    (first_row, rows, position): (usize, usize, usize),
) {
    let sequence = &mut spans.list[index];
    (sequence.0, sequence.1, sequence.2) = (first_row, rows, position);
    while sequence.3.len() * backend.spec().block_tokens < position + rows {
        sequence.3.extend(sequences(backend, &[(1, 0)]).list.remove(0).3);
    }
}

#[test]
fn attention_agrees_over_paged_blocks_of_both_types() {
    for (kv_dtype, heads, kv_heads) in [(KvDtype::F32, 6, 2), (KvDtype::F16, 6, 6), (KvDtype::F16, 14, 2)] {
        let spec = StepSpec { kv_dtype, heads, kv_heads, threads: 3, ..spec() };
        let mut pair = Pair::new(&spec, 25);
        // A first step fills the blocks, a second one reads them and adds: prefill and decode side by side.
        let (cpu, candle) = (&mut pair.cpu, &mut pair.candle);
        let shapes = [(33, 0), (1, 0), (16, 0)];
        let (mut on_cpu, mut on_candle) = (sequences(cpu, &shapes), sequences(candle, &shapes));
        for (step, (rows, spans)) in
            [(50, shapes), (7, [(1, 33), (1, 1), (5, 16)]), (3, [(1, 34), (1, 2), (1, 21)])]
                .into_iter()
                .enumerate()
        {
            let mut first_row = 0;
            for (index, (rows, position)) in spans.into_iter().enumerate() {
                extend(&mut pair.cpu, &mut on_cpu, index, (first_row, rows, position));
                extend(&mut pair.candle, &mut on_candle, index, (first_row, rows, position));
                first_row += rows;
            }
            assert_eq!(first_row, rows);
            for layer in 0..spec.layers {
                for slot in [Slot::Query, Slot::Key, Slot::Value] {
                    pair.fill(slot, rows);
                }
                pair.on_both(
                    |cpu| cpu.store_kv(layer, &on_cpu).and_then(|()| cpu.attention(layer, &on_cpu)),
                    |candle| {
                        candle.store_kv(layer, &on_candle).and_then(|()| candle.attention(layer, &on_candle))
                    },
                );
                pair.compare(Slot::Attended, rows, 2e-6, &format!("{kv_dtype:?} step {step} layer {layer}"));
            }
        }
    }
}

#[test]
fn prices_are_checked_and_met() {
    let spec = spec();
    let bytes = CandleBackend::workspace_bytes(&spec).unwrap();
    let backend = CandleBackend::new(spec.clone()).unwrap();
    assert_eq!(backend.workspace_held(), bytes);
    assert_eq!(CandleBackend::matrix_bytes(Dtype::Q8_0, 3, 64), Some(3 * 64 * 4));
    assert_eq!(CandleBackend::matrix_bytes(Dtype::Q8_0, 3, 63), None);
    assert_eq!(CandleBackend::matrix_bytes(Dtype::F16, usize::MAX / 4, 5), None);
    let huge = StepSpec { vocab: usize::MAX / 3, ..spec };
    assert_eq!(CandleBackend::workspace_bytes(&huge), Err(EngineError::PriceOverflow));
}
