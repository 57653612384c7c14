// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

var (
	// ErrCompacted: the revision is older than what was kept.
	ErrCompacted = errors.New("kv: required revision has been compacted")
	// ErrFuture: the revision has not happened yet.
	ErrFuture = errors.New("kv: required revision is a future revision")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("kv: closed")
	// ErrFailed: the disk has failed; Options.Fatal was told the cause.
	ErrFailed = errors.New("kv: failed")
	// ErrDamaged: a file of the directory is lost, or does not hold what was
	// written to it. The next open finds the same.
	ErrDamaged = errors.New("kv: damaged")
	// ErrFormat: the directory was written by a newer program.
	ErrFormat = errors.New("kv: unknown format")
)

// Options is what a [Store] is made of.
type Options struct {
	Dir string
	FS  vfs.FS // nil: the real one

	CacheBytes    int64 // blocks kept in memory; zero: 96 MiB
	MemtableBytes int64 // zero: 32 MiB
	TailBytes     int   // recent events kept in memory; zero: 16 MiB

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics

	// Fatal is told once when a write, a flush or a background job has
	// failed. It may return: from then on every write fails with ErrFailed.
	Fatal func(error)
}

// Names of the meta keys.
const (
	metaFormat    = "format"
	metaRevision  = "revision"
	metaApplied   = "applied"
	metaCompacted = "compacted" // the logical compaction
	metaRemoved   = "removed"   // up to where its deletions have got
)

// Store is a multi-version store. Its methods may be called concurrently;
// batches come from one goroutine.
type Store struct {
	db      *pebble.DB
	fs      vfs.FS
	dir     string
	options *pebble.Options
	log     *slog.Logger
	fatal   func(error)
	metrics *metrics
	tail    *tail
	writer  *writer

	// Written by Commit alone, in this order: data, compacted, revision.
	revision  atomic.Int64
	compacted atomic.Int64
	applied   atomic.Uint64

	durable atomic.Uint64 // written by Flush alone

	// Bytes of committed batches: all of them, those that the flush under way
	// takes along, and those that are on disk. The last two are written by
	// Pebble's flushes, one at a time.
	written, flushing, flushed atomic.Int64

	closed  atomic.Bool
	failure atomic.Pointer[error]
	failed  chan struct{} // closed by fail

	mu      sync.Mutex
	grown   chan struct{} // guarded by mu: closed and replaced at every new revision
	waiting bool          // guarded by mu: somebody holds grown

	// excising is held while Install puts everything in the place of
	// everything: Pebble shows neither to who begins to read meanwhile.
	excising sync.RWMutex

	remover *remover
}

// Open opens the store in a directory, or makes it. A damaged file is named in
// the error; a directory of a newer format is ErrFormat.
func Open(o Options) (*Store, error) {
	if o.Fatal == nil {
		o.Fatal = func(error) {}
	}
	if o.TailBytes == 0 {
		o.TailBytes = 16 << 20
	}
	s := &Store{log: o.Logger, fatal: o.Fatal, grown: make(chan struct{}), failed: make(chan struct{})}
	s.writer = newWriter(s)
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if err := checkFiles(o.FS, o.Dir); err != nil {
		return nil, damaged(fmt.Errorf("open the store in %s: %w", o.Dir, err))
	}
	db, err := s.openPebble(o)
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", o.Dir, err)
	}
	s.db, s.fs, s.dir = db, o.FS, o.Dir
	err = s.load()
	if err == nil {
		err = s.fs.RemoveAll(s.restorePath()) // what a crash left
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the store in %s: %w", o.Dir, err), db.Close())
	}
	s.tail = newTail(o.TailBytes, s.revision.Load()+1)
	s.metrics = newMetrics(o.Registerer, s)
	s.writer.ended.Go(s.writer.run)
	s.remover = startRemover(s)
	return s, nil
}

// load reads where the store stands; a new one gets its format.
func (s *Store) load() error {
	have, _, err := s.number(metaFormat)
	if err != nil {
		return err
	}
	if have > format {
		return fmt.Errorf("%w %d, this program knows %d", ErrFormat, have, format)
	}
	if have == 0 {
		if err := s.db.Set(metaKey(metaFormat), encodeNumber(format), pebble.NoSync); err != nil {
			return err
		}
	}
	revision, err := s.numberOr(metaRevision, 1)
	if err != nil {
		return err
	}
	compacted, err := s.numberOr(metaCompacted, -1)
	if err != nil {
		return err
	}
	applied, err := s.numberOr(metaApplied, 0)
	if err != nil {
		return err
	}
	s.compacted.Store(compacted)
	s.revision.Store(revision)
	s.applied.Store(uint64(applied))
	s.durable.Store(uint64(applied))
	return nil
}

// numberOr is number, or missing.
func (s *Store) numberOr(name string, missing int64) (int64, error) {
	n, found, err := s.number(name)
	if !found {
		return missing, err
	}
	return int64(n), err
}

