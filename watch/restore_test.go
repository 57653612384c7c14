// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cleatd/cleat/kv"
)

// ahead is a store with the same history and more, as a checkpoint.
func ahead(t *testing.T, change func(h *house)) []byte {
	t.Helper()
	h := openStore(t, kv.Options{Dir: "ahead", FS: vfs.NewMem()}, nil)
	change(h)
	c, err := h.store.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (h *house) become(checkpoint []byte) {
	h.t.Helper()
	p, err := h.store.Prepare(bytes.NewReader(checkpoint), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := errors.Join(p.Install(), p.Close()); err != nil {
		h.t.Fatal(err)
	}
	h.index = p.Index()
}

// A member gets a state in which much has happened. Those who watch at it get
// what happened, as far as it was kept; who wants more is told from where on.
func TestWatchersGoOnWhenTheStateIsReplaced(t *testing.T) {
	first := func(h *house) {
		for i := range 5 {
			h.write(fmt.Sprint("k=", i))
		}
	}
	whole := ahead(t, func(h *house) {
		first(h)
		for i := 5; i < 40; i++ {
			h.write(fmt.Sprint("k=", i))
		}
	})
	compacted := ahead(t, func(h *house) {
		first(h)
		for i := 5; i < 60; i++ {
			h.write(fmt.Sprint("k=", i))
		}
		h.compact(50)
	})

	h := open(t, nil)
	first(h)
	c := h.hub.Watch(key("k"), 0)
	behind := h.hub.Watch(key("k"), 3)
	h.settle()
	h.become(whole)
	rev := int64(7)
	for next := rev; next < 42; { // k=5 is at revision 7
		b, err := c.Next(patience(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			if e.Revision != next || string(e.Record.Value()) != fmt.Sprint(next-2) {
				t.Fatalf("revision %d %q, want %d", e.Revision, e.Record.Value(), next)
			}
			next++
		}
	}
	h.become(compacted)
	for next := int64(3); ; {
		b, err := behind.Next(patience(t))
		var gone *CompactedError
		if errors.As(err, &gone) {
			if gone.Revision != 50 {
				t.Errorf("told %d, want 50", gone.Revision)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events { // what it had been given before
			if e.Revision != next || next >= 50 {
				t.Fatalf("revision %d, want %d and not beyond the compaction", e.Revision, next)
			}
			next++
		}
	}
	late := h.hub.Watch(key("k"), 55)
	h.write("k=on")
	for next := int64(55); next <= 62; {
		b, err := late.Next(patience(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range b.Events {
			if e.Revision != next {
				t.Fatalf("revision %d, want %d", e.Revision, next)
			}
			next++
		}
	}
}
