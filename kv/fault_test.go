// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// fullDisk refuses every write to files of a name while full.
func fullDisk(fs vfs.FS, name string, full *atomic.Bool) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && strings.Contains(op.Path, name) && (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate) {
			return &os.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
		}
		return nil
	}))
}

// Pebble gives up on its manifest by calling Fatalf, which never returns: an
// Open that waited for it would hang.
func TestAStoreThatCannotBeMadeSaysSo(t *testing.T) {
	for _, name := range []string{"MANIFEST", "dbtmp", "marker", ""} {
		var full atomic.Bool
		full.Store(true)
		_, err := Open(Options{Dir: "db", FS: fullDisk(vfs.NewMem(), name, &full)})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q on a full disk: %v, want its name and the cause", name, err)
		}
	}
}

func TestAManifestThatCannotBeWrittenKeepsItsCause(t *testing.T) {
	var full atomic.Bool
	told := make(chan error, 1)
	s, err := Open(Options{Dir: "db", FS: fullDisk(vfs.NewMem(), "MANIFEST", &full), Fatal: func(err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, 1, "a", "1")
	full.Store(true)
	if err := s.Flush(); !errors.Is(err, ErrFailed) {
		t.Errorf("flush: %v, want ErrFailed", err)
	}
	if err := <-told; !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "MANIFEST") {
		t.Errorf("Fatal was told %v, want the file and the cause", err)
	}
}

// filled is a disk with a store that was opened and closed several times.
func filled(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	for i := uint64(1); i <= 5; i++ {
		s := open(t, fs)
		put(t, s, i, "a", "1")
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		put(t, s, i+1, "b", "1")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

func named(t *testing.T, fs vfs.FS, prefix string) string {
	t.Helper()
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, prefix) {
			return "db/" + name
		}
	}
	t.Fatalf("no %s in %q", prefix, names)
	return ""
}

// Pebble ends its manifest at the first damaged record, as if it were torn.
func TestADamagedManifestIsRefusedAndATornOneIsNot(t *testing.T) {
	disk := filled(t)
	desc, err := pebble.Peek("db", disk)
	if err != nil {
		t.Fatal(err)
	}
	name := desc.ManifestFilename
	whole, err := readFile(disk, name)
	if err != nil {
		t.Fatal(err)
	}
	last := 0 // where the last record begins
	for at := range whole {
		if recordAfter(whole, at) {
			last = at
		}
	}
	for at := range whole {
		fs := disk.CrashClone(vfs.CrashCloneCfg{})
		flip(t, fs, name, int64(at))
		s, err := Open(Options{Dir: "db", FS: fs})
		switch {
		case at >= last && err == nil: // as torn: the flush that it tells of is done again from the log
			if got := s.AppliedIndex(); got != 5 && got != 6 {
				t.Errorf("byte %d: applied index %d", at, got)
			}
			_ = s.Close()
		case at >= last:
		case err == nil:
			t.Fatalf("byte %d of %d: opened at index %d", at, len(whole), s.AppliedIndex())
		case !strings.Contains(err.Error(), strings.TrimPrefix(name, "db/")):
			t.Errorf("byte %d: %v does not name %s", at, err, name)
		}
	}
}

func TestTablesWithoutAManifestAreRefused(t *testing.T) {
	fs := filled(t)
	if err := fs.Remove(named(t, fs, "marker.manifest")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: "db", FS: fs}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "marker.manifest") {
		t.Errorf("opened with %v, want ErrDamaged and the marker's name", err)
	}
}

func TestDamagedOptionsAreNamed(t *testing.T) {
	fs := filled(t)
	name := named(t, fs, "OPTIONS")
	raw, err := readFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, fs, name, int64(strings.Index(string(raw), `[Level "0"]`)))
	if _, err := Open(Options{Dir: "db", FS: fs}); err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(name, "db/")) {
		t.Errorf("opened with %v, want %s", err, name)
	}
}
