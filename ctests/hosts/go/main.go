// A Go program outside of plimsoll's tree, over the C ABI itself: loads the model os.Args[1] and prints its answer.
package main

// #cgo pkg-config: plimsoll
// #include <plimsoll.h>
// #include <stdlib.h>
import "C"

import (
	"fmt"
	"os"
	"unsafe"
)

func check(status C.plimsoll_status, failure *C.plimsoll_error) {
	if status == C.PLIMSOLL_OK {
		return
	}
	why := C.plimsoll_error_message(failure)
	fmt.Fprintf(os.Stderr, "error %d: %s\n", status, C.GoStringN(why.ptr, C.int(why.len)))
	os.Exit(1)
}

// text is a Go string as C wants it; it is never freed here, for the program is short.
func text(s string) (*C.char, C.size_t) {
	return C.CString(s), C.size_t(len(s))
}

func main() {
	var (
		runtime *C.plimsoll_runtime
		model   *C.plimsoll_model
		session *C.plimsoll_session
		request *C.plimsoll_request
		stream  *C.plimsoll_stream
		failure *C.plimsoll_error
	)
	name, nameLen := text("m")
	path, pathLen := text(os.Args[1])
	role, roleLen := text("user")
	content, contentLen := text("Hello!")
	check(C.plimsoll_runtime_new(nil, &runtime, &failure), failure)
	check(C.plimsoll_model_load(runtime, name, nameLen, path, pathLen, nil, nil, nil, &model, &failure), failure)
	check(C.plimsoll_session_open(model, nil, &session, &failure), failure)
	check(C.plimsoll_request_new(&request, &failure), failure)
	check(C.plimsoll_request_add_message(request, role, roleLen, content, contentLen, &failure), failure)
	check(C.plimsoll_stream_start(session, request, nil, nil, &stream, &failure), failure)
	var event C.plimsoll_event
	event.struct_size = C.size_t(unsafe.Sizeof(event))
	for event.kind != C.PLIMSOLL_EVENT_END {
		check(C.plimsoll_stream_next(stream, -1, &event, &failure), failure)
		fmt.Print(C.GoStringN(event.text.ptr, C.int(event.text.len)))
	}
	fmt.Println()
	C.plimsoll_stream_free(stream)
	C.plimsoll_request_free(request)
	C.plimsoll_session_free(session)
	C.plimsoll_model_unload(model)
	C.plimsoll_runtime_free(runtime)
}
