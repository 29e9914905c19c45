package plimsoll_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"plimsoll.example/plimsoll"
)

func TestStreamIsGenerate(t *testing.T) {
	runtime, model, session := with(t, tiny)
	request := ask("hello", 40)
	var tokens []uint32
	result, err := session.Generate(background, request, func(e plimsoll.Event) error {
		if e.Kind == plimsoll.EventToken {
			tokens = append(tokens, e.Token)
		}
		return nil
	})
	noError(t, err)
	stream := start(t, open(t, model), background, request)
	if stream.Result() != nil {
		t.Error("a result before the end")
	}
	text, pulled := pull(stream)
	noError(t, stream.Err())
	equal(t, "the text", text, result.Text)
	equal(t, "the result's text", stream.Result().Text, result.Text)
	equal(t, "the tokens", sameTokens(pulled, tokens), true)
	equal(t, "the ending", stream.Result().Ending, plimsoll.EndingLength)
	equal(t, "the count", stream.Result().GeneratedTokens, 40)
	// The end stays, also when the stream is closed.
	equal(t, "another event", stream.Next(), false)
	noError(t, stream.Close())
	noError(t, stream.Close())
	equal(t, "another event", stream.Next(), false)
	noError(t, stream.Err())
	equal(t, "the text", stream.Result().Text, result.Text)
	idle(t, runtime, model)
}

func TestStreamHoldsItsSession(t *testing.T) {
	_, _, session := with(t, tiny)
	request := ask("hello", 8)
	stream := start(t, session, background, request)
	_, err := session.Generate(background, request, nil)
	wantError(t, err, plimsoll.ErrBusy)
	_, err = session.Stream(background, request)
	wantError(t, err, plimsoll.ErrBusy)
	wantError(t, session.Reset(background), plimsoll.ErrBusy)
	_, err = session.Evict(background)
	wantError(t, err, plimsoll.ErrBusy)
	_, err = session.Admit(request)
	wantError(t, err, plimsoll.ErrBusy)
	pull(stream)
	_, err = session.Generate(background, request, nil)
	noError(t, err)
}

func TestStreamEndsWithItsContext(t *testing.T) {
	runtime, model, session := with(t, demo)
	ctx, cancel := context.WithCancel(background)
	stream := start(t, session, ctx, ask("hello", manyTokens))
	for i := 0; i < 3; i++ {
		equal(t, "an event", stream.Next(), true)
	}
	cancel()
	_, tokens := pull(stream)
	wantError(t, stream.Err(), context.Canceled)
	result := stream.Result()
	equal(t, "the ending", result.Ending, plimsoll.EndingCancelled)
	equal(t, "the tokens", result.GeneratedTokens, 3+len(tokens))
	if result.GeneratedTokens >= manyTokens {
		t.Errorf("%d tokens", result.GeneratedTokens)
	}
	idle(t, runtime, model)

	noError(t, session.Reset(background))
	ctx, cancel = context.WithTimeout(background, 40*time.Millisecond)
	defer cancel()
	stream, err := session.Stream(ctx, ask("hello", manyTokens))
	noError(t, err)
	pull(stream)
	wantError(t, stream.Err(), context.DeadlineExceeded)
	idle(t, runtime, model)
}

func TestStreamClosedBeforeItsEnd(t *testing.T) {
	runtime, model, session := with(t, tiny)
	for pulled := 0; pulled < 3; pulled++ {
		stream := start(t, session, background, ask("hello", 200))
		for i := 0; i < pulled; i++ {
			equal(t, "an event", stream.Next(), true)
		}
		noError(t, stream.Close())
		equal(t, "the bytes of requests", memory(t, runtime).Requests, 0)
		equal(t, "an event after Close", stream.Next(), false)
		wantError(t, stream.Err(), plimsoll.ErrClosed)
		equal(t, "an event after Close", stream.Event().Text, "")
		if stream.Result() != nil {
			t.Error("a result of what was closed")
		}
		noError(t, session.Reset(background))
	}
	idle(t, runtime, model)
}

