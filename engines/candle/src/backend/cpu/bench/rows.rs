//! What lies between products: a norm, the gate, the rotation.

use super::{Bench, BenchError, Random, Work, spec};
use crate::backend::cpu::{CpuBackend, Vector};
use crate::backend::{Backend, KvDtype, Slot};
use plimsoll_formats::{Activation, Dtype};

const ROWS: [usize; 2] = [1, 512];

pub(super) fn all(bench: &mut Bench<'_>) -> Result<(), BenchError> {
    let mut backend = CpuBackend::new(spec(&bench.options, 1, KvDtype::F16))?;
    let (hidden, intermediate) = (backend.spec().hidden, backend.spec().intermediate);
    let heads = (backend.spec().heads + backend.spec().kv_heads) * backend.spec().head_dim;
    let norm = Vector::load(Dtype::F32, hidden, &mut |bytes| {
        Random::new().fill_bytes(bytes);
        Ok(())
    })?;
    let mut random = Random::new();
    let most = backend.spec().max_rows;
    for slot in [Slot::Hidden, Slot::Gate, Slot::Up, Slot::Query, Slot::Key] {
        random.fill(backend.written(slot, most)?);
    }
    // The gate overwrites its input: with these it goes from below 0 to a value that it stays at, and never to tiny numbers.
    backend.written(Slot::Gate, most)?.iter_mut().for_each(|value| *value -= 2.0);
    backend.written(Slot::Up, most)?.iter_mut().for_each(|value| *value = *value / 2.0 + 4.5);
    let positions: Vec<u32> = (0..most as u32).collect();
    backend.rope_prepare(&positions)?;
    for rows in ROWS {
        let threads = bench.options.threads;
        // `each`: values that are read or written for each one of a row.
        let of = |kernel: &str, width: usize, each: usize| Work {
            names: [kernel, "f32", &width.to_string()].map(str::to_owned),
            rows,
            threads,
            bytes: rows * width * each * size_of::<f32>(),
            set: rows * width * each * size_of::<f32>(),
            operations: 0.0,
            arithmetic: None,
        };
        bench.measure(&of("rms_norm", hidden, 2), || {
            backend.rms_norm(Slot::Hidden, &norm, 1e-5, Slot::Normed, rows)
        })?;
        bench.measure(&of("silu_gate", intermediate, 3), || {
            backend.gate(Activation::Silu, intermediate, rows)
        })?;
        bench.measure(&of("rope", heads, 2), || backend.rope(0, rows))?;
    }
    Ok(())
}
