package plimsoll_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"plimsoll.example/plimsoll"
)

func several(answers int, seed uint64) *plimsoll.Request {
	request := ask("hello", 16)
	request.Answers, request.Temperature, request.Seed = answers, 1.5, plimsoll.Seed(seed)
	return request
}

func TestAnswersComeSideBySide(t *testing.T) {
	_, model, session := with(t, tiny)
	texts := make([]string, 3)
	result, err := session.Generate(background, several(3, 40), func(event plimsoll.Event) error {
		texts[event.Answer] += event.Text
		return nil
	})
	noError(t, err)
	if len(result.Others) != 2 {
		t.Fatalf("%d others", len(result.Others))
	}
	for i, answer := range append([]*plimsoll.Result{result}, result.Others...) {
		alone, err := open(t, model).Generate(background, several(1, 40+uint64(i)), nil)
		noError(t, err)
		if answer.Answer != i || answer.Text != texts[i] || answer.Text != alone.Text || answer.GeneratedTokens != 16 {
			t.Errorf("answer %d is %+v, alone %q", i, answer, alone.Text)
		}
	}
	if texts[0] == texts[1] {
		t.Error("two seeds draw the same")
	}
}

func TestAnswersArePulledAndPricedTogether(t *testing.T) {
	_, model, session := with(t, tiny)
	request := several(3, 40)
	alone, err := session.WhatIf(several(1, 40))
	noError(t, err)
	ticket, err := session.Admit(request)
	noError(t, err)
	defer ticket.Close()
	verdict := ticket.Verdict()
	if verdict.Answers != 3 || alone.Answers != 1 || verdict.BytesAsked != 3*alone.BytesAsked || verdict.KVRegion != -1 {
		t.Errorf("priced as %+v, alone %+v", verdict, alone)
	}
	expected, err := ticket.Generate(background, nil)
	noError(t, err)
	stream := start(t, open(t, model), background, request)
	texts := make([]string, 3)
	for stream.Next() {
		texts[stream.Event().Answer] += stream.Event().Text
	}
	noError(t, stream.Err())
	result := stream.Result()
	if len(result.Others) != 2 || len(expected.Others) != 2 || result.Text != expected.Text {
		t.Fatalf("pulled %+v, generated %+v", result, expected)
	}
	for i, other := range result.Others {
		if other.Text != texts[i+1] || other.Text != expected.Others[i].Text || other.Answer != i+1 {
			t.Errorf("answer %d is %+v", i+1, other)
		}
	}
	for _, answers := range []int{-1, 129} {
		_, err := session.Generate(background, several(answers, 1), nil)
		if !errors.Is(err, plimsoll.ErrInvalidArgument) {
			t.Errorf("%d answers: %v", answers, err)
		}
	}
}

// until is several answers of which the first is ended by a stop string within its first tokens, and the others by nothing in
// theirs.
func until(t *testing.T, session *plimsoll.Session) *plimsoll.Request {
	t.Helper()
	request := several(3, 40)
	known, err := session.Generate(background, request, nil)
	noError(t, err)
	noError(t, session.Reset(background))
	first := []rune(known.Text)
	for i := 1; i+2 <= len(first); i++ {
		stop := string(first[i : i+2])
		if !strings.Contains(known.Others[0].Text, stop) && !strings.Contains(known.Others[1].Text, stop) {
			request.Stop, request.MaxTokens = []string{stop}, 400
			return request
		}
	}
	t.Fatalf("no text of %q is its own", known.Text)
	return nil
}

func TestAContextThatEndsAfterTheFirstAnswer(t *testing.T) {
	_, _, session := with(t, tiny)
	request := until(t, session)
	check := func(how string, result *plimsoll.Result, err error) {
		t.Helper()
		wantError(t, err, context.Canceled)
		equal(t, how+": the first's ending", result.Ending, plimsoll.EndingStopString)
		cancelled := 0
		for _, other := range result.Others {
			if other.Ending == plimsoll.EndingCancelled {
				cancelled++
			}
		}
		if cancelled == 0 {
			t.Errorf("%s: none was cancelled: %+v", how, result)
		}
	}
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	others := 0
	result, err := session.Generate(ctx, request, func(event plimsoll.Event) error {
		if event.Answer != 0 {
			others++
		}
		if others == 30 {
			cancel()
		}
		return nil
	})
	check("called back", result, err)
	noError(t, session.Reset(background))

	ctx, cancel = context.WithCancel(background)
	defer cancel()
	stream := start(t, session, ctx, request)
	for others = 0; stream.Next(); {
		if stream.Event().Answer != 0 {
			others++
		}
		if others == 30 {
			cancel()
		}
	}
	check("pulled", stream.Result(), stream.Err())
}
