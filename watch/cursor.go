// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"

	"github.com/cleatd/cleat/kv"
)

// Cursor is one watcher's place in the history. Its methods may be called
// concurrently.
type Cursor struct {
	group *Group
	keys  kv.Range
	start int64

	// Guarded by Hub.mu, as is the rest.
	closed bool
	queued bool // in the group's queue

	// next: events before it were given, or are not wanted. It is exact
	// until the cursor has caught up, and a lower bound afterwards.
	next int64
	// near: the last read of the history got to what was then its end.
	near bool

	// While the cursor is attached. The hub gives it events from revision
	// joint on; what is between next and joint it has yet to read.
	spot    *spot
	slot    int
	joint   int64
	pending []*Event // in order
	bytes   int      // of pending
	full    bool     // to be detached at the end of the revision being given

	before, after *Cursor // in Hub.holding, while there is something pending
}

// Watch returns a cursor on the events of r from a revision on. Zero means
// from now: the next revision. A revision in the future is waited for; one
// that is compacted makes Next fail. The caller closes the cursor.
func (h *Hub) Watch(r kv.Range, from int64) *Cursor {
	g := h.Group()
	g.alone = true
	return g.Watch(r, from)
}

// Next returns the next events, at least one, when there are any. It is for a
// cursor of [Hub.Watch] and one caller at a time; cursors of a group are served
// by the group. It fails with ctx's error, [ErrClosed], [ErrStopped], a
// [*CompactedError] or the store's error; all but the first are final.
func (c *Cursor) Next(ctx context.Context) (Batch, error) {
	d, err := c.group.Next(ctx)
	if err == nil {
		err = d.Err
	}
	return d.Batch, err
}

// Progress returns the revision up to which the cursor has been given
// everything that it watches. It never counts an event that was not yet
// returned by Next or Take. It is synced when it follows the present: it lags
// behind nothing but the hub, and has reached its start. Only then may a
// watcher be told the revision, by the goroutine that takes its events, after
// those.
func (c *Cursor) Progress() (rev int64, synced bool) {
	h := c.group.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	rev = h.progressLocked(c)
	return rev, c.caughtUp() && rev >= c.start-1
}

// Close ends the cursor; nothing more is returned of it. Closing twice is
// allowed.
func (c *Cursor) Close() {
	h := c.group.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closeLocked(c, ErrClosed)
}

func (h *Hub) closeLocked(c *Cursor, reason error) {
	if c.closed {
		return
	}
	c.closed = true
	if c.spot != nil {
		h.detachLocked(c)
	}
	delete(c.group.cursors, c)
	if c.group.alone {
		c.group.endLocked(reason)
	}
}

func (c *Cursor) caughtUp() bool { return c.spot != nil && c.next >= c.joint }

func (h *Hub) progressLocked(c *Cursor) int64 {
	switch {
	case !c.caughtUp():
		return c.next - 1
	case len(c.pending) > 0:
		return c.pending[0].Revision - 1
	}
	return h.next - 1
}
