// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/cleatd/cleat/kv"
)

// crowd is a house in which each key is watched by a cursor of its own, and
// every transaction puts the next hundred keys, round and round.
type crowd struct {
	*house
	keys    int
	group   *Group
	cursors map[*Cursor]int // the key that each watches
	got     []int           // how many events of each key came; the server's alone
	first   int64           // the revision of the first transaction
	written int             // events
	told    chan int64      // progress
}

const (
	perTxn        = 100
	cacheBytes    = 4 << 20
	memtableBytes = 1 << 20
)

func newCrowd(t testing.TB, keys int) *crowd {
	// What the store keeps in memory is small and steady from early on.
	h := openStore(t, kv.Options{Dir: t.TempDir(), TailBytes: 512 << 10, CacheBytes: cacheBytes, MemtableBytes: memtableBytes}, nil)
	c := &crowd{
		house: h, keys: keys, group: h.hub.Group(), cursors: make(map[*Cursor]int), got: make([]int, keys),
		first: h.store.Revision() + 1, told: make(chan int64),
	}
	for i := range keys {
		c.cursors[c.group.Watch(key(c.key(i)), 0)] = i
	}
	done := make(chan error, 1)
	go func() { done <- c.serve() }()
	t.Cleanup(func() {
		c.group.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *crowd) key(event int) string   { return fmt.Sprintf("key%06d", event%c.keys) }
func (c *crowd) value(event int) string { return fmt.Sprintf("value%08d", event) }
func (c *crowd) rev(event int) int64    { return c.first + int64(event/perTxn) }

// serve takes what the watchers of single keys get, until the group is closed.
func (c *crowd) serve() error {
	for {
		d, ok := c.group.Take()
		switch {
		case !ok && c.group.err() != nil:
			return nil
		case !ok:
			<-c.group.Ready()
		case d.Err != nil:
			return d.Err
		case d.Cursor == nil:
			c.told <- d.Revision
		default:
			i := c.cursors[d.Cursor]
			for _, e := range d.Events {
				if err := c.compare(e, i+c.got[i]*c.keys); err != nil {
					return fmt.Errorf("watcher of key %d: %w", i, err)
				}
				c.got[i]++
			}
		}
	}
}

func (c *crowd) compare(e *Event, event int) error {
	if e.Delete || e.Revision != c.rev(event) || string(e.Record.Key()) != c.key(event) || string(e.Record.Value()) != c.value(event) {
		return fmt.Errorf("got %s, want event %d at %d", show(e), event, c.rev(event))
	}
	return nil
}

// pass writes events, in transactions of a hundred.
func (c *crowd) pass(events int) {
	c.t.Helper()
	for range events / perTxn {
		b := c.store.NewBatch()
		txn := b.Begin()
		for range perTxn {
			txn.Put([]byte(c.key(c.written)), []byte(c.value(c.written)), 0)
			c.written++
		}
		txn.End()
		c.commit(b)
		b.Close()
	}
}

// settled returns when all who are served have got everything, and checks that
// each got all of it.
func (c *crowd) settled() {
	c.t.Helper()
	c.group.RequestProgress()
	if rev := <-c.told; rev != c.rev(c.written-1) {
		c.t.Fatalf("progress %d, want %d", rev, c.rev(c.written-1))
	}
	for i, n := range c.got {
		if n != c.written/c.keys {
			c.t.Fatalf("the watcher of key %d got %d events, want %d", i, n, c.written/c.keys)
		}
	}
}

// heap returns the bytes that are reachable.
func heap() int {
	runtime.GC()
	runtime.GC() // what the first one finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// wantHeap waits until the heap is no larger than that: Pebble's compactions
// hold tens of megabytes while they run.
func wantHeap(t testing.TB, most int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		size := heap()
		if size <= most {
			t.Logf("the heap is %d KiB, %d below what it may be", size>>10, (most-size)>>10)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the heap is %d KiB, want at most %d", size>>10, most>>10)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// unsteady is how much the store makes the heap vary. Without cgo, and by
// chance with the race detector, Pebble's cache and memtables are in the heap.
func unsteady() int {
	info, ok := debug.ReadBuildInfo()
	if ok && !racing && slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "1"}) {
		return 1 << 20
	}
	return cacheBytes + 2*memtableBytes
}

// A cursor that nobody reads from costs no more than MaxHeld, however much it
// misses; those who watch other keys do not notice; and when somebody reads
// from it again it gives everything.
func TestStalledCursorCostsABoundedAmount(t *testing.T) {
	keys, events := 10_000, 1_000_000
	if racing {
		events = 200_000 // 60 MB
	}
	c := newCrowd(t, keys)
	c.pass(max(events/10, keys))
	c.settled()
	most := heap() + MaxHeld + unsteady()

	first := c.written
	stalled := c.hub.Watch(everything, 0)
	defer stalled.Close()
	c.pass(defaultLimits().events - perTxn) // it holds all it can
	wantHeap(t, most)
	c.pass(events / 5) // more than it can hold, less than all may hold
	wantHeap(t, most)
	c.pass(first + events - c.written)
	c.settled()
	wantHeap(t, most)

	for next := first; next < first+events; {
		b, err := stalled.Next(patience(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			if err := c.compare(e, next); err != nil {
				t.Fatal(err)
			}
			next++
		}
	}
	if rev, synced := stalled.Progress(); rev != c.rev(c.written-1) || !synced {
		t.Errorf("at %d, synced %v, after the last event", rev, synced)
	}
}
