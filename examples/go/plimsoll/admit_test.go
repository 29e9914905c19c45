package plimsoll_test

import (
	"encoding/json"
	"testing"
	"time"

	"plimsoll.example/plimsoll"
)

func TestWhatIfIsAdmit(t *testing.T) {
	runtime, _, session := with(t, tiny)
	request := ask("hello", 20)
	before := memory(t, runtime)
	guess, err := session.WhatIf(request)
	noError(t, err)
	noError(t, guess.Err())
	equal(t, "bytes used", memory(t, runtime).Used, before.Used)
	equal(t, "requests accepted", memory(t, runtime).Accepted, before.Accepted)
	ticket, err := session.Admit(request)
	noError(t, err)
	equal(t, "the verdict", ticket.Verdict(), guess)
	equal(t, "the decision", guess.Decision, plimsoll.Accept)
	equal(t, "the reason", guess.Reason, "fits")
	equal(t, "the tokens", guess.GrantedTokens, 20)
	equal(t, "bytes used", memory(t, runtime).Used-before.Used, guess.BytesAsked)
	written, err := ticket.JSON()
	noError(t, err)
	var price struct {
		New   uint64 `json:"new_bytes"`
		Items []struct {
			Owner string
			New   bool
			Bytes uint64
		}
	}
	noError(t, json.Unmarshal(written, &price))
	for _, item := range price.Items {
		if item.New {
			price.New -= item.Bytes
		}
		equal(t, "the owner is named", item.Owner != "", true)
	}
	equal(t, "what the lines leave of the sum", price.New, 0)
	noError(t, ticket.Close())
	_, err = ticket.JSON()
	wantError(t, err, plimsoll.ErrClosed)
	written, err = session.WhatIfJSON(request)
	noError(t, err)
	noError(t, json.Unmarshal(written, &price))
	equal(t, "bytes of a what-if", price.New, guess.BytesAsked)
	noError(t, ticket.Close())
	equal(t, "bytes used", memory(t, runtime).Used, before.Used)
	_, err = ticket.Generate(background, nil)
	wantError(t, err, plimsoll.ErrClosed)
	_, err = ticket.Stream(background)
	wantError(t, err, plimsoll.ErrClosed)
}

func TestATicketRunsOnce(t *testing.T) {
	runtime, model, session := with(t, tiny)
	request := ask("hello", 20)
	ticket, err := session.Admit(request)
	noError(t, err)
	defer ticket.Close()
	_, err = session.Generate(background, request, nil)
	wantError(t, err, plimsoll.ErrBusy)
	request.MaxTokens = 1 // the ticket has its own copy
	result, err := ticket.Generate(background, nil)
	noError(t, err)
	equal(t, "the tokens", result.GeneratedTokens, 20)
	equal(t, "the bytes", result.LeasedBytes, ticket.Verdict().BytesAsked)
	_, err = ticket.Generate(background, nil)
	wantError(t, err, plimsoll.ErrTicketConsumed)
	_, err = ticket.Stream(background)
	wantError(t, err, plimsoll.ErrTicketConsumed)
	another, err := session.Admit(ask("more", 5))
	noError(t, err)
	stream, err := another.Stream(background)
	noError(t, err)
	noError(t, another.Close()) // the run goes on
	_, tokens := pull(stream)
	noError(t, stream.Err())
	equal(t, "the tokens", len(tokens), 5)
	idle(t, runtime, model)
}

func TestATicketExpires(t *testing.T) {
	runtime := newRuntime(t, &plimsoll.RuntimeOptions{TicketTTL: 50 * time.Millisecond})
	session := open(t, load(t, runtime, tiny))
	ticket, err := session.Admit(ask("hello", 8))
	noError(t, err)
	defer ticket.Close()
	soon(t, "the bytes are back", func() bool { return memory(t, runtime).Requests == 0 })
	_, err = ticket.Generate(background, nil)
	wantError(t, err, plimsoll.ErrTicketExpired)
}

func TestShrink(t *testing.T) {
	facts, err := load(t, newRuntime(t, nil), tiny).Facts()
	noError(t, err)
	session := open(t, load(t, exactly(t, facts.Weights+facts.Workspace+facts.Host+20000), tiny))
	verdict, err := session.WhatIf(ask("hello", 200))
	noError(t, err)
	equal(t, "the decision", verdict.Decision, plimsoll.Shrink)
	equal(t, "the tokens asked", verdict.AskedTokens, 200)
	result, err := session.Generate(background, ask("hello", 200), nil)
	noError(t, err)
	equal(t, "the decision", result.Decision, plimsoll.Shrink)
	equal(t, "the tokens", result.GeneratedTokens, verdict.GrantedTokens)
	equal(t, "the tokens that fit", verdict.FitsTokens, verdict.GrantedTokens)
}

func TestPromptsBeyondTheContext(t *testing.T) {
	_, _, session := with(t, tiny)
	_, err := session.WhatIf(&plimsoll.Request{Tokens: make([]uint32, 300)})
	wantError(t, err, plimsoll.ErrPromptTooLong)
	request := ask("hello", 300)
	request.MinTokens = 300
	verdict, err := session.WhatIf(request)
	noError(t, err)
	equal(t, "the reason", verdict.Reason, "context")
	_, err = session.Generate(background, request, nil)
	wantError(t, err, plimsoll.ErrPromptTooLong)
	wantError(t, verdict.Err(), plimsoll.ErrPromptTooLong)
}
