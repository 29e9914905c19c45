package plimsoll

import (
	"errors"
	"testing"
)

func TestBuffersAreUsedAgain(t *testing.T) {
	r, err := NewRuntime(&RuntimeOptions{Budget: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := r.Buffer(150_000)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(b.Bytes()); got != 204_800 {
		t.Errorf("%d bytes for 150000", got)
	}
	b.Bytes()[0] = 7
	b.Close()
	b.Close()
	if b.Bytes() != nil {
		t.Error("a closed buffer has bytes")
	}
	again, err := r.Buffer(200_000)
	if err != nil {
		t.Fatal(err)
	}
	if again.Bytes()[0] != 7 {
		t.Error("another buffer")
	}
	again.Close()
	p, err := r.Pool()
	want := Pool{Idle: 204_800, Limit: 2048 << 20, BuffersIdle: 1, Hits: 1, Misses: 1}
	if err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	if freed := r.TrimPool(); freed != 204_800 {
		t.Errorf("%d bytes were freed", freed)
	}
	if _, err := r.Buffer(1 << 30); !errors.Is(err, ErrMemoryRefused) {
		t.Errorf("a gibibyte of 64 MiB: %v", err)
	}
}
