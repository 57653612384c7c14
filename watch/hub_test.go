// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cleatd/cleat/kv"
)

// house is a real store and a hub on it.
type house struct {
	t     testing.TB
	store *kv.Store
	hub   *Hub
	index uint64
}

// open opens a store in memory; change may alter the hub before it runs.
func open(t testing.TB, change func(*Hub)) *house {
	t.Helper()
	return openStore(t, kv.Options{Dir: "store", FS: vfs.NewMem()}, change)
}

func openStore(t testing.TB, o kv.Options, change func(*Hub)) *house {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	store, err := kv.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, store: store, hub: NewHub(store, Options{})}
	if change != nil {
		change(h.hub)
	}
	stop := run(t, h.hub)
	t.Cleanup(func() { stop(); _ = store.Close() })
	return h
}

// run runs a hub until the function that it returns is called.
func run(t testing.TB, hub *Hub) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- hub.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the hub ended with %v", err)
		}
	}
}

// write commits one transaction: "k=v" puts, "-k" deletes.
func (h *house) write(changes ...string) int64 {
	h.t.Helper()
	b := h.store.NewBatch()
	defer b.Close()
	txn := b.Begin()
	for _, c := range changes {
		if key, deleted := strings.CutPrefix(c, "-"); deleted {
			txn.Delete(kv.Range{Key: []byte(key)}, false)
			continue
		}
		key, value, _ := strings.Cut(c, "=")
		txn.Put([]byte(key), []byte(value), 0)
	}
	rev := txn.End()
	h.commit(b)
	return rev
}

func (h *house) commit(b *kv.Batch) {
	h.t.Helper()
	h.index++
	if err := b.Commit(h.index); err != nil {
		h.t.Fatal(err)
	}
}

// compact gives up history before rev and waits until it is gone.
func (h *house) compact(rev int64) {
	h.t.Helper()
	b := h.store.NewBatch()
	defer b.Close()
	done, err := b.Compact(rev)
	if err != nil {
		h.t.Fatal(err)
	}
	h.commit(b)
	<-done
}

// settle returns when the hub has given out everything up to the present.
func (h *house) settle() {
	h.t.Helper()
	c := h.hub.Watch(kv.Range{Key: []byte("no such key")}, 0)
	defer c.Close()
	c.group.RequestProgress()
	if d, err := c.group.Next(patience(h.t)); err != nil || d.Cursor != nil {
		h.t.Fatalf("got %v, %v, want progress", d, err)
	}
}

// patience is longer than anything takes.
func patience(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func prefix(p string) kv.Range {
	end := []byte(p)
	end[len(end)-1]++
	return kv.Range{Key: []byte(p), End: end}
}

func key(k string) kv.Range { return kv.Range{Key: []byte(k)} }

func show(e *Event) string {
	if e.Delete {
		return fmt.Sprintf("%d -%s", e.Revision, e.Record.Key())
	}
	return fmt.Sprintf("%d %s=%s", e.Revision, e.Record.Key(), e.Record.Value())
}

// want takes as many events as there are texts and compares them. It returns
// the revision of the last batch.
func want(t testing.TB, c *Cursor, texts ...string) (rev int64) {
	t.Helper()
	var got []string
	for len(got) < len(texts) {
		b, err := c.Next(patience(t))
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		for _, e := range b.Events {
			got = append(got, show(e))
		}
		rev = b.Revision
	}
	if g, w := strings.Join(got, ", "), strings.Join(texts, ", "); g != w {
		t.Fatalf("got %s; want %s", g, w)
	}
	return rev
}

// wantNothing asserts that a cursor has nothing to give once the hub is idle.
func (h *house) wantNothing(c *Cursor) {
	h.t.Helper()
	h.settle()
	for {
		if d, ok := c.group.Take(); ok {
			h.t.Fatalf("got %v, %v; want nothing", d.Events, d.Err)
		}
		if _, synced := c.Progress(); synced || c.start > h.store.Revision() {
			return
		}
	}
}

func TestCursorGetsWhatItWatches(t *testing.T) {
	h := open(t, nil)
	single, all, below := h.hub.Watch(key("b"), 0), h.hub.Watch(everything, 0), h.hub.Watch(prefix("b"), 0)
	h.write("a=1")
	h.write("b=1", "bb=1")
	h.write("-b", "c=1")
	want(t, single, "3 b=1", "4 -b")
	want(t, all, "2 a=1", "3 b=1", "3 bb=1", "4 -b", "4 c=1")
	want(t, below, "3 b=1", "3 bb=1", "4 -b")
	for _, c := range []*Cursor{single, all, below} {
		h.wantNothing(c)
	}
}

func TestStartRevision(t *testing.T) {
	for _, test := range []struct {
		name  string
		from  int64
		first int64
	}{
		{"zero is from now on", 0, 7},
		{"the next revision is from now on", 7, 7},
		{"the present revision is included", 6, 6},
		{"the past is read from history", 3, 3},
		{"one is everything", 1, 2},
		{"the future is waited for", 9, 9},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := open(t, nil)
			for rev := range 5 {
				h.write(fmt.Sprint("k=", rev+2)) // revisions 2 to 6
			}
			c := h.hub.Watch(key("k"), test.from)
			if test.first > 6 {
				h.wantNothing(c)
			}
			for rev := range 5 {
				h.write(fmt.Sprint("k=", rev+7))
			}
			var texts []string
			for rev := test.first; rev <= 11; rev++ {
				texts = append(texts, fmt.Sprintf("%d k=%d", rev, rev))
			}
			want(t, c, texts...)
			h.wantNothing(c)
		})
	}
}
