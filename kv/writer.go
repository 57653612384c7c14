// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"bytes"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// writer finds the newest record of a key for the one goroutine that writes.
// A fresh iterator for each look-up would cost more than the put itself, so it
// keeps one, together with what has been written since that was made:
//
//	iterator   the store as it was when the iterator was made
//	recent     the newest version of each key committed since then
//	pending    the versions that the open batch has written, oldest first
//
// pending beats recent, recent beats the iterator. When recent has grown, the
// next batch starts with a new iterator and nothing in recent. When Pebble has
// rewritten files that the iterator would keep alive, it is dropped at once:
// the next batch may never come, if it waits for the room that they take.
type writer struct {
	store *Store
	stale chan struct{} // holds one: the iterator keeps old files alive
	quit  chan struct{} // closed by stop
	ended sync.WaitGroup

	mu          sync.Mutex       // protects what follows
	it          *pebble.Iterator // nil until the first look-up
	recent      map[string]version
	recentBytes int
	pending     map[string][]version

	seek []byte // scratch for keys
}

// version is one state of a key. A deleted one has no record.
type version struct {
	main   int64
	record Record
}

func (v version) deleted() bool { return v.record == nil }

// maxRecent and maxRecentBytes bound what is kept beside the iterator.
const (
	maxRecent      = 4096
	maxRecentBytes = 8 << 20
)

func newWriter(s *Store) *writer {
	return &writer{store: s, stale: make(chan struct{}, 1), quit: make(chan struct{})}
}

// renew asks for the end of the iterator. Pebble calls it with locks held.
func (w *writer) renew() {
	select {
	case w.stale <- struct{}{}:
	default:
	}
}

// run drops the iterator when it is stale, until stop.
func (w *writer) run() {
	for {
		select {
		case <-w.stale:
			w.mu.Lock()
			w.dropViewLocked()
			w.mu.Unlock()
		case <-w.quit:
			return
		}
	}
}

// stop ends run and drops the iterator.
func (w *writer) stop() {
	close(w.quit)
	w.ended.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropViewLocked()
}

// begin prepares for a batch.
func (w *writer) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.recent) > maxRecent || w.recentBytes > maxRecentBytes {
		w.dropViewLocked()
	}
	if w.pending == nil {
		w.pending = make(map[string][]version)
	}
}

// reset forgets everything: the store has become another.
func (w *writer) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropViewLocked()
	clear(w.pending)
}

// dropViewLocked forgets the iterator and what stands beside it. Everything in
// recent is committed, so the next iterator has it.
func (w *writer) dropViewLocked() {
	if w.it != nil {
		_ = w.it.Close() // its errors were seen when it was read
		w.it = nil
	}
	w.recent, w.recentBytes = nil, 0
}

// iteratorLocked returns the kept iterator, making it if need be.
func (w *writer) iteratorLocked() (*pebble.Iterator, error) {
	if w.it != nil {
		return w.it, nil
	}
	it, err := w.store.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{spaceKeys, 0}, UpperBound: []byte{spaceKeys + 1, 0}, UseL6Filters: true,
	})
	if err != nil {
		return nil, w.store.broken(err)
	}
	w.it = it
	if w.recent == nil {
		w.recent = make(map[string]version)
	}
	return it, nil
}

// latest returns the newest record of a key, nil if there is none.
func (w *writer) latest(key []byte) (Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if versions := w.pending[string(key)]; versions != nil {
		return versions[len(versions)-1].record, nil
	}
	if v, ok := w.recent[string(key)]; ok {
		return v.record, nil
	}
	it, err := w.iteratorLocked()
	if err != nil {
		return nil, err
	}
	w.seek = appendPrefix(w.seek[:0], key)
	if !it.SeekPrefixGE(w.seek) {
		if err := it.Error(); err != nil {
			return nil, w.store.broken(err)
		}
		return nil, nil
	}
	_, _, deleted, err := splitVersioned(it.Key())
	if err != nil {
		return nil, w.store.broken(err)
	}
	if deleted {
		return nil, nil
	}
	return w.store.recordAt(it)
}

// note adds a version that the open batch has written.
func (w *writer) note(key []byte, v version) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending[string(key)] = append(w.pending[string(key)], v)
}

// committed moves what the batch has written to recent.
func (w *writer) committed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.it != nil {
		for key, versions := range w.pending {
			last := versions[len(versions)-1]
			w.recentBytes += len(key) + len(last.record) - len(w.recent[key].record)
			w.recent[key] = last
		}
	}
	w.discardLocked()
}

