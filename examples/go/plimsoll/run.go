package plimsoll

// #include "shim.h"
import "C"

import (
	"context"
	"sync"
)

// run is a request on its way: it knows who ended it early. It holds neither the stream nor the session, so that a stream
// that nobody holds any more is collected although its context is still being watched.
type run struct {
	mu     sync.Mutex
	cancel *C.plimsoll_cancel // nil when the run is over
	cause  error              // what ended it early
	over   chan struct{}      // closed when the run is over
}

// newRun watches ctx until finish.
func newRun(ctx context.Context) (*run, error) {
	r := &run{over: make(chan struct{})}
	var e *C.plimsoll_error
	if err := check(C.plimsoll_cancel_new(&r.cancel, &e), e); err != nil {
		return nil, err
	}
	if done := ctx.Done(); done != nil {
		go func() {
			select {
			case <-done:
				r.end(ctx.Err())
			case <-r.over:
			}
		}()
	}
	return r, nil
}

// end cancels the run within one step, unless it is over. The first cause counts.
func (r *run) end(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil && r.cause == nil {
		r.cause = cause
		C.plimsoll_cancel_raise(r.cancel)
	}
}

// finish says that the run is over; more than once is fine.
func (r *run) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		C.plimsoll_cancel_free(r.cancel)
		r.cancel = nil
		close(r.over)
	}
}

// outcome is the error of a request with this result: what ended it, or any of its answers, early, if anything did.
func (r *run) outcome(result *Result) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if result.Ending == EndingCancelled {
		return r.cause
	}
	for _, other := range result.Others {
		if other.Ending == EndingCancelled {
			return r.cause
		}
	}
	return nil
}
