// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// Batch holds the effects of whole log entries. Nothing of it is visible before
// Commit, then all of it. One Batch is open at a time, used by one goroutine.
type Batch struct {
	store     *Store
	batch     *pebble.Batch
	revision  int64 // after the transactions so far
	compacted int64 // after the compactions so far
	events    []Event
	removals  []*removal
	txns      int   // of more than one change or range, for the metrics
	err       error // the first fault of the disk; Commit returns it
	done      bool
}

// NewBatch starts a batch.
func (s *Store) NewBatch() *Batch {
	s.writer.begin()
	return &Batch{store: s, batch: s.db.NewIndexedBatch(), revision: s.Revision(), compacted: s.Compacted()}
}

// Get returns a value of a side table as the batch has it, nil if missing.
func (b *Batch) Get(table byte, key []byte) ([]byte, error) {
	v, closer, err := b.batch.Get(tableKey(table, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, b.broke(b.store.broken(err))
	}
	return append(make([]byte, 0, len(v)), v...), closer.Close()
}

// Scan is [Store.Scan] as the batch has it. fn must not change the batch.
func (b *Batch) Scan(table byte, prefix []byte, fn func(key, value []byte) error) error {
	return b.store.scan(b.batch.NewIter, table, prefix, fn)
}

// Set stores a value in a side table.
func (b *Batch) Set(table byte, key, value []byte) { b.set(tableKey(table, key), value) }

// Delete removes a key from a side table.
func (b *Batch) Delete(table byte, key []byte) {
	_ = b.broke(b.batch.Delete(tableKey(table, key), nil)) // kept for Commit
}

func (b *Batch) set(key, value []byte) {
	_ = b.broke(b.batch.Set(key, value, nil)) // kept for Commit
}

// broke keeps the first fault for Commit and returns err.
func (b *Batch) broke(err error) error {
	if b.err == nil {
		b.err = err
	}
	return err
}

// Compact gives up the history before rev: reads and watches from before it
// fail once the batch is committed, and the records go in the background,
// whatever happens in between. done closes when they are gone. It fails with
// ErrCompacted or ErrFuture.
func (b *Batch) Compact(rev int64) (done <-chan struct{}, err error) {
	switch {
	case rev <= b.compacted:
		return nil, ErrCompacted
	case rev > b.revision:
		return nil, ErrFuture
	}
	r := &removal{rev: rev, done: make(chan struct{})}
	b.compacted = rev
	b.removals = append(b.removals, r)
	return r.done, nil
}

// Commit makes the batch visible, with applied as the index of the newest entry
// in it. It becomes durable with the next flush. After an error nothing of it
// is visible and the store takes no more writes.
func (b *Batch) Commit(applied uint64) error {
	s := b.store
	if b.err != nil {
		return s.fail(b.err)
	}
	if err := s.err(); err != nil {
		return err
	}
	b.meta(metaApplied, applied)
	if b.revision != s.Revision() {
		b.meta(metaRevision, uint64(b.revision))
	}
	if b.compacted != s.Compacted() {
		b.meta(metaCompacted, uint64(b.compacted))
	}
	if err := b.batch.Commit(pebble.NoSync); err != nil {
		return s.fail(err)
	}
	b.done = true
	s.written.Add(int64(b.batch.Len()))
	s.writer.committed()
	s.applied.Store(applied)
	s.compacted.Store(b.compacted)
	if b.revision != s.Revision() {
		s.tail.append(b.events, b.revision)
		s.metrics.events(b.events)
		s.metrics.txns.Add(float64(b.txns))
		s.revision.Store(b.revision)
		s.announce()
	}
	for _, r := range b.removals {
		s.remover.add(r)
	}
	return nil
}

func (b *Batch) meta(name string, n uint64) {
	var v [9]byte
	v[0] = format
	binary.BigEndian.PutUint64(v[1:], n)
	b.set(metaKey(name), v[:])
}

// Close releases the batch; one that was not committed leaves no trace.
func (b *Batch) Close() {
	if !b.done {
		b.store.writer.discard()
	}
	_ = b.batch.Close() // frees memory only
}