// discard forgets what the batch has written.
func (w *writer) discard() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.discardLocked()
}

func (w *writer) discardLocked() {
	if len(w.pending) > maxRecent {
		w.pending = make(map[string][]version) // a map never shrinks
		return
	}
	clear(w.pending)
}

// pendingInLocked returns the keys in r that the open batch has written, in order.
func (w *writer) pendingInLocked(r Range) []string {
	var keys []string
	for key := range w.pending {
		if r.contains([]byte(key)) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// walk calls fn with the newest record at or below main of each key in r that
// is not deleted then, in key order, including what the open batch has written.
// The record is valid during the call only. fn must not use the writer.
func (w *writer) walk(r Range, main int64, needRecords bool, fn func(key []byte, record Record) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.recent) > 0 {
		w.dropViewLocked() // so that the iterator has all but the pending
	}
	it, err := w.iteratorLocked()
	if err != nil {
		return err
	}
	pending := w.pendingInLocked(r)
	// flush emits the pending keys before key that the walk of the disk does
	// not meet; nil stands for the end.
	flush := func(key []byte) error {
		for len(pending) > 0 && (key == nil || bytes.Compare([]byte(pending[0]), key) < 0) {
			if v, found := at(w.pending[pending[0]], main); found && !v.deleted() {
				if err := fn([]byte(pending[0]), v.record); err != nil {
					return err
				}
			}
			pending = pending[1:]
		}
		return nil
	}
	err = w.store.walkVersions(it, r, main, func(key []byte, deleted bool, record func() (Record, error)) error {
		if err := flush(key); err != nil {
			return err
		}
		if len(pending) > 0 && pending[0] == string(key) {
			v, found := at(w.pending[pending[0]], main)
			pending = pending[1:]
			if found {
				if v.deleted() {
					return nil
				}
				return fn(key, v.record)
			}
		}
		if deleted {
			return nil
		}
		if !needRecords {
			return fn(key, nil)
		}
		rec, err := record()
		if err != nil {
			return err
		}
		return fn(key, rec)
	})
	if err != nil {
		return err
	}
	return flush(nil)
}

// at returns the newest of versions at or below main.
func at(versions []version, main int64) (version, bool) {
	for i := len(versions) - 1; i >= 0; i-- {
		if versions[i].main <= main {
			return versions[i], true
		}
	}
	return version{}, false
}

// recordAt returns a copy of the record under an iterator.
func (s *Store) recordAt(it *pebble.Iterator) (Record, error) {
	record, err := s.viewAt(it)
	return bytes.Clone(record), err
}

// viewAt returns the record under an iterator, until that moves.
func (s *Store) viewAt(it *pebble.Iterator) (Record, error) {
	v, err := it.ValueAndErr()
	if err != nil {
		return nil, s.broken(err)
	}
	_, record, err := decodeVersioned(v)
	if err != nil {
		return nil, s.broken(err)
	}
	return record, nil
}

// walkVersions visits the newest version at or below main of each key in r, in
// key order, tombstones too; what record returns is valid during the call only.
// it must be bounded to the keys' space.
func (s *Store) walkVersions(it *pebble.Iterator, r Range, main int64,
	fn func(key []byte, deleted bool, record func() (Record, error)) error) error {
	if r.empty() {
		return nil
	}
	var seek, end []byte
	if !r.open() {
		end = r.last()
	}
	record := func() (Record, error) { return s.viewAt(it) }
	for ok := it.SeekGE(appendPrefix(nil, r.first())); ok; {
		key, at, deleted, err := splitVersioned(it.Key())
		if err != nil {
			return s.broken(err)
		}
		if end != nil && bytes.Compare(key, end) >= 0 {
			break
		}
		if at > main {
			seek = appendVersioned(seek[:0], key, newestUpTo(main))
			if ok = it.SeekGE(seek); !ok {
				break
			}
			if next, _, _, err := splitVersioned(it.Key()); err != nil {
				return s.broken(err)
			} else if !bytes.Equal(next, seek[1:len(seek)-10]) {
				continue // the key did not exist yet; look at the next one
			}
			_, _, deleted, _ = splitVersioned(it.Key())
			key = seek[1 : len(seek)-10]
		}
		if err := fn(key, deleted, record); err != nil {
			return err
		}
		ok = it.NextPrefix()
	}
	if err := it.Error(); err != nil {
		return s.broken(err)
	}
	return nil
}
