package plimsoll

// #include "shim.h"
import "C"

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

// Stream is a running request whose events are pulled:
//
//	stream, err := session.Stream(ctx, request)
//	if err != nil {
//		return err
//	}
//	defer stream.Close()
//	for stream.Next() {
//		fmt.Print(stream.Event().Text)
//	}
//	return stream.Err()
//
// One goroutine reads it; Close may be called by any. Tokens that are not pulled wait in memory that the request has paid
// for, so a slow reader slows nobody.
type Stream struct {
	h       handle[*C.plimsoll_stream]
	session *Session
	run     *run

	mu     sync.Mutex // one reader at a time
	event  Event
	text   strings.Builder
	ended  bool
	result *Result
	err    error
}

// Stream starts a request. Until its end has been read or it is closed, the session runs nothing else: other calls return
// ErrBusy. The answer ends within one step of ctx.
func (s *Session) Stream(ctx context.Context, request *Request) (*Stream, error) {
	r, err := request.build()
	if err != nil {
		return nil, err
	}
	defer C.plimsoll_request_free(r)
	return s.stream(ctx, r, nil)
}

func (s *Session) stream(ctx context.Context, request *C.plimsoll_request, ticket *C.plimsoll_ticket) (*Stream, error) {
	stream := &Stream{session: s}
	stream.h.free = func(ptr *C.plimsoll_stream) { C.plimsoll_stream_free(ptr) }
	err := s.inTurn(ctx, func(ptr *C.plimsoll_session) error {
		run, err := s.begin(ctx)
		if err != nil {
			return err
		}
		stream.run = run
		var e *C.plimsoll_error
		if err := check(C.plimsoll_stream_start(ptr, request, ticket, run.cancel, &stream.h.ptr, &e), e); err != nil {
			s.finish(run)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(stream, func(s *Stream) { go s.Close() })
	return stream, nil
}

// Next waits for the next event, and reports whether there is one. After the last one Err says whether the answer ended by
// itself.
func (s *Stream) Next() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.event = Event{}
	if s.ended {
		return false
	}
	ptr, err := s.h.acquire()
	if err != nil {
		return s.end(err)
	}
	defer s.h.release()
	var event C.plimsoll_event
	event.struct_size = C.size_t(unsafe.Sizeof(event))
	var e *C.plimsoll_error
	if err := check(C.plimsoll_go_stream_next(ptr, &event, &e), e); err != nil {
		return s.end(err)
	}
	if event.kind != C.PLIMSOLL_EVENT_END {
		s.event = eventOf(&event)
		if s.event.Answer == 0 {
			s.text.WriteString(s.event.Text)
		}
		return true
	}
	var r C.plimsoll_result
	r.struct_size = C.size_t(unsafe.Sizeof(r))
	if err := check(C.plimsoll_stream_result(ptr, &r, &e), e); err != nil {
		return s.end(err)
	}
	s.result = resultOf(&r, s.text.String())
	for i := C.uint32_t(1); i < r.answers; i++ {
		other := C.plimsoll_result{struct_size: r.struct_size}
		var text C.plimsoll_str
		if err := check(C.plimsoll_stream_answer(ptr, i, &other, &text, &e), e); err != nil {
			return s.end(err)
		}
		s.result.Others = append(s.result.Others, resultOf(&other, str(&text)))
	}
	return s.end(s.run.outcome(s.result))
}

func (s *Stream) end(err error) bool {
	s.ended, s.err = true, err
	if s.run != nil {
		s.session.finish(s.run)
	}
	return false
}

// Event is the event that the last Next found.
func (s *Stream) Event() Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.event
}

// Err is what ended the stream early, once Next has returned false: the context's error, ErrClosed, or what the engine says.
// It is nil when the answer ended by itself.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Result is the answer and its numbers, once Next has returned false; nil when the request failed, or the stream was closed
// before.
func (s *Stream) Result() *Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.result
}

// Close ends the request within one step, unless it has ended, and gives its bytes back, at the latest when a Next in another
// goroutine has returned. What was read has joined the conversation. Closing again does nothing; the error is always nil.
func (s *Stream) Close() error {
	if s.run == nil {
		return nil
	}
	s.run.end(ErrClosed)
	if s.h.close() {
		runtime.SetFinalizer(s, nil)
		s.session.finish(s.run)
	}
	return nil
}
