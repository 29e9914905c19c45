package plimsoll

// #include "shim.h"
import "C"

import (
	"fmt"
	"runtime/cgo"
	"runtime/debug"
)

// LogLevel says how much a log line matters.
type LogLevel int32

// The levels; each has those before it.
const (
	LogOff   LogLevel = C.PLIMSOLL_LOG_OFF   // nothing
	LogError LogLevel = C.PLIMSOLL_LOG_ERROR // what failed
	LogWarn  LogLevel = C.PLIMSOLL_LOG_WARN  // what looks wrong
	LogInfo  LogLevel = C.PLIMSOLL_LOG_INFO  // models, sessions, decisions
	LogDebug LogLevel = C.PLIMSOLL_LOG_DEBUG // every request
	LogTrace LogLevel = C.PLIMSOLL_LOG_TRACE // every step
)

var levelNames = [...]string{"off", "error", "warn", "info", "debug", "trace"}

// String is the level's name.
func (l LogLevel) String() string {
	if l >= 0 && int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("level %d", int32(l))
}

// SetLog sends the library's log lines up to level to fn, for the whole process; a nil fn or LogOff sends them nowhere,
// which is how it begins. fn gets a line's level, the module that wrote it and its text, never prompts or answers. It is
// called on any goroutine, on several at once; it must not call SetLog, and when it panics the program ends.
func SetLog(level LogLevel, fn func(level LogLevel, target, text string)) error {
	var call C.uintptr_t
	if fn != nil {
		// Deleted by plimsoll_go_on_log_drop, which the library calls exactly once, also when this call fails.
		call = C.uintptr_t(cgo.NewHandle(fn))
	}
	var e *C.plimsoll_error
	return check(C.plimsoll_go_log_set(C.int32_t(level), call, &e), e)
}

//export plimsoll_go_on_log
func plimsoll_go_on_log(level C.int32_t, target, text C.plimsoll_str, call C.uintptr_t) {
	fn := cgo.Handle(call).Value().(func(LogLevel, string, string))
	defer fatal("the log function")
	fn(LogLevel(level), str(&target), str(&text))
}

// fatal ends the program when the function that defers it panics. The frames below are the library's: a panic must not run
// through them, and nobody is there to return it to.
func fatal(who string) {
	if p := recover(); p != nil {
		report := fmt.Sprintf("plimsoll: %s panicked: %v\n\n%s", who, p, debug.Stack())
		go panic(report)
		select {}
	}
}

//export plimsoll_go_on_log_drop
func plimsoll_go_on_log_drop(call C.uintptr_t) {
	cgo.Handle(call).Delete()
}
