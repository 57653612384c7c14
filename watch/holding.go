// SPDX-License-Identifier: Apache-2.0

package watch

import "slices"

// What attached cursors hold, and how they let go of it.

// slotSize is what a pending event costs each cursor that shares it.
const slotSize = 16

// holdLocked adds an event to what a cursor holds, or notes that it cannot
// take more.
func (h *Hub) holdLocked(c *Cursor, e *Event) {
	if len(c.pending) >= h.limits.events || c.bytes+e.size() > h.limits.bytes {
		c.full = true
		h.fallen = append(h.fallen, c)
		return
	}
	if e.refs == 0 {
		h.held += e.size()
	}
	e.refs++
	h.held += slotSize
	c.pending = append(c.pending, e)
	c.bytes += e.size()
	if len(c.pending) == 1 {
		h.holding.add(c)
	}
	if c.caughtUp() {
		c.group.readyLocked(c)
	}
}

// releaseLocked gives up the first n events that a cursor holds and returns
// them.
func (h *Hub) releaseLocked(c *Cursor, n int) []*Event {
	events := c.pending[:n:n]
	for _, e := range events {
		c.bytes -= e.size()
		h.held -= slotSize
		if e.refs--; e.refs == 0 {
			h.held -= e.size()
		}
	}
	// What is handed out must not stay reachable through what is left.
	c.pending = slices.Clone(c.pending[n:])
	if n > 0 {
		h.holding.remove(c)
	}
	if len(c.pending) == 0 {
		c.pending = nil
		return events
	}
	h.holding.add(c)
	return events
}

// fallLocked lets a cursor go on from the history, at the first event that it
// was not given.
func (h *Hub) fallLocked(c *Cursor) {
	if c.caughtUp() {
		c.next = max(c.next, h.progressLocked(c)+1)
	}
	h.detachLocked(c)
	c.group.readyLocked(c)
}

func (h *Hub) attachLocked(c *Cursor) {
	h.index.add(c)
	c.joint = max(h.next, c.next)
}

func (h *Hub) detachLocked(c *Cursor) {
	h.releaseLocked(c, len(c.pending))
	h.index.remove(c)
	c.full, c.near = false, false
}

// holding is a list of the cursors that hold events, the one that has gone
// longest without being served first.
type holding struct{ first, last *Cursor }

func (l *holding) add(c *Cursor) {
	c.before = l.last
	if l.last == nil {
		l.first = c
	} else {
		l.last.after = c
	}
	l.last = c
}

func (l *holding) remove(c *Cursor) {
	if c.before == nil {
		l.first = c.after
	} else {
		c.before.after = c.after
	}
	if c.after == nil {
		l.last = c.before
	} else {
		c.after.before = c.before
	}
	c.before, c.after = nil, nil
}
