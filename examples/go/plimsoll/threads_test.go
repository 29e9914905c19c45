package plimsoll_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"plimsoll.example/plimsoll"
)

// A thousand goroutines at once, of which most fail, each in its own way: each gets the text and the numbers that it gets
// when it is alone.
func TestAThousandGoroutines(t *testing.T) {
	const goroutines = 1000
	runtime := newRuntime(t, nil)
	model, err := runtime.Load(background, tiny, &plimsoll.ModelOptions{
		Threads: 2,
		Config:  plimsoll.Config{"native.queue": "1000"},
	})
	noError(t, err)
	defer model.Close()
	facts, err := model.Facts()
	noError(t, err)
	// Here nothing runs, so the numbers of a refusal stand still. The budget is that of a model with a shorter queue.
	alike, err := load(t, runtime, tiny).Facts()
	noError(t, err)
	refusing := load(t, exactly(t, alike.Weights+alike.Workspace+alike.Host+256), tiny)

	calls := make([]func() (*plimsoll.Result, error), goroutines)
	for i := range calls {
		i, n := i, i/8
		session := open(t, model)
		run := func(request *plimsoll.Request) func() (*plimsoll.Result, error) {
			return func() (*plimsoll.Result, error) { return session.Generate(background, request, nil) }
		}
		switch i % 8 {
		case 0:
			request := ask(fmt.Sprintf("question %d", n), 3)
			calls[i] = func() (*plimsoll.Result, error) {
				if err := session.Reset(background); err != nil {
					return nil, err
				}
				return session.Generate(background, request, nil)
			}
		case 1:
			key := fmt.Sprintf("no.such.key.%d", n)
			calls[i] = func() (*plimsoll.Result, error) {
				_, err := plimsoll.NewRuntime(&plimsoll.RuntimeOptions{Config: plimsoll.Config{key: "1"}})
				return nil, err
			}
		case 2:
			path := fmt.Sprintf("/no/such/model/%d", n)
			calls[i] = func() (*plimsoll.Result, error) {
				_, err := runtime.Load(background, path, nil)
				return nil, err
			}
		case 3: // one token more than the last
			calls[i] = run(&plimsoll.Request{Tokens: make([]uint32, facts.ContextLength+n)})
		case 4:
			calls[i] = run(&plimsoll.Request{Text: "hello", MaxTokens: 1, MinTokens: 2 + n})
		case 5:
			calls[i] = run(&plimsoll.Request{Text: "hello", Stop: []string{strings.Repeat("x", 1025+n)}})
		case 6:
			calls[i] = run(&plimsoll.Request{Tokens: []uint32{1, uint32(facts.VocabSize + n)}})
		case 7:
			poor := open(t, refusing)
			request := ask("hello", 1+n)
			calls[i] = func() (*plimsoll.Result, error) { return poor.Generate(background, request, nil) }
		}
	}

	type outcome struct {
		text string
		err  *plimsoll.Error
	}
	outcomeOf := func(i int) (outcome, error) {
		result, err := calls[i]()
		var o outcome
		if err == nil {
			o.text = result.Text
		} else if !errors.As(err, &o.err) {
			return o, fmt.Errorf("goroutine %d: %w", i, err)
		}
		return o, nil
	}
	alone := make([]outcome, goroutines)
	kinds := map[plimsoll.Code]int{}
	distinct := map[string]bool{}
	for i := range calls {
		o, err := outcomeOf(i)
		noError(t, err)
		alone[i] = o
		if o.err != nil {
			kinds[o.err.Code]++
			distinct[o.err.Error()] = true
		}
	}
	for _, code := range []plimsoll.Code{plimsoll.ErrInvalidConfig, plimsoll.ErrModelNotFound, plimsoll.ErrPromptTooLong,
		plimsoll.ErrInvalidToken, plimsoll.ErrMemoryRefused} {
		equal(t, "how many are "+code.Error(), kinds[code], goroutines/8)
	}
	equal(t, "how many are invalid", kinds[plimsoll.ErrInvalidArgument], 2*goroutines/8)
	equal(t, "how many texts differ", len(distinct), 7*goroutines/8)

	together := make([]outcome, goroutines)
	failures := make([]error, goroutines)
	begin := make(chan struct{})
	var all sync.WaitGroup
	made, left := callbacks(func() {
		for i := range calls {
			all.Add(1)
			go func(i int) {
				defer all.Done()
				<-begin
				together[i], failures[i] = outcomeOf(i)
			}(i)
		}
		close(begin)
		all.Wait()
	})
	for i := range calls {
		noError(t, failures[i])
		if !reflect.DeepEqual(together[i], alone[i]) {
			t.Errorf("goroutine %d: %+v together, %+v alone", i, together[i], alone[i])
		}
	}
	// The calls that reach the library with a callback: every Generate whose request can be built, and every load.
	equal(t, "callbacks made", made, 6*goroutines/8)
	equal(t, "callbacks left", left, 0)
	idle(t, runtime, model)
}

// Refusals carry their numbers, and running, admitting and asking agree on them.
func TestRefusalsHaveTheirNumbers(t *testing.T) {
	roomy := newRuntime(t, nil)
	facts, err := load(t, roomy, tiny).Facts()
	noError(t, err)
	full := exactly(t, facts.Weights+facts.Workspace+facts.Host+20000)
	session := open(t, load(t, full, tiny))
	request := ask("hello", 200)
	request.MinTokens = 200
	_, err = session.Generate(background, request, nil)
	wantError(t, err, plimsoll.ErrMemoryRefused)
	var refusal *plimsoll.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("%T is no *Error", err)
	}
	equal(t, "the section", refusal.Section, plimsoll.SectionMemory)
	equal(t, "the bytes free", refusal.BytesFree, memory(t, full).Free)
	if refusal.BytesAsked <= refusal.BytesFree || refusal.FitsTokens < 1 || refusal.FitsTokens >= 200 {
		t.Errorf("the numbers: %+v", refusal)
	}
	verdict, err := session.WhatIf(request)
	noError(t, err)
	_, admitted := session.Admit(request)
	for what, err := range map[string]error{"what-if": verdict.Err(), "admit": admitted} {
		var other *plimsoll.Error
		if !errors.As(err, &other) {
			t.Fatalf("%s: %v", what, err)
		}
		if other.Code != refusal.Code || other.Section != refusal.Section || other.Retryable != refusal.Retryable ||
			other.BytesAsked != refusal.BytesAsked || other.BytesFree != refusal.BytesFree ||
			other.FitsTokens != refusal.FitsTokens || other.RetryAfter != refusal.RetryAfter {
			t.Errorf("%s says %+v, the run %+v", what, other, refusal)
		}
	}
	// What is said to fit does.
	request.MaxTokens, request.MinTokens = refusal.FitsTokens, refusal.FitsTokens
	result, err := session.Generate(background, request, nil)
	noError(t, err)
	equal(t, "the tokens", result.GeneratedTokens, refusal.FitsTokens)
}
