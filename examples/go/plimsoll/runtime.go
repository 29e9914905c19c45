package plimsoll

// #include "shim.h"
import "C"

import (
	"runtime"
	"time"
	"unsafe"
)

// RuntimeOptions are the settings of a runtime. The zero value is every default.
type RuntimeOptions struct {
	// Budget is the host bytes that plimsoll may use. 0: what the machine or its cgroup allows.
	Budget uint64
	// IdleTimeout is when an idle session's KV is dropped; its conversation stays. 0: 5 minutes.
	IdleTimeout time.Duration
	// TicketTTL is when an unused ticket returns its bytes. 0: a minute.
	TicketTTL time.Duration
	// Config sets further keys that begin with "memory.", "guard." or "monitor.".
	Config Config
}

// Runtime owns a memory guard and the models under it. Its methods may be called by several goroutines at once.
type Runtime struct {
	h handle[*C.plimsoll_runtime]
}

// NewRuntime makes a runtime; nil is every default. Close it to free it.
func NewRuntime(options *RuntimeOptions) (*Runtime, error) {
	if err := compatible(ABIVersion(), C.PLIMSOLL_ABI_VERSION); err != nil {
		return nil, err
	}
	if options == nil {
		options = &RuntimeOptions{}
	}
	config, err := options.Config.
		with("memory.budget", number(options.Budget)).
		with("guard.idle_timeout_s", seconds(options.IdleTimeout)).
		with("guard.ticket_ttl_s", seconds(options.TicketTTL)).
		build()
	if err != nil {
		return nil, err
	}
	defer C.plimsoll_config_free(config)
	r := &Runtime{}
	r.h.free = func(ptr *C.plimsoll_runtime) { C.plimsoll_runtime_free(ptr) }
	var e *C.plimsoll_error
	if err := check(C.plimsoll_runtime_new(config, &r.h.ptr, &e), e); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(r, func(r *Runtime) { go r.Close() })
	return r, nil
}

// Close frees the runtime. Models and sessions made from it stay usable. Closing again does nothing; the error is always nil.
func (r *Runtime) Close() error {
	if r.h.close() {
		runtime.SetFinalizer(r, nil)
	}
	return nil
}

// CanAllocate reports whether the host may take that many bytes for itself, and the share margin of them more (0.1 is a
// tenth), without coming near the limit. It reserves nothing, and is cheap. False on a closed runtime.
func (r *Runtime) CanAllocate(bytes uint64, margin float64) bool {
	ptr, err := r.h.acquire()
	if err != nil {
		return false
	}
	defer r.h.release()
	return C.plimsoll_can_allocate(ptr, C.uint64_t(bytes), C.double(margin)) != 0
}

// LowMemory reports whether at least the share threshold (0 to 1) of the host's capacity is in use, by plimsoll and others.
// False on a closed runtime.
func (r *Runtime) LowMemory(threshold float64) bool {
	ptr, err := r.h.acquire()
	if err != nil {
		return false
	}
	defer r.h.release()
	return C.plimsoll_is_low_memory(ptr, C.double(threshold)) != 0
}

// Memory is what the guard knows of host memory and sessions. Sizes are bytes.
type Memory struct {
	Capacity        uint64   // what there is: the budget, or what the machine or its cgroup allows
	Limit           uint64   // what may be leased of it, after threshold and reserve
	Used            uint64   // what is leased
	Free            uint64   // what may still be leased
	Peak            uint64   // the most that was ever leased at once
	Weights         uint64   // leased for weights
	Workspace       uint64   // leased for workspaces
	KV              uint64   // leased for KV, in all regions
	Requests        uint64   // leased for running requests and for tickets
	ActiveSessions  uint64   // open sessions
	Accepted        uint64   // requests granted as asked
	Shrunk          uint64   // requests granted with fewer tokens
	Rejected        uint64   // requests refused
	Routed          uint64   // requests given to another engine
	Degraded        uint64   // requests that ran degraded under memory pressure
	Evictions       uint64   // times that a session lost its KV
	Heap            uint64   // live heap bytes of the library; 0 when it does not count them
	PressureChanges uint64   // times that the level of pressure changed
	Pressure        Pressure // how short memory is now
	Text            uint64   // leased for tokenizers and chat templates
	Tables          uint64   // leased for engines' queues and tables, and for descriptions of models
	Talk            uint64   // what sessions remember, which no lease pays for
	Mapped          uint64   // what the library has mapped in the process beside its heap: the workspaces of all runtimes
	Resident        uint64   // of these, what is in memory
	Unbooked        uint64   // what heap and mappings hold beyond Used; 0 when the heap is not counted
	ModelsLoaded    uint64   // models of the native engine that are loaded, or about to be
	ModelsUnloaded  uint64   // models that are unloaded until their next request
	Unloads         uint64   // times that a model was unloaded
	Reloads         uint64   // times that an unloaded model was loaded again
}

