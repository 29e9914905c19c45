package plimsoll_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"plimsoll.example/plimsoll"
)

var (
	_ io.Closer = (*plimsoll.Runtime)(nil)
	_ io.Closer = (*plimsoll.Model)(nil)
	_ io.Closer = (*plimsoll.Session)(nil)
	_ io.Closer = (*plimsoll.Stream)(nil)
	_ io.Closer = (*plimsoll.Ticket)(nil)
)

// closed makes every call on every kind of handle that it is given; all must say ErrClosed.
func closed(t *testing.T, runtime *plimsoll.Runtime, model *plimsoll.Model, session *plimsoll.Session,
	stream *plimsoll.Stream, ticket *plimsoll.Ticket) {
	t.Helper()
	request := ask("hello", 4)
	for name, call := range map[string]func() error{
		"Runtime.Load":         func() error { _, err := runtime.Load(background, tiny, nil); return err },
		"Runtime.Memory":       func() error { _, err := runtime.Memory(); return err },
		"Runtime.MemoryJSON":   func() error { _, err := runtime.MemoryJSON(); return err },
		"Model.Open":           func() error { _, err := model.Open(nil); return err },
		"Model.Facts":          func() error { _, err := model.Facts(); return err },
		"Model.TokenBytes":     func() error { _, err := model.TokenBytes(5); return err },
		"Model.Tokenize":       func() error { _, err := model.Tokenize("hello"); return err },
		"Model.Render":         func() error { _, err := model.Render(request.Messages); return err },
		"Model.RenderRequest":  func() error { _, err := model.RenderRequest(request); return err },
		"Model.AttachEngine":   func() error { return model.AttachEngine(nil) },
		"Model.CheckIntegrity": model.CheckIntegrity,
		"Model.Evict":          func() error { _, err := model.Evict(); return err },
		"Session.Generate":     func() error { _, err := session.Generate(background, request, nil); return err },
		"Session.Stream":       func() error { _, err := session.Stream(background, request); return err },
		"Session.WhatIf":       func() error { _, err := session.WhatIf(request); return err },
		"Session.Admit":        func() error { _, err := session.Admit(request); return err },
		"Session.Reset":        func() error { return session.Reset(background) },
		"Session.Evict":        func() error { _, err := session.Evict(background); return err },
		"Stream.Next":          func() error { pull(stream); return stream.Err() },
		"Ticket.Generate":      func() error { _, err := ticket.Generate(background, nil); return err },
		"Ticket.Stream":        func() error { _, err := ticket.Stream(background); return err },
	} {
		if err := call(); !errors.Is(err, plimsoll.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	equal(t, "Runtime.CanAllocate", runtime.CanAllocate(1, 0), false)
	equal(t, "Runtime.LowMemory", runtime.LowMemory(0), false)
	equal(t, "Model.IsLoaded", model.IsLoaded(), false)
	equal(t, "Session.ID", session.ID(), 0)
	equal(t, "Session.KVBytes", session.KVBytes(), 0)
	for _, closer := range []io.Closer{runtime, model, session, stream, ticket} {
		noError(t, closer.Close())
	}
}

func TestUseAfterClose(t *testing.T) {
	runtime, model, session := with(t, tiny)
	stream := start(t, session, background, ask("hello", 8))
	ticket, err := open(t, model).Admit(ask("hello", 8))
	noError(t, err)
	// The parents first: the others stay usable.
	noError(t, runtime.Close())
	noError(t, model.Close())
	_, tokens := pull(stream)
	noError(t, stream.Err())
	equal(t, "the tokens", len(tokens), 8)
	result, err := ticket.Generate(background, nil)
	noError(t, err)
	equal(t, "the tokens", result.GeneratedTokens, 8)
	stream = start(t, session, background, ask("hello", 8))
	for _, closer := range []io.Closer{session, stream, ticket} {
		noError(t, closer.Close())
	}
	closed(t, runtime, model, session, stream, ticket)
}

func TestZeroValuesAreClosed(t *testing.T) {
	closed(t, &plimsoll.Runtime{}, &plimsoll.Model{}, &plimsoll.Session{}, &plimsoll.Stream{}, &plimsoll.Ticket{})
}

// Everything is closed in the middle of everything.
func TestCloseUnderLoad(t *testing.T) {
	for round := 0; round < 20; round++ {
		runtime, model, session := with(t, tiny)
		var all sync.WaitGroup
		for i := 0; i < 16; i++ {
			all.Add(1)
			go func(i int) {
				defer all.Done()
				var err error
				switch i % 8 {
				case 0:
					_, err = session.Generate(background, ask("hello", 30), nil)
				case 1:
					var own *plimsoll.Session
					if own, err = model.Open(nil); err == nil {
						_, err = own.Generate(background, ask("hello", 30), nil)
						own.Close()
					}
				case 2:
					var stream *plimsoll.Stream
					if stream, err = session.Stream(background, ask("hello", 30)); err == nil {
						pull(stream)
						err = stream.Err()
						stream.Close()
					}
				case 3:
					_, err = model.Tokenize("hello")
				case 4:
					_, err = runtime.Memory()
				case 5:
					err = session.Close()
				case 6:
					err = model.Close()
				case 7:
					err = runtime.Close()
				}
				if err != nil && !errors.Is(err, plimsoll.ErrClosed) && !errors.Is(err, plimsoll.ErrBusy) {
					t.Errorf("call %d: %v", i, err)
				}
			}(i)
		}
		all.Wait()
	}
}

func TestMemory(t *testing.T) {
	runtime := newRuntime(t, &plimsoll.RuntimeOptions{Budget: 64 << 20})
	equal(t, "the capacity", memory(t, runtime).Capacity, 64<<20)
	equal(t, "the bytes used", memory(t, runtime).Used, 0)
	model := load(t, runtime, tiny)
	facts, err := model.Facts()
	noError(t, err)
	session := open(t, model)
	_, err = session.Generate(background, ask("hello", 8), nil)
	noError(t, err)
	m := memory(t, runtime)
	equal(t, "the weights", m.Weights, facts.Weights)
	equal(t, "the workspace", m.Workspace, facts.Workspace)
	equal(t, "the KV", m.KV, session.KVBytes())
	equal(t, "the sum", m.Used, m.Weights+m.Workspace+m.Text+m.Tables+m.KV+m.Requests)
	equal(t, "what is free", m.Free, m.Limit-m.Used-m.Talk)
	equal(t, "the sessions", m.ActiveSessions, 1)
	equal(t, "the accepted", m.Accepted, 1)
	if m.Peak < m.Used || m.Heap == 0 {
		t.Errorf("%+v", m)
	}
	text, err := runtime.MemoryJSON()
	noError(t, err)
	var document struct {
		Sessions int `json:"active_sessions"`
		Details  []struct {
			ID uint64 `json:"session_id"`
		} `json:"session_details"`
	}
	noError(t, json.Unmarshal(text, &document))
	equal(t, "the sessions", document.Sessions, 1)
	if !strings.Contains(string(text), "weights") {
		t.Errorf("no ledger in %s", text)
	}
	equal(t, "64 MiB in 64 MiB", runtime.CanAllocate(64<<20, 0), false)
	equal(t, "a byte in 64 MiB", runtime.CanAllocate(1, 0.1), true)
	equal(t, "some is in use", runtime.LowMemory(1e-9), true)
	freed, err := session.Evict(background)
	noError(t, err)
	equal(t, "the bytes freed", freed, m.KV)
	equal(t, "the KV", session.KVBytes(), 0)
	// The conversation is still there.
	result, err := session.Generate(background, ask("more", 8), nil)
	noError(t, err)
	equal(t, "the cached tokens", result.CachedTokens, 0)
	if result.PromptTokens < 20 {
		t.Errorf("%d tokens of conversation", result.PromptTokens)
	}
	// The model goes too, and comes back with the next request.
	held := memory(t, runtime)
	freed, err = model.Evict()
	noError(t, err)
	if freed < held.Weights+held.Workspace || model.IsLoaded() {
		t.Errorf("%d bytes of the model came back", freed)
	}
	_, err = session.Generate(background, ask("again", 8), nil)
	noError(t, err)
	equal(t, "the reloads", memory(t, runtime).Reloads, 1)
	equal(t, "it is loaded", model.IsLoaded(), true)
	limited, err := model.Open(&plimsoll.SessionOptions{Config: plimsoll.Config{"session.kv_limit_mb": "0"}})
	noError(t, err)
	defer limited.Close()
	_, err = limited.Generate(background, ask("hello", 8), nil)
	wantError(t, err, plimsoll.ErrMemoryRefused)
	_, err = model.Open(&plimsoll.SessionOptions{Config: plimsoll.Config{"native.threads": "1"}})
	wantError(t, err, plimsoll.ErrInvalidConfig)
}

func TestModel(t *testing.T) {
	runtime := newRuntime(t, nil)
	var reports []plimsoll.Progress
	model, err := runtime.Load(background, demo, &plimsoll.ModelOptions{
		Threads:       1,
		ContextLength: 512,
		MaxSequences:  3,
		OnProgress:    func(p plimsoll.Progress) error { reports = append(reports, p); return nil },
	})
	noError(t, err)
	defer model.Close()
	first, last := reports[0], reports[len(reports)-1]
	equal(t, "the last stage", last.State, plimsoll.LoadReady)
	equal(t, "the bytes", last.BytesDone, last.BytesTotal)
	if first.State > plimsoll.LoadReading || first.BytesDone >= last.BytesDone || last.Shards != 1 {
		t.Errorf("from %+v to %+v", first, last)
	}
	facts, err := model.Facts()
	noError(t, err)
	equal(t, "the context", facts.ContextLength, 512)
	equal(t, "the batch", facts.MaxSequences, 3)
	equal(t, "the block", facts.BlockTokens, 16)
	if facts.Engine == "" || facts.Weights == 0 || facts.Workspace == 0 || facts.KV != 0 {
		t.Errorf("%+v", facts)
	}
	prompt, err := model.Render(plimsoll.Ask("Hello!").Messages)
	noError(t, err)
	equal(t, "the prompt", prompt, "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n")
	tokens, err := model.Tokenize("Hello!")
	noError(t, err)
	equal(t, "the tokens", sameTokens(tokens, []uint32{879, 3}), true)
	var text []byte
	for _, token := range tokens {
		bytes, err := model.TokenBytes(token)
		noError(t, err)
		text = append(text, bytes...)
	}
	equal(t, "their bytes", string(text), "Hello!")
	bytes, err := model.TokenBytes(1 << 30)
	noError(t, err)
	equal(t, "the bytes of no token", len(bytes), 0)
	none, err := model.Tokenize("")
	noError(t, err)
	equal(t, "the tokens of nothing", len(none), 0)
	_, err = model.Tokenize("\xff")
	wantError(t, err, plimsoll.ErrInvalidUTF8)
	_, err = model.Render([]plimsoll.Message{{Role: "user", Content: "\xff"}})
	wantError(t, err, plimsoll.ErrInvalidUTF8)
	noError(t, model.AttachEngine(plimsoll.Config{"engine.kind": "native"}))
	wantError(t, model.AttachEngine(plimsoll.Config{"engine.kind": "vllm"}), plimsoll.ErrUnsupported)
}

func TestLoadStops(t *testing.T) {
	runtime := newRuntime(t, nil)
	enough := errors.New("enough")
	_, err := runtime.Load(background, demo, &plimsoll.ModelOptions{
		OnProgress: func(plimsoll.Progress) error { return enough },
	})
	wantError(t, err, plimsoll.ErrLoadCancelled)
	wantError(t, err, enough)
	ctx, cancel := context.WithCancel(background)
	_, err = runtime.Load(ctx, demo, &plimsoll.ModelOptions{
		OnProgress: func(plimsoll.Progress) error { cancel(); return nil },
	})
	wantError(t, err, plimsoll.ErrLoadCancelled)
	wantError(t, err, context.Canceled)
	_, err = runtime.Load(ctx, demo, nil)
	wantError(t, err, context.Canceled)
	equal(t, "the bytes used", memory(t, runtime).Used, 0)
	_, err = exactly(t, 1000).Load(background, demo, nil)
	wantError(t, err, plimsoll.ErrMemoryRefused)
	_, err = plimsoll.NewRuntime(&plimsoll.RuntimeOptions{Config: plimsoll.Config{"native.threads": "1"}})
	wantError(t, err, plimsoll.ErrInvalidConfig)
	_, err = runtime.Load(background, demo, &plimsoll.ModelOptions{Threads: -1})
	wantError(t, err, plimsoll.ErrInvalidConfig)
}

func TestCallbacksAreDropped(t *testing.T) {
	runtime, model, session := with(t, tiny)
	made, left := callbacks(func() {
		for i := 0; i < 10; i++ {
			_, err := session.Generate(background, ask("hello", 2), func(plimsoll.Event) error { return nil })
			noError(t, err)
			_, err = session.Generate(background, &plimsoll.Request{Tokens: []uint32{1 << 30}}, nil)
			wantError(t, err, plimsoll.ErrInvalidToken)
			_, err = runtime.Load(background, "/no/such/model", nil)
			wantError(t, err, plimsoll.ErrModelNotFound)
			another, err := runtime.Load(background, tiny, nil)
			noError(t, err)
			noError(t, another.Close())
			noError(t, session.Reset(background))
		}
	})
	equal(t, "callbacks made", made, 40)
	equal(t, "callbacks left", left, 0)
	idle(t, runtime, model)
}

func TestVersion(t *testing.T) {
	equal(t, "the version", plimsoll.Version(), plimsoll.HeaderVersion())
	if plimsoll.ABIVersion() < 1 {
		t.Errorf("ABI %d", plimsoll.ABIVersion())
	}
}
