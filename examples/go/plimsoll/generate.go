package plimsoll

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"runtime/cgo"
	"strings"
	"time"
	"unsafe"
)

// EventKind says what an event is.
type EventKind int32

// The kinds of events.
const (
	EventToken EventKind = C.PLIMSOLL_EVENT_TOKEN // a token came, with the text that is now certain
	EventText  EventKind = C.PLIMSOLL_EVENT_TEXT  // text that was held back is released; there is no token
)

// Event is something that happened in a running request. It is a copy and may be kept.
type Event struct {
	Kind EventKind
	// Answer is which answer it is of: 0 for the first, which is the only one unless the request asks for more.
	Answer int
	// Text that is now certain: whole characters, and no part of a stop string. Often empty.
	Text string
	// Token is the token's id, for EventToken.
	Token uint32
	// Logprob is the natural logarithm of the token's probability, before sampling settings.
	Logprob float32
	// Top has the likeliest tokens at this position, likeliest first, when the request asked for them.
	Top []Logprob
}

// Logprob is one of the likeliest tokens at a position.
type Logprob struct {
	Token   uint32
	Logprob float32 // the natural logarithm of its probability
}

// Ending says why an answer ended.
type Ending int32

// Why an answer ended.
const (
	EndingEndOfText  Ending = C.PLIMSOLL_ENDING_END_OF_TEXT // the model ended it
	EndingLength     Ending = C.PLIMSOLL_ENDING_LENGTH      // the granted tokens are used up
	EndingStopString Ending = C.PLIMSOLL_ENDING_STOP_STRING // a stop string came
	EndingStopped    Ending = C.PLIMSOLL_ENDING_STOPPED     // the event function returned an error, such as Stop
	EndingCancelled  Ending = C.PLIMSOLL_ENDING_CANCELLED   // its context ended, or its session or stream was closed
	EndingDeadline   Ending = C.PLIMSOLL_ENDING_DEADLINE    // the request's TimeLimit is over
)

var endingNames = map[Ending]string{
	EndingEndOfText:  "end of text",
	EndingLength:     "length",
	EndingStopString: "stop string",
	EndingStopped:    "stopped",
	EndingCancelled:  "cancelled",
	EndingDeadline:   "deadline",
}

// String is the ending's name.
func (e Ending) String() string {
	if name, ok := endingNames[e]; ok {
		return name
	}
	return fmt.Sprintf("ending %d", int32(e))
}

// Result is a finished answer and its numbers. Sizes are bytes.
type Result struct {
	Text            string        // the answer
	Ending          Ending        // why it ended
	Decision        Decision      // what was decided before
	PromptTokens    int           // tokens of the conversation up to where the answer began
	CachedTokens    int           // of these, tokens whose KV the session already held
	GeneratedTokens int           // tokens generated, an end-of-text token left out
	GrantedTokens   int           // MaxTokens granted
	Queued          time.Duration // from submission to the first step
	Prefill         time.Duration // from the first step to the first token
	Decode          time.Duration // from the first token to the last
	TokensPerSecond float64       // generated tokens per second after the first; 0 for fewer than two
	LeasedBytes     uint64        // leased for this request
	KVBytes         uint64        // KV that the session holds now
	BytesFree       uint64        // free in the region of the KV now
	Pressure        Pressure      // how short memory was when it was admitted
	Degraded        Degraded      // what that changed
	Answer          int           // which answer this is; the conversation goes on with 0
	Others          []*Result     // of answer 0, the others' where the request asked for several
}

// Degraded is what memory pressure changed about a request: bits.
type Degraded uint32

// The bits.
const (
	DegradedTokens      Degraded = C.PLIMSOLL_DEGRADED_TOKENS      // fewer tokens
	DegradedTopP        Degraded = C.PLIMSOLL_DEGRADED_TOP_P       // a lower TopP
	DegradedTemperature Degraded = C.PLIMSOLL_DEGRADED_TEMPERATURE // a lower Temperature
)

func resultOf(r *C.plimsoll_result, text string) *Result {
	return &Result{
		Text:            text,
		Ending:          Ending(r.ending),
		Decision:        Decision(r.decision),
		PromptTokens:    int(r.prompt_tokens),
		CachedTokens:    int(r.cached_tokens),
		GeneratedTokens: int(r.generated_tokens),
		GrantedTokens:   int(r.granted_tokens),
		Queued:          micros(r.queued_us),
		Prefill:         micros(r.prefill_us),
		Decode:          micros(r.decode_us),
		TokensPerSecond: float64(r.tokens_per_second),
		LeasedBytes:     uint64(r.leased_bytes),
		KVBytes:         uint64(r.kv_bytes),
		BytesFree:       uint64(r.bytes_free),
		Pressure:        Pressure(r.pressure),
		Degraded:        Degraded(r.degraded),
		Answer:          int(r.answer),
	}
}