// closers end a stream while another goroutine waits in Next.
func TestCloseWhileAnotherGoroutineStreams(t *testing.T) {
	runtime, model, _ := with(t, demo)
	for name, end := range map[string]func(*plimsoll.Session, *plimsoll.Stream) error{
		"the stream":  func(_ *plimsoll.Session, s *plimsoll.Stream) error { return s.Close() },
		"the session": func(s *plimsoll.Session, _ *plimsoll.Stream) error { return s.Close() },
		"both": func(s *plimsoll.Session, stream *plimsoll.Stream) error {
			s.Close()
			return stream.Close()
		},
	} {
		session := open(t, model)
		stream := start(t, session, background, ask("hello", manyTokens))
		reads := make(chan struct{})
		var reader sync.WaitGroup
		reader.Add(1)
		go func() {
			defer reader.Done()
			for n := 0; stream.Next(); n++ {
				if n == 3 {
					close(reads)
				}
			}
		}()
		<-reads
		var closers sync.WaitGroup
		for i := 0; i < 8; i++ {
			closers.Add(1)
			go func() {
				defer closers.Done()
				noErrorIn(t, end(session, stream))
			}()
		}
		closers.Wait()
		reader.Wait()
		wantError(t, stream.Err(), plimsoll.ErrClosed)
		noError(t, stream.Close())
		noError(t, session.Close())
		soon(t, name+": the KV is back", func() bool { return memory(t, runtime).KV == 0 })
		idle(t, runtime, model)
	}
}

// A reader that waits behind a full batch is let go by Close while the request ahead still runs.
func TestCloseWhileNothingComes(t *testing.T) {
	runtime := newRuntime(t, nil)
	model, err := runtime.Load(background, demo, &plimsoll.ModelOptions{Threads: 2, MaxSequences: 1})
	noError(t, err)
	defer model.Close()
	ahead, behind := open(t, model), open(t, model)
	for attempt := 0; attempt < 10; attempt++ { // this process may be kept waiting until the one ahead has ended
		ctx, cancel := context.WithCancel(background)
		first := start(t, ahead, ctx, ask("hello", manyTokens))
		equal(t, "an event", first.Next(), true)
		second := start(t, behind, background, ask("hello", 4))
		events := make(chan int)
		go func() {
			n := 0
			for ; second.Next(); n++ {
			}
			events <- n
		}()
		time.Sleep(10 * time.Millisecond)
		noError(t, second.Close())
		came := <-events
		cancel()
		pull(first)
		if came == 0 && first.Result().GeneratedTokens < manyTokens {
			wantError(t, second.Err(), plimsoll.ErrClosed)
			idle(t, runtime, model)
			return
		}
		noError(t, ahead.Reset(background))
		noError(t, behind.Reset(background))
	}
	t.Error("the reader waited until it was its turn")
}

// noErrorIn is noError outside of the test's own goroutine.
func noErrorIn(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// What nobody holds any more is closed by the collector, also a stream whose context is still being watched.
func TestForgottenHandles(t *testing.T) {
	rt := newRuntime(t, nil)
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	func() {
		model, err := rt.Load(background, tiny, nil)
		noError(t, err)
		session, err := model.Open(nil)
		noError(t, err)
		stream, err := session.Stream(ctx, ask("hello", 200))
		noError(t, err)
		equal(t, "an event", stream.Next(), true)
		other, err := model.Open(nil)
		noError(t, err)
		ticket, err := other.Admit(ask("hello", 4))
		noError(t, err)
		if ticket.Verdict().BytesAsked == 0 || memory(t, rt).Used == 0 {
			t.Error("nothing is held")
		}
	}()
	soon(t, "everything is back", func() bool {
		runtime.GC()
		return memory(t, rt).Used == 0
	})
	goroutines := func() int { return runtime.NumGoroutine() }
	before := goroutines()
	cancel()
	soon(t, "no goroutine is left", func() bool { return goroutines() <= before })
}
