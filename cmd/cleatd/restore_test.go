// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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

func TestARestoreTellsHowFarItIs(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil).ready()
	c := p.client()
	for i := range 100 {
		if _, err := c.Put(limited(t), fmt.Sprint("key", i), strings.Repeat("x", 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := c.Snapshot(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pages, err := io.ReadAll(r)
	path := filepath.Join(dir, "backup.db")
	if err := errors.Join(err, os.WriteFile(path, pages, 0o600)); err != nil {
		t.Fatal(err)
	}
	reading, writing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(limited(t), os.Args[0], "restore", path, "--progress-fd=3", "--json", "--data-dir", filepath.Join(dir, "new"))
	cmd.Env, cmd.ExtraFiles = append(os.Environ(), "CLEAT_TEST_MAIN=1"), []*os.File{writing}
	out, err := cmd.Output()
	if err := errors.Join(err, writing.Close()); err != nil {
		t.Fatal(err)
	}
	told, err := io.ReadAll(reading)
	if err := errors.Join(err, reading.Close()); err != nil {
		t.Fatal(err)
	}
	total := fmt.Sprint(3 * len(pages))
	for line := range strings.Lines(string(told)) {
		if words := strings.Fields(line); len(words) != 2 || words[1] != total {
			t.Errorf("told %q, want something of %s", line, total)
		}
	}
	if len(told) == 0 || !strings.Contains(string(out), `"changes":100,`) {
		t.Errorf("told %q, said %q", told, out)
	}
}
