package plimsoll_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"plimsoll.example/plimsoll"
)

// session is one of the bundled model.
func session() (*plimsoll.Session, func()) {
	runtime, err := plimsoll.NewRuntime(&plimsoll.RuntimeOptions{Budget: 256 << 20})
	if err != nil {
		log.Fatal(err)
	}
	model, err := runtime.Load(context.Background(), "../../../models/demo", nil)
	if err != nil {
		log.Fatal(err)
	}
	session, err := model.Open(nil)
	if err != nil {
		log.Fatal(err)
	}
	return session, func() {
		session.Close()
		model.Close()
		runtime.Close()
	}
}

func Example() {
	runtime, err := plimsoll.NewRuntime(&plimsoll.RuntimeOptions{Budget: 256 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer runtime.Close()
	model, err := runtime.Load(context.Background(), "../../../models/demo", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	session, err := model.Open(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	result, err := session.Generate(context.Background(), plimsoll.Ask("Hello!"), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Text)
	// Output: Hello! Ask me about plimsoll, or give me two small numbers to add.
}

func ExampleSession_Generate() {
	session, done := session()
	defer done()
	result, err := session.Generate(context.Background(), plimsoll.Ask("Hello!"), func(event plimsoll.Event) error {
		fmt.Print(event.Text)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("\n%d tokens in, %d out: %v\n", result.PromptTokens, result.GeneratedTokens, result.Ending)
	// Output:
	// Hello! Ask me about plimsoll, or give me two small numbers to add.
	// 10 tokens in, 16 out: end of text
}

func ExampleSession_Stream() {
	session, done := session()
	defer done()
	stream, err := session.Stream(context.Background(), plimsoll.Ask("Hello!"))
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	for stream.Next() {
		fmt.Print(stream.Event().Text)
	}
	if err := stream.Err(); err != nil {
		log.Fatal(err)
	}
	// Output: Hello! Ask me about plimsoll, or give me two small numbers to add.
}

func ExampleSession_WhatIf() {
	session, done := session()
	defer done()
	request := plimsoll.Ask("Hello!")
	request.MaxTokens = 100
	verdict, err := session.WhatIf(request)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(verdict.Decision, verdict.GrantedTokens, verdict.BytesAsked < verdict.BytesFree)
	// Output: accept 100 true
}

func ExampleSession_Admit() {
	session, done := session()
	defer done()
	ticket, err := session.Admit(plimsoll.Ask("Hello!"))
	if err != nil {
		log.Fatal(err) // with the numbers, when it was refused
	}
	defer ticket.Close()
	// From here on the bytes are there, whatever else happens.
	result, err := ticket.Generate(context.Background(), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.LeasedBytes == ticket.Verdict().BytesAsked)
	// Output: true
}

func ExampleError() {
	runtime, err := plimsoll.NewRuntime(&plimsoll.RuntimeOptions{Budget: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer runtime.Close()
	_, err = runtime.Load(context.Background(), "../../../models/demo", nil)
	var refusal *plimsoll.Error
	if errors.Is(err, plimsoll.ErrMemoryRefused) && errors.As(err, &refusal) {
		fmt.Println(refusal.Code, refusal.BytesAsked > refusal.BytesFree)
	}
	// Output: memory refused true
}
