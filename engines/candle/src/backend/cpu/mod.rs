//! The CPU backend: the project's own kernels over an arena that is planned before the first token.
//!
//! - `map`, `arena`: the workspace of a step, taken once from who has such memory, or mapped and committed;
//! - `buffer`, `matrix`, `kv`: weights and KV blocks, in exactly the bytes that were priced;
//! - `pool`, `parts`: threads, and how they share a slice;
//! - `packed`: weights in panels and their products;
//! - `kernels`, `matmul`, `attention`: the other arithmetic;
//! - `together`, `gated_part`: several products in one run, and feed-forward parts whole;
//! - `bench`: times them one by one, for `make bench-kernels`.
//!
//! A step allocates nothing, but where more than [`matmul::FEW_ROWS`] rows meet f32 weights, or 16-bit ones on a processor
//! without AMX: there the `gemm` crate allocates a list of flags, a few hundred bytes, for the time of each call, and once per
//! thread a packing buffer of the size of the second-level cache; the products are laid out so that it stays untouched.

mod arena;
mod attention;
#[cfg(any(test, feature = "kernel-bench"))]
pub(crate) mod bench;
mod buffer;
mod gated_part;
pub(crate) mod kernels;
mod kv;
mod map;
pub(crate) mod mapped;
mod matmul;
mod matrix;
pub(crate) mod packed;
mod parts;
mod pool;
mod target;
#[cfg(target_arch = "x86_64")]
mod tiled;
mod together;

#[cfg(test)]
mod guard_tests;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use kv::Block;
pub(crate) use matrix::{Matrix, Vector};

use super::{
    Attention, Backend, Fill, GatedPart, Into, Place, Product, Reader, Slot, Spans, StepSpec, check_spans,
};
use arena::{Area, Arena, ArenaLayout, Made};
use kernels::{Level, rms_norm, rope};
use kv::Geometry;
use map::WORKSPACE;
use matmul::{Room, Target, Workers, matmul};
use parts::Parts;
use plimsoll_engine::{Buffers, EngineError, Source};
use plimsoll_formats::{Activation, Dtype};
use plimsoll_scheduler::Layers;
use pool::Pool;
use std::sync::Arc;

/// Values that one task of an element-wise operation goes over: less is not worth waking a thread.
const GRAIN: usize = 16 * 1024;

/// The project's own kernels.
pub(crate) struct CpuBackend {
    spec: StepSpec,
    geometry: Geometry,
    level: Level,
    pool: Pool,
    arena: Arena,
    /// Marks the blocks of this backend.
    home: Arc<()>,
}

impl CpuBackend {
    fn with_arena(spec: StepSpec, arena: Arena) -> Result<Self, EngineError> {
        let pool = Pool::new(spec.threads)?;
        let geometry = Geometry::of(&spec)?;
        let level = Level::detect();
        log::info!("the CPU kernels run at level {} on {} threads", level.name(), spec.threads);
        Ok(CpuBackend { geometry, level, pool, arena, home: Arc::new(()), spec })
    }

    /// Runs `task` over the rows of `values`, `width` wide each, with the number of the first row it gets.
    fn for_rows(pool: &Pool, values: &mut [f32], width: usize, task: impl Fn(usize, &mut [f32]) + Sync) {
        let rows = values.len() / width;
        let per_task = (GRAIN / width).clamp(1, rows.max(1));
        let parts = Parts::new(values);
        pool.run(rows.div_ceil(per_task), &|number, _| {
            let (from, to) = (number * per_task, ((number + 1) * per_task).min(rows));
            // SAFETY: every task has rows of its own.
            task(from, unsafe { parts.part(from * width..to * width) });
        });
    }

    fn width(&self, slot: Slot) -> usize {
        self.arena.layout().width(Area::Slot(slot, 0))
    }

    /// Whether a slot's rows can be this wide.
    fn takes(&self, slot: Slot, width: usize) -> bool {
        width == self.width(slot) || (slot.is_elastic() && width > 0 && width < self.width(slot))
    }

    /// The rows of `list`, once they are found to be within `rows`.
    fn listed(list: &[u32], rows: usize) -> Result<(), EngineError> {
        match list.iter().find(|row| **row as usize >= rows) {
            None => Ok(()),
            Some(row) => Err(EngineError::Execution(format!("the step has no row {row}"))),
        }
    }