// Memory reads the memory statistics.
func (r *Runtime) Memory() (Memory, error) {
	ptr, err := r.h.acquire()
	if err != nil {
		return Memory{}, err
	}
	defer r.h.release()
	var m C.plimsoll_memory
	m.struct_size = C.size_t(unsafe.Sizeof(m))
	var e *C.plimsoll_error
	if err := check(C.plimsoll_memory_stats(ptr, &m, &e), e); err != nil {
		return Memory{}, err
	}
	return Memory{
		Capacity:        uint64(m.capacity_bytes),
		Limit:           uint64(m.limit_bytes),
		Used:            uint64(m.used_bytes),
		Free:            uint64(m.free_bytes),
		Peak:            uint64(m.peak_bytes),
		Weights:         uint64(m.weights_bytes),
		Workspace:       uint64(m.workspace_bytes),
		KV:              uint64(m.kv_bytes),
		Requests:        uint64(m.request_bytes),
		ActiveSessions:  uint64(m.active_sessions),
		Accepted:        uint64(m.accepted_count),
		Shrunk:          uint64(m.shrunk_count),
		Rejected:        uint64(m.rejected_count),
		Routed:          uint64(m.routed_count),
		Degraded:        uint64(m.degraded_count),
		Evictions:       uint64(m.evictions),
		Heap:            uint64(m.heap_bytes),
		PressureChanges: uint64(m.pressure_changes),
		Pressure:        Pressure(m.pressure),
		Text:            uint64(m.text_bytes),
		Tables:          uint64(m.tables_bytes),
		Talk:            uint64(m.talk_bytes),
		Mapped:          uint64(m.mapped_bytes),
		Resident:        uint64(m.resident_bytes),
		Unbooked:        uint64(m.unbooked_bytes),
		ModelsLoaded:    uint64(m.models_loaded),
		ModelsUnloaded:  uint64(m.models_unloaded),
		Unloads:         uint64(m.unloads),
		Reloads:         uint64(m.reloads),
	}, nil
}

// MemoryJSON is the memory statistics as a JSON object: in addition each session, each device, and the ledger by region and
// owner.
func (r *Runtime) MemoryJSON() ([]byte, error) {
	return r.text(func(ptr *C.plimsoll_runtime, text **C.plimsoll_text, e **C.plimsoll_error) C.plimsoll_status {
		return C.plimsoll_memory_stats_json(ptr, text, e)
	})
}

// MemoryReport says who has how much of the memory, how short it is, and what to look at: a table for people, in MiB. Its form may
// change; for programs there is MemoryJSON.
func (r *Runtime) MemoryReport() (string, error) {
	text, err := r.text(func(ptr *C.plimsoll_runtime, text **C.plimsoll_text, e **C.plimsoll_error) C.plimsoll_status {
		return C.plimsoll_memory_report(ptr, text, e)
	})
	return string(text), err
}

// text is what a call writes about the runtime.
func (r *Runtime) text(
	call func(*C.plimsoll_runtime, **C.plimsoll_text, **C.plimsoll_error) C.plimsoll_status,
) ([]byte, error) {
	ptr, err := r.h.acquire()
	if err != nil {
		return nil, err
	}
	defer r.h.release()
	var text *C.plimsoll_text
	var e *C.plimsoll_error
	if err := check(call(ptr, &text, &e), e); err != nil {
		return nil, err
	}
	return []byte(take(text)), nil
}
