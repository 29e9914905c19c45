//! The CPU backend against this one, operation by operation.

use super::*;
use crate::backend::cpu::CpuBackend;
use crate::backend::cpu::kernels::Level;
use crate::backend::cpu::kernels::reference::Random;
use crate::backend::cpu::tests::{Sequences, everything, from_bytes, sequences, spec, stored};
use crate::backend::{ExpertSpec, KvDtype, RopeSpec, WindowSpec};
use plimsoll_scheduler::BlockTable;

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
        // KV in f32: all bits of the inputs of 16-bit weights.
        let mut pair =
            Pair::new(&StepSpec { hidden: cols, intermediate: 67, kv_dtype: KvDtype::F32, ..spec() }, 21);
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
                // With quantised weights, inputs are rounded: of a few rows to 15 bits, of more to 8. On tiles, both factors
                // are rounded to bf16, plain ones to twice as many bits.
                let tolerance = match (dtype.is_quantized(), rows) {
                    (true, 1..=4) => 1e-4,
                    (true, _) => 2e-2,
                    (false, 5..) if dtype != Dtype::F32 && Level::detect().name() == "amx" => 5e-5,
                    _ => 2e-6,
                };
                pair.compare(Slot::Gate, rows, tolerance, &format!("{dtype:?} {rows} rows {how:?}"));
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
        for rows in 1..=3 {
            let want = pair.candle.logits(rows).unwrap().to_vec();
            let got = pair.cpu.logits(rows).unwrap();
            assert_eq!((got.len(), want.len()), (rows * 131, rows * 131));
            let largest = want.iter().fold(10f32, |largest, value| largest.max(value.abs()));
            // Inputs for quantised weights are rounded to 15 bits.
            let bound = if dtype.is_quantized() { 1e-4 } else { 2e-6 } * largest;
            assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() < bound), "{dtype}");
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
        for activation in [Activation::Silu, Activation::GeluTanh] {
            pair.fill(Slot::Gate, rows);
            pair.fill(Slot::Up, rows);
            pair.on_both(|cpu| cpu.gate(activation, 72, rows), |candle| candle.gate(activation, 72, rows));
            pair.compare(Slot::Gate, rows, 1e-6, "gate");
        }
    }
}

#[test]
fn shifted_norms_scales_caps_and_sums_agree() {
    let mut pair = Pair::new(&spec(), 26);
    let mut weight = pair.vector(Dtype::BF16, 40);
    CpuBackend::shift_vector(&mut weight.0, 1.0).unwrap();
    CandleBackend::shift_vector(&mut weight.1, 1.0).unwrap();
    for rows in [1, 50] {
        pair.fill(Slot::Hidden, rows);
        pair.on_both(
            |cpu| cpu.rms_norm(Slot::Hidden, &weight.0, 1e-6, Slot::Normed, rows),
            |candle| candle.rms_norm(Slot::Hidden, &weight.1, 1e-6, Slot::Normed, rows),
        );
        pair.compare(Slot::Normed, rows, 1e-6, "shifted norm");
        pair.on_both(
            |cpu| cpu.scale(Slot::Hidden, 7.5, rows),
            |candle| candle.scale(Slot::Hidden, 7.5, rows),
        );
        pair.compare(Slot::Hidden, rows, 1e-6, "scale");
        pair.on_both(
            |cpu| cpu.softcap(Slot::Hidden, 3.0, rows),
            |candle| candle.softcap(Slot::Hidden, 3.0, rows),
        );
        pair.compare(Slot::Hidden, rows, 1e-6, "softcap");
        pair.on_both(
            |cpu| cpu.add(Slot::Normed, Slot::Hidden, rows),
            |candle| candle.add(Slot::Normed, Slot::Hidden, rows),
        );
        pair.compare(Slot::Hidden, rows, 1e-6, "add");
    }
}

#[test]
fn experts_rows_go_out_and_come_back_alike() {
    let spec = StepSpec { experts: Some(ExpertSpec { count: 5, used: 2 }), ..spec() };
    let mut pair = Pair::new(&spec, 27);
    // An expert narrower than the widest part.
    let (router, gate, down) =
        (pair.matrix(Dtype::F32, 5, 40), pair.matrix(Dtype::F16, 30, 40), pair.matrix(Dtype::F16, 40, 30));
    let rows = 50;
    pair.fill(Slot::Hidden, rows);
    pair.fill(Slot::Normed, rows);
    pair.on_both(
        |cpu| cpu.matmul(&router.0, None, Slot::Normed, Slot::Router, Into::Set, rows),
        |candle| candle.matmul(&router.1, None, Slot::Normed, Slot::Router, Into::Set, rows),
    );
    let want = pair.candle.router(5, rows).unwrap().to_vec();
    let got = pair.cpu.router(5, rows).unwrap();
    assert!(got.len() == 250 && got.iter().zip(&want).all(|(got, want)| (got - want).abs() < 2e-6));
    let list = [0, 3, 17, 49];
    pair.on_both(|cpu| cpu.gather(&list), |candle| candle.gather(&list));
    pair.compare(Slot::Routed, 4, 0.0, "gather");
    for slot in [Slot::Gate, Slot::Up] {
        pair.on_both(
            |cpu| cpu.matmul(&gate.0, None, Slot::Routed, slot, Into::Set, 4),
            |candle| candle.matmul(&gate.1, None, Slot::Routed, slot, Into::Set, 4),
        );
    }
    pair.on_both(
        |cpu| {
            cpu.gate(Activation::Silu, 30, 4)?;
            cpu.matmul(&down.0, None, Slot::Gate, Slot::Routed, Into::Set, 4)
        },
        |candle| {
            candle.gate(Activation::Silu, 30, 4)?;
            candle.matmul(&down.1, None, Slot::Gate, Slot::Routed, Into::Set, 4)
        },
    );
    pair.compare(Slot::Routed, 4, 2e-6, "expert");
    let weights = [0.5, 1.5, -2.0, 0.25];
    pair.on_both(
        |cpu| cpu.scatter(Slot::Hidden, &list, &weights),
        |candle| candle.scatter(Slot::Hidden, &list, &weights),
    );
    pair.compare(Slot::Hidden, rows, 2e-6, "scatter");
}

