// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// checkpoint returns what a store with n keys, of entries from 1 on, writes.
func checkpoint(t testing.TB, n int) []byte {
	t.Helper()
	s := open(t, vfs.NewMem())
	defer s.Close()
	for i := range n {
		put(t, s, uint64(i+1), fmt.Sprint("new", i), strings.Repeat("x", 100))
	}
	c, err := s.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var stream bytes.Buffer
	if _, err := c.WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	if c.Index() != uint64(n) {
		t.Fatalf("the checkpoint is at %d, want %d", c.Index(), n)
	}
	return stream.Bytes()
}

// old is a store with three keys, that is behind.
func old(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s := open(t, fs)
	for i := range 3 {
		put(t, s, uint64(i+1), fmt.Sprint("old", i), "y")
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	return s
}

// which says whether a store is the old one, or has n new keys; anything else
// is an error.
func which(s *Store, n int) (isNew bool, err error) {
	r, err := s.Range(everything, ReadOptions{})
	if err != nil {
		return false, err
	}
	before, after := 0, 0
	for _, rec := range r.Records {
		if bytes.HasPrefix(rec.Key(), []byte("old")) {
			before++
		} else {
			after++
		}
	}
	switch {
	case before == 3 && after == 0 && s.AppliedIndex() == 3 && s.Revision() == 4:
		return false, nil
	case before == 0 && after == n && s.AppliedIndex() == uint64(n) && s.Revision() == int64(n+1):
		return true, nil
	}
	return false, fmt.Errorf("%d old keys and %d new ones at index %d, revision %d", before, after, s.AppliedIndex(), s.Revision())
}

func restore(s *Store, from io.Reader) error {
	p, err := s.Prepare(from, nil)
	if err != nil {
		return err
	}
	return errors.Join(p.Install(), p.Close())
}

func TestADamagedCheckpointChangesNothing(t *testing.T) {
	whole := checkpoint(t, 50)
	s := old(t, vfs.NewMem())
	defer s.Close()
	chance := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		stream := bytes.Clone(whole)
		at := chance.IntN(len(stream))
		what := fmt.Sprint("cut at ", at)
		if chance.IntN(2) == 0 {
			stream = stream[:at]
		} else {
			what = fmt.Sprint("a flipped bit at ", at)
			stream[at] ^= 1 << chance.IntN(8)
		}
		err := restore(s, bytes.NewReader(stream))
		if !errors.Is(err, ErrCheckpoint) && !errors.Is(err, ErrFormat) {
			t.Fatalf("%s of %d: %v, want ErrCheckpoint", what, len(whole), err)
		}
		if isNew, err := which(s, 50); err != nil || isNew {
			t.Fatalf("%s: new %v, %v", what, isNew, err)
		}
	}
	put(t, s, 4, "old3", "z") // and it can still be written
	if err := restore(s, bytes.NewReader(checkpoint(t, 3))); !errors.Is(err, ErrOlder) {
		t.Errorf("an older one: %v", err)
	}
	failing := io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), errorReader{})
	if err := restore(s, failing); !errors.Is(err, errGone) {
		t.Errorf("a connection that breaks: %v", err)
	}
}

var errGone = errors.New("connection lost")

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errGone }

// A crash, or a disk that fails, at any step towards the disk leaves the old
// state or the new one.
func TestARestoreIsOneStepWhereverItEnds(t *testing.T) {
	const n = 40
	stream := checkpoint(t, n)
	sawOld, sawNew := false, false
	for step := int64(0); ; step++ {
		mem := vfs.NewCrashableMem()
		_ = old(t, mem).Close()
		var left atomic.Int64
		left.Store(1 << 40)
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && left.Add(-1) < 0 {
				return errGone
			}
			return nil
		}))
		s, err := Open(Options{Dir: "db", FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		left.Store(step)
		err = restore(s, bytes.NewReader(stream))
		finished := left.Load() >= 0
		crashed := open(t, mem.CrashClone(vfs.CrashCloneCfg{}))
		isNew, wrong := which(crashed, n)
		if wrong != nil {
			t.Fatalf("step %d: %v", step, wrong)
		}
		if err == nil && !isNew {
			t.Fatalf("step %d: restored, and lost by a crash", step)
		}
		sawOld, sawNew = sawOld || !isNew, sawNew || isNew
		_ = crashed.Close()
		left.Store(1 << 40)
		if !errors.Is(err, ErrFailed) { // else Pebble stands still
			_ = s.Close()
		}
		if finished {
			break
		}
	}
	if !sawOld || !sawNew {
		t.Errorf("saw the old state %v, the new one %v: the test showed nothing", sawOld, sawNew)
	}
}

