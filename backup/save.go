// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"errors"
	"fmt"
	"os"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cleatd/cleat/backup/file"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/state"
)

// StorageVersion is that of etcd whose file we write.
const StorageVersion = "3.7.0"

// ErrNoRoom: the disk has not enough room for what a snapshot takes while it is
// made.
var ErrNoRoom = errors.New("backup: not enough room on the disk")

// Source is what a snapshot is made of.
type Source struct {
	View state.View // of the caller, who closes it
	Term uint64     // of the log

	Dir  string                // for what a snapshot takes until it is closed
	Free func() (int64, error) // bytes that it may take there

	// Pause is called every some microseconds; its error ends the making.
	Pause func() error
}

// Saved is a snapshot in a file that has no name: it is gone when it is closed,
// however the process ends.
type Saved struct {
	file *os.File
	size int64
}

// Save writes a snapshot, without the checksum at its end. What it takes of the
// disk is about twice what the keys and values with their history are, and once
// from its return until it is closed; if that is more than there is, the error
// is ErrNoRoom and nothing was written. It is ErrNoRoom too, and what was written
// is gone, if others take the room meanwhile. It takes some 10 MiB of memory, of
// a large state at most some 100.
func Save(s Source) (_ *Saved, err error) {
	if err := s.makeSure(); err != nil {
		return nil, err
	}
	s.Pause = s.watchful(s.Pause)
	made, err := nameless(s.Dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, made.Close())
		}
	}()
	w := file.NewWriter(made)
	if err := s.writeKeys(w); err != nil {
		return nil, err
	}
	if err := s.writeTables(w); err != nil {
		return nil, err
	}
	if err := s.writeLedger(w); err != nil {
		return nil, err
	}
	size, err := w.Close()
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return &Saved{made, size}, nil
}

// Size returns how many bytes it has.
func (s *Saved) Size() int64 { return s.size }

// ReadAt reads from it.
func (s *Saved) ReadAt(b []byte, at int64) (int, error) { return s.file.ReadAt(b, at) }

// Close gives the room back.
func (s *Saved) Close() error { return s.file.Close() }

// nameless makes a file and removes its name.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "backup-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("backup: %w", err), f.Close())
	}
	return f, nil
}

// makeSure compares what the snapshot will take with what there is. To find out
// exactly takes a walk through everything, which is made only where it matters.
func (s *Source) makeSure() error {
	free, err := s.Free()
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	bound, err := s.View.AtMost()
	if err != nil || free > 3*bound+tablesRoom { // the sort, and pages that are half empty
		return err
	}
	rules, err := s.View.Rules()
	if err != nil {
		return err
	}
	ledger, err := s.ledgerRoom()
	if err != nil {
		return err
	}
	changes, pages := int64(0), tablesRoom+ledger+authRoom(rules.Content())
	err = s.changes(func(c kv.Change) error {
		n := int64(len(c.Record)) + recordOverhead
		if c.Deleted {
			n += int64(len(c.Key))
		}
		changes += n
		pages += file.Room(n)
		return nil
	})
	if err != nil {
		return err
	}
	need := pages
	if changes > minSortMemory {
		need += changes
	}
	if need > free {
		return fmt.Errorf("%w: a snapshot takes up to %d MiB in %s while it is made, %d MiB may be used",
			ErrNoRoom, mebibytes(need), s.Dir, max(free, 0)>>20)
	}
	return nil
}

// watchful is pause, and looks at the room that is left: the others go on
// writing, and a snapshot must not take the reserve with which they end well.
func (s *Source) watchful(pause func() error) func() error {
	return func() error {
		if err := pause(); err != nil {
			return err
		}
		free, err := s.Free()
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		if free < 0 {
			return fmt.Errorf("%w: what else is written in %s has taken it while the snapshot was made", ErrNoRoom, s.Dir)
		}
		return nil
	}
}

func mebibytes(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

const (
	recordOverhead = 18 + 4  // its key, lengths
	tablesRoom     = 1 << 20 // what is not keys, users or ledger, with room
)

// changes calls fn for each change in the view.
func (s *Source) changes(fn func(kv.Change) error) error {
	n := 0
	return s.View.Changes(func(c kv.Change) error {
		if n++; n%pauseEvery == 0 {
			if err := s.Pause(); err != nil {
				return err
			}
		}
		return fn(c)
	})
}

// writeKeys writes the bucket of the keys, by revision.
func (s *Source) writeKeys(w *file.Writer) (err error) {
	runs, err := nameless(s.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, runs.Close()) }()
	size, err := s.View.AtMost()
	if err != nil {
		return err
	}
	sorted := newSorter(runs, size, s.Pause)
	var revision, key []byte
	err = s.changes(func(c kv.Change) error {
		revision = file.AppendRevision(revision[:0], c.Main, int64(c.Sub), c.Deleted)
		if !c.Deleted {
			return sorted.add(revision, c.Record)
		}
		key = protowire.AppendTag(key[:0], 1, protowire.BytesType) // a mvccpb.KeyValue with nothing else
		return sorted.add(revision, protowire.AppendBytes(key, c.Key))
	})
	if err != nil {
		return err
	}
	if err := w.Bucket(file.Key); err != nil {
		return err
	}
	return sorted.each(w.Put)
}

// writeTables writes all but the keys.
func (s *Source) writeTables(w *file.Writer) error {
	leases, err := s.View.Leases()
	if err != nil {
		return err
	}
	cast, err := s.View.Cast()
	if err != nil {
		return err
	}
	rules, err := s.View.Rules()
	if err != nil {
		return err
	}
	_ = w.Bucket(file.Lease) // the writer keeps its first error for Close, here and below
	for _, l := range leases {
		_ = w.Put(encodeLease(l))
	}
	s.writeMeta(w, cast)
	writeCast(w, cast)
	writeAuth(w, rules.Content())
	return nil
}
