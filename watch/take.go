// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"errors"
	"fmt"

	"github.com/cleatd/cleat/kv"
)

// joinLocked attaches a cursor that lags but has come near the present. What
// it still has to read then has an end, however fast the present moves on.
func (h *Hub) joinLocked(c *Cursor) {
	if c.spot == nil && (c.near || h.next-c.next <= h.limits.nearby) {
		h.attachLocked(c)
	}
}

// readLocked returns the next piece of history of a cursor that lags. It lets
// go of the lock while it reads. Nothing in the piece is no delivery.
func (h *Hub) readLocked(c *Cursor) (Delivery, bool) {
	end := h.next
	if c.spot != nil {
		end = c.joint
	}
	from, to := c.next, min(end, c.next+h.limits.scan)-1
	h.mu.Unlock()
	read, next, err := h.source.Events(c.keys, from, to, h.limits.batch)
	events := wrap(h.source, read)
	h.mu.Lock()
	if c.closed {
		return Delivery{}, false
	}
	if err != nil {
		return h.failLocked(c, h.explain(err, from)), true
	}
	c.next, c.near = next, next >= end
	if !c.caughtUp() || len(c.pending) > 0 {
		c.group.readyLocked(c)
	}
	return h.deliverLocked(c, events), len(events) > 0
}

// takeLocked returns what a cursor holds, or as much of it as a batch takes.
func (h *Hub) takeLocked(c *Cursor) Delivery {
	n, size := 0, 0
	for n < len(c.pending) {
		e := c.pending[n]
		if size >= h.limits.batch && e.Revision != c.pending[n-1].Revision {
			break
		}
		size += e.size()
		n++
	}
	events := h.releaseLocked(c, n)
	if len(c.pending) > 0 {
		c.group.readyLocked(c)
	}
	return h.deliverLocked(c, inOrder(events))
}

func (h *Hub) deliverLocked(c *Cursor, events []*Event) Delivery {
	h.metrics.events.Add(float64(len(events)))
	return Delivery{Cursor: c, Batch: Batch{Events: events, Revision: h.progressLocked(c)}}
}

func (h *Hub) failLocked(c *Cursor, err error) Delivery {
	h.closeLocked(c, err)
	return Delivery{Cursor: c, Err: err}
}

func (h *Hub) explain(err error, from int64) error {
	if errors.Is(err, kv.ErrCompacted) {
		return &CompactedError{Revision: h.source.Compacted()}
	}
	return fmt.Errorf("read the history from revision %d: %w", from, err)
}
