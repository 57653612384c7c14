// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// eventually waits until ok has nothing to say, or fails with what it said last.
func eventually(t *testing.T, ok func() error) {
	t.Helper()
	late := time.After(time.Minute)
	for err := ok(); err != nil; err = ok() {
		select {
		case <-time.After(time.Millisecond):
		case <-late:
			t.Fatal(err)
		}
	}
}

// What is committed while a flush runs is not part of it, and the log's head
// may be cut off up to the durable index.
func TestAFlushPromisesOnlyWhatItCovers(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() { close(began); <-goOn })
	slow := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			first()
		}
		return nil
	})
	fs := vfs.NewCrashableMem()
	s := open(t, errorfs.Wrap(fs, slow))
	put(t, s, 1, "a", "1")
	flushed := make(chan error, 1)
	go func() { flushed <- s.Flush() }()
	<-began
	put(t, s, 2, "b", "1")
	close(goOn)
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	durable := s.DurableIndex()
	if left := open(t, fs.CrashClone(vfs.CrashCloneCfg{})).AppliedIndex(); durable != 1 || left != 1 {
		t.Errorf("durable index %d, after a crash the store is at %d: want 1", durable, left)
	}
}

// The applied index and what was applied lie in one batch of Pebble: with the
// index ahead a write is lost, with the index behind it is done twice. The
// values are such that some fill a memtable up and some are too large for one,
// so that Pebble flushes between any two batches.
func TestABatchAndItsIndexBecomeDurableTogether(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s, err := Open(Options{Dir: "db", FS: fs, MemtableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	left := uint64(0)
	for i := uint64(1); i <= 12; i++ {
		size := 100 << 10
		if i%4 == 0 {
			size = 200 << 10
		}
		put(t, s, i, fmt.Sprint(i), strings.Repeat("v", size))
		eventually(t, func() error {
			if n := s.db.Metrics().MemTable.Count; n > 1 {
				return fmt.Errorf("%d memtables, want all flushed but one", n)
			}
			return nil
		})
		crashed := open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
		left = crashed.AppliedIndex()
		r, err := crashed.Range(everything, ReadOptions{CountOnly: true})
		if err != nil || uint64(r.Count) != left || uint64(crashed.Revision()) != left+1 {
			t.Errorf("a crash after entry %d leaves applied index %d with %d keys and revision %d, %v",
				i, left, r.Count, crashed.Revision(), err)
		}
		if err := crashed.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if left == 0 {
		t.Error("nothing was flushed: the test showed nothing")
	}
}

// An effect that was worked out without what could not be read is no effect.
func TestABatchThatCouldNotReadIsNotCommitted(t *testing.T) {
	disk := vfs.NewMem()
	s := open(t, disk)
	put(t, s, 1, "a", strings.Repeat("a", 100<<10)) // not in the block that Open reads
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var sick atomic.Bool
	fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if sick.Load() && op.Kind == errorfs.OpFileReadAt {
			return errorfs.ErrInjected
		}
		return nil
	}))
	var told error
	s, err := Open(Options{Dir: "db", FS: fs, Fatal: func(err error) { told = err }})
	if err != nil {
		t.Fatal(err)
	}
	sick.Store(true)
	b := s.NewBatch()
	defer b.Close()
	txn := b.Begin()
	txn.Put([]byte("a"), []byte("2"), 0) // its version follows from the record before
	txn.End()
	if err := b.Commit(2); !errors.Is(err, ErrFailed) || !errors.Is(told, errorfs.ErrInjected) {
		t.Errorf("commit: %v, Fatal was told %v: want ErrFailed and the cause", err, told)
	}
	if s.AppliedIndex() != 1 || s.Revision() != 2 {
		t.Errorf("applied index %d, revision %d: want 1 and 2", s.AppliedIndex(), s.Revision())
	}
}

func TestARecordOfANewerFormatIsRefused(t *testing.T) {
	for name, key := range map[string][]byte{
		"a version of a key":    appendVersioned(nil, []byte("a"), versionOf(2, false)),
		"a line of the history": historyKey(revision{main: 2}),
		"a number":              metaKey(metaRevision),
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := open(t, fs)
			put(t, s, 1, "a", "1")
			value, err := s.get(key)
			if err != nil || value == nil {
				t.Fatalf("%x: %x, %v", key, value, err)
			}
			value[0]++
			if err := errors.Join(s.db.Set(key, value, pebble.NoSync), s.Close()); err != nil {
				t.Fatal(err)
			}
			s, err = Open(Options{Dir: "db", FS: fs})
			if err != nil {
				return
			}
			defer s.Close()
			_, reading := s.Range(everything, ReadOptions{})
			_, _, following := s.Events(everything, 2, 2, 1000)
			if reading == nil && following == nil {
				t.Error("was read as if it were known")
			}
		})
	}
}

// An older program must learn from the directory alone that it is too old:
// from our format, and from Pebble's, which follows it and no library.
func TestADirectoryCarriesItsFormatFromTheStart(t *testing.T) {
	pebbles := map[uint64]pebble.FormatMajorVersion{1: pebble.FormatColumnarBlocks}
	fs := vfs.NewMem()
	if err := open(t, fs).Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, fs)
	defer s.Close()
	ours, _, err := s.number(metaFormat)
	if err != nil || ours != format {
		t.Errorf("format %d, %v: want %d", ours, err, format)
	}
	if got := s.db.FormatMajorVersion(); got != pebbles[ours] {
		t.Errorf("format %d has Pebble's format %d, want %d", ours, got, pebbles[ours])
	}
}

// What a compaction removes must not be gone before the compaction is: readers
// at old revisions would find holes.
func TestACompactionThatIsNotCommittedRemovesNothing(t *testing.T) {
	s := newStore(t)
	for i := uint64(1); i <= 8; i++ {
		put(t, s, i, "a", fmt.Sprint(i))
	}
	compact := func(rev int64) (*Batch, <-chan struct{}) {
		b := s.NewBatch()
		done, err := b.Compact(rev)
		if err != nil {
			t.Fatal(err)
		}
		return b, done
	}
	b, _ := compact(8)
	b.Close()
	b, done := compact(3)
	defer b.Close()
	if err := b.Commit(9); err != nil {
		t.Fatal(err)
	}
	<-done // removals happen in order
	for rev := int64(3); rev <= 9; rev++ {
		r, err := s.Range(Range{Key: []byte("a")}, ReadOptions{Revision: rev})
		if err != nil || len(r.Records) != 1 || r.Records[0].ModRevision() != rev {
			t.Errorf("at revision %d: %v, %v", rev, r.Records, err)
		}
	}
}
