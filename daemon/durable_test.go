// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// watchDir returns a function that tells whether a file was renamed in a
// directory, and whether the directory itself was opened after that, or at all
// if none was. There is no other reason to open it than to sync it.
func watchDir(t *testing.T, dir string) (seen func() (renamed, opened bool)) {
	t.Helper()
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(watch) }) // holds nothing
	if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_OPEN|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	return func() (renamed, opened bool) {
		t.Helper()
		raw := make([]byte, 64<<10)
		n, err := unix.Read(watch, raw)
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
		for raw = raw[:max(n, 0)]; len(raw) > 0; {
			mask, name := binary.NativeEndian.Uint32(raw[4:]), binary.NativeEndian.Uint32(raw[12:])
			switch {
			case mask&unix.IN_MOVED_TO != 0:
				renamed, opened = true, false
			case mask&unix.IN_ISDIR != 0 && name == 0: // not a directory in it
				opened = true
			}
			raw = raw[unix.SizeofInotifyEvent+name:]
		}
		return renamed, opened
	}
}

func TestAFileIsSyncedBeforeItIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.Symlink(noSync, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := writeFileDurably(path, []byte("x")); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("written without fsync: %v, want %v", err, syscall.EINVAL)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there: %v", err)
	}
}

func TestAFilesDirectoryIsSyncedAfterTheRename(t *testing.T) {
	dir := t.TempDir()
	seen := watchDir(t, dir)
	if err := writeFileDurably(filepath.Join(dir, "file"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if renamed, opened := seen(); !renamed || !opened {
		t.Errorf("renamed: %t, the directory was opened after it: %t", renamed, opened)
	}
	if err := syncDir("/proc/self"); !errors.Is(err, syscall.EINVAL) { // cannot be synced
		t.Errorf("sync of a directory that cannot be synced: %v, want %v", err, syscall.EINVAL)
	}
}

// A log whose name a power loss takes back is a lost one, whatever was fsynced
// into it.
func TestTheLogsNameIsSyncedBeforeAnythingIsAcknowledged(t *testing.T) {
	o := options(t, shortDir(t))
	if err := begin(t, o).end(); err != nil {
		t.Fatal(err)
	}
	starting := watchDir(t, filepath.Join(o.Config.DataDir, "raft"))
	l := begin(t, o)
	if _, opened := starting(); !opened {
		t.Error("the log's directory was not synced")
	}
	data, log := watchDir(t, o.Config.DataDir), watchDir(t, filepath.Join(o.Config.DataDir, "raft"))
	if err := l.d.dir.syncNames(); err != nil {
		t.Fatal(err)
	}
	for _, seen := range []func() (bool, bool){data, log} {
		if _, opened := seen(); !opened {
			t.Error("one of the two directories was not synced")
		}
	}
	if err := l.end(); err != nil {
		t.Error(err)
	}
}
