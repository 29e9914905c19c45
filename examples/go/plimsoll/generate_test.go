package plimsoll_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"plimsoll.example/plimsoll"
)

func TestGenerate(t *testing.T) {
	runtime, model, session := with(t, demo)
	var text string
	result, err := session.Generate(background, plimsoll.Ask("Hello!"), func(e plimsoll.Event) error {
		text += e.Text
		return nil
	})
	noError(t, err)
	equal(t, "the answer", result.Text, "Hello! Ask me about plimsoll, or give me two small numbers to add.")
	equal(t, "the text of the events", text, result.Text)
	equal(t, "the ending", result.Ending, plimsoll.EndingEndOfText)
	equal(t, "the decision", result.Decision, plimsoll.Accept)
	equal(t, "the prompt's tokens", result.PromptTokens, 10)
	equal(t, "the generated tokens", result.GeneratedTokens, 16)
	equal(t, "the granted tokens", result.GrantedTokens, 512)
	equal(t, "the session's KV", result.KVBytes, session.KVBytes())
	if result.LeasedBytes == 0 || result.BytesFree == 0 || result.Prefill <= 0 || result.Decode <= 0 ||
		result.Queued < 0 || result.TokensPerSecond <= 0 {
		t.Errorf("numbers are missing: %+v", result)
	}
	// The second turn computes only what is new, and the prompt has the first turn in it.
	again, err := session.Generate(background, plimsoll.Ask("Hello!"), nil)
	noError(t, err)
	if again.CachedTokens < 10 || again.PromptTokens <= result.PromptTokens+result.GeneratedTokens {
		t.Errorf("the second turn: %+v", again)
	}
	idle(t, runtime, model)
}

func TestGenerateStops(t *testing.T) {
	_, _, session := with(t, tiny)
	failed := errors.New("the reader has had enough")
	for _, c := range []struct{ returned, want error }{{plimsoll.Stop, nil}, {failed, failed}} {
		calls := 0
		result, err := session.Generate(background, ask("hello", 100), func(plimsoll.Event) error {
			if calls++; calls == 3 {
				return c.returned
			}
			return nil
		})
		if err != c.want {
			t.Fatalf("got %v, want %v", err, c.want)
		}
		equal(t, "the calls", calls, 3)
		equal(t, "the ending", result.Ending, plimsoll.EndingStopped)
		equal(t, "the tokens", result.GeneratedTokens, 3)
		noError(t, session.Reset(background))
	}
}

func TestGenerateCancelledByItsContext(t *testing.T) {
	runtime, model, session := with(t, demo)
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	calls := 0
	result, err := session.Generate(ctx, ask("hello", manyTokens), func(plimsoll.Event) error {
		if calls++; calls == 3 {
			cancel()
		}
		return nil
	})
	wantError(t, err, context.Canceled)
	equal(t, "the ending", result.Ending, plimsoll.EndingCancelled)
	if result.GeneratedTokens < 3 || result.GeneratedTokens >= manyTokens {
		t.Errorf("%d tokens", result.GeneratedTokens)
	}
	idle(t, runtime, model)
	// Nothing starts with a context that has ended.
	accepted := memory(t, runtime).Accepted
	result, err = session.Generate(ctx, ask("hello", 1), nil)
	wantError(t, err, context.Canceled)
	if result != nil {
		t.Error("a result of nothing")
	}
	_, err = session.Stream(ctx, ask("hello", 1))
	wantError(t, err, context.Canceled)
	equal(t, "requests accepted since", memory(t, runtime).Accepted-accepted, 0)
	// The session goes on.
	_, err = session.Generate(background, ask("hello", 4), nil)
	noError(t, err)
}

