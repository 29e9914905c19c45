//! Inputs as AMX tiles, made by all threads.

use super::kernels::Amx;
use super::matmul::Workers;
use super::packed::amx::{self, Tiled};
use super::parts::Parts;

/// The sizes of inputs as tiles.
pub(super) struct Whole {
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// `cols` with what they are padded with.
    pub(super) depth: usize,
    pub(super) planes: usize,
}

/// The inputs as tiles, brought into that form unless they are in it; `None` when there is no room for them.
pub(super) fn tiled<'a>(
    workers: Workers<'_>,
    amx: Amx,
    whole: Whole,
    inputs: &[f32],
    records: &'a mut [f32],
    made: bool,
) -> Option<Tiled<'a>> {
    let Whole { rows, cols, depth, planes } = whole;
    let block = amx::block_len(depth, planes)?;
    let blocks = rows.div_ceil(amx::BLOCK);
    let records = records.get_mut(..block.checked_mul(blocks)?)?;
    if !made {
        let parts = Parts::new(records);
        workers.pool.run(blocks, &|number, _| {
            let rows = number * amx::BLOCK..((number + 1) * amx::BLOCK).min(rows);
            // SAFETY: every block is one task's.
            let records = unsafe { parts.part(number * block..(number + 1) * block) };
            amx::prepare(amx, &inputs[rows.start * cols..rows.end * cols], cols, depth, planes, records);
        });
    }
    Tiled::new(records, rows, depth, planes)
}
