// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// watching is what one watcher has got, from its beginning to its end.
type watching struct {
	member int
	prefix string
	prev   bool
	now    bool // it wanted what comes, not what was
	from   int64

	mu       sync.Mutex // protects what follows, and from
	ended    bool
	events   []event
	borders  []int // how many events each response had brought, with those before
	progress []notice
	err      error
}

// notice is a member's word that a watcher has missed nothing up to a
// revision, and how many events it had been given by then.
type notice struct {
	revision int64
	events   int
}

// watch watches again and again, from somewhere in the past or from now on.
// The last watcher goes on when the others' work has ended, until it has
// drained what they have left.
func (c *client) watch(work, drain context.Context, member int) {
	for work.Err() == nil {
		w := &watching{
			member: member, prefix: []string{"", registers, leased, markers}[c.chance.IntN(4)],
			prev: c.chance.IntN(3) == 0, now: c.chance.IntN(2) == 0,
		}
		if !w.now {
			w.from = max(1, c.history.newest()-c.chance.Int64N(2000))
		}
		span, cancel := context.WithCancel(drain)
		enough := time.AfterFunc(3*time.Second+time.Duration(c.chance.Int64N(int64(15*time.Second))), func() {
			if work.Err() == nil {
				w.end()
				cancel()
			}
		})
		if c.chance.IntN(2) == 0 {
			span = clientv3.WithRequireLeader(span)
		}
		w.run(span, c.history, c.conn)
		enough.Stop()
		cancel()
		c.rest(work)
	}
}

// run watches until ctx ends.
func (w *watching) run(ctx context.Context, h *history, conn *clientv3.Client) {
	defer w.end()
	h.mu.Lock()
	h.watches = append(h.watches, w)
	h.mu.Unlock()
	options := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithRev(w.from), clientv3.WithCreatedNotify(), clientv3.WithProgressNotify()}
	if w.prev {
		options = append(options, clientv3.WithPrevKV())
	}
	for r := range conn.Watch(ctx, w.prefix, options...) {
		w.take(r)
		if n := len(r.Events); n > 0 {
			h.saw(r.Events[n-1].Kv.ModRevision)
		}
	}
}

// end notes that nobody waits for more any longer.
func (w *watching) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
}

func (w *watching) take(r clientv3.WatchResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case r.Err() != nil:
		w.err = r.Err()
	case r.Created:
		if w.from == 0 {
			w.from = r.Header.Revision + 1
		}
	case r.IsProgressNotify():
		w.progress = append(w.progress, notice{r.Header.Revision, len(w.events)})
	}
	for _, e := range r.Events {
		w.events = append(w.events, seen(e, w.prev))
	}
	if len(r.Events) > 0 {
		w.borders = append(w.borders, len(w.events))
	}
}

// seen is an event in words, with what it replaced if that was asked for.
func seen(e *clientv3.Event, prev bool) event {
	made := delEvent(string(e.Kv.Key), e.Kv.ModRevision)
	if e.Type == clientv3.EventTypePut {
		made = putEvent(e.Kv)
	}
	if prev {
		made.text += over + words(e.PrevKv)
	}
	return made
}

const over = " over "

// has says whether a watcher has got the events of a revision, or is none any
// more.
func (w *watching) has(revision int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.events)
	return w.ended || n > 0 && w.events[n-1].revision >= revision
}
