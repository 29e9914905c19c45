package plimsoll

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"time"
	"unsafe"
)

// Decision is what the guard decided about a request.
type Decision int32

// The decisions.
const (
	Accept Decision = C.PLIMSOLL_DECISION_ACCEPT // it runs as asked
	Shrink Decision = C.PLIMSOLL_DECISION_SHRINK // it runs with fewer tokens
	Route  Decision = C.PLIMSOLL_DECISION_ROUTE  // another engine takes it
	Reject Decision = C.PLIMSOLL_DECISION_REJECT // it does not run
)

// Pressure is how short memory is.
type Pressure int32

// The levels, and what requests give up for them.
const (
	PressureLow       Pressure = C.PLIMSOLL_PRESSURE_LOW       // nothing
	PressureMedium    Pressure = C.PLIMSOLL_PRESSURE_MEDIUM    // a tenth of MaxTokens; TopP is at most 0.9
	PressureHigh      Pressure = C.PLIMSOLL_PRESSURE_HIGH      // 0.3 of MaxTokens; Temperature is at most 0.5, half of the batch runs
	PressureCritical  Pressure = C.PLIMSOLL_PRESSURE_CRITICAL  // half of MaxTokens; greedy, a quarter of the batch runs
	PressureEmergency Pressure = C.PLIMSOLL_PRESSURE_EMERGENCY // 0.7 of MaxTokens; greedy, one request runs at a time
)

var pressureNames = map[Pressure]string{
	PressureLow: "low", PressureMedium: "medium", PressureHigh: "high", PressureCritical: "critical",
	PressureEmergency: "emergency",
}

// String is the level's name.
func (p Pressure) String() string {
	if name, ok := pressureNames[p]; ok {
		return name
	}
	return fmt.Sprintf("pressure %d", int32(p))
}

var decisionNames = map[Decision]string{Accept: "accept", Shrink: "shrink", Route: "route", Reject: "reject"}

// String is the decision's name.
func (d Decision) String() string {
	if name, ok := decisionNames[d]; ok {
		return name
	}
	return fmt.Sprintf("decision %d", int32(d))
}

// Verdict is what was decided about a request, and every number behind it. Sizes are bytes.
type Verdict struct {
	Decision       Decision
	AskedTokens    int           // MaxTokens asked for
	GrantedTokens  int           // MaxTokens granted; 0 when refused
	FitsTokens     int           // the largest MaxTokens that would be granted now
	BytesAsked     uint64        // new bytes that the request needs
	BytesFree      uint64        // free for it, before anything is evicted
	KVBytes        uint64        // KV of the whole session when the request ends at its longest
	KVHeldBytes    uint64        // of these, what the session holds already
	RequestBytes   uint64        // host bytes of the request itself
	WorkspaceBytes uint64        // the engine's workspace that it shares; paid when the model was loaded
	EvictBytes     uint64        // KV that idle sessions lose for it; their conversations stay
	EvictSessions  int           // how many sessions these are
	RetryAfter     time.Duration // of a refusal, when to try again; negative for a grant and for what can never fit
	Reason         string        // what bounds it, such as "fits", "context", "budget", "session_limit"
	Pressure       Pressure      // how short memory was
	Region         int           // the memory that bounds it: -1 is the host's, else that of the device with this index
	Waited         time.Duration // how long it waited for this
	Position       int           // of a refusal, its place in the line, now or had it waited, from 1; else 0
	LoadBytes      uint64        // what loading its model again takes, of BytesAsked; 0 for one that is loaded
	UnloadBytes    uint64        // what idle models take that are unloaded for it
	UnloadModels   int           // how many models these are
	Answers        int           // how many answers this is about: bytes are those of all together, tokens those of each
	KVRegion       int           // where the KV is: -1 is the host's memory, else that of the device with this index
}

// Err is a refusal as the *Error that running the request would return, and nil for anything else.
func (v Verdict) Err() error {
	if v.Decision != Reject {
		return nil
	}
	e := &Error{
		Code:       ErrMemoryRefused,
		Section:    SectionMemory,
		Message:    fmt.Sprintf("refused (%s): %d bytes asked, %d free", v.Reason, v.BytesAsked, v.BytesFree),
		Retryable:  v.RetryAfter >= 0,
		BytesAsked: v.BytesAsked,
		BytesFree:  v.BytesFree,
		FitsTokens: v.FitsTokens,
		RetryAfter: v.RetryAfter,
	}
	switch v.Reason {
	case "context":
		e.Code, e.Section, e.Retryable = ErrPromptTooLong, SectionRequest, false
	case "busy":
		e.Code, e.Section, e.Retryable = ErrBusy, SectionRequest, true
	case "queue_full":
		e.Code, e.Section, e.Retryable = ErrQueueFull, SectionRequest, true
	}
	return e
}

