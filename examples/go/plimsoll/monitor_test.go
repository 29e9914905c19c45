package plimsoll_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"plimsoll.example/plimsoll"
)

func TestMonitor(t *testing.T) {
	runtime := newRuntime(t, &plimsoll.RuntimeOptions{Budget: 64 << 20, Config: plimsoll.Config{"monitor.interval_ms": "10"}})
	model, err := runtime.Load(background, tiny, nil)
	noError(t, err)
	defer model.Close()
	var last plimsoll.Snapshot
	soon(t, "a snapshot with the model", func() bool {
		last, err = runtime.Monitor(plimsoll.HostRegion)
		return err != nil || last.Ours > 0
	})
	noError(t, err)
	equal(t, "what is used or free", last.Used+last.Free, last.Capacity)
	equal(t, "whose it is", last.Ours+last.Others, last.Used)
	equal(t, "what may be leased", last.Leasable, memory(t, runtime).Free)
	equal(t, "the level", last.Level.String(), "low")
	equal(t, "events", last.ModerateEvents+last.HighEvents+last.CriticalEvents, 0)
	equal(t, "the age of no cleanup", last.CleanupAge, time.Duration(-1))
	if last.Peak < last.Used || last.Average > last.Peak || last.Snapshots == 0 || last.Age > time.Minute {
		t.Errorf("%+v", last)
	}
	if last.MemoryTotal < last.MemoryAvailable || last.Resident == 0 || last.Heap < last.Unbooked || last.CPU > 1 || last.CPUOwn > 1 {
		t.Errorf("%+v", last)
	}
	for _, region := range []int{-2, 0, 256, 1 << 40} {
		_, err = runtime.Monitor(region)
		wantError(t, err, plimsoll.ErrInvalidArgument)
	}
	written, err := runtime.HistoryJSON()
	noError(t, err)
	var history struct {
		Regions []struct {
			Snapshots []struct {
				Capacity uint64 `json:"capacity_bytes"`
			}
		}
	}
	noError(t, json.Unmarshal(written, &history))
	equal(t, "the capacity", history.Regions[0].Snapshots[0].Capacity, 64<<20)
	report, err := runtime.MemoryReport()
	noError(t, err)
	equal(t, "the report has the weights", strings.Contains(report, "\n  weights of model 1 "), true)
	equal(t, "a level of the future", plimsoll.MemoryLevel(9).String(), "memory level 9")
	equal(t, "a kind of the future", plimsoll.AlertKind(9).String(), "alert kind 9")
}

func TestAlerts(t *testing.T) {
	made, left := callbacks(func() {
		runtime := newRuntime(t, &plimsoll.RuntimeOptions{
			Budget: 64 << 20,
			Config: plimsoll.Config{"monitor.interval_ms": "10", "monitor.alert_pressure": "0.001"},
		})
		var mu sync.Mutex
		var heard []plimsoll.Alert
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(heard)
		}
		noError(t, runtime.OnAlert(func(alert plimsoll.Alert) {
			runtime.Monitor(plimsoll.HostRegion) // no lock is held
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, alert)
		}))
		model, err := runtime.Load(background, tiny, nil)
		noError(t, err)
		soon(t, "an alert", func() bool { return count() == 1 })
		written, err := runtime.AlertsJSON()
		noError(t, err)
		equal(t, "it is in the list", strings.Contains(string(written), `"active":[{"kind":"pressure"`), true)
		noError(t, model.Close())
		soon(t, "its end", func() bool { return count() == 2 })
		mu.Lock()
		first, second := heard[0], heard[1]
		mu.Unlock()
		equal(t, "the kind", first.Kind.String(), "pressure")
		equal(t, "raised, then over", first.Raised && !second.Raised, true)
		equal(t, "the region", first.Region, plimsoll.HostRegion)
		equal(t, "the threshold", first.Threshold, 0.001)
		if first.Value <= first.Threshold || first.Bytes == 0 || first.Session != 0 || !strings.Contains(first.Text, "host memory") {
			t.Errorf("%+v", first)
		}
		noError(t, runtime.OnAlert(func(plimsoll.Alert) {}))
		noError(t, runtime.OnAlert(nil))
	})
	equal(t, "callbacks made", made, 3) // two listeners, a load
	equal(t, "callbacks left", left, 0)
}

func TestCleanup(t *testing.T) {
	made, left := callbacks(func() {
		runtime, _, session := with(t, tiny)
		_, err := session.Generate(background, ask("hello", 4), nil)
		noError(t, err)
		calls := 0
		id, err := runtime.OnCleanup("host", func(wanted uint64) uint64 {
			calls++
			equal(t, "what is wanted", wanted == plimsoll.EverythingWanted, true)
			_, err := runtime.Cleanup()
			wantError(t, err, plimsoll.ErrReentrant)
			return 5
		})
		noError(t, err)
		panics, err := runtime.OnCleanup("panics", func(uint64) uint64 { panic("planned") })
		noError(t, err)
		pool, err := runtime.Pool()
		noError(t, err)
		equal(t, "idle memory of the library's own", pool.Engine.BuffersIdle, 1)
		held := memory(t, runtime).KV + pool.Engine.Idle
		freed, err := runtime.Cleanup()
		noError(t, err)
		equal(t, "bytes that came back", freed, held)
		equal(t, "KV left", memory(t, runtime).KV, 0)
		stats, err := runtime.MemoryJSON()
		noError(t, err)
		equal(t, "the failure is counted", strings.Contains(string(stats), `"name":"panics","runs":1,"failed":1`), true)
		noError(t, runtime.RemoveCleanup(id))
		noError(t, runtime.RemoveCleanup(panics))
		wantError(t, runtime.RemoveCleanup(id), plimsoll.ErrInvalidArgument)
		_, err = runtime.Cleanup()
		noError(t, err)
		equal(t, "calls", calls, 1)
		_, err = runtime.OnCleanup("none", nil)
		wantError(t, err, plimsoll.ErrNullPointer)
		_, err = runtime.OnCleanup("\xff", func(uint64) uint64 { return 0 })
		wantError(t, err, plimsoll.ErrInvalidUTF8)
		noError(t, runtime.Close())
		_, err = runtime.Cleanup()
		wantError(t, err, plimsoll.ErrClosed)
		wantError(t, runtime.OnAlert(func(plimsoll.Alert) {}), plimsoll.ErrClosed)
	})
	equal(t, "callbacks left", left, 0)
	if made < 3 {
		t.Errorf("%d callbacks made", made)
	}
}
