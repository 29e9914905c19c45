//! Blocks of the KV cache.

use super::buffer::Buffer;
use super::kernels::{Head, Level, WIDTH, put_keys, put_values};
use crate::backend::{KvDtype, Place, Span, Spans, StepSpec};
use plimsoll_engine::EngineError;
use plimsoll_scheduler::KvBlock;
use std::sync::Arc;

/// Where things are in a block: `[layer][kv_head][group of 16 tokens][keys, values]`. What is in a group is the kernels'
/// concern; a thread that attends over one head's block reads one piece of memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    kv_heads: usize,
    head_dim: usize,
    block_tokens: usize,
    dtype: KvDtype,
    /// Bytes of a group's keys, and of its values.
    part: usize,
}

impl Geometry {
    /// The geometry of a spec whose block's bytes fit, so no product of its sizes overflows.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for blocks that are no whole groups.
    pub(super) fn of(spec: &StepSpec) -> Result<Self, EngineError> {
        let StepSpec { kv_heads, head_dim, block_tokens, kv_dtype: dtype, .. } = *spec;
        if !block_tokens.is_multiple_of(WIDTH) {
            return Err(EngineError::Invalid(format!(
                "blocks of {block_tokens} tokens are no multiple of {WIDTH}"
            )));
        }
        let part = WIDTH * dtype.bytes(head_dim).ok_or(EngineError::PriceOverflow)?;
        Ok(Geometry { kv_heads, head_dim, block_tokens, dtype, part })
    }

    /// Offset of a group's keys in a block; its values follow.
    fn group_offset(self, layer: usize, head: usize, group: usize) -> usize {
        ((layer * self.kv_heads + head) * (self.block_tokens / WIDTH) + group) * 2 * self.part
    }
}

/// Runs an expression with `$stored` naming the [`Stored`] type of a [`KvDtype`].
macro_rules! with_stored {
    ($dtype:expr, $stored:ident => $then:expr) => {
        match $dtype {
            $crate::backend::KvDtype::F32 => {
                type $stored = $crate::backend::cpu::kernels::KvF32;
                $then
            }
            $crate::backend::KvDtype::F16 => {
                type $stored = $crate::backend::cpu::kernels::KvF16;
                $then
            }
            $crate::backend::KvDtype::Q8_0 => {
                type $stored = $crate::backend::cpu::kernels::KvQ8;
                $then
            }
        }
    };
}
pub(super) use with_stored;

/// Keys and values of `block_tokens` tokens over all layers of a kind, in exactly [`StepSpec::block_bytes`] bytes.
///
/// It is written and read only by operations of the backend that allocated it, and those take the backend by `&mut`:
/// that is what makes writing through a shared reference sound, and why a block knows its home.
#[derive(Debug)]
pub(crate) struct Block {
    buffer: Buffer,
    home: Arc<()>,
}

impl Block {
    /// A zeroed block with its pages committed.
    pub(super) fn new(bytes: usize, home: &Arc<()>) -> Result<Self, EngineError> {
        Ok(Block { buffer: Buffer::new(bytes)?, home: Arc::clone(home) })
    }

    /// Copies what it holds to another block. Only the backend of this home calls it, while it has itself by `&mut`.
    ///
    /// # Errors
    /// [`EngineError::Execution`] for a block of another size or another backend, and for itself.
    pub(super) fn copy_to(&self, to: &Block, home: &Arc<()>) -> Result<(), EngineError> {
        let here = Arc::ptr_eq(&self.home, home) && Arc::ptr_eq(&to.home, home);
        if !here || self.buffer.len() != to.buffer.len() || self.buffer.start() == to.buffer.start() {
            return Err(EngineError::Execution("a KV block is copied to one that is not like it".to_owned()));
        }
        // SAFETY: two buffers of as many bytes, both alive; the backend's operations alone read and write them, and none of
        // them runs meanwhile.
        unsafe {
            let (from, to) = (self.buffer.start().as_ptr(), to.buffer.start().as_ptr());
            std::ptr::copy_nonoverlapping(from, to, self.buffer.len());
        }
        Ok(())
    }

    /// One head's keys and values of 16 tokens.
    ///
    /// # Safety
    /// No one writes them while the slices are in use.
    #[inline]
    unsafe fn group(&self, geometry: Geometry, layer: usize, head: usize, group: usize) -> (&[u8], &[u8]) {
        let from = geometry.group_offset(layer, head, group);
        assert!(from + 2 * geometry.part <= self.buffer.len(), "a group lies within its block");
        // SAFETY: in bounds by the assertion, initialised since the start, unwritten by the caller's promise.
        let both =
            unsafe { std::slice::from_raw_parts(self.buffer.start().as_ptr().add(from), 2 * geometry.part) };
        both.split_at(geometry.part)
    }

