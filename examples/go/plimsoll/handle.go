package plimsoll

import "sync"

// handle guards a pointer of the library: calls hold it while they use it, and it is freed when it is closed and the last of
// them has returned. So Close neither waits nor pulls anything away from a call in another goroutine.
type handle[P comparable] struct {
	mu     sync.Mutex
	ptr    P
	uses   int
	closed bool
	free   func(P)
}

// acquire returns the pointer, to be given back by release; ErrClosed after close, and for a zero value.
func (h *handle[P]) acquire() (P, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var zero P
	if h.closed || h.ptr == zero {
		return zero, ErrClosed
	}
	h.uses++
	return h.ptr, nil
}

func (h *handle[P]) release() {
	h.mu.Lock()
	h.uses--
	last := h.closed && h.uses == 0
	h.mu.Unlock()
	if last {
		h.free(h.ptr)
	}
}

// close reports whether this call was the first.
func (h *handle[P]) close() bool {
	h.mu.Lock()
	var zero P
	if h.closed || h.ptr == zero {
		h.mu.Unlock()
		return false
	}
	h.closed = true
	unused := h.uses == 0
	h.mu.Unlock()
	if unused {
		h.free(h.ptr)
	}
	return true
}
