// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	hraft "github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// The directory:
//
//	stable.db          term, vote (raft-boltdb)
//	wal/ or log.db     the log, by raft-wal or raft-boltdb
//	labels/            how far the state is durable (labels.go)
//
// stable.db is made first, so a log without it has lost it.
const (
	stableFile = "stable.db"
	walDir     = "wal"
	boltFile   = "log.db"
	labelsDir  = "labels"

	installingFile = "installing"
	installedFile  = "installed"
)

// lockPatience is how long another process may hold a bolt file.
const lockPatience = time.Second

// logFiles names the files of a log in errors.
type logFiles struct{ path string }

// holding is the file that has, or should have, the entry: raft-wal names its
// segments by their first index.
func (f logFiles) holding(index uint64) string {
	names, err := filepath.Glob(filepath.Join(f.path, "*.wal"))
	if err != nil || len(names) == 0 {
		return f.path
	}
	slices.Sort(names)
	file := f.path
	for _, name := range names {
		var first, id uint64
		if _, err := fmt.Sscanf(filepath.Base(name), "%020d-%016x.wal", &first, &id); err == nil && first <= index {
			file = name
		}
	}
	return file
}

type logStore interface {
	hraft.LogStore
	io.Closer
}

func logPath(c *Config) string {
	if c.Log == logBoltDB {
		return filepath.Join(c.Dir, boltFile)
	}
	return filepath.Join(c.Dir, walDir)
}

// refuseOther refuses a directory whose log is of the other kind: an empty log
// beside a full one would begin the history again.
func refuseOther(c *Config) error {
	other, kind := filepath.Join(c.Dir, boltFile), logBoltDB
	if c.Log == logBoltDB {
		other, kind = filepath.Join(c.Dir, walDir), logWAL
	}
	if !exists(other) {
		return nil
	}
	return fmt.Errorf("raft: %s holds a log of kind %q, but the setting is %q; set it to %q", other, kind, c.Log, kind)
}

func openLog(c *Config) (logStore, error) {
	open := openWAL
	if c.Log == logBoltDB {
		open = openBoltLog
	}
	s, err := open(c)
	if err != nil {
		return nil, err
	}
	if s = keeping(s); c.faults.log != nil {
		s = c.faults.log(s)
	}
	return s, nil
}

func openBoltLog(c *Config) (logStore, error) { return openBolt(logPath(c)) }

func openWAL(c *Config) (logStore, error) {
	path := logPath(c)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make raft log: %w", err)
	}
	w := &walLog{meta: &metadb.BoltMetaDB{}, turn: &turn{}}
	files := segments{segment.NewFiler(path, fs.New()), path, w.turn}
	err := panicAsError(func() (err error) {
		w.WAL, err = wal.Open(path,
			wal.WithLogger(hclogTo(c.Logger)),
			wal.WithSegmentSize(cmp.Or(c.faults.segment, wal.DefaultSegmentSize)),
			wal.WithSegmentFiler(files),
			wal.WithMetaStore(walMeta{w.meta, path, w.turn, files}))
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open raft log %s as %s tells of it: %w", path, metadb.FileName, err), w.meta.Close())
	}
	return w, nil
}

// walLog closes what raft-wal leaves open: the bolt file with its metadata,
// whose lock would keep out the next to open it in this process.
type walLog struct {
	*wal.WAL
	meta *metadb.BoltMetaDB
	turn *turn
}

// StoreLogs adds why there is no segment to write to.
func (w *walLog) StoreLogs(logs []*hraft.Log) error {
	err := w.WAL.StoreLogs(logs)
	if cause := w.turn.failure.Load(); err != nil && cause != nil {
		return fmt.Errorf("%w: %w", err, *cause)
	}
	return err
}

// turn keeps why raft-wal could not turn to its next segment. It does so in
// the background and only logs what goes wrong; the next write then finds the
// old segment sealed and does not say more.
type turn struct{ failure atomic.Pointer[error] }

func (t *turn) keep(err error) error {
	if err != nil {
		t.failure.Store(&err)
	}
	return err
}

func (w *walLog) Close() error { return errors.Join(w.WAL.Close(), w.meta.Close()) }

// segments and walMeta put the file's name into raft-wal's errors.
type segments struct {
	*segment.Filer
	path string
	turn *turn
}

func (s segments) Create(info types.SegmentInfo) (types.SegmentWriter, error) {
	w, err := s.Filer.Create(info)
	return w, s.turn.keep(s.naming(info, err))
}

func (s segments) Open(info types.SegmentInfo) (types.SegmentReader, error) {
	if info.IndexStart == 0 {
		return s.openCut(info)
	}
	r, err := s.Filer.Open(info)
	return r, s.naming(info, err)
}

// openCut opens a segment whose end was cut off when another leader's entries
// replaced it. raft-wal calls such a segment sealed without writing the index
// that it needs to read one, so its entries are found as those of a segment
// that is still written to.
func (s segments) openCut(info types.SegmentInfo) (types.SegmentReader, error) {
	w, err := s.Filer.RecoverTail(info)
	if err != nil {
		return nil, s.naming(info, err)
	}
	if last := w.LastIndex(); last < info.MaxIndex {
		err := fmt.Errorf("damaged: ends at entry %d, not at %d", last, info.MaxIndex)
		return nil, errors.Join(s.naming(info, err), w.Close())
	}
	return w, nil
}

func (s segments) RecoverTail(info types.SegmentInfo) (types.SegmentWriter, error) {
	w, err := s.Filer.RecoverTail(info)
	return w, s.naming(info, err)
}

func (s segments) naming(info types.SegmentInfo, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("segment %s: %w", filepath.Join(s.path, segment.FileName(info)), err)
}

type walMeta struct {
	*metadb.BoltMetaDB
	path string
	turn *turn

	files segments
}

func (m walMeta) CommitState(state types.PersistentState) error {
	err := m.BoltMetaDB.CommitState(state)
	if err == nil {
		return nil
	}
	return m.turn.keep(fmt.Errorf("write %s: %w", filepath.Join(m.path, metadb.FileName), err))
}

func (m walMeta) Load(dir string) (state types.PersistentState, err error) {
	err = panicAsError(func() (err error) {
		state, err = m.BoltMetaDB.Load(dir)
		return err
	})
	if err != nil {
		return state, fmt.Errorf("%s: %w", filepath.Join(dir, metadb.FileName), err)
	}
	return m.finishTurn(state)
}

func openBolt(path string) (*raftboltdb.BoltStore, error) {
	var s *raftboltdb.BoltStore
	err := panicAsError(func() (err error) {
		s, err = raftboltdb.New(raftboltdb.Options{
			Path: path,
			BoltOptions: &bbolt.Options{
				Timeout:        lockPatience,
				FreelistType:   bbolt.FreelistMapType,
				NoFreelistSync: true,
			},
			MsgpackUseNewTimeFormat: true,
		})
		return err
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: another process holds it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

// panicAsError runs open and returns its panics, and its reads beyond the end
// of a file that was cut short, as errors: this is how bbolt reports a damaged
// file.
func panicAsError(open func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged or unusable: %v", p)
		}
	}()
	return open()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}
