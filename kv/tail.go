// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"sort"
	"sync"
)

// Event is one change of one key. A deletion's record has the key and the
// revision of the deletion, nothing else.
type Event struct {
	Delete bool
	Record Record
}

// tail keeps the most recent events in memory, whole revisions, up to a bound
// in bytes; the newest revision stays however large it is.
type tail struct {
	limit int

	mu    sync.RWMutex
	first int64      // events from this revision on are here
	next  int64      // the revision after the newest
	held  []tailPart // by revision; revisions without events have no part
	bytes int
}

type tailPart struct {
	main   int64
	events []Event
	bytes  int
}

func newTail(limit int, next int64) *tail { return &tail{limit: limit, first: next, next: next} }

// restart forgets everything: the next event is of revision next.
func (t *tail) restart(next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first, t.next, t.held, t.bytes = next, next, nil, 0
}

// append adds the events of a batch that ended at revision last.
func (t *tail) append(events []Event, last int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(events) > 0 {
		main := events[0].Record.ModRevision()
		n := 1
		for n < len(events) && events[n].Record.ModRevision() == main {
			n++
		}
		part := tailPart{main: main, events: events[:n:n]}
		for _, e := range part.events {
			part.bytes += len(e.Record) + 64 // what an event costs beside its record
		}
		t.held, t.bytes = append(t.held, part), t.bytes+part.bytes
		events = events[n:]
	}
	t.next = last + 1
	drop := 0
	for t.bytes > t.limit && drop < len(t.held)-1 {
		t.bytes -= t.held[drop].bytes
		t.first = t.held[drop].main + 1
		t.held[drop] = tailPart{}
		drop++
	}
	t.held = t.held[drop:]
}

// read returns the events in [from, to] that r selects, and the first revision
// that it does not cover; ok is false when the tail does not reach back so far.
func (t *tail) read(r Range, from, to int64, maxBytes int) (events []Event, next int64, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if from < t.first {
		return nil, 0, false
	}
	i := sort.Search(len(t.held), func(i int) bool { return t.held[i].main >= from })
	size := 0
	for ; i < len(t.held) && t.held[i].main <= to; i++ {
		if size >= maxBytes && size > 0 {
			return events, t.held[i].main, true
		}
		for _, e := range t.held[i].events {
			if r.contains(e.Record.Key()) {
				events, size = append(events, e), size+len(e.Record)
			}
		}
	}
	return events, min(to+1, t.next), true
}
