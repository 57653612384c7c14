// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// member is a Node on a book in a directory of its own.
type member struct {
	*Node
	book  *book
	dir   string
	fatal chan error
}

func config(dir string) Config {
	return Config{
		Dir: filepath.Join(dir, "raft"), Member: 7, Bootstrap: true,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// open starts a member on dir and stops it when the test ends.
func open(t testing.TB, dir string, with ...func(*Config)) *member {
	t.Helper()
	m, err := tryOpen(t, dir, with...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.stop(t) })
	return m
}

func tryOpen(t testing.TB, dir string, with ...func(*Config)) (*member, error) {
	t.Helper()
	b, err := openBook(bookPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	m := &member{book: b, dir: dir, fatal: make(chan error, 1)}
	c := config(dir)
	c.Fatal = func(err error) { m.fatal <- err }
	for _, f := range with {
		f(&c)
	}
	m.Node, err = Open(c, b)
	return m, err
}

func (m *member) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := m.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func (m *member) sync(t testing.TB) {
	t.Helper()
	if err := m.Sync(patience(t)); err != nil {
		t.Fatalf("sync: %v", err)
	}
}

func (m *member) write(t testing.TB, command string) string {
	t.Helper()
	result, err := m.Propose(patience(t), []byte(command))
	if err != nil {
		t.Fatalf("propose %q: %v", command, err)
	}
	return string(result)
}

// patience is a context that outlives everything that works.
func patience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

var bothLogs = []string{logWAL, logBoltDB}

func onLog(kind string) func(*Config) { return func(c *Config) { c.Log = kind } }

func TestAMemberComesBackWithEverythingItAcknowledged(t *testing.T) {
	for _, kind := range bothLogs {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, dir, onLog(kind))
			for i := range 10 {
				line := fmt.Sprintf("line %d", i)
				if got, want := m.write(t, line), fmt.Sprintf("%d:%s", i+1, line); got != want {
					t.Fatalf("result %q, want %q", got, want)
				}
			}
			m.stop(t)
			again := open(t, dir, onLog(kind))
			again.sync(t)
			if got := len(again.book.lines()); got != 10 {
				t.Fatalf("%d lines after the restart, want 10", got)
			}
		})
	}
}

func TestConcurrentCallersGetTheirOwnResults(t *testing.T) {
	m := open(t, t.TempDir())
	var callers sync.WaitGroup
	for i := range 100 {
		callers.Go(func() {
			for j := range 20 {
				line := fmt.Sprintf("caller %d line %d", i, j)
				result, err := m.Propose(patience(t), []byte(line))
				if err != nil {
					t.Errorf("propose: %v", err)
					return
				}
				if _, got, _ := strings.Cut(string(result), ":"); got != line {
					t.Errorf("result %q for %q", result, line)
				}
			}
		})
	}
	callers.Wait()
	if got := len(m.book.lines()); got != 2000 {
		t.Fatalf("%d lines, want 2000", got)
	}
	if m.book.applies >= 2000 {
		t.Errorf("%d calls of Apply for 2000 commands: nothing was grouped", m.book.applies)
	}
}

func TestTooLarge(t *testing.T) {
	m := open(t, t.TempDir())
	if _, err := m.Propose(patience(t), make([]byte, maxCommandBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("err %v, want ErrTooLarge", err)
	}
}
