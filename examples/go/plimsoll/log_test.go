package plimsoll_test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"plimsoll.example/plimsoll"
)

func TestLog(t *testing.T) {
	defer plimsoll.SetLog(plimsoll.LogOff, nil)
	var mu sync.Mutex
	var lines []string
	made, left := callbacks(func() {
		noError(t, plimsoll.SetLog(plimsoll.LogTrace, func(level plimsoll.LogLevel, target, text string) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, level.String()+" "+target+" "+text)
		}))
		_, _, session := with(t, tiny)
		_, err := session.Generate(background, ask("a secret question", 4), nil)
		noError(t, err)
		noError(t, plimsoll.SetLog(plimsoll.LogOff, nil))
	})
	equal(t, "callbacks left", left, 0)
	if made < 3 { // log, load, generate
		t.Errorf("%d callbacks made", made)
	}
	mu.Lock()
	count := len(lines)
	if count == 0 || !strings.Contains(lines[0], " plimsoll") {
		t.Fatalf("the log: %q", lines)
	}
	if all := strings.Join(lines, "\n"); strings.Contains(all, "secret") {
		t.Errorf("the log has what was asked: %s", all)
	}
	mu.Unlock()
	_, _, session := with(t, tiny)
	_, err := session.Generate(background, ask("hello", 4), nil)
	noError(t, err)
	equal(t, "lines since it is off", len(lines)-count, 0)

	// Each registration is dropped once: replaced, refused, or replaced while lines are on their way.
	made, left = callbacks(func() {
		wantError(t, plimsoll.SetLog(99, func(plimsoll.LogLevel, string, string) {}), plimsoll.ErrInvalidArgument)
		var talkers sync.WaitGroup
		for i := 0; i < 4; i++ {
			talkers.Add(1)
			go func() {
				defer talkers.Done()
				for j := 0; j < 50; j++ {
					noErrorIn(t, plimsoll.SetLog(plimsoll.LogTrace, func(plimsoll.LogLevel, string, string) {}))
					_, err := session.WhatIf(ask("hello", 4))
					noErrorIn(t, err)
				}
			}()
		}
		talkers.Wait()
		noError(t, plimsoll.SetLog(plimsoll.LogOff, nil))
	})
	equal(t, "callbacks made", made, 201)
	equal(t, "callbacks left", left, 0)
}

// A log function that panics ends the program, and the program says why.
func TestPanicInTheLog(t *testing.T) {
	if os.Getenv("PLIMSOLL_TEST_PANIC") != "" {
		plimsoll.SetLog(plimsoll.LogTrace, func(plimsoll.LogLevel, string, string) { panic("a bad day") })
		_, _, session := with(t, tiny)
		session.Generate(background, ask("hello", 4), nil)
		return
	}
	command := exec.Command(os.Args[0], "-test.run=^TestPanicInTheLog$")
	command.Env = append(os.Environ(), "PLIMSOLL_TEST_PANIC=1")
	output, err := command.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "the log function panicked: a bad day") {
		t.Errorf("%v: %s", err, output)
	}
}
