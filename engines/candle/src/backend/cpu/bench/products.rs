//! Products with weights, of few rows and many.

use super::{Arithmetic, Bench, BenchError, Random, Work, spec};
use crate::backend::cpu::matmul::Way;
use crate::backend::cpu::{CpuBackend, Matrix};
use crate::backend::{Backend, Into, KvDtype, Slot};
use plimsoll_engine::EngineError;
use plimsoll_formats::Dtype;

const TYPES: [(Dtype, &str); 5] = [
    (Dtype::Q4_0, "q4_0"),
    (Dtype::Q4K, "q4_k"),
    (Dtype::Q6K, "q6_k"),
    (Dtype::Q8_0, "q8_0"),
    (Dtype::BF16, "bf16"),
];
const ROWS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 512];
/// Outputs and inputs, and the slots that a step has them in.
const SHAPES: [(usize, usize, Slot, Slot); 2] =
    [(8192, 2048, Slot::Normed, Slot::Gate), (2048, 8192, Slot::Gate, Slot::Hidden)];

pub(super) fn all(bench: &mut Bench<'_>) -> Result<(), BenchError> {
    let mut backend = CpuBackend::new(spec(&bench.options, 1, KvDtype::F16))?;
    for (dtype, name) in TYPES {
        for (outputs, inputs, src, dst) in SHAPES {
            let shape = format!("{outputs}x{inputs}");
            if !ROWS.iter().any(|rows| bench.wants(&["product", name, &shape, &rows.to_string()])) {
                continue;
            }
            let matrices = matrices(dtype, outputs, inputs, bench.options.set_bytes)?;
            let bytes = Matrix::bytes_for(dtype, outputs, inputs).ok_or(EngineError::PriceOverflow)?;
            let mut next = matrices.iter().cycle();
            for rows in ROWS {
                let work = Work {
                    names: ["product", name, &shape].map(str::to_owned),
                    rows,
                    threads: bench.options.threads,
                    bytes,
                    set: bytes * matrices.len(),
                    operations: 2.0 * (rows * outputs * inputs) as f64,
                    arithmetic: arithmetic(bench, dtype, rows),
                };
                Random::new().fill(backend.written(src, rows)?);
                bench.measure(&work, || {
                    // Inputs that were just written, as each layer has its own.
                    backend.written(src, rows)?;
                    let Some(matrix) = next.next() else { return Ok(()) };
                    backend.matmul(matrix, None, src, dst, Into::Set, rows)
                })?;
            }
        }
    }
    Ok(())
}

/// As many matrices as the set is large, at least one.
fn matrices(dtype: Dtype, rows: usize, cols: usize, set: usize) -> Result<Vec<Matrix>, EngineError> {
    let bytes = Matrix::bytes_for(dtype, rows, cols).ok_or(EngineError::PriceOverflow)?;
    let mut random = Random::new();
    let mut load = |_| {
        CpuBackend::load_matrix(dtype, rows, cols, &mut |piece| {
            random.fill_bytes(piece);
            Ok(())
        })
    };
    (0..(set / bytes).max(1)).map(&mut load).collect()
}

/// What a product computes with, and how often for each operation of its result.
fn arithmetic(bench: &Bench<'_>, dtype: Dtype, rows: usize) -> Option<(Arithmetic, f64)> {
    let level = bench.level;
    match Way::of(level, dtype, rows, false) {
        Way::FewFloats | Way::ManyFloats => Arithmetic::floats(level).map(|floats| (floats, 1.0)),
        Way::FewPlanes => Arithmetic::planes(level),
        Way::ManyBytes => Arithmetic::bytes(level).map(|bytes| (bytes, 1.0)),
        #[cfg(target_arch = "x86_64")]
        Way::TileBytes => Arithmetic::tile_bytes(level).map(|tiles| (tiles, 1.0)),
        #[cfg(target_arch = "x86_64")]
        Way::Tiles => Arithmetic::tiles(level).map(|tiles| (tiles, 1.0)),
        // Of f16, whose weights are pairs as well.
        #[cfg(target_arch = "x86_64")]
        Way::TilePairs => Arithmetic::tiles(level).map(|tiles| (tiles, 3.0)),
    }
}
