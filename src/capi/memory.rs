//! Memory statistics.

use super::boundary::boundary;
use super::convert::{self, CallerSized, borrow, hand_out, output};
use super::error::plimsoll_error;
use super::runtime::plimsoll_runtime;
use super::status::plimsoll_status;
use super::text::plimsoll_text;

/// What the guard knows of host memory and sessions. Sizes are bytes; the rest, each session, each device and the ledger by
/// owner, is in plimsoll_memory_stats_json().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_memory {
    /// In: bytes of this struct. Out: bytes of it that were written.
    pub struct_size: usize,
    /// What there is: the budget, or what the machine or its cgroup allows.
    pub capacity_bytes: u64,
    /// What may be leased of it, after threshold and reserve.
    pub limit_bytes: u64,
    /// What is leased.
    pub used_bytes: u64,
    /// What may still be leased.
    pub free_bytes: u64,
    /// The most that was ever leased at once.
    pub peak_bytes: u64,
    /// Leased for weights.
    pub weights_bytes: u64,
    /// Leased for workspaces.
    pub workspace_bytes: u64,
    /// Leased for KV, in all regions.
    pub kv_bytes: u64,
    /// Leased for running requests and for tickets.
    pub request_bytes: u64,
    /// Open sessions.
    pub active_sessions: u64,
    /// Requests granted as asked.
    pub accepted_count: u64,
    /// Requests granted with fewer tokens.
    pub shrunk_count: u64,
    /// Requests refused.
    pub rejected_count: u64,
    /// Requests given to another engine.
    pub routed_count: u64,
    /// Requests that ran degraded under memory pressure.
    pub degraded_count: u64,
    /// Times that a session lost its KV.
    pub evictions: u64,
    /// Live heap bytes of the library in this process, whatever owns them; 0 when the library does not count them.
    pub heap_bytes: u64,
    /// Times that the level of pressure changed.
    pub pressure_changes: u64,
    /// How short memory is now, one of `PLIMSOLL_PRESSURE_*`.
    pub pressure: i32,
    /// Always 0.
    pub reserved: u32,
    /// Leased for tokenizers and chat templates.
    pub text_bytes: u64,
    /// Leased for engines' queues and tables, and for descriptions of models.
    pub tables_bytes: u64,
    /// What sessions remember: messages, text, tokens. It is part of the heap; no lease pays for it, and of a
    /// configured budget so much less may be granted.
    pub talk_bytes: u64,
    /// Bytes that the library has mapped in this process beside its heap: the workspaces of all runtimes, idle ones included.
    pub mapped_bytes: u64,
    /// Of these, bytes whose pages are in memory.
    pub resident_bytes: u64,
    /// What heap and mappings hold beyond `used_bytes` and what lies idle in the pool; 0 when the library does not count its heap.
    /// A lease for memory of somebody else, such as a plug-in's, hides as much; what another runtime of the process holds counts
    /// here.
    pub unbooked_bytes: u64,
    /// Models of the native engine that are loaded, or about to be.
    pub models_loaded: u64,
    /// Models that are unloaded until their next request.
    pub models_unloaded: u64,
    /// Times that a model was unloaded, to make room or because it was asked for.
    pub unloads: u64,
    /// Times that an unloaded model was loaded again.
    pub reloads: u64,
}

// SAFETY: repr(C), struct_size first, any bytes are valid.
unsafe impl CallerSized for plimsoll_memory {
    const NAME: &'static str = "plimsoll_memory";
    fn with_size(mut self, size: usize) -> Self {
        self.struct_size = size;
        self
    }
}

/// Writes the memory statistics. Set `memory->struct_size` first.
///
/// Ownership: borrows the runtime. Threads: any. Errors: `INVALID_STRUCT_SIZE`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_memory_stats(
    runtime: *const plimsoll_runtime,
    memory: *mut plimsoll_memory,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and sized structs.
    unsafe {
        boundary("plimsoll_memory_stats", error, || {
            let runtime = borrow(runtime, "runtime")?;
            let size = convert::sized(memory)?;
            let stats = runtime.0.memory();
            let host = stats.host();
            let process = runtime.0.process_memory(host.used);
            let value = plimsoll_memory {
                struct_size: size,
                capacity_bytes: host.capacity,
                limit_bytes: host.limit,
                used_bytes: host.used,
                free_bytes: host.free,
                peak_bytes: host.peak,
                weights_bytes: stats.weights_bytes,
                workspace_bytes: stats.workspace_bytes,
                kv_bytes: stats.total_kv_bytes,
                request_bytes: stats.request_bytes,
                active_sessions: stats.active_sessions,
                accepted_count: stats.accepted_count,
                shrunk_count: stats.shrunk_count,
                rejected_count: stats.rejected_count,
                routed_count: stats.routed_count,
                degraded_count: stats.degraded_count,
                evictions: stats.evictions,
                heap_bytes: process.heap.unwrap_or(0),
                pressure_changes: stats.pressure_changes,
                pressure: stats.pressure as i32,
                reserved: 0,
                text_bytes: stats.text_bytes,
                tables_bytes: stats.tables_bytes,
                talk_bytes: process.talk,
                mapped_bytes: process.mapped,
                resident_bytes: process.resident,
                unbooked_bytes: process.unbooked.unwrap_or(0),
                models_loaded: stats.models_loaded,
                models_unloaded: stats.models_unloaded,
                unloads: stats.unloads,
                reloads: stats.reloads,
            };
            convert::write_sized(memory, size, value);
            Ok(())
        })
    }
}

/// Who has how much of the memory, how short it is, and what to look at: a table for people, in MiB. Its form may change; for
/// programs there is plimsoll_memory_stats_json().
///
/// Ownership: the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_memory_report(
    runtime: *const plimsoll_runtime,
    out: *mut *mut plimsoll_text,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        boundary("plimsoll_memory_report", error, || {
            let (runtime, out) = (borrow(runtime, "runtime")?, output(out, "out")?);
            hand_out(out, plimsoll_text(runtime.0.memory_report()))
        })
    }
}

/// The memory statistics as a JSON object: active_sessions, total_kv_mb, gpu_usage, gpu_free_mb, session_details, gpu_memory,
/// the counters, the ledger by region and owner, and under "monitor" what the monitor knows: "regions" with their last snapshot,
/// levels, peak and average, "system", "alerts" and "cleanup"; under "process" what the library
/// holds of it.
///
/// Ownership: the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_memory_stats_json(
    runtime: *const plimsoll_runtime,
    out: *mut *mut plimsoll_text,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        boundary("plimsoll_memory_stats_json", error, || {
            let (runtime, out) = (borrow(runtime, "runtime")?, output(out, "out")?);
            hand_out(out, plimsoll_text(runtime.0.memory_json().to_string()))
        })
    }
}
