// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrOlder means that a checkpoint is older than the store.
var ErrOlder = errors.New("kv: the checkpoint is older than the store")

const (
	// restoreDir is where a checkpoint becomes tables, below the store's own.
	restoreDir = "restore"
	// restoreTable is how large each becomes.
	restoreTable = 64 << 20
)

// Prepared is a checkpoint that the store can become.
type Prepared struct {
	store *Store
	built *tableBuilder
}

// Prepare reads a checkpoint, which [Checkpoint.WriteTo] wrote, and makes
// tables of it beside the present ones. The store stays as it is until
// [Prepared.Install]; the caller closes what is returned. One at a time: another
// takes the first one's place. If look is not nil it is told of the side
// tables' keys, and its error is returned; the slices are valid during the call
// only.
//
// The error is ErrCheckpoint for a damaged one, ErrFormat for one of a newer
// program, ErrOlder for one that would take the store back.
func (s *Store) Prepare(from io.Reader, look func(table byte, key, value []byte) error) (_ *Prepared, err error) {
	if err := s.err(); err != nil {
		return nil, err
	}
	p := &Prepared{store: s, built: &tableBuilder{store: s, dir: s.restorePath(), look: look, numbers: map[string]uint64{}}}
	if err := errors.Join(p.Close(), s.fs.MkdirAll(p.built.dir, 0o700)); err != nil {
		return nil, fmt.Errorf("kv: prepare: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	err = readCheckpoint(from, p.built.add)
	if closed := p.built.close(); err == nil {
		err = closed
	}
	if err == nil {
		err = p.admissible()
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (s *Store) restorePath() string { return s.fs.PathJoin(s.dir, restoreDir) }

// Index returns the log index that the store will have applied.
func (p *Prepared) Index() uint64 { return p.built.numbers[metaApplied] }

// Close removes what was prepared and not installed.
func (p *Prepared) Close() error { return p.store.fs.RemoveAll(p.store.restorePath()) }

// admissible checks what a checkpoint says of itself.
func (p *Prepared) admissible() error {
	switch f, known := p.built.numbers[metaFormat]; {
	case !known:
		return fmt.Errorf("%w: it does not name its format", ErrCheckpoint)
	case f > format:
		return fmt.Errorf("%w %d of a checkpoint, this program knows %d", ErrFormat, f, format)
	}
	if have := p.store.AppliedIndex(); p.Index() < have {
		return fmt.Errorf("%w: it is at index %d, the store at %d", ErrOlder, p.Index(), have)
	}
	return nil
}

// Install makes the store what was prepared, in one step of Pebble's: a crash
// leaves the one or the other. It is durable when Install returns nil. Those
// who read meanwhile finish on what there was, and those who wait for a
// revision are told; the history of the meantime is read from disk. The one who
// writes must not do so, and no batch may be open.
//
// The error is ErrOlder if the store has gone on since, and is as it was;
// otherwise the disk has failed.
func (p *Prepared) Install() error {
	if err := p.admissible(); err != nil {
		return err
	}
	s := p.store
	if err := s.err(); err != nil {
		return err
	}
	left := s.remover.stop()
	s.writer.reset()
	if rev, compacted := p.built.numbers[metaCompacted]; compacted {
		s.compacted.Store(int64(rev)) // first: whoever reads below must not find holes
	}
	everything := pebble.KeyRange{Start: []byte{0, 0}, End: []byte{0xff, 0}}
	taken := make(chan error, 1)
	go func() {
		s.excising.Lock()
		defer s.excising.Unlock()
		_, err := s.db.IngestAndExcise(context.Background(), p.built.paths, nil, nil, everything)
		taken <- err
	}()
	select {
	case err := <-taken:
		if err != nil {
			return s.fail(fmt.Errorf("restore: %w", err))
		}
	case <-s.failed: // Pebble stands where it could not go on
		return s.err()
	}
	if err := s.load(); err != nil {
		return s.fail(fmt.Errorf("restore: %w", err))
	}
	s.tail.restart(s.revision.Load() + 1)
	s.remover = startRemover(s, left...)
	s.announce()
	return nil
}

// tableBuilder writes pairs that come in order into tables.
type tableBuilder struct {
	store   *Store
	dir     string
	look    func(table byte, key, value []byte) error // may be nil
	numbers map[string]uint64                         // of the meta keys
	paths   []string
	table   *sstable.Writer
	last    []byte // key
}

func (b *tableBuilder) add(key, value []byte) error {
	if len(key) < 2 || b.last != nil && cockroachkvs.Compare(b.last, key) >= 0 {
		return fmt.Errorf("%w: keys out of order", ErrCheckpoint)
	}
	b.last = append(b.last[:0], key...)
	switch {
	case key[0] == spaceTables && b.look != nil && len(key) > 2:
		if err := b.look(key[1], key[2:len(key)-1], value); err != nil {
			return err
		}
	case key[0] == spaceMeta:
		for _, name := range []string{metaFormat, metaRevision, metaApplied, metaCompacted, metaRemoved} {
			if string(key) != string(metaKey(name)) {
				continue
			}
			n, err := decodeNumber(value)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrCheckpoint, err)
			}
			b.numbers[name] = n
		}
	}
	if b.table != nil && b.table.Raw().EstimatedSize() > restoreTable {
		if err := b.close(); err != nil {
			return err
		}
	}
	if b.table == nil {
		if err := b.open(); err != nil {
			return err
		}
	}
	return b.table.Set(key, value)
}

func (b *tableBuilder) open() error {
	s := b.store
	path := s.fs.PathJoin(b.dir, fmt.Sprintf("%06d.sst", len(b.paths)))
	f, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("kv: restore: %w", err)
	}
	b.paths = append(b.paths, path)
	b.table = sstable.NewWriter(objstorageprovider.NewFileWritable(f), s.options.MakeWriterOptions(6, s.db.TableFormat()))
	return nil
}

// close ends a table, which is then durable.
func (b *tableBuilder) close() error {
	if b.table == nil {
		return nil
	}
	err := b.table.Close()
	b.table = nil
	if err != nil {
		return fmt.Errorf("kv: restore: %w", err)
	}
	return nil
}
