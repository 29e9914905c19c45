//! Products of activations with a weight matrix.
//!
//! Few rows (decode): the weights are read once and multiplied with every activation row, so a row's result does not depend
//! on the others. More rows (prefill): pieces of weights are unpacked once for all rows. Both split the outputs over the
//! pool, in stretches of panels.

use super::gated_part::Gated;
#[cfg(target_arch = "x86_64")]
use super::kernels::Amx;
use super::kernels::{F32, Format, Level, PANEL, few, fill_panel, products};
use super::matrix::{Matrix, Stored};
#[cfg(target_arch = "x86_64")]
use super::packed::amx::{self, Tiled};
use super::packed::inputs::{Form, prepare};
#[cfg(target_arch = "x86_64")]
use super::packed::many_bytes::amx::{self as tile_bytes, TileBytes};
use super::packed::many_bytes::{self, inputs::Bytes};
use super::packed::{PANEL_ROWS, Packed, few_rows, fill_columns};
use super::parts::Parts;
use super::pool::Pool;
pub(crate) use super::target::Target;
#[cfg(target_arch = "x86_64")]
use super::tiled::{Whole, tiled};
use crate::backend::StepSpec;
use gemm::{Parallelism, gemm};
use plimsoll_engine::EngineError;
use plimsoll_formats::Dtype;
use std::ops::Range;

/// Most rows of the first way. Beyond, reading each weight once per few rows costs more than unpacking it.
pub(super) const FEW_ROWS: usize = 16;

/// Most rows whose results do not depend on how many they are on any processor: with tiles, and where weights have blocks, the
/// first way ends here.
pub(super) const EXACT_ROWS: usize = 4;

/// Tasks that each thread gets of a product's outputs, more or less: more of them even out better, but their stretches are short.
const TASKS: usize = 4;

/// Weight bytes of one task of f32 rows.
const TASK_BYTES: usize = 64 * 1024;

/// Values of inputs that one thread brings into a form: less is not worth waking others.
const ALONE: usize = 16 * 1024;

/// Rows of activations in one call of `gemm`. Up to 48 it uses the panel as it lies; beyond, it would copy it into a buffer
/// of its own.
const GEMM_ROWS: usize = 48;

/// How a product with panels is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Few rows, in f32.
    FewFloats,
    /// Few rows of 15 bits.
    FewPlanes,
    /// Many rows, in f32.
    ManyFloats,
    /// Many rows of 8 bits.
    ManyBytes,
    /// A few more rows of 8 bits on AMX tiles.
    #[cfg(target_arch = "x86_64")]
    TileBytes,
    /// Many rows on AMX tiles: inputs in bf16.
    #[cfg(target_arch = "x86_64")]
    Tiles,
    /// The same with inputs in two planes of bf16.
    #[cfg(target_arch = "x86_64")]
    TilePairs,
}

impl Way {
    /// The way for so many rows with weights of this type; `exact` inputs keep 16 bits at least where weights are plain.
    pub(super) fn of(level: Level, dtype: Dtype, rows: usize, exact: bool) -> Way {
        #[cfg(target_arch = "x86_64")]
        if level.amx().is_some() {
            match (dtype.is_quantized(), amx::planes(dtype, exact)) {
                _ if rows <= EXACT_ROWS => {}
                (true, _) if tile_bytes::suits(dtype, rows) => return Way::TileBytes,
                (true, _) if rows <= tile_bytes::MOST => {}
                (true, _) | (_, 1) => return Way::Tiles,
                _ => return Way::TilePairs,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (level, exact);
        match (rows <= FEW_ROWS, dtype.is_quantized()) {
            (_, true) if rows > EXACT_ROWS => Way::ManyBytes,
            (true, false) => Way::FewFloats,
            (true, true) => Way::FewPlanes,
            (false, _) => Way::ManyFloats,
        }
    }

    /// Whether any stretch of panels can be computed by itself.
    pub(super) fn takes_stretches(self) -> bool {
        self != Way::ManyFloats
    }

    /// The form that it wants the inputs in; `None` for f32 as they are.
    pub(super) fn form(self) -> Option<Form> {
        match self {
            Way::ManyFloats => None,
            Way::FewFloats => Some(Form::Floats),
            Way::FewPlanes => Some(Form::Planes),
            Way::ManyBytes => Some(Form::Bytes),
            #[cfg(target_arch = "x86_64")]
            Way::TileBytes => Some(Form::TileBytes),
            #[cfg(target_arch = "x86_64")]
            Way::Tiles => Some(Form::Tiles),
            #[cfg(target_arch = "x86_64")]
            Way::TilePairs => Some(Form::TilePairs),
        }
    }
}

/// Who computes.
#[derive(Clone, Copy)]
pub(super) struct Workers<'a> {
    pub(super) level: Level,
    pub(super) pool: &'a Pool,
    /// The pool's.
    pub(super) threads: usize,
    /// Whether inputs keep 16 bits at least where weights are plain.
    pub(super) exact: bool,
}

impl<'a> Workers<'a> {
    pub(super) fn of(level: Level, pool: &'a Pool, spec: &StepSpec) -> Self {
        Workers { level, pool, threads: spec.threads, exact: spec.is_exact() }
    }
}

/// What a product works in.
pub(super) struct Room<'a> {
    /// Room for the inputs in any form.
    pub(super) records: &'a mut [f32],
    /// The form in which they are there already.
    pub(super) made: Option<Form>,
    /// A row of `scratch_width` for each thread.
    pub(super) scratch: &'a mut [f32],
    pub(super) scratch_width: usize,
}