// On one thread of this machine a step of the bundled model takes about a millisecond; a reader that is told at once what
// came makes sure that nothing waits in between. So the tokens after the cancel are those of few steps.
func TestCancelTakesEffectWithinAStep(t *testing.T) {
	_, _, session := with(t, demo)
	// The clock of an uninterrupted answer.
	whole, err := session.Generate(background, ask("hello", 400), nil)
	noError(t, err)
	step := whole.Decode / 400
	best := time.Hour
	for attempt := 0; attempt < 5; attempt++ { // another process may take the processor for a while
		noError(t, session.Reset(background))
		ctx, cancel := context.WithCancel(background)
		stream := start(t, session, ctx, ask("hello", manyTokens))
		for i := 0; i < 5 && stream.Next(); i++ {
		}
		began := time.Now()
		cancel()
		for stream.Next() {
		}
		if took := time.Since(began); took < best {
			best = took
		}
		wantError(t, stream.Err(), context.Canceled)
		noError(t, stream.Close())
	}
	if limit := 20*step + 20*time.Millisecond; best > limit {
		t.Errorf("the end came %v after the cancel; a step takes %v", best, step)
	}
}

func TestGenerateDeadlines(t *testing.T) {
	_, _, session := with(t, demo)
	ctx, cancel := context.WithTimeout(background, 40*time.Millisecond)
	defer cancel()
	result, err := session.Generate(ctx, ask("hello", manyTokens), nil)
	wantError(t, err, context.DeadlineExceeded)
	if result != nil {
		equal(t, "the ending", result.Ending, plimsoll.EndingCancelled)
	}
	noError(t, session.Reset(background))
	// The request's own limit is no error.
	limited := ask("hello", manyTokens)
	limited.TimeLimit = 40 * time.Millisecond
	result, err = session.Generate(background, limited, nil)
	noError(t, err)
	equal(t, "the ending", result.Ending, plimsoll.EndingDeadline)
}

// A call that waits for its session's turn is ended by its own context, or by Close, while the other runs on.
func TestWaitingForTheTurnEnds(t *testing.T) {
	_, _, session := with(t, demo)
	running := make(chan struct{})
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	go func() {
		calls := 0
		_, err := session.Generate(ctx, ask("hello", manyTokens), func(plimsoll.Event) error {
			if calls++; calls == 1 {
				close(running)
			}
			time.Sleep(5 * time.Millisecond) // the reader is slow: the session's turn lasts
			return nil
		})
		ended <- err
	}()
	<-running
	short, cancelShort := context.WithTimeout(background, 20*time.Millisecond)
	defer cancelShort()
	_, err := session.Generate(short, ask("hello", 4), nil)
	wantError(t, err, context.DeadlineExceeded)
	wantError(t, session.Reset(short), context.DeadlineExceeded)
	_, err = session.Evict(short)
	wantError(t, err, context.DeadlineExceeded)
	_, err = session.Stream(short, ask("hello", 4))
	wantError(t, err, context.DeadlineExceeded)
	select {
	case err := <-ended:
		t.Fatalf("the one that ran ended with %v", err)
	default:
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := session.Generate(background, ask("hello", 4), nil)
		waiting <- err
	}()
	time.Sleep(20 * time.Millisecond)
	noError(t, session.Close())
	wantError(t, <-waiting, plimsoll.ErrClosed)
	wantError(t, <-ended, plimsoll.ErrClosed)
}

func TestInsideItsOwnCallback(t *testing.T) {
	_, model, session := with(t, tiny)
	other := open(t, model)
	request := ask("hello", 8)
	calls := 0
	_, err := session.Generate(background, request, func(e plimsoll.Event) error {
		if calls++; calls > 1 {
			return nil
		}
		_, err := session.Generate(background, request, nil)
		wantError(t, err, plimsoll.ErrReentrant)
		_, err = session.Stream(background, request)
		wantError(t, err, plimsoll.ErrReentrant)
		wantError(t, session.Reset(background), plimsoll.ErrReentrant)
		_, err = session.Evict(background)
		wantError(t, err, plimsoll.ErrReentrant)
		// Everything else is allowed.
		result, err := other.Generate(background, ask("hello", 2), nil)
		noError(t, err)
		equal(t, "the other's tokens", result.GeneratedTokens, 2)
		_, err = model.Facts()
		noError(t, err)
		_, err = model.TokenBytes(e.Token)
		noError(t, err)
		verdict, err := session.WhatIf(request)
		noError(t, err)
		wantError(t, verdict.Err(), plimsoll.ErrBusy)
		return nil
	})
	noError(t, err)
	equal(t, "the calls", calls, 8)
}

