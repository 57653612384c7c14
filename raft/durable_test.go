// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	hraft "github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// noSync is a disk that takes writes and refuses to make them durable.
const noSync = "/dev/null"

// loseSyncs puts noSync behind each of this process's open descriptors of files
// whose path matches the pattern.
func loseSyncs(t *testing.T, pattern string) {
	t.Helper()
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, d := range descriptors {
		var fd int
		target, err := os.Readlink("/proc/self/fd/" + d.Name())
		if err != nil {
			continue
		}
		if ok, err := filepath.Match(pattern, target); err != nil || !ok {
			continue
		}
		if _, err := fmt.Sscan(d.Name(), &fd); err != nil {
			t.Fatal(err)
		}
		bad, err := unix.Open(noSync, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.Dup3(bad, fd, unix.O_CLOEXEC), unix.Close(bad)); err != nil {
			t.Fatal(err)
		}
		found = true
	}
	if !found {
		t.Fatalf("nobody has %s open", pattern)
	}
}

// A write that was not fsynced is told as failed, so it is never acknowledged.
func TestWhatIsNotSyncedIsNotWritten(t *testing.T) {
	for name, c := range map[string]struct{ kind, file string }{
		"a wal segment":  {logWAL, "wal/*.wal"},
		"a bolt log":     {logBoltDB, "log.db"},
		"term and vote":  {logWAL, "stable.db"},
		"beside the log": {logBoltDB, "stable.db"},
	} {
		t.Run(name, func(t *testing.T) {
			config := config(t.TempDir())
			config.Log = c.kind
			if err := os.MkdirAll(config.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			votes, err := openStable(&config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = votes.Close() }) // its file is gone
			log, err := openLog(&config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = log.Close() }) // its file is gone
			write := func(index uint64) error {
				if c.file == stableFile {
					return votes.SetUint64(keyTerm, index)
				}
				return log.StoreLogs([]*hraft.Log{entry(index, "x")})
			}
			if err := write(1); err != nil {
				t.Fatal(err)
			}
			loseSyncs(t, filepath.Join(config.Dir, c.file))
			if err := write(2); !errors.Is(err, syscall.EINVAL) {
				t.Errorf("write without fsync: %v, want %v", err, syscall.EINVAL)
			}
		})
	}
}

// A label is whole and durable under another name before it takes its own.
func TestALabelIsSyncedBeforeItIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "1.label")
	if err := writeDurably(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(noSync, path+".tmp"); err != nil {
		t.Fatal(err)
	}
	if err := writeDurably(path, []byte("new")); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("written without fsync: %v, want %v", err, syscall.EINVAL)
	}
	if got := read(t, path); string(got) != "old" {
		t.Errorf("the label reads %q, want the old one", got)
	}
}