/// `target = inputs * matrix^T` or added to it, for `[rows, matrix.cols]` inputs. Returns the form in which the inputs are in
/// the records now.
///
/// # Errors
/// [`EngineError::PriceOverflow`] and [`EngineError::Execution`] for inputs that the workspace was not planned for.
pub(super) fn matmul(
    workers: Workers<'_>,
    matrix: &Matrix,
    inputs: &[f32],
    target: &Target<'_>,
    room: Room<'_>,
) -> Result<Option<Form>, EngineError> {
    let made = room.made;
    let rows = inputs.len().checked_div(matrix.cols).unwrap_or(0);
    match &matrix.stored {
        Stored::Floats(buffer) => {
            floats(workers, buffer.bytes(), matrix, inputs, target, &room.scratch());
            Ok(made)
        }
        Stored::Panels(weights) => {
            let way = Way::of(workers.level, weights.dtype(), rows, workers.exact);
            if way.takes_stretches() {
                let job = Job::new(workers, way, (rows, weights.cols()), inputs, room)?;
                stretches(workers, weights.panels(), &|panels, thread| {
                    job.compute(weights, panels, thread, target);
                });
            } else {
                unpacked(workers, weights, rows, inputs, target, &room.scratch());
            }
            Ok(way.form().or(made))
        }
    }
}

impl<'a> Room<'a> {
    fn scratch(self) -> Scratch<'a> {
        Scratch { parts: Parts::new(self.scratch), width: self.scratch_width }
    }
}

/// A row of floats for each thread.
struct Scratch<'a> {
    parts: Parts<'a>,
    width: usize,
}

impl<'a> Scratch<'a> {
    /// A thread's.
    ///
    /// # Safety
    /// The thread has no other reference to it.
    unsafe fn of(&self, thread: usize) -> &'a mut [f32] {
        // SAFETY: threads have rows of their own, and the caller answers for its thread.
        unsafe { self.parts.part(thread * self.width..(thread + 1) * self.width) }
    }
}