func TestPanicInACallback(t *testing.T) {
	runtime, model, session := with(t, tiny)
	func() {
		defer func() { equal(t, "the panic", fmt.Sprint(recover()), "from the callback") }()
		session.Generate(background, ask("hello", 8), func(plimsoll.Event) error { panic("from the callback") })
		t.Error("returned")
	}()
	// The library has noticed nothing.
	_, err := session.Generate(background, ask("hello", 8), nil)
	noError(t, err)
	idle(t, runtime, model)
	func() {
		defer func() { equal(t, "the panic", fmt.Sprint(recover()), "from the load") }()
		runtime.Load(background, demo, &plimsoll.ModelOptions{
			OnProgress: func(plimsoll.Progress) error { panic("from the load") },
		})
		t.Error("returned")
	}()
	load(t, runtime, demo)
}

func TestLogprobs(t *testing.T) {
	_, model, session := with(t, tiny)
	request := ask("hello", 5)
	request.TopLogprobs = 3
	tokens := 0
	_, err := session.Generate(background, request, func(e plimsoll.Event) error {
		if e.Kind != plimsoll.EventToken {
			return nil
		}
		tokens++
		if len(e.Top) != 3 || e.Top[0].Token != e.Token || e.Top[0].Logprob != e.Logprob ||
			e.Top[0].Logprob < e.Top[1].Logprob || e.Top[1].Logprob < e.Top[2].Logprob || e.Logprob >= 0 {
			t.Errorf("token %d at %v: %v", e.Token, e.Logprob, e.Top)
		}
		bytes, err := model.TokenBytes(e.Token)
		noError(t, err)
		if len(bytes) == 0 {
			t.Errorf("token %d stands for nothing", e.Token)
		}
		return nil
	})
	noError(t, err)
	equal(t, "the tokens", tokens, 5)
}

