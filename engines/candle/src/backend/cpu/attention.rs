//! How attention over the sequences of a step is shared out to threads.
//!
//! A sequence with one row is split over its key heads and over stretches of its tokens, so that a single long one keeps
//! all threads busy; whoever finishes the last stretch of a head merges them in order. A sequence with more rows is split
//! over key heads and runs of rows. Where the splits are depends on the sequence alone, so results do not depend on the
//! number of threads or on the other sequences.

use super::kernels::{
    Level, Rows, Shape, attend_rows, attend_stretch, merge, record_len, rows_at_once, stretch_tokens,
};
use super::kv::{Block, BlockHead, Geometry, with_stored};
use super::parts::Parts;
use super::pool::Pool;
use crate::backend::{Attention, Place, Span, Spans, StepSpec};
use plimsoll_engine::EngineError;
use std::sync::atomic::{AtomicU32, Ordering};

/// What is the same for the whole step.
pub(super) struct Layer<'a> {
    pub(super) level: Level,
    pub(super) spec: &'a StepSpec,
    pub(super) geometry: Geometry,
    pub(super) place: Place,
    pub(super) attention: Attention,
}

/// The memory that tasks share.
pub(super) struct Room<'a> {
    /// `[rows, heads * head_dim]`.
    pub(super) query: &'a [f32],
    /// As above.
    pub(super) out: Parts<'a>,
    /// A row for each thread.
    pub(super) scratch: Parts<'a>,
    pub(super) scratch_width: usize,
    /// A row for each sequence: records `[kv_heads][stretches]`.
    pub(super) records: Parts<'a>,
    pub(super) records_width: usize,
    /// `[sequences]` numbers of tasks up to each one's end, then `[sequences][kv_heads]` stretches that are done: bits of
    /// u32.
    pub(super) counters: Parts<'a>,
}

/// The stretches of a sequence with one row.
struct Stretches {
    /// The tokens that the row looks at.
    from: usize,
    held: usize,
    /// Tokens of a stretch.
    tokens: usize,
    /// The number of the first one, counted from the sequence's beginning.
    first: usize,
    count: usize,
}

impl Layer<'_> {
    fn stretches(&self, position: usize) -> Stretches {
        let (from, held) = (self.attention.first(position), position + 1);
        let tokens = stretch_tokens(held - from);
        let first = from / tokens;
        Stretches { from, held, tokens, first, count: held.div_ceil(tokens) - first }
    }

    fn group(&self) -> usize {
        self.spec.heads / self.spec.kv_heads
    }

    /// Tasks of a sequence for each key head.
    fn tasks<B>(&self, span: &Span<'_, B>) -> usize {
        match span.rows {
            1 => self.stretches(span.position).count,
            rows => rows.div_ceil(self.rows_at_once()),
        }
    }

    /// Rows of a task.
    fn rows_at_once(&self) -> usize {
        with_stored!(self.spec.kv_dtype, F => rows_at_once::<F>(self.level, self.group()))
    }

    fn shape(&self) -> Shape {
        let Attention { scale, softcap, .. } = self.attention;
        Shape { head_dim: self.spec.head_dim, scale, softcap }
    }
}

/// A counter of [`Room::counters`].
fn counter<'a>(counters: &Parts<'a>, index: usize) -> &'a AtomicU32 {
    // SAFETY: the address is of four bytes within the arena, aligned to four, which no one reads or writes otherwise for
    // as long as the tasks run.
    unsafe { AtomicU32::from_ptr(counters.address(index).cast()) }
}