func verdictOf(v *C.plimsoll_verdict) Verdict {
	return Verdict{
		Decision:       Decision(v.decision),
		AskedTokens:    int(v.asked_tokens),
		GrantedTokens:  int(v.granted_tokens),
		FitsTokens:     int(v.fits_tokens),
		BytesAsked:     uint64(v.bytes_asked),
		BytesFree:      uint64(v.bytes_free),
		KVBytes:        uint64(v.kv_bytes),
		KVHeldBytes:    uint64(v.kv_held_bytes),
		RequestBytes:   uint64(v.request_bytes),
		WorkspaceBytes: uint64(v.workspace_bytes),
		EvictBytes:     uint64(v.evict_bytes),
		EvictSessions:  int(v.evict_sessions),
		RetryAfter:     millis(v.retry_after_ms),
		Reason:         str(&v.reason),
		Pressure:       Pressure(v.pressure),
		Region:         int(v.region),
		Waited:         time.Duration(v.waited_ms) * time.Millisecond,
		Position:       int(v.position),
		LoadBytes:      uint64(v.load_bytes),
		UnloadBytes:    uint64(v.unload_bytes),
		UnloadModels:   int(v.unload_models),
		Answers:        int(v.answers),
		KVRegion:       int(v.kv_region),
	}
}

// WhatIf prices a request against the memory there is now: nothing is granted and nothing changes. A refusal is a verdict,
// whose Err is the error; the error here is what is wrong with the request itself.
func (s *Session) WhatIf(request *Request) (Verdict, error) {
	r, err := request.build()
	if err != nil {
		return Verdict{}, err
	}
	defer C.plimsoll_request_free(r)
	return s.admit(r, nil)
}

// WhatIfJSON is what WhatIf answers as a JSON object: in addition "items", the price line by line, each with "region", "what"
// ("kv", "kv_held", "ring", "buffers", "workspace", "load"), "purpose" (the ledger's column), "bytes", and "new", whether a grant books
// them. "new_bytes" is the sum of the new lines.
func (s *Session) WhatIfJSON(request *Request) ([]byte, error) {
	r, err := request.build()
	if err != nil {
		return nil, err
	}
	defer C.plimsoll_request_free(r)
	ptr, err := s.h.acquire()
	if err != nil {
		return nil, err
	}
	defer s.h.release()
	var text *C.plimsoll_text
	var e *C.plimsoll_error
	if err := check(C.plimsoll_what_if_json(ptr, r, &text, &e), e); err != nil {
		return nil, err
	}
	return []byte(take(text)), nil
}

// Admit prices a request and grants its bytes to a ticket, which runs it. While the ticket is neither used nor closed the
// session runs nothing else. A refusal is an *Error with its numbers.
func (s *Session) Admit(request *Request) (*Ticket, error) {
	r, err := request.build()
	if err != nil {
		return nil, err
	}
	var ticket *C.plimsoll_ticket
	verdict, err := s.admit(r, &ticket)
	if err == nil {
		err = verdict.Err()
	}
	if err != nil {
		C.plimsoll_ticket_free(ticket)
		C.plimsoll_request_free(r)
		return nil, err
	}
	t := &Ticket{session: s, verdict: verdict}
	t.h.ptr, t.h.free = &grant{ticket, r}, (*grant).free
	runtime.SetFinalizer(t, func(t *Ticket) { go t.Close() })
	return t, nil
}

func (s *Session) admit(request *C.plimsoll_request, ticket **C.plimsoll_ticket) (Verdict, error) {
	ptr, err := s.h.acquire()
	if err != nil {
		return Verdict{}, err
	}
	defer s.h.release()
	var v C.plimsoll_verdict
	v.struct_size = C.size_t(unsafe.Sizeof(v))
	var e *C.plimsoll_error
	if err := check(C.plimsoll_admit(ptr, request, &v, ticket, &e), e); err != nil {
		return Verdict{}, err
	}
	return verdictOf(&v), nil
}

// Ticket is the bytes granted for one run of one request. They return when the run ends, when the ticket is closed, or when
// it expires.
type Ticket struct {
	h       handle[*grant]
	session *Session
	verdict Verdict
}

// grant is a ticket with the request that it is good for.
type grant struct {
	ticket  *C.plimsoll_ticket
	request *C.plimsoll_request
}

func (g *grant) free() {
	C.plimsoll_ticket_free(g.ticket)
	C.plimsoll_request_free(g.request)
}

// Verdict is what was decided.
func (t *Ticket) Verdict() Verdict {
	return t.verdict
}

// JSON is what was granted, as Session.WhatIfJSON writes it, each line with its "owner" in the ledger.
func (t *Ticket) JSON() ([]byte, error) {
	g, err := t.h.acquire()
	if err != nil {
		return nil, err
	}
	defer t.h.release()
	var text *C.plimsoll_text
	var e *C.plimsoll_error
	if err := check(C.plimsoll_ticket_json(g.ticket, &text, &e), e); err != nil {
		return nil, err
	}
	return []byte(take(text)), nil
}

// Generate runs the ticket's request as Session.Generate does. A second run is ErrTicketConsumed.
func (t *Ticket) Generate(ctx context.Context, onEvent func(Event) error) (*Result, error) {
	g, err := t.h.acquire()
	if err != nil {
		return nil, err
	}
	defer t.h.release()
	return t.session.generate(ctx, g.request, g.ticket, t.verdict.Answers, onEvent)
}

// Stream starts the ticket's request as Session.Stream does. A second run is ErrTicketConsumed.
func (t *Ticket) Stream(ctx context.Context) (*Stream, error) {
	g, err := t.h.acquire()
	if err != nil {
		return nil, err
	}
	defer t.h.release()
	return t.session.stream(ctx, g.request, g.ticket)
}

// Close returns the bytes of a ticket that did not run; a run that consumed it goes on. Closing again does nothing; the
// error is always nil.
func (t *Ticket) Close() error {
	if t.h.close() {
		runtime.SetFinalizer(t, nil)
	}
	return nil
}