// Every field of a request reaches the library: it changes the answer, or is refused when it is out of its range.
func TestEveryFieldOfARequest(t *testing.T) {
	_, model, _ := with(t, tiny)
	answer := func(change func(*plimsoll.Request)) string {
		t.Helper()
		session := open(t, model)
		defer session.Close()
		request := ask("hello", 24)
		change(request)
		result, err := session.Generate(background, request, nil)
		noError(t, err)
		return result.Text + "/" + result.Ending.String()
	}
	chance := func(r *plimsoll.Request) { r.Temperature, r.Seed = 2, plimsoll.Seed(7) }
	plain := answer(func(*plimsoll.Request) {})
	random := answer(chance)
	equal(t, "the same seed", answer(chance), random)
	from := func(base func(*plimsoll.Request), change func(*plimsoll.Request)) string {
		return answer(func(r *plimsoll.Request) { base(r); change(r) })
	}
	for name, got := range map[string]string{
		"another seed": from(chance, func(r *plimsoll.Request) { r.Seed = plimsoll.Seed(8) }),
		"TopK":         from(chance, func(r *plimsoll.Request) { r.TopK = 2 }),
		"TopP":         from(chance, func(r *plimsoll.Request) { r.TopP = 0.2 }),
		"MinP":         from(chance, func(r *plimsoll.Request) { r.MinP = 0.5 }),
	} {
		if got == random || got == plain {
			t.Errorf("%s changes nothing: %q", name, got)
		}
	}
	if random == plain {
		t.Errorf("Temperature changes nothing: %q", plain)
	}
	equal(t, "TopK 1", from(chance, func(r *plimsoll.Request) { r.TopK = 1 }), plain)
	// Long enough for a greedy answer to repeat itself.
	long := func(r *plimsoll.Request) { r.MaxTokens = 200 }
	repetitive := answer(long)
	for name, got := range map[string]string{
		"RepetitionPenalty": from(long, func(r *plimsoll.Request) { r.RepetitionPenalty = 1.9 }),
		"PresencePenalty":   from(long, func(r *plimsoll.Request) { r.PresencePenalty = 2 }),
		"FrequencyPenalty":  from(long, func(r *plimsoll.Request) { r.FrequencyPenalty = 2 }),
		"MaxTokens":         plain,
	} {
		if got == repetitive {
			t.Errorf("%s changes nothing: %q", name, got)
		}
	}
	others := map[string]func(*plimsoll.Request){
		"Messages": func(r *plimsoll.Request) { r.Messages[0].Role = "system" },
		"Text":     func(r *plimsoll.Request) { r.Messages, r.Text = nil, "hello" },
		"Tokens":   func(r *plimsoll.Request) { r.Messages, r.Tokens = nil, []uint32{5, 6, 7} },
	}
	// A stop string from the middle of the plain answer.
	stop := strings.TrimSuffix(plain, "/length")
	characters := []rune(stop)
	stop = string(characters[len(characters)/2:])
	others["Stop"] = func(r *plimsoll.Request) { r.Stop = []string{stop} }
	for name, change := range others {
		if got := answer(change); got == plain {
			t.Errorf("%s changes nothing: %q", name, got)
		}
	}
	if got := answer(others["Stop"]); !strings.HasSuffix(got, "/stop string") {
		t.Errorf("Stop: %q", got)
	}
	session := open(t, model)
	for name, change := range map[string]func(*plimsoll.Request){
		"Temperature":       func(r *plimsoll.Request) { r.Temperature = -1 },
		"TopK":              func(r *plimsoll.Request) { r.TopK = -1 },
		"TopP":              func(r *plimsoll.Request) { r.TopP = 2 },
		"MinP":              func(r *plimsoll.Request) { r.MinP = 2 },
		"RepetitionPenalty": func(r *plimsoll.Request) { r.RepetitionPenalty = -1 },
		"TopLogprobs":       func(r *plimsoll.Request) { r.TopLogprobs = 21 },
		"MaxTokens":         func(r *plimsoll.Request) { r.MaxTokens = 1 << 33 },
		"MinTokens":         func(r *plimsoll.Request) { r.MinTokens = r.MaxTokens + 1 },
		"TimeLimit":         func(r *plimsoll.Request) { r.TimeLimit = -1 },
		"Stop":              func(r *plimsoll.Request) { r.Stop = []string{""} },
		"two contents":      func(r *plimsoll.Request) { r.Text = "x" },
	} {
		request := ask("hello", 4)
		change(request)
		if _, err := session.Generate(background, request, nil); !errors.Is(err, plimsoll.ErrInvalidArgument) {
			t.Errorf("%s out of its range: %v", name, err)
		}
	}
	_, err := session.Generate(background, &plimsoll.Request{}, nil)
	wantError(t, err, plimsoll.ErrEmptyRequest)
	_, err = session.Generate(background, nil, nil)
	wantError(t, err, plimsoll.ErrInvalidArgument)
	_, err = session.Generate(background, plimsoll.Ask("\xff"), nil)
	wantError(t, err, plimsoll.ErrInvalidUTF8)
	// The longest time limit there is ends nothing.
	request := ask("hello", 4)
	request.TimeLimit = 1<<63 - 1
	result, err := session.Generate(background, request, nil)
	noError(t, err)
	equal(t, "the ending", result.Ending, plimsoll.EndingLength)
}