    /// The end of the spans' rows and the layer's place, once these are found to be in order.
    fn checked<S: Spans<Block>>(
        &self,
        layer: usize,
        attention: Option<Attention>,
        spans: &S,
    ) -> Result<(usize, Place), EngineError> {
        kv::check_home(spans, &self.home)?;
        check_spans(&self.spec, layer, attention, spans)
    }

    /// The first rows of a slot, to be written.
    ///
    /// # Errors
    /// [`EngineError::Execution`] when it has fewer.
    #[cfg(any(test, feature = "kernel-bench"))]
    pub(crate) fn written(&mut self, slot: Slot, rows: usize) -> Result<&mut [f32], EngineError> {
        let [values] = self.arena.areas([Area::Slot(slot, rows)])?;
        Ok(values)
    }

    /// The first rows of a slot, for tests.
    #[cfg(test)]
    pub(crate) fn slot(&mut self, slot: Slot, rows: usize) -> &mut [f32] {
        self.written(slot, rows).unwrap()
    }
}

/// Refuses operands whose sizes do not fit together: a mistake of the decoder, not of its input.
fn fits(holds: bool, what: &str) -> Result<(), EngineError> {
    match holds {
        true => Ok(()),
        false => Err(EngineError::Execution(format!("{what} do not fit together"))),
    }
}

impl Backend for CpuBackend {
    type Matrix = Matrix;
    type Vector = Vector;
    type Block = Block;

    const NAME: &'static str = "cpu";

    fn workspace_bytes(spec: &StepSpec) -> Result<u64, EngineError> {
        Ok(ArenaLayout::plan(spec)?.mapped()? as u64)
    }

    fn arena(spec: &StepSpec) -> Result<Option<(&'static Source, usize)>, EngineError> {
        Ok(Some((&WORKSPACE, ArenaLayout::plan(spec)?.mapped()?)))
    }

    fn within(spec: StepSpec, buffers: &Arc<dyn Buffers>) -> Result<Self, EngineError> {
        let mut arena = Arena::within(ArenaLayout::plan(&spec)?, buffers)?;
        // Rows of no sequence keep what is there, and must be finite: another model may have left anything.
        let [attended] = arena.areas([Area::Slot(Slot::Attended, spec.max_rows)])?;
        attended.fill(0.0);
        Self::with_arena(spec, arena)
    }

    fn spec(&self) -> &StepSpec {
        &self.spec
    }

    fn workspace_held(&self) -> u64 {
        self.arena.held() as u64
    }

    fn matrix_bytes(dtype: Dtype, rows: usize, cols: usize) -> Option<u64> {
        Matrix::bytes_for(dtype, rows, cols).map(|bytes| bytes as u64)
    }

    fn load_matrix(
        dtype: Dtype,
        rows: usize,
        cols: usize,
        fill: &mut Fill<'_>,
    ) -> Result<Matrix, EngineError> {
        Matrix::load(dtype, rows, cols, fill)
    }

    fn vector_bytes(len: usize) -> Option<u64> {
        Vector::bytes_for(len).map(|bytes| bytes as u64)
    }

    fn load_vector(dtype: Dtype, len: usize, fill: &mut Fill<'_>) -> Result<Vector, EngineError> {
        Vector::load(dtype, len, fill)
    }

    fn shift_vector(vector: &mut Vector, by: f32) -> Result<(), EngineError> {
        vector.shift(by);
        Ok(())
    }

    fn allocate_block(&mut self, layers: Layers) -> Result<Block, EngineError> {
        let bytes = self.spec.block_bytes(layers).and_then(|bytes| usize::try_from(bytes).ok());
        Block::new(bytes.ok_or(EngineError::PriceOverflow)?, &self.home)
    }

    fn copy_block(&mut self, from: &Block, to: &Block) -> Result<(), EngineError> {
        from.copy_to(to, &self.home)
    }

    fn embed(&mut self, table: &Matrix, ids: &[u32]) -> Result<(), EngineError> {
        fits(table.cols == self.spec.hidden, "the embedding and the residual stream")?;
        if let Some(id) = ids.iter().find(|id| **id as usize >= table.rows) {
            return Err(EngineError::Execution(format!("token id {id} has no row in the embedding")));
        }
        let [hidden] = self.arena.areas([Area::Slot(Slot::Hidden, ids.len())])?;
        Self::for_rows(&self.pool, hidden, table.cols, |first, rows| {
            for (row, id) in rows.chunks_exact_mut(table.cols).zip(&ids[first..]) {
                table.row(self.level, *id as usize, row);
            }
        });
        Ok(())
    }

