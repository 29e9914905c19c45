package plimsoll

// #include "shim.h"
import "C"

import (
	"math"
	"time"
	"unsafe"
)

// Message is one message of a conversation.
type Message struct {
	Role    string // who speaks: "system", "user", "assistant", "tool"
	Content string // what is said
	// JSON, unless empty, is the whole message instead: an object with "role" and such fields as "content", "tool_calls" and
	// "tool_call_id", as OpenAI's chat format has them.
	JSON string
}

// Request is what to say, how to choose tokens and when to stop. Of Messages, Text and Tokens exactly one is set; every
// other zero value is the default. The library copies it: it may be changed and used again, also while it runs.
type Request struct {
	// Messages go through the model's chat template together with the session's conversation.
	Messages []Message
	// Tools are the functions that the model may call: a JSON list of descriptions, as OpenAI's chat format has them. The
	// template renders them with the whole conversation: give each turn of a session the same.
	Tools string
	// Text is appended to the session's text as it is, without a template.
	Text string
	// Tokens are appended to the session's tokens as they are.
	Tokens []uint32

	// MaxTokens is the most tokens to generate. 0: 512. The guard may grant fewer, down to MinTokens.
	MaxTokens int
	// MinTokens is the fewest granted tokens that are still worth running. 0: 1. Equal to MaxTokens, the request is refused
	// rather than shrunk.
	MinTokens int

	// Answers is how many to generate side by side, at most 128. 0: 1. All are granted or none, at the price of one as often. The
	// conversation goes on with the first. Answer i, counted from 0, draws with Seed + i.
	Answers int

	// Temperature is how much chance there is in the choice of tokens. 0 always takes the likeliest.
	Temperature float32
	// TopK chooses among so many of the likeliest tokens. 0: among all.
	TopK int
	// TopP chooses among the likeliest tokens whose probabilities reach this sum. 0: among all.
	TopP float32
	// MinP chooses among tokens at least this fraction as likely as the likeliest. 0: among all.
	MinP float32
	// RepetitionPenalty divides the positive and multiplies the negative logits of tokens already seen. 0: 1, which is none.
	RepetitionPenalty float32
	// PresencePenalty is subtracted from the logit of every token generated before.
	PresencePenalty float32
	// FrequencyPenalty is subtracted from a token's logit for each time it was generated before.
	FrequencyPenalty float32
	// Seed of the draws: the same one gives the same text. nil: each run draws its own. Seed(42) makes one.
	Seed *uint64
	// TopLogprobs is how many of the likeliest tokens are reported with each token, at most 20.
	TopLogprobs int

	// Stop has texts that end the answer and are no part of it.
	Stop []string
	// Firm refuses the request while memory is under pressure, rather than give it fewer tokens and tamer sampling.
	Firm bool
	// IgnoreEOS generates on after end-of-text tokens.
	IgnoreEOS bool
	// TimeLimit ends the answer so long after its start, which is no error: the result says EndingDeadline. 0: none. Whole
	// milliseconds; less than one counts as one.
	TimeLimit time.Duration
	// Wait is how long the request may wait for memory before it is refused; 0 refuses it at once. Those who wait are served in
	// order of Priority, and within one in order of arrival. Whole milliseconds; less than one counts as one.
	Wait time.Duration
	// Priority is its place among those who wait: before all of a lower one. From -128 to 127.
	Priority int
}

// Ask is a request of one user message.
func Ask(content string) *Request {
	return &Request{Messages: []Message{{Role: "user", Content: content}}}
}

// Seed is a seed for a request.
func Seed(value uint64) *uint64 {
	return &value
}

// answers is how many it asks for.
func (r *Request) answers() int {
	if r.Answers < 1 {
		return 1
	}
	return r.Answers
}

// build makes the library's request, which the caller frees.
func (r *Request) build() (*C.plimsoll_request, error) {
	if r == nil {
		return nil, invalid("the request is nil")
	}
	var b requestBuilder
	b.do(func(e **C.plimsoll_error) C.plimsoll_status { return C.plimsoll_request_new(&b.ptr, e) })
	b.content(r)
	b.sampling(r)
	b.ending(r)
	if b.err != nil {
		C.plimsoll_request_free(b.ptr)
		return nil, b.err
	}
	return b.ptr, nil
}

// requestBuilder keeps the first error, after which it does nothing more.
type requestBuilder struct {
	ptr *C.plimsoll_request
	err error
}

func (b *requestBuilder) do(call func(e **C.plimsoll_error) C.plimsoll_status) {
	if b.err == nil {
		var e *C.plimsoll_error
		status := call(&e)
		b.err = check(status, e)
	}
}

// integer sets a number that is 0 by default.
func (b *requestBuilder) integer(name string, value int, set func(C.uint32_t, **C.plimsoll_error) C.plimsoll_status) {
	switch {
	case b.err != nil || value == 0:
	case value < 0 || uint64(value) > math.MaxUint32:
		b.err = invalid("%s is %d; it must be from 0 to %d", name, value, uint32(math.MaxUint32))
	default:
		b.do(func(e **C.plimsoll_error) C.plimsoll_status { return set(C.uint32_t(value), e) })
	}
}

// real sets a number for which 0 is the default.
func (b *requestBuilder) real(value float32, set func(C.float, **C.plimsoll_error) C.plimsoll_status) {
	if value != 0 {
		b.do(func(e **C.plimsoll_error) C.plimsoll_status { return set(C.float(value), e) })
	}
}