#[test]
fn rotations_agree_at_near_and_far_positions() {
    let rope = |pairs: usize, magnitude, interleaved| RopeSpec {
        inv_freq: (0..pairs).map(|i| 10_000f32.powf(-(i as f32) / pairs as f32)).collect(),
        magnitude,
        interleaved,
    };
    for interleaved in [false, true] {
        // All of a head turns; then only a part of it, longer than it was.
        let ropes = vec![rope(10, 1.0, interleaved), rope(6, 1.25, interleaved)];
        let mut pair = Pair::new(&StepSpec { ropes, ..spec() }, 24);
        let positions = [0, 1, 2, 4095, 131_071, 12];
        pair.on_both(|cpu| cpu.rope_prepare(&positions), |candle| candle.rope_prepare(&positions));
        for index in [0, 1] {
            pair.fill(Slot::Query, 6);
            pair.fill(Slot::Key, 6);
            pair.on_both(|cpu| cpu.rope(index, 6), |candle| candle.rope(index, 6));
            pair.compare(Slot::Query, 6, 1e-6, "rope");
            pair.compare(Slot::Key, 6, 1e-6, "rope");
        }
    }
}

/// Frees the blocks of rolling layers before the one with this position.
fn free<B>(table: &mut BlockTable<B>, position: usize) {
    let first = position / spec().block_tokens;
    table.rolling.drain(..first - table.first);
    table.first = first;
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
    let held = |table: &BlockTable<_>| table.whole.len().max(table.first + table.rolling.len());
    while held(&sequence.3) * backend.spec().block_tokens < position + rows {
        let more = sequences(backend, &[(1, 0)]).list.remove(0).3;
        sequence.3.whole.extend(more.whole);
        sequence.3.rolling.extend(more.rolling);
    }
}

#[test]
fn attention_agrees_over_paged_blocks_of_both_types() {
    for (kv_dtype, heads, kv_heads, window, softcap) in [
        (KvDtype::F32, 6, 2, None, None),
        (KvDtype::F16, 6, 6, Some(5), None),
        (KvDtype::F16, 14, 2, None, Some(0.3)),
        (KvDtype::F32, 6, 2, Some(17), Some(2.0)),
        (KvDtype::F32, 6, 2, Some(1), None),
    ] {
        // The second layer has a window; what lies behind it is freed before each step.
        let rolling = window.map(|tokens| WindowSpec { tokens, layers: vec![false, true] });
        let spec = StepSpec { kv_dtype, heads, kv_heads, threads: 3, window: rolling, ..spec() };
        let attention = Attention { window, softcap, ..everything(&spec) };
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
            if window.is_some() {
                on_cpu
                    .list
                    .iter_mut()
                    .for_each(|sequence| free(&mut sequence.3, attention.first(sequence.2)));
                on_candle
                    .list
                    .iter_mut()
                    .for_each(|sequence| free(&mut sequence.3, attention.first(sequence.2)));
            }
            for layer in 0..spec.layers {
                for slot in [Slot::Query, Slot::Key, Slot::Value] {
                    pair.fill(slot, rows);
                }
                pair.on_both(
                    |cpu| {
                        cpu.store_kv(layer, &on_cpu)?;
                        cpu.attention(layer, attention, &on_cpu)
                    },
                    |candle| {
                        candle.store_kv(layer, &on_candle)?;
                        candle.attention(layer, attention, &on_candle)
                    },
                );
                // On tiles weights beside f16 KV have 8 bits.
                let tolerance = match kv_dtype {
                    KvDtype::F16 if Level::detect().name() == "amx" => 4e-3,
                    KvDtype::F16 => 3e-5,
                    _ => 2e-6,
                };
                pair.compare(
                    Slot::Attended,
                    rows,
                    tolerance,
                    &format!("{kv_dtype:?} step {step} layer {layer}"),
                );
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