// Readers and those who wait go on while everything under them is replaced.
func TestReadersGoOnThroughARestore(t *testing.T) {
	const n = 200
	stream := checkpoint(t, n)
	s := old(t, vfs.NewMem())
	defer s.Close()
	stop, read := make(chan struct{}), make(chan error, 4)
	for range cap(read) {
		go func() {
			for {
				select {
				case <-stop:
					read <- nil
					return
				default:
				}
				if r, err := s.Range(everything, ReadOptions{}); err != nil || len(r.Records) == 0 {
					read <- fmt.Errorf("%d records, %w", len(r.Records), err)
					return
				}
			}
		}()
	}
	waited := make(chan error, 1)
	go func() { waited <- s.Wait(t.Context(), n) }()
	if err := restore(s, bytes.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
	close(stop)
	for range cap(read) {
		if err := <-read; err != nil {
			t.Error(err)
		}
	}
	events, next, err := s.Events(everything, 2, n+1, 1<<20)
	if err != nil || len(events) != n || next != n+2 {
		t.Errorf("%d events up to %d, %v: want the history of the new state", len(events), next, err)
	}
	put(t, s, n+1, "more", "z")
	if isNew, err := which(s, n); isNew || err == nil {
		t.Error("a put after the restore changed nothing")
	}
}

// Whoever prepares may look at the side tables, and refuse.
func TestWhatIsPreparedMayBeRefusedOrLeft(t *testing.T) {
	from := open(t, vfs.NewMem())
	defer from.Close()
	b := from.NewBatch()
	b.Set('x', []byte("k"), []byte("v"))
	if err := b.Commit(9); err != nil {
		t.Fatal(err)
	}
	b.Close()
	c, err := from.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var stream bytes.Buffer
	if _, err := c.WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	s := old(t, fs)
	defer s.Close()
	refused := errors.New("refused")
	_, err = s.Prepare(bytes.NewReader(stream.Bytes()), func(table byte, key, value []byte) error {
		return fmt.Errorf("%w: %c %s %s", refused, table, key, value)
	})
	if !errors.Is(err, refused) || !strings.Contains(err.Error(), "x k v") {
		t.Errorf("prepare: %v", err)
	}
	p, err := s.Prepare(bytes.NewReader(stream.Bytes()), nil)
	if err != nil || p.Index() != 9 {
		t.Fatalf("prepare: %v", err)
	}
	put(t, s, 10, "old3", "y")
	if err := p.Install(); !errors.Is(err, ErrOlder) {
		t.Errorf("install in a store that has gone on: %v, want ErrOlder", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if left, err := fs.List("db/restore"); err == nil {
		t.Errorf("%q is left", left)
	}
}

// Who waits for keys to leave the disk is told when they have left the new one.
func TestARemovalGoesOnInARestoredStore(t *testing.T) {
	stream := checkpoint(t, 50)
	s := old(t, vfs.NewMem())
	defer s.Close()
	s.remover.stop()
	s.remover = &remover{store: s, wake: make(chan struct{}, 1), quit: make(chan struct{})} // one that never comes to it
	done := make(chan struct{})
	s.remover.add(&removal{rev: 3, done: done})
	if err := restore(s, bytes.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	<-done
}

func FuzzCheckpoint(f *testing.F) {
	f.Add(checkpoint(f, 3))
	f.Fuzz(func(t *testing.T, stream []byte) {
		err := readCheckpoint(bytes.NewReader(stream), func([]byte, []byte) error { return nil })
		if err != nil && !errors.Is(err, ErrCheckpoint) && !errors.Is(err, ErrFormat) {
			t.Errorf("%v is neither ErrCheckpoint nor ErrFormat", err)
		}
	})
}
