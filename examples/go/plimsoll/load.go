package plimsoll

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/cgo"
)

// ModelOptions are the settings of a load. The zero value is every default.
type ModelOptions struct {
	// Name is the model's logical name. "": the last element of the path.
	Name string
	// Threads that compute. 0: one per core.
	Threads int
	// ContextLength is the most tokens of a conversation. 0: the model's.
	ContextLength int
	// MaxSequences is the most requests in one batch. 0: 16.
	MaxSequences int
	// OnProgress hears how far the load is, on the goroutine that called Load. An error that it returns stops the load.
	OnProgress func(Progress) error
	// Config sets further keys that begin with "native.".
	Config Config
}

// LoadState is a stage of a load.
type LoadState int32

// The stages of a load.
const (
	LoadQueued    LoadState = C.PLIMSOLL_LOAD_QUEUED    // it has its memory and waits to read
	LoadReading   LoadState = C.PLIMSOLL_LOAD_READING   // weights come in from their files
	LoadPreparing LoadState = C.PLIMSOLL_LOAD_PREPARING // workspace and decoder are being set up
	LoadWarm      LoadState = C.PLIMSOLL_LOAD_WARM      // a first token has gone through every layer
	LoadReady     LoadState = C.PLIMSOLL_LOAD_READY     // requests are taken
	LoadFailed    LoadState = C.PLIMSOLL_LOAD_FAILED    // it ended with an error, which Load returns
)

var loadNames = [...]string{"queued", "reading", "preparing", "warm", "ready", "failed"}

// String is the stage's name.
func (s LoadState) String() string {
	if s >= 0 && int(s) < len(loadNames) {
		return loadNames[s]
	}
	return fmt.Sprintf("load state %d", int32(s))
}

// Progress is how far a load is.
type Progress struct {
	State      LoadState
	Shard      int    // the file being read, from 0; Shards when all are read
	Shards     int    // files that hold weights
	BytesDone  uint64 // bytes of weights read so far
	BytesTotal uint64 // bytes of weights to read
}

// Load loads a model: a folder with config.json, safetensors and tokenizer.json, or a .gguf file. The guard must grant its
// weights and workspace first. Files that are loaded already are shared, not loaded again. When ctx ends, or OnProgress
// returns an error, the load stops at its next report, and the error wraps that one. A nil options is every default.
func (r *Runtime) Load(ctx context.Context, path string, options *ModelOptions) (*Model, error) {
	ptr, err := r.h.acquire()
	if err != nil {
		return nil, err
	}
	defer r.h.release()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if options == nil {
		options = &ModelOptions{}
	}
	config, err := options.Config.
		with("native.threads", number(options.Threads)).
		with("native.context_length", number(options.ContextLength)).
		with("native.max_sequences", number(options.MaxSequences)).
		build()
	if err != nil {
		return nil, err
	}
	defer C.plimsoll_config_free(config)
	name := options.Name
	if name == "" {
		name = filepath.Base(path)
	}

	l := &load{ctx: ctx, onProgress: options.OnProgress}
	call := cgo.NewHandle(l)
	defer call.Delete()
	m := &Model{}
	m.h.free = func(ptr *C.plimsoll_model) { C.plimsoll_model_unload(ptr) }
	cname, cnameLen := chars(name)
	cpath, cpathLen := chars(path)
	var e *C.plimsoll_error
	status := C.plimsoll_go_model_load(ptr, cname, cnameLen, cpath, cpathLen, config, C.uintptr_t(call), &m.h.ptr, &e)
	err = check(status, e)
	if l.panicked != nil {
		m.h.close()
		panic(l.panicked)
	}
	if err != nil {
		var failed *Error
		if errors.As(err, &failed) && failed.Code == ErrLoadCancelled {
			failed.cause = l.cause
		}
		return nil, err
	}
	runtime.SetFinalizer(m, func(m *Model) { go m.Close() })
	return m, nil
}

// load is a load on its way.
type load struct {
	ctx        context.Context
	onProgress func(Progress) error
	cause      error // why it was stopped
	panicked   any   // what OnProgress panicked with
}

//export plimsoll_go_on_progress
func plimsoll_go_on_progress(p *C.plimsoll_progress, call C.uintptr_t) (stop C.int32_t) {
	l := cgo.Handle(call).Value().(*load)
	defer func() {
		// The frames below are the library's: Load panics again when it has left them.
		if p := recover(); p != nil {
			l.panicked, stop = p, 1
		}
	}()
	if l.cause == nil {
		l.cause = l.ctx.Err()
	}
	if l.cause == nil && l.onProgress != nil {
		l.cause = l.onProgress(Progress{
			State:      LoadState(p.state),
			Shard:      int(p.shard),
			Shards:     int(p.shards),
			BytesDone:  uint64(p.bytes_done),
			BytesTotal: uint64(p.bytes_total),
		})
	}
	if l.cause != nil {
		return 1
	}
	return 0
}
