package plimsoll

// #include "shim.h"
import "C"

import (
	"fmt"
	"math"
	"runtime/cgo"
	"time"
	"unsafe"
)

// MemoryLevel is how full a region is to whoever watches it; no request gives up anything for it.
type MemoryLevel int32

// The memory levels.
const (
	MemoryLow      MemoryLevel = C.PLIMSOLL_MEMORY_LOW      // less than 0.60 of the capacity is in use
	MemoryModerate MemoryLevel = C.PLIMSOLL_MEMORY_MODERATE // from 0.60 on
	MemoryHigh     MemoryLevel = C.PLIMSOLL_MEMORY_HIGH     // from 0.80 on
	MemoryCritical MemoryLevel = C.PLIMSOLL_MEMORY_CRITICAL // from 0.90 on
)

var memoryLevelNames = [...]string{"low", "moderate", "high", "critical"}

// String is the level's name.
func (l MemoryLevel) String() string {
	if l >= 0 && int(l) < len(memoryLevelNames) {
		return memoryLevelNames[l]
	}
	return fmt.Sprintf("memory level %d", int32(l))
}

// AlertKind is what an alert is about.
type AlertKind int32

// The kinds of alerts.
const (
	AlertPressure  AlertKind = C.PLIMSOLL_ALERT_PRESSURE  // a region is used above "monitor.alert_pressure"
	AlertSession   AlertKind = C.PLIMSOLL_ALERT_SESSION   // a session holds more of its KV limit than "monitor.alert_session"
	AlertRefusals  AlertKind = C.PLIMSOLL_ALERT_REFUSALS  // more of the requests are refused than "monitor.alert_refusals"
	AlertEvictions AlertKind = C.PLIMSOLL_ALERT_EVICTIONS // more evictions a minute than "monitor.alert_evictions"
	AlertLeak      AlertKind = C.PLIMSOLL_ALERT_LEAK      // bytes per live object rise steadily, or outlive their object
)

var alertNames = [...]string{"pressure", "session", "refusals", "evictions", "leak"}

// String is the kind's name.
func (k AlertKind) String() string {
	if k >= 0 && int(k) < len(alertNames) {
		return alertNames[k]
	}
	return fmt.Sprintf("alert kind %d", int32(k))
}

// HostRegion is the host's memory; devices are regions by their index.
const HostRegion = -1

// Snapshot is what the monitor saw last of one region, what its snapshots come to, and the machine's figures beside them. Sizes
// are bytes.
type Snapshot struct {
	Age             time.Duration // how long ago it was taken
	Capacity        uint64        // what there is
	Used            uint64        // in use, by plimsoll and by others
	Free            uint64        // in use by nobody
	Ours            uint64        // of what is in use, what plimsoll has leased
	Others          uint64        // of what is in use, what others use
	Leasable        uint64        // what may still be leased, after threshold and reserve
	Peak            uint64        // the most that was in use
	Average         uint64        // what was in use on average
	Snapshots       uint64        // snapshots taken
	ModerateEvents  uint64        // times that it rose to moderate or above
	HighEvents      uint64        // times that it rose to high or above
	CriticalEvents  uint64        // times that it rose to critical
	CPU             float64       // share of the machine's cores that was busy since the snapshot before, 0 to 1
	CPUOwn          float64       // share of them that worked for this process
	MemoryTotal     uint64        // the machine's memory; 0 where nothing tells of it, as the next two
	MemoryAvailable uint64        // of it, what can still be taken
	Resident        uint64        // of it, what this process has in memory
	Heap            uint64        // live heap bytes of the library; 0 when it does not count them
	Unbooked        uint64        // of these, what no owner of the ledger has
	CleanupRuns     uint64        // cleanups so far
	CleanupFreed    uint64        // bytes that came back in all of them
	CleanupAge      time.Duration // how long ago the last one ended; -1 before the first
	Level           MemoryLevel   // how full the region is
	Alerts          int           // alerts that are active
}

