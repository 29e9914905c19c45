package plimsoll

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"time"
)

// ErrClosed is the error of every call on a handle that is closed, and of a call whose handle is closed while it runs.
var ErrClosed = errors.New("plimsoll: the handle is closed")

// Stop, returned by the function that Generate calls for each event, ends the answer without making it an error.
var Stop = errors.New("plimsoll: stop")

// Code says what went wrong. Each constant is an error of its own, for errors.Is:
//
//	if errors.Is(err, plimsoll.ErrMemoryRefused) { ... }
type Code int32

// The codes: 1xx are the caller's mistakes, 2xx resources, 3xx model and engine, 9xx internal.
const (
	ErrInvalidArgument   Code = C.PLIMSOLL_ERR_INVALID_ARGUMENT    // an argument is out of its range
	ErrNullPointer       Code = C.PLIMSOLL_ERR_NULL_POINTER        // a required pointer is NULL
	ErrInvalidUTF8       Code = C.PLIMSOLL_ERR_INVALID_UTF8        // text is not UTF-8
	ErrInvalidConfig     Code = C.PLIMSOLL_ERR_INVALID_CONFIG      // a key is unknown or its value does not parse
	ErrInvalidStructSize Code = C.PLIMSOLL_ERR_INVALID_STRUCT_SIZE // a struct's size is not set
	ErrReentrant         Code = C.PLIMSOLL_ERR_REENTRANT           // a call on a session from inside its own callback
	ErrTicketExpired     Code = C.PLIMSOLL_ERR_TICKET_EXPIRED      // the ticket's time is over; its bytes are back
	ErrTicketConsumed    Code = C.PLIMSOLL_ERR_TICKET_CONSUMED     // the ticket was used before
	ErrTicketMismatch    Code = C.PLIMSOLL_ERR_TICKET_MISMATCH     // the ticket was granted for another turn
	ErrPoisoned          Code = C.PLIMSOLL_ERR_POISONED            // the library failed in this handle before
	ErrUnsupported       Code = C.PLIMSOLL_ERR_UNSUPPORTED         // the library has not yet this use of the call
	ErrEmptyRequest      Code = C.PLIMSOLL_ERR_EMPTY_REQUEST       // the request has no message, no text and no tokens
	ErrPromptTooLong     Code = C.PLIMSOLL_ERR_PROMPT_TOO_LONG     // the conversation does not fit in the model's context
	ErrInvalidToken      Code = C.PLIMSOLL_ERR_INVALID_TOKEN       // a token id is not below the vocabulary's size
	ErrMemoryRefused     Code = C.PLIMSOLL_ERR_MEMORY_REFUSED      // the bytes are not there; the error has the numbers
	ErrOutOfMemory       Code = C.PLIMSOLL_ERR_OUT_OF_MEMORY       // the system refused memory that had been granted
	ErrQueueFull         Code = C.PLIMSOLL_ERR_QUEUE_FULL          // too many requests wait
	ErrBusy              Code = C.PLIMSOLL_ERR_BUSY                // the session has a stream or a ticket outstanding; or another goroutine cleans up
	ErrModelNotFound     Code = C.PLIMSOLL_ERR_MODEL_NOT_FOUND     // no model at this path, or a file is unreadable
	ErrModelMalformed    Code = C.PLIMSOLL_ERR_MODEL_MALFORMED     // a file is damaged or contradicts itself
	ErrModelUnsupported  Code = C.PLIMSOLL_ERR_MODEL_UNSUPPORTED   // the model is of a kind that is not supported
	ErrTokenizer         Code = C.PLIMSOLL_ERR_TOKENIZER           // the tokenizer cannot be built, or encode a text
	ErrTemplate          Code = C.PLIMSOLL_ERR_TEMPLATE            // the chat template is missing, failed, or went too far
	ErrEngineFailed      Code = C.PLIMSOLL_ERR_ENGINE_FAILED       // the engine failed while it ran a request
	ErrEngineClosed      Code = C.PLIMSOLL_ERR_ENGINE_CLOSED       // the engine is shutting down
	ErrLoadCancelled     Code = C.PLIMSOLL_ERR_LOAD_CANCELLED      // loading was stopped by its context or OnProgress
	ErrInternal          Code = C.PLIMSOLL_ERR_INTERNAL            // a fault of plimsoll
)

