package plimsoll

// #include "shim.h"
import "C"

import "unsafe"

// PoolUse is what the pool holds and did for somebody.
type PoolUse struct {
	InUse, Idle               uint64 // bytes
	BuffersInUse, BuffersIdle uint64
	Hits, Misses, Evictions   uint64
}

// Pool is what a runtime's pool of host memory holds and did for buffers and, apart from them, for the library's own workspaces
// and rings.
type Pool struct {
	InUse, Idle, Limit        uint64 // bytes; the limit is for all that lies idle
	BuffersInUse, BuffersIdle uint64
	Hits, Misses, Evictions   uint64
	Engine                    PoolUse
}

// Pool returns what the runtime's pool holds and did.
func (r *Runtime) Pool() (Pool, error) {
	ptr, err := r.h.acquire()
	if err != nil {
		return Pool{}, err
	}
	defer r.h.release()
	var p C.plimsoll_pool
	p.struct_size = C.sizeof_plimsoll_pool
	var e *C.plimsoll_error
	if err := check(C.plimsoll_pool_stats(ptr, &p, &e), e); err != nil {
		return Pool{}, err
	}
	return Pool{
		InUse:        uint64(p.in_use_bytes),
		Idle:         uint64(p.idle_bytes),
		Limit:        uint64(p.pool_limit_bytes),
		BuffersInUse: uint64(p.buffers_in_use),
		BuffersIdle:  uint64(p.buffers_idle),
		Hits:         uint64(p.hits),
		Misses:       uint64(p.misses),
		Evictions:    uint64(p.pool_evictions),
		Engine: PoolUse{
			InUse:        uint64(p.engine_in_use_bytes),
			Idle:         uint64(p.engine_idle_bytes),
			BuffersInUse: uint64(p.engine_buffers_in_use),
			BuffersIdle:  uint64(p.engine_buffers_idle),
			Hits:         uint64(p.engine_hits),
			Misses:       uint64(p.engine_misses),
			Evictions:    uint64(p.engine_evictions),
		},
	}, nil
}

// TrimPool gives the pool's idle buffers back to the system and returns their bytes.
func (r *Runtime) TrimPool() uint64 {
	ptr, err := r.h.acquire()
	if err != nil {
		return 0
	}
	defer r.h.release()
	return uint64(C.plimsoll_pool_trim(ptr))
}

// Buffer is memory outside of Go's heap, from a runtime's pool and within its budget. It must be closed: no finalizer takes
// memory back that a slice may still show.
type Buffer struct {
	ptr *C.plimsoll_buffer
}

// Buffer takes at least that many bytes from the pool. They may hold what was in them when they were used before.
func (r *Runtime) Buffer(bytes uint) (*Buffer, error) {
	ptr, err := r.h.acquire()
	if err != nil {
		return nil, err
	}
	defer r.h.release()
	b := &Buffer{}
	var e *C.plimsoll_error
	if err := check(C.plimsoll_pool_acquire(ptr, C.size_t(bytes), &b.ptr, &e), e); err != nil {
		return nil, err
	}
	return b, nil
}

// Bytes is the buffer's memory, until it is closed.
func (b *Buffer) Bytes() []byte {
	if b.ptr == nil {
		return nil
	}
	return unsafe.Slice((*byte)(C.plimsoll_buffer_data(b.ptr)), int(C.plimsoll_buffer_size(b.ptr)))
}

// Close gives the buffer back to the pool; again it does nothing. It must not run beside Bytes.
func (b *Buffer) Close() error {
	C.plimsoll_pool_release(b.ptr)
	b.ptr = nil
	return nil
}
