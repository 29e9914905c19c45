package plimsoll_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/cgo"
	"testing"
	"time"

	"plimsoll.example/plimsoll"
)

const (
	// A tiny model of random weights, whose steps take microseconds.
	tiny = "../../../tests/golden/models/llama3"
	// The bundled model, which answers, and is slow enough for what has to happen while a request runs.
	demo = "../../../models/demo"
	// Most of the bundled model's context.
	manyTokens = 1900
)

var background = context.Background()

func newRuntime(t testing.TB, options *plimsoll.RuntimeOptions) *plimsoll.Runtime {
	t.Helper()
	runtime, err := plimsoll.NewRuntime(options)
	noError(t, err)
	t.Cleanup(func() { runtime.Close() })
	return runtime
}

// exactly is a runtime of so many bytes: neither threshold nor reserve takes any.
func exactly(t testing.TB, bytes uint64) *plimsoll.Runtime {
	t.Helper()
	return newRuntime(t, &plimsoll.RuntimeOptions{
		Budget: bytes,
		Config: plimsoll.Config{"guard.threshold": "1", "guard.reserve_mb": "0", "guard.degrade": "off"},
	})
}

func load(t testing.TB, runtime *plimsoll.Runtime, path string) *plimsoll.Model {
	t.Helper()
	model, err := runtime.Load(background, path, &plimsoll.ModelOptions{Threads: 2})
	noError(t, err)
	t.Cleanup(func() { model.Close() })
	return model
}

func open(t testing.TB, model *plimsoll.Model) *plimsoll.Session {
	t.Helper()
	session, err := model.Open(nil)
	noError(t, err)
	t.Cleanup(func() { session.Close() })
	return session
}

// with is a session of a model of its own.
func with(t testing.TB, path string) (*plimsoll.Runtime, *plimsoll.Model, *plimsoll.Session) {
	t.Helper()
	runtime := newRuntime(t, nil)
	model := load(t, runtime, path)
	return runtime, model, open(t, model)
}

// ask is one message and so many tokens, whatever the model thinks of ending.
func ask(content string, tokens int) *plimsoll.Request {
	request := plimsoll.Ask(content)
	request.MaxTokens, request.IgnoreEOS = tokens, true
	return request
}

func start(t testing.TB, session *plimsoll.Session, ctx context.Context, request *plimsoll.Request) *plimsoll.Stream {
	t.Helper()
	stream, err := session.Stream(ctx, request)
	noError(t, err)
	t.Cleanup(func() { stream.Close() })
	return stream
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got %v, want %v", err, target)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func memory(t testing.TB, runtime *plimsoll.Runtime) plimsoll.Memory {
	t.Helper()
	m, err := runtime.Memory()
	noError(t, err)
	return m
}

// soon waits for what another thread is about to do.
func soon(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for i := 0; i < 3000; i++ {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// idle checks that the bytes of requests are back, and that the books add up.
func idle(t testing.TB, runtime *plimsoll.Runtime, model *plimsoll.Model) {
	t.Helper()
	soon(t, "no request has bytes", func() bool { return memory(t, runtime).Requests == 0 })
	soon(t, "the books add up", func() bool { return model.CheckIntegrity() == nil })
}

// callbacks is how many cgo handles fn made, and how many of these are still there, at the latest in a moment: a log line may
// be on its way in another thread. Handles count up, so that nothing of the package has to be trusted for it.
func callbacks(fn func()) (made, left int) {
	before := cgo.NewHandle(nil)
	fn()
	after := cgo.NewHandle(nil)
	for i := 0; i < 500; i++ {
		left = 0
		for h := before + 1; h < after; h++ {
			if alive(h) {
				left++
			}
		}
		if left == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	made = int(after - before - 1)
	before.Delete()
	after.Delete()
	return made, left
}

func alive(h cgo.Handle) (alive bool) {
	defer func() { alive = recover() == nil }()
	h.Value()
	return
}

func pull(stream *plimsoll.Stream) (text string, tokens []uint32) {
	for stream.Next() {
		event := stream.Event()
		text += event.Text
		if event.Kind == plimsoll.EventToken {
			tokens = append(tokens, event.Token)
		}
	}
	return text, tokens
}

func sameTokens(a, b []uint32) bool {
	return fmt.Sprint(a) == fmt.Sprint(b)
}