    /// The same to write.
    ///
    /// # Safety
    /// No one else reads or writes them while the slices are in use.
    #[expect(clippy::mut_from_ref, reason = "the one writer is the backend's step, see the type")]
    unsafe fn group_mut(
        &self,
        geometry: Geometry,
        layer: usize,
        head: usize,
        group: usize,
    ) -> (&mut [u8], &mut [u8]) {
        let from = geometry.group_offset(layer, head, group);
        assert!(from + 2 * geometry.part <= self.buffer.len(), "a group lies within its block");
        // SAFETY: in bounds by the assertion, unshared by the caller's promise.
        let both = unsafe {
            std::slice::from_raw_parts_mut(self.buffer.start().as_ptr().add(from), 2 * geometry.part)
        };
        both.split_at_mut(geometry.part)
    }
}

/// Checks that all blocks of the spans were allocated by the backend of this home.
pub(super) fn check_home<S: Spans<Block>>(spans: &S, home: &Arc<()>) -> Result<(), EngineError> {
    for index in 0..spans.count() {
        let table = spans.span(index).blocks;
        let mut blocks = table.whole.iter().chain(&table.rolling);
        if !blocks.all(|block| Arc::ptr_eq(&block.data().home, home)) {
            return Err(EngineError::Execution(format!("sequence {index} has a block of another backend")));
        }
    }
    Ok(())
}

/// Groups of 16 tokens that a span's rows are written to.
pub(super) fn groups<B>(span: &Span<'_, B>) -> usize {
    (span.position + span.rows).div_ceil(WIDTH) - span.position / WIDTH
}

/// Writes what one group gets of the span's rows of keys and values (`[rows, kv_heads * head_dim]` both); the group is the
/// one with this number among [`groups`].
///
/// # Safety
/// No one else reads or writes these tokens of the blocks meanwhile.
pub(super) unsafe fn store(
    level: Level,
    geometry: Geometry,
    place: Place,
    span: &Span<'_, Block>,
    number: usize,
    keys: &[f32],
    values: &[f32],
) {
    let Geometry { kv_heads, head_dim, block_tokens, dtype, .. } = geometry;
    let group = span.position / WIDTH + number;
    let (from, to) = (span.position.max(group * WIDTH), (span.position + span.rows).min((group + 1) * WIDTH));
    let (blocks, before) = place.blocks(span);
    let per_block = block_tokens / WIDTH;
    let block = blocks[group / per_block - before].data();
    let (first, stride) = (from % WIDTH, kv_heads * head_dim);
    let rows = (from - span.position) * stride..(to - span.position) * stride;
    let (keys, values) = (&keys[rows.clone()], &values[rows]);
    for head in 0..kv_heads {
        // SAFETY: the caller's promise.
        let (to_keys, to_values) =
            unsafe { block.group_mut(geometry, place.number, head, group % per_block) };
        let at = head * head_dim..;
        with_stored!(dtype, F => {
            put_keys::<F>(level, to_keys, head_dim, first, &keys[at.clone()], stride);
            put_values::<F>(level, to_values, head_dim, first, &values[at], stride);
        });
    }
}

/// One head's keys and values in a sequence's blocks.
pub(super) struct BlockHead<'a> {
    blocks: &'a [KvBlock<Block>],
    /// Blocks before the first of them.
    before: usize,
    geometry: Geometry,
    layer: usize,
    head: usize,
}

impl<'a> BlockHead<'a> {
    /// Names a head of the layer that is at this place.
    ///
    /// # Safety
    /// No one writes the blocks while it is in use.
    pub(super) unsafe fn new(span: &Span<'a, Block>, geometry: Geometry, place: Place, head: usize) -> Self {
        let (blocks, before) = place.blocks(span);
        BlockHead { blocks, before, geometry, layer: place.number, head }
    }
}

impl Head for BlockHead<'_> {
    #[inline]
    fn group(&self, index: usize) -> (&[u8], &[u8]) {
        let per_block = self.geometry.block_tokens / WIDTH;
        let block = self.blocks[index / per_block - self.before].data();
        // SAFETY: whoever made this promised that no one writes the blocks.
        unsafe { block.group(self.geometry, self.layer, self.head, index % per_block) }
    }
}
