// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/cleatd/cleat/backup/file"
)

// Who started a restore may end it, while it reads a large file too.
func TestARestoreEndsWithItsSignal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.db")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := file.NewWriter(f).Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(2<<30 + 32); err != nil { // a hole, and a checksum that takes seconds to compute
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := launch(t, nil, os.Args[0], "restore", path, "--data-dir", data)
		for !slices.Contains(p.files(), path) {
			select {
			case <-p.exited:
				t.Fatalf("it has ended by itself: %s", p.said())
			default: // it has not come so far
			}
		}
		if code := p.end(signal); code != -1 || p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != signal {
			t.Errorf("%v: code %d and %q", signal, code, p.said())
		}
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("something was written: %v", err)
	}
}

// files are those that the process has open.
func (p *process) files() (names []string) {
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	entries, _ := os.ReadDir(dir) // it may be gone
	for _, e := range entries {
		name, _ := os.Readlink(filepath.Join(dir, e.Name())) // closed meanwhile
		names = append(names, name)
	}
	return names
}
