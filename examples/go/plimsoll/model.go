package plimsoll

// #include "shim.h"
import "C"

import (
	"runtime"
	"unsafe"
)

// Model is a loaded model. Its methods may be called by several goroutines at once.
type Model struct {
	h handle[*C.plimsoll_model]
}

// Close gives the model back. Its memory is freed when its last session is closed and no other model shares its files.
// Closing again does nothing; the error is always nil.
func (m *Model) Close() error {
	if m.h.close() {
		runtime.SetFinalizer(m, nil)
	}
	return nil
}

// Facts are what there is to know of a model. Sizes are bytes.
type Facts struct {
	ContextLength int    // most tokens of a conversation
	VocabSize     int    // token ids are below this
	Weights       uint64 // weights in memory
	Workspace     uint64 // workspace
	KV            uint64 // KV of all its sessions now
	BlockTokens   int    // tokens per KV block
	MaxSequences  int    // most requests in one batch
	Engine        string // the engine's name
	Host          uint64 // leased beside weights and workspace: tokenizer, chat template, the engine's tables
}

// Facts reads the facts of the model.
func (m *Model) Facts() (Facts, error) {
	ptr, err := m.h.acquire()
	if err != nil {
		return Facts{}, err
	}
	defer m.h.release()
	var f C.plimsoll_model_facts
	f.struct_size = C.size_t(unsafe.Sizeof(f))
	var e *C.plimsoll_error
	if err := check(C.plimsoll_model_get_facts(ptr, &f, &e), e); err != nil {
		return Facts{}, err
	}
	return Facts{
		ContextLength: int(f.context_length),
		VocabSize:     int(f.vocab_size),
		Weights:       uint64(f.weights_bytes),
		Workspace:     uint64(f.workspace_bytes),
		KV:            uint64(f.kv_bytes),
		BlockTokens:   int(f.block_tokens),
		MaxSequences:  int(f.max_sequences),
		Engine:        str(&f.engine),
		Host:          uint64(f.host_bytes),
	}, nil
}

// Evict frees the model's weights, its workspace, its tables and the KV of its sessions, and says how many bytes that were. Model,
// sessions and conversations stay good: the next request that is granted loads the model again. It is ErrBusy while a request of
// the model runs or waits, or a ticket is outstanding.
func (m *Model) Evict() (freed uint64, err error) {
	ptr, err := m.h.acquire()
	if err != nil {
		return 0, err
	}
	defer m.h.release()
	var n C.uint64_t
	var e *C.plimsoll_error
	err = check(C.plimsoll_model_evict(ptr, &n, &e), e)
	return uint64(n), err
}

// IsLoaded says whether the model is loaded. One that is not stays good, and its next request loads it again.
func (m *Model) IsLoaded() bool {
	ptr, err := m.h.acquire()
	if err != nil {
		return false
	}
	defer m.h.release()
	return C.plimsoll_model_is_loaded(ptr) != 0
}

// TokenBytes is what a token stands for: not always whole characters. It is empty for an id beyond the vocabulary.
func (m *Model) TokenBytes(token uint32) ([]byte, error) {
	ptr, err := m.h.acquire()
	if err != nil {
		return nil, err
	}
	defer m.h.release()
	s := C.plimsoll_go_token_bytes(ptr, C.uint32_t(token))
	return append([]byte(nil), view(&s)...), nil
}

// Tokenize is the token ids of a text.
func (m *Model) Tokenize(text string) ([]uint32, error) {
	ptr, err := m.h.acquire()
	if err != nil {
		return nil, err
	}
	defer m.h.release()
	content, length := chars(text)
	// A token is a byte of the text at least, save for what a tokenizer puts around it: so one call is mostly enough.
	tokens := make([]uint32, len(text)+8)
	for {
		var count C.size_t
		var e *C.plimsoll_error
		first := (*C.uint32_t)(unsafe.Pointer(&tokens[0]))
		status := C.plimsoll_model_tokenize(ptr, content, length, first, C.size_t(len(tokens)), &count, &e)
		if err := check(status, e); err != nil {
			return nil, err
		}
		if int(count) <= len(tokens) {
			return tokens[:count:count], nil
		}
		tokens = make([]uint32, count)
	}
}

// Render is messages as the model's chat template writes them, up to where an answer begins.
func (m *Model) Render(messages []Message) (string, error) {
	ptr, err := m.h.acquire()
	if err != nil {
		return "", err
	}
	defer m.h.release()
	for _, message := range messages {
		if message.JSON != "" {
			return "", invalid("Render takes messages of texts; RenderRequest takes those of JSON")
		}
	}
	list := newMessageList(messages)
	defer list.free()
	var text *C.plimsoll_text
	var e *C.plimsoll_error
	if err := check(C.plimsoll_model_render(ptr, list.first, C.size_t(len(messages)), &text, &e), e); err != nil {
		return "", err
	}
	return take(text), nil
}

// RenderRequest is a request's messages and tools as the model's chat template writes them, up to where an answer begins:
// the text of a new session's first turn.
func (m *Model) RenderRequest(r *Request) (string, error) {
	ptr, err := m.h.acquire()
	if err != nil {
		return "", err
	}
	defer m.h.release()
	request, err := r.build()
	if err != nil {
		return "", err
	}
	defer C.plimsoll_request_free(request)
	var text *C.plimsoll_text
	var e *C.plimsoll_error
	if err := check(C.plimsoll_model_render_request(ptr, request, &text, &e), e); err != nil {
		return "", err
	}
	return take(text), nil
}

// messageList is messages in the library's memory, since memory of Go may not hold pointers into Go for a call.
type messageList struct {
	first *C.plimsoll_message
	texts []unsafe.Pointer
}

func newMessageList(messages []Message) *messageList {
	list := &messageList{}
	if len(messages) == 0 {
		return list
	}
	list.first = (*C.plimsoll_message)(C.calloc(C.size_t(len(messages)), C.sizeof_plimsoll_message))
	put := func(to *C.plimsoll_str, s string) {
		if s != "" {
			text := C.CBytes([]byte(s))
			list.texts = append(list.texts, text)
			to.ptr, to.len = (*C.char)(text), C.size_t(len(s))
		}
	}
	to := unsafe.Slice(list.first, len(messages))
	for i, message := range messages {
		put(&to[i].role, message.Role)
		put(&to[i].content, message.Content)
	}
	return list
}

func (l *messageList) free() {
	for _, text := range l.texts {
		C.free(text)
	}
	C.free(unsafe.Pointer(l.first))
}

// AttachEngine attaches a further engine, which config names by the key "engine.kind". A loaded model has its native engine
// from the start.
func (m *Model) AttachEngine(config Config) error {
	ptr, err := m.h.acquire()
	if err != nil {
		return err
	}
	defer m.h.release()
	c, err := config.build()
	if err != nil {
		return err
	}
	defer C.plimsoll_config_free(c)
	var e *C.plimsoll_error
	return check(C.plimsoll_engine_attach(ptr, c, &e), e)
}

// CheckIntegrity compares what the model's allocators hold with what the ledger has booked for it, to the byte. It
// fails with ErrBusy while a request of the model waits or runs.
func (m *Model) CheckIntegrity() error {
	ptr, err := m.h.acquire()
	if err != nil {
		return err
	}
	defer m.h.release()
	var e *C.plimsoll_error
	return check(C.plimsoll_model_check_integrity(ptr, &e), e)
}
