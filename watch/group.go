// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"

	"github.com/cleatd/cleat/kv"
)

// Group serves many cursors from one goroutine, in turn. That goroutine waits
// until Ready says that there is something and calls Take until it returns
// false; or it calls Next, which is both. All other methods may be called
// concurrently with it.
type Group struct {
	hub   *Hub
	ready chan struct{} // holds one token while there may be something to take

	// Guarded by Hub.mu.
	alone   bool // of one cursor, which ends it
	cursors map[*Cursor]struct{}
	queue   []*Cursor // those with something to do; nil stands for progress
	wanted  int64     // progress was asked for and is not to be older; zero: not asked
	later   int64     // the same of a request that came since
	ended   error
}

// Delivery is what is taken from a group: a cursor's events; or the error that
// ended it; or, without a cursor, the revision up to which all cursors of the
// group have been given everything.
type Delivery struct {
	Cursor *Cursor
	Batch
	Err error // a *CompactedError, ErrStopped, or the store's; the cursor is closed
}

// Group returns a group without cursors. The caller closes it.
func (h *Hub) Group() *Group {
	g := &Group{hub: h, ready: make(chan struct{}, 1), cursors: make(map[*Cursor]struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.groups[g] = struct{}{}
	return g
}

// Watch adds a cursor to the group; r and from are as for [Hub.Watch]. Its
// events may be taken before Watch returns.
func (g *Group) Watch(r kv.Range, from int64) *Cursor {
	h := g.hub
	if from == 0 {
		from = h.source.Revision() + 1
	}
	c := &Cursor{group: g, keys: r, start: from, next: from}
	h.mu.Lock()
	defer h.mu.Unlock()
	if g.ended != nil {
		c.closed = true
		return c
	}
	g.cursors[c] = struct{}{}
	if hopeless(r) {
		c.next = max(c.next, h.next)
	}
	h.joinLocked(c)
	if !c.caughtUp() || h.ended != nil {
		g.readyLocked(c)
	}
	return c
}

// Ready returns the channel that holds a token when Take may return something.
func (g *Group) Ready() <-chan struct{} { return g.ready }

// Take returns the next thing to deliver, if there is one. It may have had to
// read the disk, a piece at a time, and found nothing there: it then returns
// false, with Ready set, to let its caller see to other things.
func (g *Group) Take() (Delivery, bool) {
	h := g.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	defer g.rearmLocked()
	for len(g.queue) > 0 {
		c := g.queue[0]
		g.queue[0] = nil
		g.queue = g.queue[1:]
		if c == nil {
			return g.answerLocked()
		}
		c.queued = false
		if c.closed {
			continue
		}
		if h.ended != nil {
			return h.failLocked(c, h.ended), true
		}
		if h.joinLocked(c); !c.caughtUp() {
			return h.readLocked(c)
		}
		if len(c.pending) > 0 {
			return h.takeLocked(c), true
		}
	}
	return Delivery{}, false
}

// Next waits for something to deliver. It fails with ctx's error, or with what
// ended the group.
func (g *Group) Next(ctx context.Context) (Delivery, error) {
	for ctx.Err() == nil {
		if d, ok := g.Take(); ok {
			return d, nil
		}
		if err := g.err(); err != nil {
			return Delivery{}, err
		}
		select {
		case <-g.ready:
		case <-ctx.Done():
		}
	}
	return Delivery{}, ctx.Err()
}

// Close closes the group and its cursors. Closing twice is allowed.
func (g *Group) Close() {
	h := g.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range g.cursors {
		h.closeLocked(c, ErrClosed)
	}
	g.endLocked(ErrClosed)
}

func (g *Group) endLocked(reason error) {
	if g.ended != nil {
		return
	}
	g.ended = reason
	g.queue = nil
	delete(g.hub.groups, g)
	delete(g.hub.asking, g)
	g.ring()
}

func (g *Group) err() error {
	g.hub.mu.Lock()
	defer g.hub.mu.Unlock()
	return g.ended
}

// readyLocked puts a cursor in the queue, once.
func (g *Group) readyLocked(c *Cursor) {
	if c.queued {
		return
	}
	c.queued = true
	g.queue = append(g.queue, c)
	g.ring()
}

func (g *Group) rearmLocked() {
	if len(g.queue) > 0 {
		g.ring()
	}
}

func (g *Group) ring() {
	select {
	case g.ready <- struct{}{}:
	default:
	}
}