func micros(us C.uint64_t) time.Duration {
	const most = uint64(1<<63-1) / uint64(time.Microsecond)
	if uint64(us) > most {
		return 1<<63 - 1
	}
	return time.Duration(us) * time.Microsecond
}

// eventOf copies an event.
func eventOf(e *C.plimsoll_event) Event {
	event := Event{Kind: EventKind(e.kind), Answer: int(e.answer), Text: str(&e.text)}
	if event.Kind == EventToken {
		event.Token, event.Logprob = uint32(e.token), float32(e.logprob)
	}
	if n := int(e.top_count); n > 0 {
		event.Top = make([]Logprob, n)
		for i, top := range unsafe.Slice(e.top, n) {
			event.Top[i] = Logprob{Token: uint32(top.token), Logprob: float32(top.logprob)}
		}
	}
	return event
}

// Generate runs a request and returns when its answer has ended. It is admitted first; a refusal is an *Error with its
// numbers. Requests of one session wait for each other, in arrival order.
//
// onEvent, when not nil, hears of each event on this goroutine. An error that it returns ends the answer and is returned,
// except for Stop. When it panics, so does Generate, once the answer has ended. It may call anything but what runs a request
// of this session, which is ErrReentrant, and must not end its goroutine by runtime.Goexit.
//
// When ctx ends, or the session is closed, the answer ends within one step. The result is then what there is, beside an error
// that says why; it has joined the conversation as any answer does. Otherwise the result is nil when the error is not.
func (s *Session) Generate(ctx context.Context, request *Request, onEvent func(Event) error) (*Result, error) {
	r, err := request.build()
	if err != nil {
		return nil, err
	}
	defer C.plimsoll_request_free(r)
	return s.generate(ctx, r, nil, request.answers(), onEvent)
}

func (s *Session) generate(ctx context.Context, request *C.plimsoll_request, ticket *C.plimsoll_ticket, answers int,
	onEvent func(Event) error) (result *Result, err error) {
	err = s.inTurn(ctx, func(ptr *C.plimsoll_session) error {
		run, err := s.begin(ctx)
		if err != nil {
			return err
		}
		defer s.finish(run)
		g := &generation{session: s, onEvent: onEvent, texts: make([]strings.Builder, answers)}
		call := cgo.NewHandle(g)
		defer call.Delete()
		r := make([]C.plimsoll_result, answers)
		for i := range r {
			r[i].struct_size = C.size_t(unsafe.Sizeof(r[i]))
		}
		var e *C.plimsoll_error
		err = check(C.plimsoll_go_generate(ptr, request, ticket, run.cancel, C.uintptr_t(call), &r[0], C.size_t(answers), &e), e)
		if g.panicked != nil {
			panic(g.panicked)
		}
		if err != nil {
			return err
		}
		result = resultOf(&r[0], g.texts[0].String())
		for i := 1; i < answers; i++ {
			result.Others = append(result.Others, resultOf(&r[i], g.texts[i].String()))
		}
		switch {
		case g.err == nil:
			return run.outcome(result)
		case errors.Is(g.err, Stop):
			return nil
		default:
			return g.err
		}
	})
	return result, err
}

// generation is a running Generate.
type generation struct {
	session  *Session
	onEvent  func(Event) error
	texts    []strings.Builder // of each answer
	err      error             // what onEvent returned
	panicked any               // what onEvent panicked with
}

//export plimsoll_go_on_event
func plimsoll_go_on_event(e *C.plimsoll_event, call C.uintptr_t) (stop C.int32_t) {
	g := cgo.Handle(call).Value().(*generation)
	g.texts[e.answer].Write(view(&e.text))
	if g.onEvent == nil {
		return 0
	}
	g.session.calling.Store(uintptr(C.plimsoll_go_thread()))
	defer func() {
		g.session.calling.Store(0)
		// The frames below are the library's: Generate panics again when it has left them.
		if p := recover(); p != nil {
			g.panicked, stop = p, 1
		}
	}()
	if g.err = g.onEvent(eventOf(e)); g.err != nil {
		return 1
	}
	return 0
}