    fn rms_norm(
        &mut self,
        src: Slot,
        weight: &Vector,
        eps: f32,
        dst: Slot,
        rows: usize,
    ) -> Result<(), EngineError> {
        let (weight, width) = (weight.values(), self.width(src));
        fits(weight.len() == width && width == self.width(dst), "a norm and its rows")?;
        if src == dst {
            let [values] = self.arena.areas([Area::Slot(dst, rows)])?;
            Self::for_rows(&self.pool, values, width, |_, rows| rms_norm(self.level, rows, weight, eps));
            return Ok(());
        }
        let [from, to] = self.arena.areas([Area::Slot(src, rows), Area::Slot(dst, rows)])?;
        let from = &*from;
        Self::for_rows(&self.pool, to, width, |first, rows| {
            rows.copy_from_slice(&from[first * width..][..rows.len()]);
            rms_norm(self.level, rows, weight, eps);
        });
        Ok(())
    }

    fn head_norm(&mut self, slot: Slot, weight: &Vector, eps: f32, rows: usize) -> Result<(), EngineError> {
        let (weight, width) = (weight.values(), self.width(slot));
        fits(weight.len() == self.spec.head_dim && width % weight.len() == 0, "a head norm and its heads")?;
        let [values] = self.arena.areas([Area::Slot(slot, rows)])?;
        Self::for_rows(&self.pool, values, width, |_, rows| rms_norm(self.level, rows, weight, eps));
        Ok(())
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
        let bias = bias.map(Vector::values);
        let shaped = self.takes(src, matrix.cols) && self.takes(dst, matrix.rows);
        fits(shaped && bias.is_none_or(|bias| bias.len() == matrix.rows), "a matrix and its operands")?;
        let scratch_width = self.arena.layout().width(Area::Scratch);
        let (input, output) = (Area::Packed(src, rows, matrix.cols), Area::Packed(dst, rows, matrix.rows));
        let areas = [input, output, Area::Inputs, Area::Scratch];
        let made = self.arena.inputs_of(src, rows, matrix.cols);
        let [inputs, out, records, scratch] = self.arena.areas(areas)?;
        let target = Target::new(out, matrix.rows, bias, how);
        let workers = Workers::of(self.level, &self.pool, &self.spec);
        let room = Room { records, made, scratch, scratch_width };
        let made = matmul(workers, matrix, inputs, &target, room)?;
        self.arena.keep_inputs(made.map(|form| Made { slot: src, rows, cols: matrix.cols, form }));
        Ok(())
    }