/// Attention of the rows of all spans.
///
/// # Errors
/// [`EngineError::Execution`] when there are more spans than sequences or they share rows.
///
/// # Safety
/// No one writes the spans' blocks meanwhile, and all areas of `room` are of the spec's arena, the rows of `query` and
/// `out` up to the end of the spans' rows.
pub(super) unsafe fn attend<S: Spans<Block>>(
    pool: &Pool,
    layer: &Layer<'_>,
    spans: &S,
    room: &Room<'_>,
) -> Result<(), EngineError> {
    let StepSpec { kv_heads, max_sequences, .. } = *layer.spec;
    if spans.count() > max_sequences {
        return Err(EngineError::Execution(format!("{} sequences are too many for a step", spans.count())));
    }
    let (mut tasks, mut rows) = (0u32, 0);
    for index in 0..spans.count() {
        let span = spans.span(index);
        if span.first_row < rows {
            return Err(EngineError::Execution(format!("sequence {index} shares rows with another")));
        }
        rows = span.first_row + span.rows;
        let more = layer.tasks(&span).checked_mul(kv_heads).and_then(|more| u32::try_from(more).ok());
        tasks = more.and_then(|more| tasks.checked_add(more)).ok_or(EngineError::PriceOverflow)?;
        counter(&room.counters, index).store(tasks, Ordering::Relaxed);
        for head in 0..kv_heads {
            counter(&room.counters, max_sequences + index * kv_heads + head).store(0, Ordering::Relaxed);
        }
    }
    let end_of = |index: usize| counter(&room.counters, index).load(Ordering::Relaxed) as usize;
    pool.run(tasks as usize, &|task, thread| {
        // The first sequence whose tasks end after this one.
        let (mut low, mut high) = (0, spans.count() - 1);
        while low < high {
            let middle = usize::midpoint(low, high);
            if end_of(middle) > task { high = middle } else { low = middle + 1 }
        }
        let number = if low == 0 { task } else { task - end_of(low - 1) };
        let width = room.scratch_width;
        // SAFETY: a thread runs one task at a time, and this row of the scratch is its own.
        let scratch = unsafe { room.scratch.part(thread * width..(thread + 1) * width) };
        let span = spans.span(low);
        // SAFETY: the blocks are not written, by the caller's promise; tasks have numbers of their own.
        unsafe {
            match span.rows {
                1 => one_row(layer, &span, low, number, room, scratch),
                _ => many_rows(layer, &span, number, room, scratch),
            }
        }
    });
    Ok(())
}

/// A task of a sequence with one row.
///
/// # Safety
/// As for [`attend`]; no other task of the sequence with this number runs.
unsafe fn one_row(
    layer: &Layer<'_>,
    span: &Span<'_, Block>,
    index: usize,
    number: usize,
    room: &Room<'_>,
    scratch: &mut [f32],
) {
    let StepSpec { kv_heads, head_dim, heads, max_sequences, .. } = *layer.spec;
    let Stretches { from, held, tokens, first, count } = layer.stretches(span.position);
    // Neighbouring tasks read neighbouring memory.
    let (stretch, head) = (number / kv_heads, number % kv_heads);
    let shared = layer.group() * head_dim;
    let at = span.first_row * heads * head_dim + head * shared;
    let at = at..at + shared;
    let record = record_len(layer.group(), head_dim).unwrap_or(0);
    let records = index * room.records_width + head * (room.records_width / kv_heads);
    let begin = records + stretch * record;
    let range = from.max((first + stretch) * tokens)..held.min((first + stretch + 1) * tokens);
    {
        // SAFETY: this record is the task's, see the caller.
        let record = unsafe { room.records.part(begin..begin + record) };
        // SAFETY: the blocks are not written meanwhile.
        let keys = unsafe { BlockHead::new(span, layer.geometry, layer.place, head) };
        let query = &room.query[at.clone()];
        with_stored!(layer.spec.kv_dtype, F => {
            attend_stretch::<F>(layer.level, layer.shape(), &keys, query, range, record, scratch);
        });
    }
    let done = counter(&room.counters, max_sequences + index * kv_heads + head);
    if done.fetch_add(1, Ordering::AcqRel) as usize + 1 == count {
        // SAFETY: the other stretches are done, and this order of the counter makes their records visible. The row's heads
        // of this key head are this task's.
        let (records, out) =
            unsafe { (room.records.part(records..records + count * record), room.out.part(at)) };
        merge(layer.level, records, record, head_dim, out);
    }
}

/// A task of a sequence with many rows.
///
/// # Safety
/// As for [`one_row`].
unsafe fn many_rows(
    layer: &Layer<'_>,
    span: &Span<'_, Block>,
    number: usize,
    room: &Room<'_>,
    scratch: &mut [f32],
) {
    let StepSpec { head_dim, heads, .. } = *layer.spec;
    let group = layer.group();
    let (shared, stride, at_once) = (group * head_dim, heads * head_dim, layer.rows_at_once());
    let tiles = span.rows.div_ceil(at_once);
    // Neighbouring tasks share keys; later rows, which have more of them, come first.
    let (head, tile) = (number / tiles, tiles - 1 - number % tiles);
    let from = tile * at_once;
    let count = at_once.min(span.rows - from);
    let window = layer.attention.window;
    let rows = Rows { position: span.position + from, count, window, stride, group };
    let at = (span.first_row + from) * stride + head * shared;
    let put = |row: usize, values: &[f32]| {
        let at = at + row * stride;
        // SAFETY: the row's heads of this key head are this task's.
        unsafe { room.out.part(at..at + shared) }.copy_from_slice(values);
    };
    // SAFETY: the blocks are not written meanwhile.
    let keys = unsafe { BlockHead::new(span, layer.geometry, layer.place, head) };
    let query = &room.query[at..at + (count - 1) * stride + shared];
    with_stored!(layer.spec.kv_dtype, F => {
        attend_rows::<F>(layer.level, layer.shape(), &keys, rows, query, &put, scratch);
    });
}
