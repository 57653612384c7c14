// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// pebbleFormat is the format of Pebble's files. A newer one is taken only by a
// change of this line, never by an update of the library.
const pebbleFormat = pebble.FormatColumnarBlocks

// indexBlock holds a whole file's index: with Pebble's 4 KiB every look-up of
// a previous version went through two levels of them, and loading a million
// keys cost half as much again.
const indexBlock = 256 << 10

func (s *Store) pebbleOptions(o Options) *pebble.Options {
	cache, memtable := o.CacheBytes, o.MemtableBytes
	if cache == 0 {
		cache = 96 << 20
	}
	if memtable == 0 {
		memtable = 32 << 20
	}
	p := &pebble.Options{
		FS:                          o.FS,
		Comparer:                    &cockroachkvs.Comparer,
		KeySchema:                   cockroachkvs.KeySchema.Name,
		KeySchemas:                  sstable.MakeKeySchemas(&cockroachkvs.KeySchema),
		FormatMajorVersion:          pebbleFormat,
		DisableWAL:                  true, // the raft log is the write-ahead log
		CacheSize:                   cache,
		MemTableSize:                uint64(memtable),
		MemTableStopWritesThreshold: 4,
		MaxOpenFiles:                1000,
		Logger:                      pebbleLogger{s},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { _ = s.fail(fmt.Errorf("background: %w", err)) },
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				_ = s.fail(fmt.Errorf("damaged file %s: %w", i.Path, i.Details))
			},
			FlushBegin: func(pebble.FlushInfo) { s.flushing.Store(s.written.Load()) },
			FlushEnd: func(i pebble.FlushInfo) {
				if i.Err == nil {
					s.flushed.Store(s.flushing.Load())
				}
				s.writer.renew()
			},
			CompactionEnd: func(pebble.CompactionInfo) { s.writer.renew() },
		},
	}
	// Tables that take the place of others are noted in the manifest at once:
	// else Pebble notes them in its log, which is off.
	p.Experimental.DisableIngestAsFlushable = func() bool { return true }
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		p.Levels[i].IndexBlockSize = indexBlock
	}
	return p
}

// pebbleLogger passes on what Pebble says. Pebble calls Fatalf where it cannot
// go on and does not expect it to return, so it does not: the member stops.
type pebbleLogger struct{ store *Store }

func (l pebbleLogger) Infof(format string, args ...any) {
	l.store.logger().Debug(fmt.Sprintf("pebble: "+format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.store.logger().Warn(fmt.Sprintf("pebble: "+format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	_ = l.store.fail(fatality{fmt.Sprintf("pebble: "+format, args...), args})
	select {}
}

// fatality is what Pebble dies of. It is said with %v as often as with %w, so
// the cause is looked for among what was said.
type fatality struct {
	text string
	said []any
}

func (f fatality) Error() string { return f.text }

func (f fatality) Unwrap() []error {
	var causes []error
	for _, v := range f.said {
		if err, ok := v.(error); ok {
			causes = append(causes, err)
		}
	}
	return causes
}

// openPebble opens the database. Pebble may call Fatalf already here, and is
// then left where it stands.
func (s *Store) openPebble(o Options) (*pebble.DB, error) {
	type result struct {
		db  *pebble.DB
		err error
	}
	opened := make(chan result, 1)
	go func() {
		s.options = s.pebbleOptions(o)
		s.options.EnsureDefaults()
		db, err := pebble.Open(o.Dir, s.options)
		opened <- result{db, err}
	}()
	select {
	case r := <-opened:
		return r.db, damaged(naming(o, r.err))
	case <-s.failed:
		return nil, s.err()
	}
}

// naming adds the files that Pebble reads first, since it does not say where it
// found what it cannot understand.
func naming(o Options, err error) error {
	if err == nil {
		return nil
	}
	desc, peeking := pebble.Peek(o.Dir, o.FS)
	if peeking != nil || !desc.Exists {
		return err
	}
	return fmt.Errorf("with %s and %s: %w", o.FS.PathBase(desc.ManifestFilename), o.FS.PathBase(desc.OptionsFilename), err)
}

func (s *Store) logger() *slog.Logger {
	if s.log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.log
}
