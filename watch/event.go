// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cleatd/cleat/kv"
)

// Event is one change of one key. Cursors share it: it must not be changed.
type Event struct {
	kv.Event
	Revision int64

	source Source
	refs   int // cursors that hold it; guarded by Hub.mu

	previous func() (kv.Record, error) // set once, by once
	once     sync.Once
}

// eventOverhead is about what an event takes in memory beside its record.
const eventOverhead = 160

func (e *Event) size() int { return len(e.Record) + eventOverhead }

// Previous returns the record that the event replaced. It is nil if there was
// none, and if a compaction took it. It is read once, however many ask, and
// may be called concurrently; the error is the store's.
func (e *Event) Previous() (kv.Record, error) {
	e.once.Do(func() {
		r, err := e.fetchPrevious()
		e.previous = func() (kv.Record, error) { return r, err }
	})
	return e.previous()
}

func (e *Event) fetchPrevious() (kv.Record, error) {
	if !e.Delete && e.Record.CreateRevision() == e.Revision {
		return nil, nil
	}
	result, err := e.source.Range(kv.Range{Key: e.Record.Key()}, kv.ReadOptions{Revision: e.Revision - 1})
	switch {
	case errors.Is(err, kv.ErrCompacted):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read what revision %d replaced: %w", e.Revision, err)
	case len(result.Records) == 0:
		return nil, nil
	}
	return result.Records[0], nil
}

// Batch is what a cursor is given at a time.
type Batch struct {
	Events []*Event
	// Revision says how far the cursor has got with this batch: it has been
	// given every event of its range up to it.
	Revision int64
}

// wrap makes events of what was read from the history.
func wrap(source Source, read []kv.Event) []*Event {
	block := make([]Event, len(read))
	events := make([]*Event, len(read))
	for i, e := range read {
		block[i].Event, block[i].Revision, block[i].source = e, e.Record.ModRevision(), source
		events[i] = &block[i]
	}
	return events
}
