//! Blocks of the KV cache.

use super::buffer::Buffer;
use super::kernels::Head;
use crate::backend::{KvDtype, Place, Span, Spans, StepSpec};
use plimsoll_engine::EngineError;
use plimsoll_scheduler::KvBlock;
use std::sync::Arc;

/// Where things are in a block: `[layer][key, value][kv_head][token][head_dim]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) block_tokens: usize,
    pub(super) dtype: KvDtype,
}

/// Which half of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Key,
    Value,
}

impl Geometry {
    /// The geometry of a spec whose block's bytes fit, so no product of its sizes overflows.
    pub(super) fn of(spec: &StepSpec) -> Self {
        Geometry {
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            block_tokens: spec.block_tokens,
            dtype: spec.kv_dtype,
        }
    }

    /// Bytes of one token of one head.
    fn token_bytes(self) -> usize {
        self.head_dim * self.dtype.size()
    }

    /// Bytes of one head's tokens.
    fn head_bytes(self) -> usize {
        self.block_tokens * self.token_bytes()
    }

    /// Offset of one head's tokens in a block.
    fn head_offset(self, layer: usize, part: Part, head: usize) -> usize {
        ((layer * 2 + part as usize) * self.kv_heads + head) * self.head_bytes()
    }
}

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

    /// One head's keys or values: `[block_tokens, head_dim]`.
    ///
    /// # Safety
    /// No one writes the block while the slice is in use.
    pub(super) unsafe fn head(&self, geometry: Geometry, layer: usize, part: Part, head: usize) -> &[u8] {
        let (from, len) = (geometry.head_offset(layer, part, head), geometry.head_bytes());
        assert!(from + len <= self.buffer.len(), "a head lies within its block");
        // SAFETY: in bounds by the assertion, initialised since the start, unwritten by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.buffer.start().as_ptr().add(from), len) }
    }

    /// One token's keys or values of one head: `head_dim` values.
    ///
    /// # Safety
    /// No one else reads or writes the block while the slice is in use.
    #[expect(clippy::mut_from_ref, reason = "the one writer is the backend's step, see the type")]
    unsafe fn token_mut(
        &self,
        geometry: Geometry,
        layer: usize,
        part: Part,
        head: usize,
        token: usize,
    ) -> &mut [u8] {
        let len = geometry.token_bytes();
        let from = geometry.head_offset(layer, part, head) + token * len;
        assert!(from + len <= self.buffer.len(), "a token lies within its block");
        // SAFETY: in bounds by the assertion, unshared by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.start().as_ptr().add(from), len) }
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

/// Writes rows of keys and values (`[rows, kv_heads * head_dim]`) into the span's blocks.
///
/// # Safety
/// No one else reads or writes the blocks meanwhile.
pub(super) unsafe fn store(
    geometry: Geometry,
    place: Place,
    span: &Span<'_, Block>,
    part: Part,
    rows: &[f32],
) {
    let (blocks, before) = place.blocks(span);
    let Geometry { kv_heads, head_dim, block_tokens, dtype, .. } = geometry;
    for (row, values) in rows.chunks_exact(kv_heads * head_dim).enumerate() {
        let (block, token) = ((span.position + row) / block_tokens, (span.position + row) % block_tokens);
        let block = blocks[block - before].data();
        for (head, values) in values.chunks_exact(head_dim).enumerate() {
            // SAFETY: the caller's promise.
            let bytes = unsafe { block.token_mut(geometry, place.number, part, head, token) };
            match dtype {
                KvDtype::F32 => {
                    for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                        *bytes = value.to_le_bytes();
                    }
                }
                KvDtype::F16 => {
                    for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                        *bytes = half::f16::from_f32(*value).to_le_bytes();
                    }
                }
            }
        }
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
    fn block(&self, index: usize) -> (&[u8], &[u8]) {
        let block = self.blocks[index - self.before].data();
        // SAFETY: whoever made this promised that no one writes the blocks.
        unsafe {
            (
                block.head(self.geometry, self.layer, Part::Key, self.head),
                block.head(self.geometry, self.layer, Part::Value, self.head),
            )
        }
    }
}