/// Inputs in the form that a way of computing reads.
enum Given<'a> {
    Floats(&'a [f32]),
    Few(few::Inputs<'a>),
    Bytes(Bytes<'a>),
    #[cfg(target_arch = "x86_64")]
    TileBytes(Amx, TileBytes<'a>),
    #[cfg(target_arch = "x86_64")]
    Tiles(Amx, Tiled<'a>),
}

/// Products that read the same inputs in the same form.
pub(super) struct Job<'a> {
    level: Level,
    given: Given<'a>,
    scratch: Scratch<'a>,
}

impl<'a> Job<'a> {
    /// Brings the inputs, `cols` in each of `rows`, into the form of a way, where they are not in it yet.
    pub(super) fn new(
        workers: Workers<'_>,
        way: Way,
        (rows, cols): (usize, usize),
        inputs: &'a [f32],
        mut room: Room<'a>,
    ) -> Result<Self, EngineError> {
        let level = workers.level;
        let Some(form) = way.form() else {
            return Ok(Job { level, given: Given::Floats(inputs), scratch: room.scratch() });
        };
        let depth = Form::depth(cols).ok_or(EngineError::PriceOverflow)?;
        let values = form.values(rows, depth).ok_or(EngineError::PriceOverflow)?;
        let unplanned = || EngineError::Execution("inputs that the workspace was not planned for".into());
        let records = std::mem::take(&mut room.records);
        #[cfg(target_arch = "x86_64")]
        if let (Some(amx), Some(planes)) = (level.amx(), form.planes()) {
            let whole = Whole { rows, cols, depth, planes };
            let tiled = tiled(workers, amx, whole, inputs, records, room.made == Some(form));
            let given = Given::Tiles(amx, tiled.ok_or_else(unplanned)?);
            return Ok(Job { level, given, scratch: room.scratch() });
        }
        let records = records.get_mut(..values).ok_or_else(unplanned)?;
        if let Form::Planes | Form::Floats = form {
            let (way, quantised) = (few::Way::of(level), form == Form::Planes);
            if room.made != Some(form) {
                few::prepare(way, level, quantised, inputs, cols, records);
            }
            let given = Given::Few(few::Inputs::new(way, quantised, rows, records));
            return Ok(Job { level, given, scratch: room.scratch() });
        }
        if room.made != Some(form) {
            let tasks = form.tasks(rows, depth);
            let values = values.checked_div(tasks).unwrap_or(0);
            let parts = Parts::new(records);
            let each = |task: usize| {
                // SAFETY: every task has values of its own.
                let values = unsafe { parts.part(task * values..(task + 1) * values) };
                prepare(level, form, task, inputs, cols, values);
            };
            match inputs.len() <= ALONE {
                true => (0..tasks).for_each(each),
                false => workers.pool.run(tasks, &|task, _| each(task)),
            }
        }
        let records = &*records;
        let given = match form {
            Form::Bytes => Bytes::new(rows, depth, records).map(Given::Bytes),
            #[cfg(target_arch = "x86_64")]
            Form::TileBytes => {
                let given = level.amx().zip(TileBytes::new(rows, depth, records));
                given.map(|(amx, inputs)| Given::TileBytes(amx, inputs))
            }
            _ => None,
        };
        let unfit = || EngineError::Execution("inputs that are no whole records".into());
        Ok(Job { level, given: given.ok_or_else(unfit)?, scratch: room.scratch() })
    }

    /// The products of some panels, on one thread.
    pub(super) fn compute(&self, weights: &Packed, panels: Range<usize>, thread: usize, target: &Target<'_>) {
        let level = self.level;
        // SAFETY: a thread runs one task at a time.
        let scratch = || unsafe { self.scratch.of(thread) };
        match &self.given {
            Given::Floats(inputs) => few_rows::floats(level, weights, panels, inputs, target),
            Given::Few(inputs) => few_rows::prepared(weights, panels, inputs, target),
            Given::Bytes(inputs) => many_bytes::products(level, weights, panels, inputs, target, scratch()),
            #[cfg(target_arch = "x86_64")]
            Given::TileBytes(amx, inputs) => tile_bytes::products(*amx, weights, panels, inputs, target),
            #[cfg(target_arch = "x86_64")]
            Given::Tiles(amx, inputs) => amx::products(*amx, weights, panels, inputs, target, scratch()),
        }
    }
}

impl Job<'_> {
    /// The gated products of some panels into the form that the inputs have too.
    pub(super) fn gated(
        &self,
        weights: [&Packed; 2],
        panels: Range<usize>,
        thread: usize,
        target: &Gated<'_>,
    ) {
        // SAFETY: a thread runs one task at a time.
        let scratch = unsafe { self.scratch.of(thread) };
        match (&self.given, target) {
            (Given::Bytes(inputs), Gated::Bytes(target)) => {
                many_bytes::gated(self.level, weights, panels, inputs, target, scratch);
            }
            #[cfg(target_arch = "x86_64")]
            (Given::Tiles(amx, inputs), Gated::Tiles(target)) => {
                amx::gated(*amx, weights, panels, inputs, target, scratch);
            }
            _ => unreachable!("gated products have inputs of their own form"),
        }
    }
}

/// Runs `task` over stretches of so many panels, with the thread it runs on. Panels go by twos, as in the kernels and in the lines of
/// tiles; only the last may be left over.
pub(super) fn stretches(workers: Workers<'_>, all: usize, task: &(dyn Fn(Range<usize>, usize) + Sync)) {
    let pairs = all.div_ceil(2);
    let tasks = (workers.threads * TASKS).min(pairs);
    workers.pool.run(tasks, &|number, thread| {
        let [start, end] = [number, number + 1].map(|number| (2 * first_pair(number, tasks, pairs)).min(all));
        if start < end {
            task(start..end, thread);
        }
    });
}

/// Where a task begins, of so many and out of so many pairs of panels. Tasks grow smaller by even steps, down to next to none:
/// threads of different speed then end together, and as many tasks of one size would have a thread wait for half of one.
fn first_pair(number: usize, tasks: usize, pairs: usize) -> usize {
    let left = tasks - number;
    pairs - (pairs * left * left).div_ceil(tasks * tasks)
}

/// Products of many rows in f32, by panels that are unpacked.
fn unpacked(
    workers: Workers<'_>,
    weights: &Packed,
    rows: usize,
    inputs: &[f32],
    target: &Target<'_>,
    scratch: &Scratch<'_>,
) {
    const PANELS: usize = PANEL.0 / PANEL_ROWS;
    // A panel that is not full goes the other way: `gemm` would copy it.
    let (full, all) = (weights.rows() / PANEL_ROWS, weights.panels());
    let tasks = full.div_ceil(PANELS);
    workers.pool.run(tasks + (all - full), &|task, thread| {
        if task == tasks {
            few_rows::floats(workers.level, weights, full..all, inputs, target);
            return;
        }
        // SAFETY: a thread runs one task at a time.
        let columns = unsafe { scratch.of(thread) };
        let panels = task * PANELS..((task + 1) * PANELS).min(full);
        let (from, to) = (panels.start * PANEL_ROWS, panels.end * PANEL_ROWS);
        many_floats(from..to, inputs, rows, weights.cols(), target, columns, |depth, columns| {
            for (index, panel) in panels.clone().enumerate() {
                let columns = &mut columns[index * PANEL_ROWS..];
                fill_columns(workers.level, weights, panel, depth.clone(), columns, PANEL.0);
            }
        });
    });
}

/// Products with f32 rows.
fn floats(
    workers: Workers<'_>,
    weights: &[u8],
    matrix: &Matrix,
    inputs: &[f32],
    target: &Target<'_>,
    scratch: &Scratch<'_>,
) {
    let Workers { level, pool, .. } = workers;
    let (cols, row_bytes) = (matrix.cols, F32::row_bytes(matrix.cols));
    let rows = inputs.len().checked_div(cols).unwrap_or(0);
    let of = |from: usize, to: usize| &weights[from * row_bytes..to * row_bytes];
    if rows <= FEW_ROWS {
        let per_task = (TASK_BYTES / row_bytes.max(1)).clamp(1, matrix.rows.max(1));
        pool.run(matrix.rows.div_ceil(per_task), &|task, _| {
            let (from, to) = (task * per_task, ((task + 1) * per_task).min(matrix.rows));
            products::<F32>(level, of(from, to), from, inputs, cols, target);
        });
        return;
    }
    // The last few outputs go the other way: `gemm` would copy a panel that is not full.
    let full = matrix.rows / PANEL_ROWS * PANEL_ROWS;
    let tasks = full.div_ceil(PANEL.0);
    pool.run(tasks + usize::from(full < matrix.rows), &|task, thread| {
        if task == tasks {
            products::<F32>(level, of(full, matrix.rows), full, inputs, cols, target);
            return;
        }
        // SAFETY: a thread runs one task at a time.
        let columns = unsafe { scratch.of(thread) };
        let (from, to) = (task * PANEL.0, ((task + 1) * PANEL.0).min(full));
        many_floats(from..to, inputs, rows, cols, target, columns, |depth, columns| {
            fill_panel::<F32>(level, of(from, to), row_bytes, to - from, depth.start, depth.len(), columns);
        });
    });
}

/// Products of many rows in f32. `fill` puts the weights of a range of inputs into columns of [`PANEL`]`.0` floats.
fn many_floats(
    outputs: Range<usize>,
    inputs: &[f32],
    rows: usize,
    cols: usize,
    target: &Target<'_>,
    columns: &mut [f32],
    fill: impl Fn(Range<usize>, &mut [f32]),
) {
    let Range { start: from, end: to } = outputs;
    let columns = &mut columns[..PANEL.0 * PANEL.1];
    target.prepare(rows, from, to);
    // Pieces of equal size: a last one of a single row would take another way through `gemm`.
    let piece = rows.div_ceil(rows.div_ceil(GEMM_ROWS));
    for depth in (0..cols).step_by(PANEL.1) {
        let count = PANEL.1.min(cols - depth);
        fill(depth..depth + count, columns);
        for first in (0..rows).step_by(piece) {
            let taken = piece.min(rows - first);
            let last = (first + taken - 1) * target.width + to - 1;
            // The last address is checked with the first: `gemm` writes no further.
            target.out.address(last);
            let input = &inputs[first * cols + depth..(first + taken - 1) * cols + depth + count];
            // SAFETY: in `gemm`'s terms the product is [outputs, count] * [count, taken]. The panel holds `count` columns
            // of PANEL.0 floats; `input` reaches from the first row's first value to the last row's last; the destination
            // lies within the target (checked above), and its outputs belong to this task. No two of them overlap.
            unsafe {
                gemm(
                    to - from,
                    taken,
                    count,
                    target.out.address(first * target.width + from),
                    target.width as isize,
                    1,
                    true,
                    columns.as_ptr(),
                    PANEL.0 as isize,
                    1,
                    input.as_ptr(),
                    cols as isize,
                    1,
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    Parallelism::None,
                );
            }
        }
    }
}
