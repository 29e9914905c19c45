//! The largest step against the end of the plan.

use super::tests::{everything, matrix, sequences, spec, vector};
use super::*;
use crate::backend::cpu::kernels::reference::Random;
use crate::backend::{ExpertSpec, KvDtype, RopeSpec};

/// Runs every operation at its largest over a backend.
fn largest_step(backend: &mut CpuBackend) {
    let spec = backend.spec().clone();
    let mut random = Random::new(11);
    let (rows, lanes) = (spec.max_rows, spec.max_sequences);
    let mut weights = |rows, cols| matrix::<CpuBackend>(Dtype::F16, rows, cols, &mut random);
    let (query_width, kv_width) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let table = weights(spec.vocab, spec.hidden);
    let query = weights(query_width, spec.hidden);
    let (key, value) = (weights(kv_width, spec.hidden), weights(kv_width, spec.hidden));
    let project = weights(spec.hidden, query_width);
    let (gate, up) = (weights(spec.intermediate, spec.hidden), weights(spec.intermediate, spec.hidden));
    let down = weights(spec.hidden, spec.intermediate);
    let router = spec.experts.map(|experts| weights(experts.count, spec.hidden));
    let norm = vector::<CpuBackend>(spec.hidden, &mut random);
    let head_norm = vector::<CpuBackend>(spec.head_dim, &mut random);
    let spans = sequences(backend, &[(rows - 2, spec.context - rows + 2), (1, 0), (1, 20)]);
    let ids: Vec<u32> = (0..rows).map(|row| (row % spec.vocab) as u32).collect();
    let positions: Vec<u32> = (0..rows as u32).collect();

    backend.embed(&table, &ids).unwrap();
    backend.rope_prepare(&positions).unwrap();
    for layer in 0..spec.layers {
        backend.rms_norm(Slot::Hidden, &norm, 1e-5, Slot::Normed, rows).unwrap();
        backend.matmul(&query, None, Slot::Normed, Slot::Query, Into::Set, rows).unwrap();
        backend.matmul(&key, None, Slot::Normed, Slot::Key, Into::Set, rows).unwrap();
        backend.matmul(&value, None, Slot::Normed, Slot::Value, Into::Set, rows).unwrap();
        backend.head_norm(Slot::Query, &head_norm, 1e-5, rows).unwrap();
        backend.head_norm(Slot::Key, &head_norm, 1e-5, rows).unwrap();
        backend.rope(layer % spec.ropes.len(), rows).unwrap();
        backend.store_kv(layer, &spans).unwrap();
        backend.attention(layer, everything(&spec), &spans).unwrap();
        backend.matmul(&project, None, Slot::Attended, Slot::Hidden, Into::Add, rows).unwrap();
        backend.rms_norm(Slot::Hidden, &norm, 1e-5, Slot::Normed, rows).unwrap();
        backend.matmul(&gate, None, Slot::Normed, Slot::Gate, Into::Set, rows).unwrap();
        backend.matmul(&up, None, Slot::Normed, Slot::Up, Into::Set, rows).unwrap();
        backend.gate(Activation::Silu, spec.intermediate, rows).unwrap();
        backend.matmul(&down, None, Slot::Gate, Slot::Hidden, Into::Add, rows).unwrap();
        if let Some(router) = &router {
            backend.matmul(router, None, Slot::Normed, Slot::Router, Into::Set, rows).unwrap();
            assert!(backend.router(router.rows, rows).unwrap().iter().all(|score| score.is_finite()));
            let all: Vec<u32> = (0..rows as u32).collect();
            backend.gather(&all).unwrap();
            backend.matmul(&down, None, Slot::Gate, Slot::Routed, Into::Set, rows).unwrap();
            backend.scatter(Slot::Hidden, &all, &vec![0.5; rows]).unwrap();
        }
    }
    let wanted: Vec<u32> = (0..lanes).map(|lane| (rows - 1 - lane) as u32).collect();
    backend.select(&wanted).unwrap();
    backend.rms_norm(Slot::Last, &norm, 1e-5, Slot::Last, lanes).unwrap();
    backend.matmul(&table, None, Slot::Last, Slot::Logits, Into::Set, lanes).unwrap();
}

