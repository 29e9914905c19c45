//! Buffers from the guard's pool.

use super::boundary::{boundary, quiet};
use super::convert::{self, CallerSized, borrow, hand_out, output, take_back};
use super::error::plimsoll_error;
use super::runtime::plimsoll_runtime;
use super::status::plimsoll_status;
use crate::guard::Buffer;
use std::ffi::c_void;

/// Host memory from the pool, leased until it is released.
pub struct plimsoll_buffer(Buffer);

/// What the pool holds and did. Sizes are bytes. The figures named `engine_` are of the library's own memory, workspaces of models and
/// rings of requests; the others are of buffers from plimsoll_pool_acquire().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_pool {
    /// In: bytes of this struct. Out: bytes of it that were written.
    pub struct_size: usize,
    /// Buffers in use: their rounded sizes, which are leased.
    pub in_use_bytes: u64,
    /// Idle buffers, which are leased to nobody.
    pub idle_bytes: u64,
    /// The most that idle buffers may have, those of the library's own included.
    pub pool_limit_bytes: u64,
    /// Buffers in use.
    pub buffers_in_use: u64,
    /// Idle buffers.
    pub buffers_idle: u64,
    /// Times that an idle buffer was used again.
    pub hits: u64,
    /// Times that a buffer came from the system.
    pub misses: u64,
    /// Idle buffers that went back to the system.
    pub pool_evictions: u64,
    /// Workspaces and rings in use, which are leased to their models and requests.
    pub engine_in_use_bytes: u64,
    /// Idle ones, which are leased to nobody.
    pub engine_idle_bytes: u64,
    /// Workspaces and rings in use.
    pub engine_buffers_in_use: u64,
    /// Idle ones.
    pub engine_buffers_idle: u64,
    /// Times that an idle one was used again.
    pub engine_hits: u64,
    /// Times that one came from the system.
    pub engine_misses: u64,
    /// Idle ones that went back to the system.
    pub engine_evictions: u64,
}

// SAFETY: repr(C), struct_size first, any bytes are valid.
unsafe impl CallerSized for plimsoll_pool {
    const NAME: &'static str = "plimsoll_pool";
    fn with_size(mut self, size: usize) -> Self {
        self.struct_size = size;
        self
    }
}

/// Takes a buffer of at least `bytes` of host memory from the pool. The guard must grant it at its rounded size: below 1 MiB to
/// 100 KiB, below 10 MiB to 1 MiB, below 100 MiB to 10 MiB, above to 50 MiB. An idle buffer of that size is used again, with what
/// was in it; else it is fresh and zero. Idle sessions lose their KV if that makes room.
///
/// Ownership: the caller gives `*out` back with plimsoll_pool_release(). The buffer keeps what it needs of the runtime. Threads:
/// any. Errors: `MEMORY_REFUSED` with the numbers, `OUT_OF_MEMORY`, `INVALID_ARGUMENT` for 0 bytes, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_pool_acquire(
    runtime: *const plimsoll_runtime,
    bytes: usize,
    out: *mut *mut plimsoll_buffer,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        boundary("plimsoll_pool_acquire", error, || {
            let (runtime, out) = (borrow(runtime, "runtime")?, output(out, "out")?);
            hand_out(out, plimsoll_buffer(runtime.0.buffer(bytes)?))
        })
    }
}

/// The memory of a buffer, at a multiple of 4096; NULL for NULL.
///
/// Ownership: lives until the buffer is released. Threads: any; the memory is its holder's to guard. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_buffer_data(buffer: *const plimsoll_buffer) -> *mut c_void {
    // SAFETY: the header's rule for handles.
    unsafe { buffer.as_ref() }.map_or(std::ptr::null_mut(), |buffer| buffer.0.as_ptr().cast())
}

/// Bytes of a buffer that may be used, at least as many as were asked for; 0 for NULL.
///
/// Ownership: borrows the buffer. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_buffer_size(buffer: *const plimsoll_buffer) -> usize {
    // SAFETY: the header's rule for handles.
    unsafe { buffer.as_ref() }.map_or(0, |buffer| buffer.0.capacity())
}

/// Gives a buffer back to the pool; NULL is fine. Its bytes are free for others at once, and its memory waits for the next user
/// until it was unused for `guard.pool_timeout_s` or its room is needed.
///
/// Ownership: takes the buffer. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_pool_release(buffer: *mut plimsoll_buffer) {
    // SAFETY: the header's rule for frees.
    unsafe { take_back(buffer) };
}

/// Writes what the pool holds and did. Set `pool->struct_size` first.
///
/// Ownership: borrows the runtime. Threads: any. Errors: `INVALID_STRUCT_SIZE`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_pool_stats(
    runtime: *const plimsoll_runtime,
    pool: *mut plimsoll_pool,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and sized structs.
    unsafe {
        boundary("plimsoll_pool_stats", error, || {
            let stats = borrow(runtime, "runtime")?.0.guard().pool_stats();
            let size = convert::sized(pool)?;
            let value = plimsoll_pool {
                struct_size: size,
                in_use_bytes: stats.in_use_bytes,
                idle_bytes: stats.idle_bytes,
                pool_limit_bytes: stats.limit_bytes,
                buffers_in_use: stats.buffers_in_use,
                buffers_idle: stats.buffers_idle,
                hits: stats.hits,
                misses: stats.misses,
                pool_evictions: stats.evictions,
                engine_in_use_bytes: stats.engine.in_use_bytes,
                engine_idle_bytes: stats.engine.idle_bytes,
                engine_buffers_in_use: stats.engine.buffers_in_use,
                engine_buffers_idle: stats.engine.buffers_idle,
                engine_hits: stats.engine.hits,
                engine_misses: stats.engine.misses,
                engine_evictions: stats.engine.evictions,
            };
            convert::write_sized(pool, size, value);
            Ok(())
        })
    }
}

/// Gives all idle buffers back to the system, the library's own included. Returns their bytes; 0 for NULL.
///
/// Ownership: borrows the runtime. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_pool_trim(runtime: *const plimsoll_runtime) -> u64 {
    // SAFETY: the header's rule for handles.
    quiet(0, || unsafe { runtime.as_ref() }.map_or(0, |runtime| runtime.0.guard().trim_pool()))
}
