// Package plimsoll runs large language models in the process, within a memory budget: every request is priced in bytes
// before it runs, and what was admitted has its bytes until it ends.
//
// A [Runtime] owns the memory guard; it loads a [Model]; a [Session] is a conversation with a model; a [Request] is what one
// turn adds to it. Session.Generate runs a request and calls back for each event, Session.Stream gives the same events one
// by one, Session.WhatIf asks what the guard would say, and Session.Admit has the bytes granted ahead of the run.
//
// # Handles
//
// Runtime, Model, Session, Stream and Ticket hold memory of the library until they are closed. They may be closed in any
// order, from any goroutine and more than once; a call on a closed one returns [ErrClosed], and a call that is under way keeps
// what it uses until it returns. What is forgotten is closed when the garbage collector finds it: a safety net, which may come
// late, since the collector does not see how much memory the library holds.
//
// # Errors
//
// A failed call returns an [*Error], which errors.As finds: it has code, section and message, and for a refusal the numbers.
// Each [Code] is an error itself, for errors.Is. What a context ends returns the context's error.
//
// # Contexts
//
// Every call that waits or computes takes a context. When it ends, a wait ends at once and a running answer within one step
// of the model; what was generated until then stays in the conversation.
//
// # Building
//
// The library is found by pkg-config: set PKG_CONFIG_PATH when plimsoll.pc is not where pkg-config looks.
package plimsoll
