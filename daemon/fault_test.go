// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/sys/unix"
)

// Devices that fail as a disk may: the first refuses every write, the second
// takes writes and refuses to make them durable.
const (
	noWrite = "/dev/full"
	noSync  = "/dev/null"
)

// breakDisk puts a device behind each of this process's open descriptors of a
// file, so that the file's owner meets real errors of the kernel.
func breakDisk(t *testing.T, file, device string) {
	t.Helper()
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, d := range descriptors {
		var fd int
		if target, err := os.Readlink("/proc/self/fd/" + d.Name()); err != nil || target != file {
			continue
		}
		if _, err := fmt.Sscan(d.Name(), &fd); err != nil {
			t.Fatal(err)
		}
		bad, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.Dup3(bad, fd, unix.O_CLOEXEC), unix.Close(bad)); err != nil {
			t.Fatal(err)
		}
		found = true
	}
	if !found {
		t.Fatalf("nobody has %s open", file)
	}
}

// one returns the only file that matches.
func one(t *testing.T, pattern ...string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pattern...))
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %v, %v", filepath.Join(pattern...), files, err)
	}
	return files[0]
}

func TestALogThatCannotBeWrittenStopsTheMember(t *testing.T) {
	for name, c := range map[string]struct{ log, file, device, cause string }{
		"write to a wal segment": {"wal", "wal/*.wal", noWrite, "no space left on device"},
		"sync of a wal segment":  {"wal", "wal/*.wal", noSync, "invalid argument"},
		"write to a boltdb log":  {"boltdb", "log.db", noWrite, "no space left on device"},
		"sync of a boltdb log":   {"boltdb", "log.db", noSync, "invalid argument"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, shortDir(t))
			o.Config.RaftLog = c.log
			l := begin(t, o)
			for i := range 20 {
				if err := l.put(fmt.Sprint(i), 100); err != nil {
					t.Fatal(err)
				}
			}
			file := one(t, o.Config.DataDir, "raft", c.file)
			breakDisk(t, file, c.device)
			if err := l.put("lost", 100); err == nil {
				t.Error("a write was acknowledged that is nowhere")
			}
			stopped(t, l.fall(), file, c.cause)
			again := successor(t, o)
			again.holds(20, 100)
			again.works()
		})
	}
}

// stopped checks what a member said that its disk has stopped: the file, the
// cause and what to do, in one line.
func stopped(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, want := range append(words, "start cleatd again: nothing that was acknowledged is lost") {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the member ended with %v, want %q", err, want)
		}
	}
}

func TestAStateThatCannotBeWrittenStopsTheMember(t *testing.T) {
	const size = 64 << 10
	syncs := func(k errorfs.OpKind) bool {
		return k == errorfs.OpFileSync || k == errorfs.OpFileSyncData || k == errorfs.OpFileSyncTo
	}
	for name, c := range map[string]struct {
		file  string // part of its name
		fails func(errorfs.OpKind) bool
	}{
		"making of a table":     {".sst", func(k errorfs.OpKind) bool { return k == errorfs.OpCreate }},
		"write to a table":      {".sst", func(k errorfs.OpKind) bool { return k == errorfs.OpFileWrite }},
		"sync of a table":       {".sst", syncs},
		"write to the manifest": {"MANIFEST", func(k errorfs.OpKind) bool { return k == errorfs.OpFileWrite }},
		"sync of the manifest":  {"MANIFEST", syncs},
	} {
		t.Run(name, func(t *testing.T) {
			var sick atomic.Bool
			o := options(t, shortDir(t))
			o.small()
			o.limit = 0 // Pebble stands still for good where it cannot go on
			o.faults.state = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if sick.Load() && c.fails(op.Kind) && strings.Contains(op.Path, c.file) {
					return &os.PathError{Op: "write", Path: op.Path, Err: syscall.EIO}
				}
				return nil
			}))
			l := begin(t, o)
			sick.Store(true)
			acknowledged := l.fill(size)
			stopped(t, l.fall(), filepath.Join(o.Config.DataDir, "state"), c.file, "input/output error")
			again := successor(t, o)
			again.holds(acknowledged, size)
			again.works()
		})
	}
}

func TestAStateThatCannotBeReadStopsTheMember(t *testing.T) {
	var sick atomic.Bool
	o := options(t, shortDir(t))
	l := begin(t, o)
	for i := range 20 {
		if err := l.put(fmt.Sprint(i), 100<<10); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
	o.faults.state = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if sick.Load() && op.Kind == errorfs.OpFileReadAt {
			return &os.PathError{Op: "read", Path: op.Path, Err: syscall.EIO}
		}
		return nil
	}))
	l = begin(t, o)
	sick.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if r, err := l.client.Get(ctx, "1"); err == nil {
		t.Errorf("a read of a disk that fails answered %v", r)
	}
	stopped(t, l.fall(), ".sst", "input/output error")
	l = successor(t, o)
	l.holds(20, 100<<10)
	l.works()
}

// A label promises that the state is durable; without it the log cannot be cut
// off and grows without end.
func TestALabelThatCannotBeWrittenStopsTheMember(t *testing.T) {
	const size = 64 << 10
	o := options(t, shortDir(t))
	o.small()
	l := begin(t, o)
	labels := filepath.Join(o.Config.DataDir, "raft", "labels")
	if err := errors.Join(os.Remove(labels), os.WriteFile(labels, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	acknowledged := l.fill(size)
	stopped(t, l.fall(), labels, "not a directory")
	if err := os.Remove(labels); err != nil {
		t.Fatal(err)
	}
	l = successor(t, o)
	l.holds(acknowledged, size)
	l.works()
}

// fill puts values of size bytes until the member says no, and returns how
// many it has acknowledged.
func (l *life) fill(size int) int {
	l.t.Helper()
	for i := range 1 << 30 / size {
		err := l.put(fmt.Sprint(i), size)
		for errors.Is(err, rpctypes.ErrTimeout) { // a busy machine, and perhaps it happened
			err = l.put(fmt.Sprint(i), size)
		}
		if err != nil {
			return i
		}
	}
	l.t.Fatal("the member takes everything")
	return 0
}

// works checks that the member takes writes and stops in order.
func (l *life) works() {
	l.t.Helper()
	if err := l.put("works", 100); err != nil {
		l.t.Error(err)
	}
	if err := l.end(); err != nil {
		l.t.Error(err)
	}
}