// Monitor reads what the monitor saw last of a region: HostRegion, or a device by its index.
func (r *Runtime) Monitor(region int) (Snapshot, error) {
	ptr, err := r.h.acquire()
	if err != nil {
		return Snapshot{}, err
	}
	defer r.h.release()
	if region < math.MinInt32 || region > math.MaxInt32 {
		region = math.MinInt32 // what is refused
	}
	var s C.plimsoll_monitor_snapshot
	s.struct_size = C.size_t(unsafe.Sizeof(s))
	var e *C.plimsoll_error
	if err := check(C.plimsoll_monitor_get_snapshot(ptr, C.int32_t(region), &s, &e), e); err != nil {
		return Snapshot{}, err
	}
	made := Snapshot{
		Age:             time.Duration(s.age_ms) * time.Millisecond,
		Capacity:        uint64(s.capacity_bytes),
		Used:            uint64(s.used_bytes),
		Free:            uint64(s.free_bytes),
		Ours:            uint64(s.ours_bytes),
		Others:          uint64(s.others_bytes),
		Leasable:        uint64(s.leasable_bytes),
		Peak:            uint64(s.peak_bytes),
		Average:         uint64(s.average_bytes),
		Snapshots:       uint64(s.snapshots),
		ModerateEvents:  uint64(s.moderate_events),
		HighEvents:      uint64(s.high_events),
		CriticalEvents:  uint64(s.critical_events),
		CPU:             float64(s.cpu),
		CPUOwn:          float64(s.cpu_own),
		MemoryTotal:     uint64(s.memory_total_bytes),
		MemoryAvailable: uint64(s.memory_available_bytes),
		Resident:        uint64(s.resident_bytes),
		Heap:            uint64(s.heap_bytes),
		Unbooked:        uint64(s.unbooked_bytes),
		CleanupRuns:     uint64(s.cleanup_runs),
		CleanupFreed:    uint64(s.cleanup_freed_bytes),
		CleanupAge:      -1,
		Level:           MemoryLevel(s.level),
		Alerts:          int(s.alerts),
	}
	if s.cleanup_age_ms >= 0 {
		made.CleanupAge = time.Duration(s.cleanup_age_ms) * time.Millisecond
	}
	return made, nil
}

// HistoryJSON is the snapshots that are kept as a JSON object: "regions", each with its "snapshots", and "system", the oldest
// first.
func (r *Runtime) HistoryJSON() ([]byte, error) {
	return r.text(func(ptr *C.plimsoll_runtime, text **C.plimsoll_text, e **C.plimsoll_error) C.plimsoll_status {
		return C.plimsoll_monitor_history_json(ptr, text, e)
	})
}

// AlertsJSON is the alerts as a JSON object: "active", "cleared" (the last 32), and "raised", which counts them by kind.
func (r *Runtime) AlertsJSON() ([]byte, error) {
	return r.text(func(ptr *C.plimsoll_runtime, text **C.plimsoll_text, e **C.plimsoll_error) C.plimsoll_status {
		return C.plimsoll_monitor_alerts_json(ptr, text, e)
	})
}

// Alert is an alert that was raised or cleared.
type Alert struct {
	Kind      AlertKind
	Raised    bool    // else it is over
	Value     float64 // a fraction, or evictions a minute; of a leak the fraction by which bytes per live object rose, 1 where the object is gone
	Threshold float64 // what Value has to be above
	Bytes     uint64  // the bytes in question; 0 where it is about requests
	Session   uint64  // the session, as the statistics name it; 0 where it is about none
	Region    int     // HostRegion or a device's index; -2 where it is about none
	Text      string  // all of it in a sentence
}

// OnAlert has fn hear of every alert from now on, in place of who did before; nil ends it. It is called on a goroutine that
// belongs to no call of yours; when it panics the program ends.
func (r *Runtime) OnAlert(fn func(Alert)) error {
	ptr, err := r.h.acquire()
	if err != nil {
		return err
	}
	defer r.h.release()
	var call C.uintptr_t
	if fn != nil {
		// Deleted by plimsoll_go_on_drop, which the library calls exactly once, also when this call fails.
		call = C.uintptr_t(cgo.NewHandle(fn))
	}
	var e *C.plimsoll_error
	return check(C.plimsoll_go_on_alert_set(ptr, call, &e), e)
}

//export plimsoll_go_on_alert
func plimsoll_go_on_alert(a *C.plimsoll_alert, text C.plimsoll_str, call C.uintptr_t) {
	fn := cgo.Handle(call).Value().(func(Alert))
	defer fatal("the alert function")
	fn(Alert{
		Kind:      AlertKind(a.kind),
		Raised:    a.raised != 0,
		Value:     float64(a.value),
		Threshold: float64(a.threshold),
		Bytes:     uint64(a.bytes),
		Session:   uint64(a.session),
		Region:    int(a.region),
		Text:      str(&text),
	})
}

//export plimsoll_go_on_drop
func plimsoll_go_on_drop(call C.uintptr_t) {
	cgo.Handle(call).Delete()
}