// A rename is durable when its directory is: the log must not be cut for a
// label that a power loss takes back.
func TestALabelsDirectoryIsSyncedAfterTheRename(t *testing.T) {
	dir := t.TempDir()
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_OPEN|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	if err := writeDurably(filepath.Join(dir, "1.label"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 4096)
	n, err := unix.Read(watch, raw)
	if err != nil {
		t.Fatal(err)
	}
	renamed, opened := false, false
	for raw = raw[:n]; len(raw) > 0; {
		mask := binary.NativeEndian.Uint32(raw[4:])
		raw = raw[unix.SizeofInotifyEvent+binary.NativeEndian.Uint32(raw[12:]):]
		renamed = renamed || mask&unix.IN_MOVED_TO != 0
		opened = opened || renamed && mask&unix.IN_ISDIR != 0
	}
	if !renamed || !opened {
		t.Errorf("renamed: %t, the directory was opened after it: %t", renamed, opened)
	}
	if err := syncDir("/proc/self"); !errors.Is(err, syscall.EINVAL) { // cannot be synced
		t.Errorf("sync of a directory that cannot be synced: %v, want %v", err, syscall.EINVAL)
	}
}

// A crash may leave the old label beside the new one, and the log between them
// may be gone.
func TestTheNewestLabelCounts(t *testing.T) {
	s, err := openLabels(t.TempDir(), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	var old string
	for _, index := range []uint64{9, 16, 300} { // as text they sort otherwise
		to, err := s.Create(1, index, 2, hraft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		label := to.(*sink)
		label.durable = true
		var left []byte
		if old != "" {
			left = read(t, old)
		}
		if err := label.Close(); err != nil {
			t.Fatal(err)
		}
		if old != "" { // it was not removed
			if err := os.WriteFile(old, left, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		old = filepath.Join(s.dir, label.ID()+labelSuffix)
		if list, err := s.List(); err != nil || len(list) != 1 || list[0].Index != index {
			t.Errorf("labels %v, %v: want entry %d", list, err, index)
		}
	}
}

// What could not be applied must not be labelled: hraft counts it as applied.
func TestAFailedMemberMakesNoLabel(t *testing.T) {
	a := &applier{failed: func() error { return errDisk }}
	if _, err := a.Snapshot(); !errors.Is(err, errDisk) {
		t.Errorf("snapshot: %v, want %v", err, errDisk)
	}
}

// Progress lets readers go on, and what is applied after the failure is not
// what the log holds.
func TestNothingCountsAsAppliedAfterTheEnd(t *testing.T) {
	b := &book{seen: map[string]bool{}}
	a := &applier{machine: b, line: newLine(), progress: &progress{}, settled: func(uint64) error { return nil }, failed: func() error { return errDisk }}
	a.ApplyBatch([]*hraft.Log{entry(1, "x")})
	if len(b.lines()) != 0 || a.progress.applied.Load() != 0 {
		t.Errorf("applied %q after the failure, progress %d", b.lines(), a.progress.applied.Load())
	}
	a.failed = func() error { // in the midst of it
		if len(b.lines()) > 0 {
			return errDisk
		}
		return nil
	}
	a.ApplyBatch([]*hraft.Log{entry(1, "x")})
	if len(b.lines()) != 1 || a.progress.applied.Load() != 0 {
		t.Errorf("progress %d with %q, which failed", a.progress.applied.Load(), b.lines())
	}
}

// An empty log beside a label is one that was lost, and a label is no reason to
// lose it: a large entry may be all that is to be kept.
func TestTheLogIsNeverCutToNothing(t *testing.T) {
	for _, kind := range bothLogs {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, dir, onLog(kind))
			m.write(t, "small")
			m.write(t, strings.Repeat("x", 2*keepAlone))
			m.moveLabel()
			list, err := m.labels.List()
			if err != nil || len(list) != 1 || list[0].Index != m.Status().Last {
				t.Fatalf("labels %v, %v: want entry %d", list, err, m.Status().Last)
			}
			m.stop(t)
			again := open(t, dir, onLog(kind))
			again.sync(t)
			if s := again.Status(); s.First > list[0].Index || len(again.book.lines()) != 2 {
				t.Errorf("the log begins at entry %d with label %d and %d lines", s.First, list[0].Index, len(again.book.lines()))
			}
		})
	}
}

// A vote that is forgotten is given twice, and two members lead.
func TestAVoteOlderThanTheLogIsRefused(t *testing.T) {
	dir := used(t, logWAL)
	stable := filepath.Join(dir, "raft", stableFile)
	old := read(t, stable)
	m := open(t, dir)
	m.write(t, "in the next term")
	m.stop(t)
	if err := os.WriteFile(stable, old, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, logWAL, "it has lost writes", stable)
}

func TestAFailedCutOfTheLogIsTheEnd(t *testing.T) {
	tried, told := 0, 0
	d := &disk{
		store: &faultyLog{before: func() error { tried++; return errDisk }},
		fail:  func(error) { told++ },
	}
	for range 3 {
		if err := d.DeleteRange(1, 2); !errors.Is(err, errDisk) {
			t.Fatalf("err %v", err)
		}
	}
	if err := d.StoreLog(entry(1, "x")); !errors.Is(err, errDisk) {
		t.Fatalf("err %v", err)
	}
	if tried != 1 || told != 1 {
		t.Errorf("%d writes were tried after the first had failed, the end was told %d times", tried-1, told)
	}
}

// What the log held was agreed upon: a member that reads something else there
// has nothing to go on with.
func TestAnEntryDamagedSinceTheStartIsTheEnd(t *testing.T) {
	store := hraft.NewInmemStore()
	damaged := entry(1, "x")
	damaged.Extensions = seal(entry(1, "y"))
	if err := store.StoreLog(damaged); err != nil {
		t.Fatal(err)
	}
	var told error
	d := &disk{store: store, files: logFiles{"log"}, fail: func(err error) { told = err }}
	if err := d.GetLog(1, &hraft.Log{}); err == nil || !errors.Is(told, err) {
		t.Errorf("read: %v, told %v: want the same damage", err, told)
	}
}

func TestAVoteThatIsNotWrittenIsNotGiven(t *testing.T) {
	var told error
	v := &votes{StableStore: &powerVotes{nil, &power{}}, path: "/x/stable.db", fail: func(err error) { told = err }}
	if err := v.Set([]byte("LastVoteCand"), []byte("7")); !errors.Is(err, errPower) || !errors.Is(told, errPower) {
		t.Errorf("returned %v and told %v, want the cause", err, told)
	}
}
