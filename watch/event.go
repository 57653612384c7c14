// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"errors"
	"fmt"
	"sync"
	"weak"

	"github.com/cleatd/cleat/kv"
)

// Event is one change of one key. Cursors share it: it must not be changed.
type Event struct {
	kv.Event
	Revision int64

	source Source
	refs   int // cursors that hold it; guarded by Hub.mu

	reading  sync.Mutex              // one look-up at a time
	previous weak.Pointer[kv.Record] // guarded by reading
}

// eventOverhead is about what an event takes in memory beside its record.
const eventOverhead = 160

func (e *Event) size() int { return len(e.Record) + eventOverhead }

// Previous returns the record that the event replaced. It is nil if there was
// none, and if a compaction took it. All who ask at about the same time share
// one look-up. It may be called concurrently; the error is the store's.
//
// What was found stays only until the garbage collector comes by: the event
// may be pending for somebody who never takes it, and what it replaced may be
// large although the event is not.
func (e *Event) Previous() (kv.Record, error) {
	if !e.Delete && e.Record.CreateRevision() == e.Revision {
		return nil, nil
	}
	e.reading.Lock()
	defer e.reading.Unlock()
	if found := e.previous.Value(); found != nil {
		return *found, nil
	}
	r, err := e.fetchPrevious()
	if err == nil {
		e.previous = weak.Make(&r)
	}
	return r, err
}

func (e *Event) fetchPrevious() (kv.Record, error) {
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