// number reads a meta key, if it is there.
func (s *Store) number(name string) (n uint64, found bool, err error) {
	v, err := s.get(metaKey(name))
	if err != nil || v == nil {
		return 0, false, err
	}
	n, err = decodeNumber(v)
	return n, err == nil, err
}

// get returns a copy of a value, nil if the key is missing.
func (s *Store) get(key []byte) ([]byte, error) {
	s.excising.RLock()
	v, closer, err := s.db.Get(key)
	s.excising.RUnlock()
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, s.broken(err)
	}
	return append(make([]byte, 0, len(v)), v...), closer.Close()
}

// Revision returns the newest committed revision; it is 1 in an empty store.
func (s *Store) Revision() int64 { return s.revision.Load() }

// Compacted returns the revision before which history is gone, -1 at first.
func (s *Store) Compacted() int64 { return s.compacted.Load() }

// AppliedIndex returns the log index of the newest commit.
func (s *Store) AppliedIndex() uint64 { return s.applied.Load() }

// DurableIndex returns the newest index that a completed flush covers.
func (s *Store) DurableIndex() uint64 { return s.durable.Load() }

// Flush returns when everything committed before the call is durable.
func (s *Store) Flush() error {
	if err := s.err(); err != nil {
		return err
	}
	covered := s.applied.Load()
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return s.fail(fmt.Errorf("flush: %w", err))
	}
	select {
	case <-flushed:
	case <-s.failed: // Pebble tries for ever what the disk refuses
	}
	if err := s.err(); err != nil {
		return err
	}
	for {
		old := s.durable.Load()
		if covered <= old || s.durable.CompareAndSwap(old, covered) {
			return nil
		}
	}
}

// Wait returns when Revision is at least rev, or with ctx's error.
func (s *Store) Wait(ctx context.Context, rev int64) error {
	for {
		s.mu.Lock()
		grown := s.grown
		s.waiting = true
		s.mu.Unlock()
		if s.Revision() >= rev {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// announce wakes those who wait for a new revision.
func (s *Store) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting {
		close(s.grown)
		s.grown = make(chan struct{})
		s.waiting = false
	}
}

// Get returns a value of a side table, nil if it is missing.
func (s *Store) Get(table byte, key []byte) ([]byte, error) { return s.get(tableKey(table, key)) }

// Scan calls fn for each key of a side table that has the prefix, in order.
// The slices are valid during the call only. fn's error ends the scan.
func (s *Store) Scan(table byte, prefix []byte, fn func(key, value []byte) error) error {
	return s.scan(s.newIter, table, prefix, fn)
}

// newIter returns an iterator over what is committed.
func (s *Store) newIter(o *pebble.IterOptions) (*pebble.Iterator, error) {
	s.excising.RLock()
	defer s.excising.RUnlock()
	return s.db.NewIter(o)
}

func (s *Store) scan(open func(*pebble.IterOptions) (*pebble.Iterator, error), table byte, prefix []byte, fn func(key, value []byte) error) (err error) {
	lower := tableKey(table, prefix)
	lower = lower[:len(lower)-1] // without the ending: everything that begins so
	it, err := open(&pebble.IterOptions{LowerBound: append(lower, 0), UpperBound: prefixEnd(lower)})
	if err != nil {
		return s.broken(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return s.broken(err)
		}
		k := it.Key()
		if err := fn(k[2:len(k)-1], v); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return s.broken(err)
	}
	return nil
}

// prefixEnd returns the first key after all that begin with prefix, in the
// form that the comparer takes.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return append(end[:i+1], 0)
		}
	}
	return nil
}

// Size returns the bytes on disk, with those that will be there after the next
// flush, and of these the ones that hold data.
func (s *Store) Size() (total, inUse int64) {
	m := s.db.Metrics()
	total = int64(m.DiskSpaceUsage()) + max(s.written.Load()-s.flushed.Load(), 0)
	inUse = total - int64(m.Table.ObsoleteSize) - int64(m.Table.ZombieSize)
	return total, max(inUse, 0)
}

// Close flushes and closes the store. Nothing may use it any more; closing it
// again returns ErrClosed.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return ErrClosed
	}
	s.remover.stop()
	s.writer.stop()
	err := s.Flush()
	if errors.Is(err, ErrFailed) {
		err = nil // Fatal was told; there is nothing to save
	}
	return errors.Join(err, s.db.Close())
}

// fail makes the store refuse all further writes, and tells Fatal, once.
func (s *Store) fail(cause error) error {
	err := fmt.Errorf("%w: %w", ErrFailed, cause)
	if s.failure.CompareAndSwap(nil, &err) {
		close(s.failed)
		s.fatal(fmt.Errorf("kv: %w", cause))
	}
	return *s.failure.Load()
}

func (s *Store) err() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// broken handles an error of a read: a disk that gives wrong bytes ends the
// member rather than answer with a hole.
func (s *Store) broken(cause error) error {
	if errors.Is(cause, pebble.ErrClosed) {
		return ErrClosed
	}
	return s.fail(fmt.Errorf("read: %w", cause))
}