var codeNames = map[Code]string{
	ErrInvalidArgument:   "invalid argument",
	ErrNullPointer:       "null pointer",
	ErrInvalidUTF8:       "invalid UTF-8",
	ErrInvalidConfig:     "invalid configuration",
	ErrInvalidStructSize: "invalid struct size",
	ErrReentrant:         "reentrant call",
	ErrTicketExpired:     "ticket expired",
	ErrTicketConsumed:    "ticket consumed",
	ErrTicketMismatch:    "ticket mismatch",
	ErrPoisoned:          "poisoned handle",
	ErrUnsupported:       "unsupported",
	ErrEmptyRequest:      "empty request",
	ErrPromptTooLong:     "prompt too long",
	ErrInvalidToken:      "invalid token",
	ErrMemoryRefused:     "memory refused",
	ErrOutOfMemory:       "out of memory",
	ErrQueueFull:         "queue full",
	ErrBusy:              "session busy",
	ErrModelNotFound:     "model not found",
	ErrModelMalformed:    "malformed model",
	ErrModelUnsupported:  "unsupported model",
	ErrTokenizer:         "tokenizer",
	ErrTemplate:          "chat template",
	ErrEngineFailed:      "engine failed",
	ErrEngineClosed:      "engine closed",
	ErrLoadCancelled:     "load cancelled",
	ErrInternal:          "internal error",
}

// Error is the code's name, so that a code is an error by itself.
func (c Code) Error() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("error %d", int32(c))
}

// Section is the part of the library that an error belongs to.
type Section int32

// The sections.
const (
	SectionRequest        Section = C.PLIMSOLL_SECTION_REQUEST        // arguments, configuration and requests
	SectionLoading        Section = C.PLIMSOLL_SECTION_LOADING        // reading models
	SectionMemory         Section = C.PLIMSOLL_SECTION_MEMORY         // memory and admission
	SectionGeneration     Section = C.PLIMSOLL_SECTION_GENERATION     // running models
	SectionCleanup        Section = C.PLIMSOLL_SECTION_CLEANUP        // freeing and evicting
	SectionHealth         Section = C.PLIMSOLL_SECTION_HEALTH         // engines' health
	SectionAuthentication Section = C.PLIMSOLL_SECTION_AUTHENTICATION // credentials
	SectionInternal       Section = C.PLIMSOLL_SECTION_INTERNAL       // plimsoll's own faults
)

var sectionNames = map[Section]string{
	SectionRequest:        "request",
	SectionLoading:        "loading",
	SectionMemory:         "memory",
	SectionGeneration:     "generation",
	SectionCleanup:        "cleanup",
	SectionHealth:         "health",
	SectionAuthentication: "authentication",
	SectionInternal:       "internal",
}

// String is the section's name.
func (s Section) String() string {
	if name, ok := sectionNames[s]; ok {
		return name
	}
	return fmt.Sprintf("section %d", int32(s))
}

// Error is what the library says of a failed call. Find it with errors.As, its code alone with errors.Is.
type Error struct {
	// Code says what went wrong.
	Code Code
	// Section is the part of the library that it belongs to.
	Section Section
	// Message has the causes too; at most about 1 KiB, control characters escaped.
	Message string
	// Retryable is true when the same call may succeed later without a change.
	Retryable bool

	// BytesAsked is, of a refusal, what was asked for.
	BytesAsked uint64
	// BytesFree is, of a refusal, what was free for it.
	BytesFree uint64
	// FitsTokens is, of a refusal, the largest MaxTokens that would have been granted.
	FitsTokens int
	// RetryAfter is, of a refusal, when to try again; negative when it can never fit or no time is known.
	RetryAfter time.Duration

	cause error
}

// Error is the code's name with the message.
func (e *Error) Error() string {
	return "plimsoll: " + e.Code.Error() + ": " + e.Message
}

// Is reports whether target is the error's code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Unwrap is what made the caller's own side stop the call: a context's error, or what OnProgress returned.
func (e *Error) Unwrap() error {
	return e.cause
}

// check makes an error of a status, and frees the library's.
func check(status C.plimsoll_status, e *C.plimsoll_error) error {
	if status == C.PLIMSOLL_OK {
		return nil
	}
	defer C.plimsoll_error_free(e)
	message := C.plimsoll_go_error_message(e)
	return &Error{
		Code:       Code(status),
		Section:    Section(C.plimsoll_error_section(e)),
		Message:    str(&message),
		Retryable:  C.plimsoll_error_is_retryable(e) != 0,
		BytesAsked: uint64(C.plimsoll_error_bytes_asked(e)),
		BytesFree:  uint64(C.plimsoll_error_bytes_free(e)),
		FitsTokens: int(C.plimsoll_error_fits_tokens(e)),
		RetryAfter: millis(C.plimsoll_error_retry_after_ms(e)),
	}
}

// millis is a duration of the library; -1 stays below zero, and a duration that Go has no room for becomes the longest.
func millis(ms C.int64_t) time.Duration {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	if int64(ms) > most {
		return 1<<63 - 1
	}
	return time.Duration(ms) * time.Millisecond
}

func invalid(format string, args ...any) error {
	return &Error{
		Code:       ErrInvalidArgument,
		Section:    SectionRequest,
		Message:    fmt.Sprintf(format, args...),
		RetryAfter: -time.Millisecond,
	}
}
