package plimsoll

// #include "shim.h"
import "C"

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// SessionOptions are the settings of a session. The zero value is every default.
type SessionOptions struct {
	// Config sets keys that begin with "session.", such as "session.kv_limit_mb".
	Config Config
}

// Session is a conversation with a model: each request adds to it. Its methods may be called by several goroutines at once;
// its requests run one at a time, those of different sessions together. A call that waits occupies an OS thread.
type Session struct {
	h handle[*C.plimsoll_session]
	// Whose turn it is. The library knows too, but there a context cannot end the wait.
	turn chan struct{}
	// The thread on which an event function of this session is running right now, else 0.
	calling atomic.Uintptr

	mu     sync.Mutex
	closed chan struct{}
	runs   map[*run]struct{}
}

// Open opens a session; nil is every default. Close it to give its KV back.
func (m *Model) Open(options *SessionOptions) (*Session, error) {
	ptr, err := m.h.acquire()
	if err != nil {
		return nil, err
	}
	defer m.h.release()
	if options == nil {
		options = &SessionOptions{}
	}
	config, err := options.Config.build()
	if err != nil {
		return nil, err
	}
	defer C.plimsoll_config_free(config)
	s := &Session{turn: make(chan struct{}, 1), closed: make(chan struct{}), runs: map[*run]struct{}{}}
	s.h.free = func(ptr *C.plimsoll_session) { C.plimsoll_session_free(ptr) }
	var e *C.plimsoll_error
	if err := check(C.plimsoll_session_open(ptr, config, &s.h.ptr, &e), e); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(s, func(s *Session) { go s.Close() })
	return s, nil
}

// Close ends what runs or waits in the session, which then returns ErrClosed, and closes it. Its KV is back when the last of
// these has returned. Closing again does nothing; the error is always nil.
func (s *Session) Close() error {
	if !s.h.close() {
		return nil
	}
	runtime.SetFinalizer(s, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.closed)
	for r := range s.runs {
		r.end(ErrClosed)
	}
	return nil
}

// ID is the session's id, as in the memory statistics; 0 when it is closed.
func (s *Session) ID() uint64 {
	ptr, err := s.h.acquire()
	if err != nil {
		return 0
	}
	defer s.h.release()
	return uint64(C.plimsoll_session_id(ptr))
}

// KVBytes is the bytes of KV that the session holds now; 0 when it is closed.
func (s *Session) KVBytes() uint64 {
	ptr, err := s.h.acquire()
	if err != nil {
		return 0
	}
	defer s.h.release()
	return uint64(C.plimsoll_session_kv_bytes(ptr))
}

// Reset forgets the conversation and gives its KV back. It waits behind the session's requests; behind an open stream it
// returns ErrBusy.
func (s *Session) Reset(ctx context.Context) error {
	return s.inTurn(ctx, func(ptr *C.plimsoll_session) error {
		var e *C.plimsoll_error
		return check(C.plimsoll_session_reset(ptr, &e), e)
	})
}

// Evict gives the session's KV back, says how many bytes that were, and keeps the conversation: the next request computes it
// again. It waits as Reset does.
func (s *Session) Evict(ctx context.Context) (freed uint64, err error) {
	err = s.inTurn(ctx, func(ptr *C.plimsoll_session) error {
		var n C.uint64_t
		var e *C.plimsoll_error
		err := check(C.plimsoll_session_evict(ptr, &n, &e), e)
		freed = uint64(n)
		return err
	})
	return freed, err
}

// inTurn calls fn when no request of the session runs.
func (s *Session) inTurn(ctx context.Context, fn func(*C.plimsoll_session) error) error {
	ptr, err := s.h.acquire()
	if err != nil {
		return err
	}
	defer s.h.release()
	if err := s.wait(ctx); err != nil {
		return err
	}
	defer func() { <-s.turn }()
	return fn(ptr)
}

// wait takes the turn, in arrival order.
func (s *Session) wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.inside() {
		return &Error{
			Code:       ErrReentrant,
			Section:    SectionRequest,
			Message:    "a request of this session runs on this very goroutine",
			RetryAfter: -1,
		}
	}
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return ErrClosed
	}
}

// inside reports whether this is the goroutine of an event function of the session. Such a goroutine is bound to its thread;
// binding ours makes sure that the thread is not another's by the time it is compared.
func (s *Session) inside() bool {
	if s.calling.Load() == 0 {
		return false
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return s.calling.Load() == uintptr(C.plimsoll_go_thread())
}

// begin makes a run that Close ends.
func (s *Session) begin(ctx context.Context) (*run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return nil, ErrClosed
	default:
	}
	r, err := newRun(ctx)
	if err == nil {
		s.runs[r] = struct{}{}
	}
	return r, err
}

// finish ends what begin began; more than once is fine.
func (s *Session) finish(r *run) {
	s.mu.Lock()
	delete(s.runs, r)
	s.mu.Unlock()
	r.finish()
}
