// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"bytes"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// A compaction gives up history at once and removes it in the background. The
// remover walks the history from the last compaction to the new one, once: each
// line there supersedes the version of its key before it, which goes; a
// tombstone goes too, but for one at the compact revision itself, from which a
// watcher may still start. So the cost is that of the history walked, not of the store.
//
// Each step is one small Pebble batch that also records how far it got. Such a
// batch comes after the commit that made the compaction visible, so a crash
// that keeps the batch keeps the compaction; after a crash the walk goes on
// from what was recorded, and removing twice changes nothing.
type remover struct {
	store *Store
	wake  chan struct{} // capacity 1
	quit  chan struct{} // closed by stop
	once  sync.Once
	ended sync.WaitGroup

	mu    sync.Mutex
	queue []*removal // guarded by mu
}

type removal struct {
	rev  int64
	done chan struct{} // closed by the remover when all up to rev has gone
}

// stepChanges is how many lines of the history one step walks.
const stepChanges = 512

// startRemover goes on with what an earlier remover has left.
func startRemover(s *Store, left ...*removal) *remover {
	r := &remover{store: s, wake: make(chan struct{}, 1), quit: make(chan struct{})}
	for _, l := range left {
		r.add(l)
	}
	if rev := s.Compacted(); rev >= 0 {
		r.add(&removal{rev: rev, done: make(chan struct{})}) // what a restart interrupted
	}
	r.ended.Go(r.run)
	return r
}

func (r *remover) add(next *removal) {
	r.mu.Lock()
	r.queue = append(r.queue, next)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// stop ends the walk between two steps, and returns what was not done. Those
// who wait for it are not told.
func (r *remover) stop() []*removal {
	r.once.Do(func() { close(r.quit) })
	r.ended.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.queue
}

func (r *remover) run() {
	for {
		select {
		case <-r.quit:
			return
		case <-r.wake:
		}
		for next := r.first(); next != nil; next = r.first() {
			if err := r.remove(next.rev); err != nil {
				if !errors.Is(err, errStopped) {
					_ = r.store.fail(err) // a removal that cannot write is the disk's fault
				}
				return
			}
			r.done(next)
		}
	}
}

// first returns the oldest removal, which stays in the queue until it is done.
func (r *remover) first() *removal {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return nil
	}
	return r.queue[0]
}

func (r *remover) done(first *removal) {
	r.mu.Lock()
	r.queue = r.queue[1:]
	r.mu.Unlock()
	r.store.metrics.compacted.SetToCurrentTime()
	close(first.done)
}

var errStopped = errors.New("kv: removal stopped")

// remove walks the history up to rev, in steps.
func (r *remover) remove(rev int64) error {
	removed, _, err := r.store.number(metaRemoved)
	if err != nil {
		return err
	}
	from := revision{main: int64(removed)} // its tombstones stayed; they go now
	for from.main <= rev {
		select {
		case <-r.quit:
			return errStopped
		default:
		}
		if from, err = r.step(from, rev); err != nil {
			return err
		}
	}
	// Pebble gives room back when it merges deletions with what they delete, on
	// disk. They are small: in memory they might wait for ever.
	_, err = r.store.db.AsyncFlush()
	return err
}

// step removes what some lines of the history from on supersede, and returns
// where to go on.
func (r *remover) step(from revision, rev int64) (next revision, err error) {
	s := r.store
	changes, next, err := s.lines(from, rev)
	if err != nil {
		return next, err
	}
	b := s.db.NewBatch()
	defer func() { err = errors.Join(err, b.Close()) }()
	previous, err := s.previous(changes)
	if err != nil {
		return next, err
	}
	removed := 0
	for i, c := range changes {
		if p := previous[i]; p.main != 0 {
			removed++
			if err := removeVersion(b, c.key, p.revision, p.deleted); err != nil {
				return next, err
			}
		}
		if c.deleted && c.main < rev {
			removed++
			if err := removeVersion(b, c.key, c.revision, true); err != nil {
				return next, err
			}
		}
	}
	if err := b.Set(metaKey(metaRemoved), encodeNumber(uint64(max(next.main-1, 0))), nil); err != nil {
		return next, err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return next, err
	}
	s.metrics.removed.Add(float64(removed))
	return next, nil
}

func removeVersion(b *pebble.Batch, key []byte, rev revision, deleted bool) error {
	return errors.Join(
		b.Delete(appendVersioned(nil, key, versionOf(rev.main, deleted)), nil),
		b.Delete(historyKey(rev), nil))
}

// lines reads up to stepChanges lines of the history from on, not beyond rev.
func (s *Store) lines(from revision, rev int64) (changes []change, next revision, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: historyKey(from), UpperBound: historyKey(revision{main: rev + 1})})
	if err != nil {
		return nil, from, s.broken(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		c, err := s.changeAt(it)
		if err != nil {
			return nil, from, err
		}
		if len(changes) == stepChanges {
			return changes, c.revision, nil
		}
		changes = append(changes, c)
	}
	if err := it.Error(); err != nil {
		return nil, from, s.broken(err)
	}
	return changes, revision{main: rev + 1}, nil
}

// previous finds, for each change, the version of its key just before it. The
// zero change stands for none.
func (s *Store) previous(changes []change) (found []change, err error) {
	found = make([]change, len(changes))
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceKeys, 0}, UpperBound: []byte{spaceKeys + 1, 0}})
	if err != nil {
		return nil, s.broken(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var seek []byte
	for i, c := range changes {
		seek = appendVersioned(seek[:0], c.key, newestUpTo(c.main-1))
		if !it.SeekGE(seek) {
			if err := it.Error(); err != nil {
				return nil, s.broken(err)
			}
			continue
		}
		key, main, deleted, err := splitVersioned(it.Key())
		if err != nil {
			return nil, s.broken(err)
		}
		if !bytes.Equal(key, c.key) {
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, s.broken(err)
		}
		sub, _, err := decodeVersioned(v)
		if err != nil {
			return nil, s.broken(err)
		}
		found[i] = change{revision: revision{main, sub}, deleted: deleted}
	}
	return found, nil
}
