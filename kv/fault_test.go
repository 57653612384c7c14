// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

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
