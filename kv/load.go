// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// ErrNotEmpty: a history is loaded only where there is none.
var ErrNotEmpty = errors.New("kv: the store is not empty")

// loadBytes is when a loader commits.
const loadBytes = 4 << 20

// Loader gives an empty store a history that happened elsewhere. One goroutine
// uses it, and nobody reads the store meanwhile: a loader that is not finished
// leaves a store that is good for nothing.
type Loader struct {
	store *Store
	batch *pebble.Batch
	last  revision
	keys  map[string]Change // of the last revision, without their records
	err   error
}

// Load begins; the error is ErrNotEmpty if anything was ever written.
func (s *Store) Load() (*Loader, error) {
	if err := s.err(); err != nil {
		return nil, err
	}
	if s.Revision() != 1 || s.AppliedIndex() != 0 || s.Compacted() != -1 {
		return nil, ErrNotEmpty
	}
	return &Loader{store: s, batch: s.db.NewBatch()}, nil
}

// Add adds a change, behind the ones before it. A record's revisions must be
// right. What was compacted away may be missing, or still be there. Of a key
// that one revision has twice, the last counts: in etcd that happens, where its
// check of a transaction overlooks it. An empty key with an empty record is a
// revision that changed nothing; HashKV knows it, as etcd's does.
func (l *Loader) Add(c Change) error {
	rev := revision{c.Main, c.Sub}
	if c.Main < l.last.main || c.Main == l.last.main && c.Sub <= l.last.sub && l.last != (revision{}) {
		return fmt.Errorf("kv: load: revision %d.%d after %d.%d", c.Main, c.Sub, l.last.main, l.last.sub)
	}
	l.once(c)
	l.last = rev
	record := c.Record
	if c.Deleted {
		record = nil
	}
	l.set(appendVersioned(nil, c.Key, versionOf(c.Main, c.Deleted)), encodeVersioned(c.Sub, record))
	l.set(historyKey(rev), encodeHistory(c.Key, c.Deleted))
	if l.err == nil && l.batch.Len() > loadBytes {
		l.commit()
	}
	return l.err
}

// once takes back what the same revision has already done to the key.
func (l *Loader) once(c Change) {
	if c.Main != l.last.main || l.keys == nil {
		l.keys = make(map[string]Change)
	}
	if old, twice := l.keys[string(c.Key)]; twice && l.err == nil {
		l.err = removeVersion(l.batch, c.Key, revision{old.Main, old.Sub}, old.Deleted)
	}
	l.keys[string(c.Key)] = Change{Main: c.Main, Sub: c.Sub, Deleted: c.Deleted}
}

// Finish says where the history stands: the newest revision, and the one before
// which it may have holes, -1 for none. What the compaction left is removed from
// then on. It is durable with the next flush.
func (l *Loader) Finish(revision, compacted int64) error {
	l.set(metaKey(metaRevision), encodeNumber(uint64(revision)))
	if compacted >= 0 {
		l.set(metaKey(metaCompacted), encodeNumber(uint64(compacted)))
	}
	l.commit()
	s := l.store
	if l.err != nil {
		return l.err
	}
	if err := s.load(); err != nil {
		return s.fail(fmt.Errorf("load: %w", err))
	}
	s.writer.reset()
	s.tail.restart(revision + 1)
	if compacted >= 0 {
		s.remover.add(&removal{rev: compacted, done: make(chan struct{})})
	}
	return nil
}

// Close lets go of what was not committed.
func (l *Loader) Close() { _ = l.batch.Close() } // frees memory only

func (l *Loader) set(key, value []byte) {
	if l.err == nil {
		l.err = l.batch.Set(key, value, nil)
	}
}

func (l *Loader) commit() {
	if l.err != nil {
		return
	}
	if l.err = l.batch.Commit(pebble.NoSync); l.err != nil {
		l.err = l.store.fail(l.err)
		return
	}
	l.err = l.batch.Close()
	l.batch = l.store.db.NewBatch()
}
