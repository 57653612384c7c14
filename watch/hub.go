// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"

	"github.com/cleatd/cleat/kv"
)

// Hub follows a history for all cursors. Its methods may be called
// concurrently.
type Hub struct {
	source  Source
	log     *slog.Logger
	limits  limits
	metrics metrics

	// mu guards everything below, and all that groups and cursors say it
	// does. It is held for the work of one revision at a time, never while
	// the source is read or somebody is waited for.
	mu sync.Mutex

	next    int64   // events before it have been given to the attached cursors
	index   index   // the attached cursors
	holding holding // cursors with pending events
	held    int     // bytes that pending events take
	groups  map[*Group]struct{}
	asking  map[*Group]struct{} // groups to tell when next passes their wanted
	soonest int64               // none of asking wants less
	ended   error               // set when Run returns

	spots  []*spot   // scratch of give
	fallen []*Cursor // scratch of give
}

// NewHub returns a hub that follows the source from its present on, once Run
// runs. Cursors can be made before.
func NewHub(source Source, o Options) *Hub {
	h := &Hub{
		source: source,
		log:    o.Logger,
		limits: defaultLimits(),
		next:   source.Revision() + 1,
		index:  index{keys: make(map[string]*spot)},
		groups: make(map[*Group]struct{}),
		asking: make(map[*Group]struct{}),

		soonest: math.MaxInt64,
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.metrics = newMetrics(o.Registerer, h)
	return h
}

// Run follows the history until ctx ends or the source fails, and returns the
// reason. Afterwards all cursors end with [ErrStopped].
func (h *Hub) Run(ctx context.Context) error {
	err := h.follow(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = fmt.Errorf("%w: %w", ErrStopped, err)
	for g := range h.groups {
		for c := range g.cursors {
			g.readyLocked(c)
		}
	}
	return err
}

var everything = kv.Range{Key: []byte{0}, End: []byte{0}}

func (h *Hub) follow(ctx context.Context) error {
	from := h.next // Run alone moves it
	for ctx.Err() == nil {
		if err := h.source.Wait(ctx, from); err != nil {
			return err
		}
		events, next, err := h.source.Events(everything, from, h.source.Revision(), h.limits.batch)
		switch {
		case errors.Is(err, kv.ErrCompacted):
			next = h.source.Compacted()
			h.log.Warn("watchers fell behind a compaction", "rev", from, "compacted", next)
			h.skip(next)
		case err != nil:
			return fmt.Errorf("follow the history from revision %d: %w", from, err)
		default:
			h.dispatch(events, next)
		}
		from = next
	}
	return ctx.Err()
}

// dispatch gives the events up to revision next to the cursors that want them.
func (h *Hub) dispatch(events []kv.Event, next int64) {
	for len(events) > 0 {
		rev, n := events[0].Record.ModRevision(), 1
		for n < len(events) && events[n].Record.ModRevision() == rev {
			n++
		}
		h.give(events[:n], rev)
		events = events[n:]
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.advanceLocked(next)
}

// give hands out one whole revision, so that nobody sees a part of it.
func (h *Hub) give(events []kv.Event, rev int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		var shared *Event
		h.spots = h.index.match(h.spots[:0], e.Record.Key())
		for _, s := range h.spots {
			for _, c := range s.cursors {
				if rev < c.joint || c.full {
					continue
				}
				if shared == nil {
					shared = &Event{Event: e, Revision: rev, source: h.source}
				}
				h.holdLocked(c, shared)
			}
		}
	}
	for i, c := range h.fallen {
		h.fallLocked(c)
		h.fallen[i] = nil
	}
	h.fallen = h.fallen[:0]
	for h.held > h.limits.total {
		h.fallLocked(h.holding.first)
	}
	h.advanceLocked(rev + 1)
}

// advanceLocked notes that everything before next was given out.
func (h *Hub) advanceLocked(next int64) {
	h.next = next
	if next <= h.soonest {
		return
	}
	h.soonest = math.MaxInt64
	for g := range h.asking {
		if g.wanted < next {
			delete(h.asking, g)
			g.markLocked()
		} else {
			h.soonest = min(h.soonest, g.wanted)
		}
	}
}

// skip leaves out what is no longer there. Whoever wanted it finds out when it
// reads on from where it stands.
func (h *Hub) skip(next int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for g := range h.groups {
		for c := range g.cursors {
			if c.spot != nil && c.joint < next {
				h.fallLocked(c)
			}
		}
	}
	h.advanceLocked(next)
}