func (b *requestBuilder) content(r *Request) {
	kinds := 0
	for _, set := range []bool{len(r.Messages) > 0, r.Text != "", len(r.Tokens) > 0} {
		if set {
			kinds++
		}
	}
	if kinds > 1 && b.err == nil {
		b.err = invalid("of Messages, Text and Tokens a request has exactly one")
	}
	for _, message := range r.Messages {
		if message.JSON != "" {
			json, jsonLen := chars(message.JSON)
			b.do(func(e **C.plimsoll_error) C.plimsoll_status {
				return C.plimsoll_request_add_message_json(b.ptr, json, jsonLen, e)
			})
			continue
		}
		role, roleLen := chars(message.Role)
		content, contentLen := chars(message.Content)
		b.do(func(e **C.plimsoll_error) C.plimsoll_status {
			return C.plimsoll_request_add_message(b.ptr, role, roleLen, content, contentLen, e)
		})
	}
	if r.Tools != "" {
		json, jsonLen := chars(r.Tools)
		b.do(func(e **C.plimsoll_error) C.plimsoll_status {
			return C.plimsoll_request_set_tools(b.ptr, json, jsonLen, e)
		})
	}
	if r.Text != "" {
		content, contentLen := chars(r.Text)
		b.do(func(e **C.plimsoll_error) C.plimsoll_status {
			return C.plimsoll_request_set_text(b.ptr, content, contentLen, e)
		})
	}
	if len(r.Tokens) > 0 {
		first := (*C.uint32_t)(unsafe.Pointer(&r.Tokens[0]))
		b.do(func(e **C.plimsoll_error) C.plimsoll_status {
			return C.plimsoll_request_set_tokens(b.ptr, first, C.size_t(len(r.Tokens)), e)
		})
	}
}

func (b *requestBuilder) sampling(r *Request) {
	type status = C.plimsoll_status
	type failure = **C.plimsoll_error
	b.real(r.Temperature, func(v C.float, e failure) status { return C.plimsoll_request_set_temperature(b.ptr, v, e) })
	b.integer("TopK", r.TopK, func(v C.uint32_t, e failure) status { return C.plimsoll_request_set_top_k(b.ptr, v, e) })
	b.real(r.TopP, func(v C.float, e failure) status { return C.plimsoll_request_set_top_p(b.ptr, v, e) })
	b.real(r.MinP, func(v C.float, e failure) status { return C.plimsoll_request_set_min_p(b.ptr, v, e) })
	b.real(r.RepetitionPenalty, func(v C.float, e failure) status {
		return C.plimsoll_request_set_repetition_penalty(b.ptr, v, e)
	})
	b.real(r.PresencePenalty, func(v C.float, e failure) status {
		return C.plimsoll_request_set_presence_penalty(b.ptr, v, e)
	})
	b.real(r.FrequencyPenalty, func(v C.float, e failure) status {
		return C.plimsoll_request_set_frequency_penalty(b.ptr, v, e)
	})
	if r.Seed != nil {
		b.do(func(e failure) status { return C.plimsoll_request_set_seed(b.ptr, C.uint64_t(*r.Seed), e) })
	}
	b.integer("TopLogprobs", r.TopLogprobs, func(v C.uint32_t, e failure) status {
		return C.plimsoll_request_set_top_logprobs(b.ptr, v, e)
	})
}

func (b *requestBuilder) ending(r *Request) {
	type status = C.plimsoll_status
	type failure = **C.plimsoll_error
	b.integer("MaxTokens", r.MaxTokens, func(v C.uint32_t, e failure) status {
		return C.plimsoll_request_set_max_tokens(b.ptr, v, e)
	})
	b.integer("MinTokens", r.MinTokens, func(v C.uint32_t, e failure) status {
		return C.plimsoll_request_set_min_tokens(b.ptr, v, e)
	})
	b.integer("Answers", r.Answers, func(v C.uint32_t, e failure) status {
		return C.plimsoll_request_set_answers(b.ptr, v, e)
	})
	for _, stop := range r.Stop {
		content, contentLen := chars(stop)
		b.do(func(e failure) status { return C.plimsoll_request_add_stop(b.ptr, content, contentLen, e) })
	}
	if r.IgnoreEOS {
		b.do(func(e failure) status { return C.plimsoll_request_set_ignore_eos(b.ptr, 1, e) })
	}
	if r.Firm {
		b.do(func(e failure) status { return C.plimsoll_request_set_degradable(b.ptr, 0, e) })
	}
	b.time("TimeLimit", r.TimeLimit, func(ms C.uint64_t, e failure) status {
		return C.plimsoll_request_set_deadline_ms(b.ptr, ms, e)
	})
	b.time("Wait", r.Wait, func(ms C.uint64_t, e failure) status {
		return C.plimsoll_request_set_wait_ms(b.ptr, ms, e)
	})
	if r.Priority < math.MinInt8 || r.Priority > math.MaxInt8 {
		b.err = invalid("Priority is %d; it must be from %d to %d", r.Priority, math.MinInt8, math.MaxInt8)
	}
	if r.Priority != 0 {
		b.do(func(e failure) status { return C.plimsoll_request_set_priority(b.ptr, C.int32_t(r.Priority), e) })
	}
}

// time sets whole milliseconds, rounded up, where there are any.
func (b *requestBuilder) time(name string, value time.Duration, set func(C.uint64_t, **C.plimsoll_error) C.plimsoll_status) {
	if value < 0 && b.err == nil {
		b.err = invalid("%s is %v; it must not be negative", name, value)
	}
	if value > 0 {
		ms := (value + time.Millisecond - 1) / time.Millisecond
		if value > math.MaxInt64-time.Millisecond {
			ms = value / time.Millisecond
		}
		b.do(func(e **C.plimsoll_error) C.plimsoll_status { return set(C.uint64_t(ms), e) })
	}
}
