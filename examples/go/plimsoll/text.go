package plimsoll

// #include "shim.h"
import "C"

import "unsafe"

// chars is a Go string as the library takes it, copied: the pointer may go into any call.
func chars(s string) (*C.char, C.size_t) {
	if s == "" {
		return nil, 0
	}
	b := []byte(s)
	return (*C.char)(unsafe.Pointer(&b[0])), C.size_t(len(b))
}

// str copies a borrowed text. By reference, so that the address of an empty text is never read.
func str(s *C.plimsoll_str) string {
	return string(view(s))
}

// view is a borrowed text in place.
func view(s *C.plimsoll_str) []byte {
	if s.len == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(s.ptr)), int(s.len))
}

// take copies an owned text and frees it.
func take(text *C.plimsoll_text) string {
	defer C.plimsoll_text_free(text)
	s := C.plimsoll_go_text_str(text)
	return str(&s)
}
