//! What the library holds of this process, by its allocators and the kernel, beside what the ledger says.

use crate::runtime::Runtime;
use serde_json::{Value, json};

/// What the library holds of the process's memory. Heap and mappings are the whole process's: those of all runtimes.
///
/// Weights, KV blocks, requests, tokenizers, conversations and hosts' buffers are on the heap, workspaces are mapped. Not counted are the stacks of
/// threads, the library's own code and data, and what the system keeps of files in its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Live heap bytes, in a build that counts them (`alloc-mimalloc`, `alloc-system`).
    pub heap: Option<u64>,
    /// Bytes of address space that are mapped beside the heap.
    pub mapped: u64,
    /// Of `mapped`, bytes whose pages are in memory.
    pub resident: u64,
    /// What heap and mappings hold beyond this runtime's leases of host memory and what lies idle in its pool. A lease for memory of somebody else, such as a
    /// plug-in's or the host's own, or for KV that no engine has allocated yet, hides as much; another runtime's bytes show
    /// up here.
    pub unbooked: Option<u64>,
    /// What this runtime's sessions remember: messages, text, tokens. Part of the heap; no lease pays for it.
    pub talk: u64,
}

impl ProcessMemory {
    /// As a JSON object; what is not counted is null.
    pub fn to_json(&self) -> Value {
        json!({
            "heap_bytes": self.heap,
            "mapped_bytes": self.mapped,
            "resident_bytes": self.resident,
            "unbooked_bytes": self.unbooked,
            "talk_bytes": self.talk,
        })
    }
}

impl Runtime {
    /// What the library holds of this process, beside what the ledger says. `leased` is the host's `used` in statistics taken
    /// at the same time.
    pub fn process_memory(&self, leased: u64) -> ProcessMemory {
        let heap = crate::heap::total();
        #[cfg(feature = "native")]
        let (mapped, resident) = {
            let all = plimsoll_candle::mapped();
            (all.bytes, all.resident)
        };
        #[cfg(not(feature = "native"))]
        let (mapped, resident) = (0, 0);
        let known = leased.saturating_add(self.inner.guard.pool_stats().all_idle_bytes());
        let unbooked = heap.map(|heap| heap.saturating_add(mapped).saturating_sub(known));
        let talk = self.inner.guard.talk_bytes();
        ProcessMemory { heap, mapped, resident, unbooked, talk }
    }
}
