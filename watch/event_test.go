// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"errors"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cleatd/cleat/kv"
)

// library counts the look-ups in a store, and fails them when told to.
type library struct {
	Source
	reads atomic.Int64
	fault error
}

func (l *library) Range(r kv.Range, o kv.ReadOptions) (kv.Result, error) {
	l.reads.Add(1)
	if l.fault != nil {
		return kv.Result{}, l.fault
	}
	return l.Source.Range(r, o)
}

// replaced is the event of a put that replaced k=1.
func replaced(t *testing.T) (*Event, *library) {
	var l *library
	h := open(t, func(h *Hub) { l = &library{Source: h.source}; h.source = l })
	h.write("k=1")
	c := h.hub.Watch(key("k"), 0)
	h.write("k=2")
	b, err := c.Next(patience(t))
	if err != nil || len(b.Events) != 1 {
		t.Fatalf("got %v, %v", b, err)
	}
	return b.Events[0], l
}

func wantPrevious(t testing.TB, e *Event, value string) {
	t.Helper()
	if r, err := e.Previous(); err != nil || string(r.Value()) != value {
		t.Errorf("previous %q, %v; want %q", r.Value(), err, value)
	}
}

func TestPreviousIsReadOnceForAll(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	e, l := replaced(t)
	var askers sync.WaitGroup
	for range 20 {
		askers.Go(func() { wantPrevious(t, e, "1") })
	}
	askers.Wait()
	if n := l.reads.Load(); n != 1 {
		t.Errorf("%d look-ups, want one", n)
	}
}

// An event may be small and what it replaced large: a cursor that nobody takes
// from must not keep that alive.
func TestPreviousIsLetGo(t *testing.T) {
	e, l := replaced(t)
	wantPrevious(t, e, "1")
	runtime.GC()
	if e.previous.Value() != nil {
		t.Error("the event keeps what it replaced")
	}
	wantPrevious(t, e, "1")
	if n := l.reads.Load(); n != 2 {
		t.Errorf("%d look-ups, want two", n)
	}
}

func TestPreviousOfANewKeyIsNotLookedUp(t *testing.T) {
	var l *library
	h := open(t, func(h *Hub) { l = &library{Source: h.source}; h.source = l })
	c := h.hub.Watch(key("k"), 0)
	h.write("k=1")
	b, err := c.Next(patience(t))
	if err != nil {
		t.Fatal(err)
	}
	wantPrevious(t, b.Events[0], "")
	if n := l.reads.Load(); n != 0 {
		t.Errorf("%d look-ups, want none", n)
	}
}

func TestPreviousAfterACompaction(t *testing.T) {
	h := open(t, nil)
	c := h.hub.Watch(key("k"), 0)
	h.write("k=1")
	h.write("k=2")
	h.settle()
	h.compact(3)
	b, err := c.Next(patience(t))
	if err != nil {
		t.Fatal(err)
	}
	wantPrevious(t, b.Events[1], "")
}

func TestPreviousTellsAFaultAndIsTriedAgain(t *testing.T) {
	e, l := replaced(t)
	l.fault = errors.New("disk on fire")
	if _, err := e.Previous(); !errors.Is(err, l.fault) {
		t.Errorf("got %v", err)
	}
	l.fault = nil
	wantPrevious(t, e, "1")
}
