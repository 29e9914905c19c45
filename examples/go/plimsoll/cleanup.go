package plimsoll

// #include "shim.h"
import "C"

import (
	"math"
	"runtime/cgo"
)

// EverythingWanted is what a cleanup function is told when all that can be freed should be.
const EverythingWanted = math.MaxUint64

// CleanupID names a registered cleanup function.
type CleanupID uint64

// OnCleanup registers a function that frees memory in cleanups, after those that were registered before it. It gets the number of
// bytes that are needed and returns how many it believes to have freed. Any call may be made inside but Cleanup. What it panics
// with counts as a failure, which the statistics show; the next one runs.
func (r *Runtime) OnCleanup(name string, fn func(wanted uint64) (freed uint64)) (CleanupID, error) {
	ptr, err := r.h.acquire()
	if err != nil {
		return 0, err
	}
	defer r.h.release()
	var call C.uintptr_t
	if fn != nil {
		// Deleted by plimsoll_go_on_drop, which the library calls exactly once, also when this call fails.
		call = C.uintptr_t(cgo.NewHandle(fn))
	}
	cname, cnameLen := chars(name)
	var id C.uint64_t
	var e *C.plimsoll_error
	if err := check(C.plimsoll_go_cleanup_register(ptr, cname, cnameLen, call, &id, &e), e); err != nil {
		return 0, err
	}
	return CleanupID(id), nil
}

// RemoveCleanup takes a cleanup function back, also from inside it. If a cleanup runs it now, that goes on to its end.
func (r *Runtime) RemoveCleanup(id CleanupID) error {
	ptr, err := r.h.acquire()
	if err != nil {
		return err
	}
	defer r.h.release()
	var e *C.plimsoll_error
	return check(C.plimsoll_cleanup_unregister(ptr, C.uint64_t(id), &e), e)
}

// Cleanup frees what can be: caches and pools, the KV of all idle sessions, whose conversations stay, and what registered
// functions free. It returns the bytes that came back by the books and by a reading of the machine. While another goroutine
// cleans up it fails with ErrBusy, from a cleanup function with ErrReentrant.
func (r *Runtime) Cleanup() (freed uint64, err error) {
	ptr, err := r.h.acquire()
	if err != nil {
		return 0, err
	}
	defer r.h.release()
	var bytes C.uint64_t
	var e *C.plimsoll_error
	if err := check(C.plimsoll_memory_cleanup(ptr, &bytes, &e), e); err != nil {
		return 0, err
	}
	return uint64(bytes), nil
}

//export plimsoll_go_on_cleanup
func plimsoll_go_on_cleanup(wanted C.uint64_t, call C.uintptr_t) (freed C.uint64_t) {
	fn := cgo.Handle(call).Value().(func(uint64) uint64)
	defer func() {
		// The frames below are the library's: a panic must not run through them.
		if recover() != nil {
			freed = math.MaxUint64 // it failed
		}
	}()
	return C.uint64_t(fn(uint64(wanted)))
}