fn guarded(spec: StepSpec) -> CpuBackend {
    let arena = Arena::guarded(ArenaLayout::plan(&spec).unwrap()).unwrap();
    CpuBackend::with_arena(spec, arena).unwrap()
}

#[test]
fn the_largest_step_reaches_the_end_of_the_plan_and_no_further() {
    let rope = |pairs: i32| RopeSpec {
        inv_freq: (0..pairs).map(|i| 0.6f32.powi(i)).collect(),
        magnitude: 1.0,
        interleaved: false,
    };
    let experts = Some(ExpertSpec { count: 5, used: 2 });
    for (threads, experts, ropes) in
        [(1, None, vec![rope(10)]), (3, None, vec![rope(6)]), (2, experts, vec![rope(10), rope(4)])]
    {
        for (kv_dtype, head_dim) in [(KvDtype::F32, 20), (KvDtype::F16, 20), (KvDtype::Q8_0, 32)] {
            // Whole cache lines of logits, so that their end is the guard page's start.
            let (ropes, spec) = (ropes.clone(), spec());
            let sizes = StepSpec { vocab: 144, max_sequences: 4, head_dim, ..spec };
            let spec = StepSpec { threads, kv_dtype, experts, ropes, ..sizes };
            let mut backend = guarded(spec.clone());
            let end = backend.arena.layout().end();
            assert_eq!(end % buffer::ALIGN, 0);
            assert!(backend.arena.high_water() < end);
            // All of it is NaNs: what a step does not write stays one, and what reads it becomes one.
            let [counters] = backend.arena.areas([Area::Counters]).unwrap();
            assert!(counters.iter().all(|counter| counter.to_bits() == u32::MAX));
            let mut fresh = CpuBackend::new(spec.clone()).unwrap();
            for backend in [&mut backend, &mut fresh] {
                largest_step(backend);
                assert_eq!(backend.arena.high_water(), end, "the plan's last byte is used");
                let logits = backend.logits(spec.max_sequences).unwrap();
                assert!(logits.iter().all(|logit| logit.is_finite()));
            }
            for slot in Slot::ALL {
                let rows = spec.extent(slot).unwrap().0;
                let [values] = backend.arena.areas([Area::Slot(slot, rows)]).unwrap();
                assert!(values.iter().all(|value| value.is_finite()), "{slot:?} is used to its end");
            }
            let logits = fresh.logits(spec.max_sequences).unwrap();
            assert_eq!(
                backend.logits(spec.max_sequences).unwrap(),
                logits,
                "old contents of the workspace do not matter"
            );
        }
    }
}

#[test]
fn the_page_after_the_plan_cannot_be_touched() {
    let mut backend = guarded(StepSpec { vocab: 144, max_sequences: 4, ..spec() });
    let [logits] = backend.arena.areas([Area::Slot(Slot::Logits, 4)]).unwrap();
    let after = logits.as_ptr_range().end.cast_mut();
    let mut resident = [0u8; 1];
    // A read through the system reports what a load would die of. The pipe takes one byte from the address.
    let mut pipe = [0; 2];
    // SAFETY: the calls get valid pointers to locals; `write` checks the other address and fails without access.
    let (inside, outside) = unsafe {
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        let inside = libc::write(pipe[1], after.sub(1).cast(), 1);
        let outside = libc::write(pipe[1], after.cast(), 1);
        assert_eq!(libc::read(pipe[0], resident.as_mut_ptr().cast(), 1), 1);
        libc::close(pipe[0]);
        libc::close(pipe[1]);
        (inside, outside)
    };
    assert_eq!((inside, outside), (1, -1));
}