    fn matmul_many<const N: usize>(
        &mut self,
        products: [Product<'_, Self>; N],
        src: Slot,
        rows: usize,
    ) -> Result<(), EngineError> {
        match together::one_after_another(self, &products, src, rows)? {
            true => Ok(()),
            false => products.iter().try_for_each(|product| product.alone(self, src, rows)),
        }
    }

    fn feed_forward(
        &mut self,
        part: &GatedPart<'_, Self>,
        src: Slot,
        rows: usize,
    ) -> Result<(), EngineError> {
        let [gate, up] = &part.products;
        let shaped = gate.matrix.rows == part.width && (gate.dst, up.dst) == (Slot::Gate, Slot::Up);
        fits(shaped, "a gate and its products")?;
        if gated_part::gated_part(self, part, src, rows)? {
            return Ok(());
        }
        if !together::gated(self, part.activation, &part.products, src, rows)? {
            part.products.iter().try_for_each(|product| product.alone(self, src, rows))?;
            self.gate(part.activation, part.width, rows)?;
        }
        let Product { matrix, bias, dst } = part.down;
        self.matmul(matrix, bias, Slot::Gate, dst, part.how, rows)
    }

    fn rope_prepare(&mut self, positions: &[u32]) -> Result<(), EngineError> {
        for (index, rope) in self.spec.ropes.iter().enumerate() {
            let areas = [Area::Cos(index, positions.len()), Area::Sin(index, positions.len())];
            let [cos, sin] = self.arena.areas(areas)?;
            let (cos, sin) = (Parts::new(cos), Parts::new(sin));
            let pairs = rope.inv_freq.len();
            self.pool.run(positions.len(), &|row, _| {
                let at = row * pairs..(row + 1) * pairs;
                // SAFETY: every row is one task's.
                let (cos, sin) = unsafe { (cos.part(at.clone()), sin.part(at)) };
                for ((cos, sin), freq) in cos.iter_mut().zip(sin).zip(&rope.inv_freq) {
                    // The angle is rounded to f32, as models were trained with it; its sine is then exact.
                    let angle = f64::from(positions[row] as f32 * freq);
                    *sin = angle.sin() as f32 * rope.magnitude;
                    *cos = angle.cos() as f32 * rope.magnitude;
                }
            });
        }
        Ok(())
    }

    fn rope(&mut self, index: usize, rows: usize) -> Result<(), EngineError> {
        let Some(spec) = self.spec.ropes.get(index) else {
            return Err(EngineError::Execution(format!("there is no rotation {index}")));
        };
        let (pairs, interleaved, head_dim) = (spec.inv_freq.len(), spec.interleaved, self.spec.head_dim);
        for slot in [Slot::Query, Slot::Key] {
            let width = self.width(slot);
            let areas = [Area::Slot(slot, rows), Area::Cos(index, rows), Area::Sin(index, rows)];
            let [values, cos, sin] = self.arena.areas(areas)?;
            let (cos, sin) = (&*cos, &*sin);
            Self::for_rows(&self.pool, values, width, |first, rows| {
                for (row, values) in rows.chunks_exact_mut(width).enumerate() {
                    let at = (first + row) * pairs..(first + row + 1) * pairs;
                    rope(self.level, values, head_dim, &cos[at.clone()], &sin[at], interleaved);
                }
            });
        }
        Ok(())
    }

    fn store_kv<S: Spans<Block>>(&mut self, layer: usize, spans: &S) -> Result<(), EngineError> {
        let (rows, place) = self.checked(layer, None, spans)?;
        let width = self.width(Slot::Key);
        let [keys, values] =
            self.arena.areas([Area::Slot(Slot::Key, rows), Area::Slot(Slot::Value, rows)])?;
        let (keys, values) = (&*keys, &*values);
        for index in 0..spans.count() {
            let span = spans.span(index);
            let rows = span.first_row * width..(span.first_row + span.rows) * width;
            let (keys, values) = (&keys[rows.clone()], &values[rows]);
            // SAFETY: the blocks are of this backend (checked), which is borrowed mutably; its threads are at rest or
            // write other groups of this span, whose blocks are all different.
            let store = |group: usize| unsafe {
                kv::store(self.level, self.geometry, place, &span, group, keys, values);
            };
            match kv::groups(&span) {
                // Not worth waking a thread.
                1 => store(0),
                groups => self.pool.run(groups, &|group, _| store(group)),
            }
        }
        Ok(())
    }

    fn attention<S: Spans<Block>>(
        &mut self,
        layer: usize,
        attention: Attention,
        spans: &S,
    ) -> Result<(), EngineError> {
        let (rows, place) = self.checked(layer, Some(attention), spans)?;
        let layout = self.arena.layout();
        let (scratch_width, records_width) = (layout.width(Area::Scratch), layout.width(Area::Records));
        let areas = [
            Area::Slot(Slot::Query, rows),
            Area::Slot(Slot::Attended, rows),
            Area::Scratch,
            Area::Records,
            Area::Counters,
        ];
        let [query, out, scratch, records, counters] = self.arena.areas(areas)?;
        let (level, geometry, spec) = (self.level, self.geometry, &self.spec);
        let layer = attention::Layer { level, spec, geometry, place, attention };
        let room = attention::Room {
            query,
            out: Parts::new(out),
            scratch: Parts::new(scratch),
            scratch_width,
            records: Parts::new(records),
            records_width,
            counters: Parts::new(counters),
        };
        // SAFETY: the blocks are of this backend (checked), which is borrowed mutably and only reads them now; the areas
        // are as the spec plans them.
        unsafe { attention::attend(&self.pool, &layer, spans, &room) }
    }

    fn gate(&mut self, activation: Activation, width: usize, rows: usize) -> Result<(), EngineError> {
        fits(self.takes(Slot::Gate, width), "a gate and its width")?;
        let areas = [Slot::Gate, Slot::Up].map(|slot| Area::Packed(slot, rows, width));
        let [gate, up] = self.arena.areas(areas)?;
        let up = &*up;
        Self::for_rows(&self.pool, gate, 1, |first, gate| {
            kernels::gate(self.level, activation, gate, &up[first..][..gate.len()]);
        });
        Ok(())
    }

    fn scale(&mut self, slot: Slot, factor: f32, rows: usize) -> Result<(), EngineError> {
        let [values] = self.arena.areas([Area::Slot(slot, rows)])?;
        Self::for_rows(&self.pool, values, 1, |_, values| kernels::scale(self.level, values, factor));
        Ok(())
    }

    fn softcap(&mut self, slot: Slot, cap: f32, rows: usize) -> Result<(), EngineError> {
        let [values] = self.arena.areas([Area::Slot(slot, rows)])?;
        Self::for_rows(&self.pool, values, 1, |_, values| kernels::softcap(self.level, values, cap));
        Ok(())
    }

    fn add(&mut self, src: Slot, dst: Slot, rows: usize) -> Result<(), EngineError> {
        fits(self.width(dst) == self.width(src), "two slots to be added")?;
        let [more, values] = self.arena.areas([Area::Slot(src, rows), Area::Slot(dst, rows)])?;
        let more = &*more;
        Self::for_rows(&self.pool, values, 1, |first, values| {
            kernels::add(self.level, values, &more[first..][..values.len()]);
        });
        Ok(())
    }

    fn router(&mut self, width: usize, rows: usize) -> Result<&[f32], EngineError> {
        fits(self.takes(Slot::Router, width), "a router and its experts")?;
        let [scores] = self.arena.areas([Area::Packed(Slot::Router, rows, width)])?;
        Ok(scores)
    }

    fn gather(&mut self, rows: &[u32]) -> Result<(), EngineError> {
        let (width, max) = (self.spec.hidden, self.spec.max_rows);
        Self::listed(rows, max)?;
        let [normed, routed] =
            self.arena.areas([Area::Slot(Slot::Normed, max), Area::Slot(Slot::Routed, rows.len())])?;
        for (routed, row) in routed.chunks_exact_mut(width).zip(rows) {
            routed.copy_from_slice(&normed[*row as usize * width..][..width]);
        }
        Ok(())
    }

    fn scatter(&mut self, dst: Slot, rows: &[u32], weights: &[f32]) -> Result<(), EngineError> {
        let width = self.spec.hidden;
        fits(width == self.width(dst) && rows.len() == weights.len(), "an expert's rows and their places")?;
        let extent = self.spec.extent(dst).ok_or(EngineError::PriceOverflow)?.0;
        Self::listed(rows, extent)?;
        let [routed, values] =
            self.arena.areas([Area::Slot(Slot::Routed, rows.len()), Area::Slot(dst, extent)])?;
        for ((routed, row), weight) in routed.chunks_exact(width).zip(rows).zip(weights) {
            kernels::scatter(self.level, &mut values[*row as usize * width..][..width], routed, *weight);
        }
        Ok(())
    }

    fn select(&mut self, rows: &[u32]) -> Result<(), EngineError> {
        let width = self.spec.hidden;
        Self::listed(rows, self.spec.max_rows)?;
        let areas = [Area::Slot(Slot::Hidden, self.spec.max_rows), Area::Slot(Slot::Last, rows.len())];
        let [hidden, last] = self.arena.areas(areas)?;
        for (last, row) in last.chunks_exact_mut(width).zip(rows) {
            last.copy_from_slice(&hidden[*row as usize * width..][..width]);
        }
        Ok(())
    }

    fn logits(&mut self, rows: usize) -> Result<&[f32], EngineError> {
        let [logits] = self.arena.areas([Area::Slot(Slot::Logits, rows)])?;
        Ok(logits)
    }

    fn readers(spec: &StepSpec) -> usize {
        spec.threads
    }

    fn share_logits(&mut self, rows: usize, tasks: usize, task: &Reader<'_>) -> Result<(), EngineError> {
        let [logits] = self.arena.areas([Area::Slot(Slot::Logits, rows)])?;
        self.pool.run(tasks, &|number, _| task(number, logits));
        Ok(())
    }
}
