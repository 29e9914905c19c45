//! The host memory of a loaded model beside its weights and workspace, and the leases that pay for it.
//!
//! A tokenizer is built before weights are read, so what building it takes for a moment is within what was leased for them;
//! where that is too little, the rest is leased for as long. What stays is reckoned from the size of the tokenizer's description,
//! so that equal loads cost the same, and leased before a byte of weights is read. Where a build counts its heap, a tokenizer
//! that takes more than that is seen, and pays for what it takes.

use crate::error::{Error, ErrorCode, Result};
use crate::heap;
use crate::model::TextSide;
use crate::runtime::Inner;
use plimsoll_candle::LoadPlan;
use plimsoll_engine::Lease;
use plimsoll_formats::Dtype;
use std::thread::available_parallelism;

/// What building takes at most for each byte of a description, and in any case: seen are up to nine for vocabularies as models
/// have them, and 1 MiB for patterns.
const BUILDING: (u64, u64) = (16, 1 << 20);

/// What stays: seen are up to five, and 0.9 MiB, of which 0.4 are made by the first load of a process for all that follow.
const BUILT: (u64, u64) = (6, 1 << 20);

/// Leases are of whole pages.
const PAGE: u64 = 4096;

/// Makes a tokenizer's patterns and a template's first rendering set their memory aside.
const SAMPLE: &str = "It's 12 o'clock,\n\n  HELLO wörld… 日本\t{}()!? don't <a> ";

/// Of so many threads at most that encode at once the patterns' own memory is paid for.
const MOST_THREADS: usize = 8;

/// What a thread sets aside for products of f32 when it computes the first: as much as its second-level cache.
fn slab() -> u64 {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call has no preconditions.
    let bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_LEVEL2_CACHE_SIZE) }).unwrap_or(0);
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let bytes = 0;
    if bytes == 0 { 2 << 20 } else { bytes }
}

fn reckon((each, all): (u64, u64), description: u64) -> u64 {
    each.saturating_mul(description).saturating_add(all)
}

/// What is leased for a text side whose tokenizer's description has so many bytes, before it is built. `covered` bytes are leased
/// for memory that is not yet taken.
pub(crate) fn text_bytes(description: u64, covered: u64) -> u64 {
    let building = reckon(BUILDING, description).saturating_sub(covered);
    building.max(reckon(BUILT, description)).saturating_next_page()
}

/// Builds a text side whose tokenizer's description has so many bytes. What it does not need of `lease` goes back.
///
/// # Errors
/// Those of `build`; `MemoryRefused` with its numbers where what is built takes more than was leased, and than there is.
pub(crate) fn text(
    inner: &Inner,
    mut lease: Lease,
    description: u64,
    build: impl FnOnce() -> Result<TextSide>,
) -> Result<(TextSide, Lease)> {
    let (text, built) = heap::grown_by(build);
    let text = text?;
    // Each thread that encodes has memory of its own for patterns. Some text cannot be encoded; that is no fault of the model.
    let ((), once) = heap::grown_by(|| drop(text.tokenizer.encode_literal(SAMPLE, false)));
    let threads = available_parallelism().map_or(1, |threads| threads.get().min(MOST_THREADS)) as u64;
    let counted =
        built.zip(once).map_or(0, |(built, once)| built.saturating_add(once.saturating_mul(threads)));
    let bytes = reckon(BUILT, description).max(counted).saturating_next_page();
    let more = bytes.saturating_sub(lease.bytes());
    if more > 0 {
        let more = inner.lease(lease.owner(), more)?;
        let other = |_| Error::new(ErrorCode::Internal, "two leases of one text differ in their owner");
        lease.absorb(more).map_err(other)?;
    }
    lease.shrink_to(bytes);
    Ok((text, lease))
}

/// What else a loaded model takes: the queue, the lists and the thread of its engine, the matrices' descriptions; where matrices
/// are of f32, what its threads set aside for their products.
pub(crate) fn tables_bytes(plan: &LoadPlan) -> u64 {
    let (tensors, options) = (&plan.checkpoint().tensors, plan.options());
    let slabs = match tensors.values().any(|tensor| tensor.dtype == Dtype::F32 && tensor.shape.len() > 1) {
        true => plan.threads() as u64 * slab(),
        false => 0,
    };
    let lists = u64::from(options.queue) * 512 + u64::from(options.max_sequences) * 1024;
    let bytes = (64 << 10) + tensors.len() as u64 * 256 + lists + slabs;
    bytes.saturating_next_page()
}

trait Pages {
    fn saturating_next_page(self) -> u64;
}

impl Pages for u64 {
    fn saturating_next_page(self) -> u64 {
        self.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX)
    }
}
