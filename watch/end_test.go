// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cleatd/cleat/kv"
)

// wantEnd asserts that Next fails, the second time too.
func wantEnd(t testing.TB, c *Cursor, reason error) {
	t.Helper()
	for range 2 {
		if b, err := c.Next(patience(t)); !errors.Is(err, reason) {
			t.Fatalf("got %v, %v; want %v", b, err, reason)
		}
	}
}

func TestClosedCursorGivesNothing(t *testing.T) {
	h := open(t, nil)
	c := h.hub.Watch(key("k"), 0)
	h.write("k=1")
	h.settle()
	c.Close()
	c.Close()
	wantEnd(t, c, ErrClosed)
	h.wantFree()
}

func TestCloseWakesWhoWaits(t *testing.T) {
	h := open(t, nil)
	g := h.hub.Group()
	c := g.Watch(key("k"), 0)
	told := make(chan error)
	go func() { _, err := g.Next(patience(t)); told <- err }()
	g.Close()
	g.Close()
	if err := <-told; !errors.Is(err, ErrClosed) {
		t.Errorf("told %v", err)
	}
	c.Close()
	g.RequestProgress()
	wantEnd(t, g.Watch(key("k"), 0), ErrClosed)
	h.wantFree()
}

func TestNextEndsWithItsContext(t *testing.T) {
	h := open(t, nil)
	c := h.hub.Watch(key("k"), 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	h.write("k=1")
	want(t, c, "2 k=1") // and the cursor goes on
}

// broken is a source that fails once told to.
type broken struct {
	Source
	fault chan error
}

func (b *broken) Wait(ctx context.Context, _ int64) error {
	select {
	case err := <-b.fault:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestStoppedHubEndsItsCursors(t *testing.T) {
	h := open(t, nil)
	source := &broken{h.store, make(chan error, 1)}
	hub := NewHub(source, Options{})
	before := hub.Watch(key("k"), 0)
	source.fault <- kv.ErrClosed
	if err := hub.Run(t.Context()); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("run ended with %v", err)
	}
	wantEnd(t, before, ErrStopped)
	wantEnd(t, hub.Watch(key("k"), 0), ErrStopped)
	wantEnd(t, hub.Watch(key("k"), 1), kv.ErrClosed)
}

// A hub that comes late to a compaction lost what its cursors had yet to get;
// one that starts later lost nothing.
func TestHubBehindACompactionTellsItsCursors(t *testing.T) {
	h := open(t, nil)
	late := NewHub(h.store, Options{})
	present, future, past := late.Watch(key("k"), 0), late.Watch(key("k"), 9), late.Watch(key("k"), 8)
	for rev := range 9 {
		h.write(fmt.Sprint("k=", rev+2)) // revisions 2 to 10
	}
	h.compact(8)
	defer run(t, late)()
	want(t, future, "9 k=9", "10 k=10")
	want(t, past, "8 k=8", "9 k=9", "10 k=10")
	var compacted *CompactedError
	if _, err := present.Next(patience(t)); !errors.As(err, &compacted) || compacted.Revision != 8 {
		t.Errorf("got %v", err)
	}
}

// When all cursors together hold too much, those lose it that are not served.
func TestWhoIsServedKeepsWhatIsHeld(t *testing.T) {
	h := open(t, func(h *Hub) { h.limits.total = 10_000 })
	served := h.hub.Watch(key("served"), 0)
	var stalled []*Cursor
	for i := range 20 {
		stalled = append(stalled, h.hub.Watch(key(fmt.Sprint("stalled", i)), 0))
	}
	value := strings.Repeat("v", 800)
	for i := range 20 {
		rev := h.write(fmt.Sprint("stalled", i, "=", value))
		h.write(fmt.Sprint("served=", i))
		h.settle()
		want(t, served, fmt.Sprintf("%d served=%d", rev+1, i))
		h.hub.mu.Lock()
		if h.hub.held > 10_000 {
			t.Errorf("%d bytes are held", h.hub.held)
		}
		if served.spot == nil {
			t.Error("who is served was made to fall")
		}
		h.hub.mu.Unlock()
	}
	for i, c := range stalled {
		want(t, c, fmt.Sprintf("%d stalled%d=%s", 2+2*i, i, value))
	}
}

// allocations counts what the hub allocates for an event of one watcher among
// many of other keys.
func allocations(t *testing.T, others int) float64 {
	h := open(t, nil)
	g := h.hub.Group()
	for i := range others {
		g.Watch(key(fmt.Sprint("other", i)), 0)
		g.Watch(prefix(fmt.Sprint("range", i, "/")), 0)
	}
	mine := h.hub.Watch(key("k"), 0)
	h.write("k=1")
	want(t, mine, "2 k=1")
	events, _, err := h.store.Events(everything, 2, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	cost := testing.AllocsPerRun(100, func() {
		h.hub.give(events, 3)
		if n := len(h.hub.spots); n != 1 {
			t.Fatalf("%d watched ranges were visited", n)
		}
		if _, err := mine.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if len(g.queue) > 0 || len(g.Ready()) > 0 {
		t.Error("others were woken")
	}
	return cost
}

func TestEventCostsOnlyThoseWhoWantIt(t *testing.T) {
	few, many := allocations(t, 1), allocations(t, 10_000)
	if few != many {
		t.Errorf("an event costs %v allocations among few and %v among many", few, many)
	}
}

func TestMetricsCountWatchers(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := open(t, func(h *Hub) { h.metrics = newMetrics(registry, h) })
	c := h.hub.Watch(key("k"), 0)
	defer c.Close()
	h.write("k=1")
	want(t, c, "2 k=1")
	h.write("k=2")
	h.settle()
	defer h.hub.Watch(key("k"), 1).Close() // has yet to read
	h.hub.limits.nearby = -1
	defer h.hub.Watch(key("k"), 1).Close() // lags until it is served
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	wanted := map[string]float64{
		"etcd_debugging_mvcc_events_total":         1,
		"etcd_debugging_mvcc_pending_events_total": 1,
		"etcd_debugging_mvcc_slow_watcher_total":   2,
		"etcd_debugging_mvcc_watch_stream_total":   3,
		"etcd_debugging_mvcc_watcher_total":        3,
	}
	if !maps.Equal(got, wanted) {
		t.Errorf("got %v, want %v", got, wanted)
	}
}
