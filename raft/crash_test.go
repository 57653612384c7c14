// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// testament is what the callers of a member know of its deeds.
type testament struct {
	mu      sync.Mutex
	done    []string        // acknowledged
	undone  map[string]bool // refused: must never appear
	unknown int
}

func (w *testament) note(line string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.done = append(w.done, line)
	case errors.Is(err, ErrUnknown):
		w.unknown++
	default:
		w.undone[line] = true
	}
}

// check reads what the member holds now against what was told.
func (w *testament) check(t *testing.T, b *book) {
	t.Helper()
	count := map[string]int{}
	for _, line := range b.lines() {
		count[line]++
	}
	for _, line := range w.done {
		if count[line] != 1 {
			t.Errorf("%q was acknowledged and is there %d times", line, count[line])
		}
	}
	for line, n := range count {
		if n > 1 {
			t.Errorf("%q is there %d times", line, n)
		}
		if w.undone[line] {
			t.Errorf("%q was refused and is there", line)
		}
	}
}

// TestNothingIsLostWhereverTheMemberDies ends members at every step towards
// the disk: within the first start, an election, a write to the log, the
// machine's flush, a label, the cutting of the log. Each then lives on, on
// what its predecessor left.
func TestNothingIsLostWhereverTheMemberDies(t *testing.T) {
	for _, kind := range bothLogs {
		for seed := range uint64(8) {
			t.Run(fmt.Sprintf("%s seed %d", kind, seed), func(t *testing.T) {
				t.Parallel()
				chance := rand.New(rand.NewPCG(seed, 1))
				dir := t.TempDir()
				will := &testament{undone: map[string]bool{}}
				for life := range 8 {
					p := &power{steps: 1 + chance.IntN(60)}
					live(t, dir, kind, p, will, life)
					checkLabel(t, dir)
				}
				m := open(t, dir, onLog(kind))
				m.sync(t)
				will.check(t, m.book)
				if len(will.done) == 0 {
					t.Error("nothing was acknowledged: the test showed nothing")
				}
			})
		}
	}
}

// live runs a member under load until its power fails.
func live(t *testing.T, dir, kind string, p *power, will *testament, life int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// A member that dies in its election answers nobody: callers do not wait.
	p.ended = sync.OnceFunc(func() { time.AfterFunc(100*time.Millisecond, cancel) })
	m, err := tryOpen(t, dir, onLog(kind), p.faults, func(c *Config) { c.SnapshotBytes = 4 << 10 })
	if err != nil {
		if !strings.Contains(err.Error(), errPower.Error()) { // hraft hides causes
			t.Fatalf("life %d: %v", life, err)
		}
		return
	}
	m.book.mu.Lock()
	m.book.step = p.step
	m.book.mu.Unlock()
	var callers sync.WaitGroup
	for caller := range 4 {
		callers.Go(func() {
			for i := range 15 {
				line := fmt.Sprintf("%d-%d-%d %s", life, caller, i, strings.Repeat("x", 300))
				_, err := m.Propose(ctx, []byte(line))
				will.note(line, err)
				if err != nil {
					cancel()
					return
				}
			}
		})
	}
	callers.Wait()
	p.out()
	m.stop(t)
	if len(m.book.twice) > 0 {
		t.Errorf("applied twice: %.40q", m.book.twice)
	}
}

// checkLabel looks at the disk alone: what the label promises is durable.
func checkLabel(t *testing.T, dir string) {
	t.Helper()
	b, err := openBook(bookPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	s := &labels{dir: filepath.Join(dir, "raft", labelsDir)}
	list, err := s.List()
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(list) > 0 && list[0].Index > b.pages.Index {
		t.Fatalf("the label promises entry %d, but the state on disk is at %d", list[0].Index, b.pages.Index)
	}
}

// TestATornWriteIsCutOff writes only the first part of what a member wrote to
// its segment last: the log must end before the tear.
func TestATornWriteIsCutOff(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	for i := range 20 {
		m.write(t, fmt.Sprintf("line %d", i))
	}
	m.stop(t)
	segment := segmentOf(t, dir)
	before := read(t, segment)
	m = open(t, dir)
	m.write(t, "line 20 "+strings.Repeat("x", 500))
	m.stop(t)
	after := read(t, segment)

	from := 0
	for after[from] == before[from] {
		from++
	}
	to := len(bytes.TrimRight(after, "\x00"))
	chance := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		cut := from + chance.IntN(to-from)
		overwrite(t, segment, from, append(bytes.Clone(after[from:cut]), make([]byte, 4<<10+to-cut)...))
		m := open(t, dir)
		m.sync(t)
		if n := len(m.book.lines()); n != 20 && n != 21 {
			t.Fatalf("torn at %d of %d to %d: %d lines, want the 20 acknowledged", cut, from, to, n)
		}
		m.write(t, "goes on")
		m.stop(t)
	}
}

// overwrite writes over part of a file: segments are large and mostly empty.
func overwrite(t *testing.T, path string, at int, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data, int64(at)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func segmentOf(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "raft", walDir, "*.wal"))
	if err != nil || len(names) != 1 {
		t.Fatalf("segments %v, %v: want one", names, err)
	}
	return names[0]
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
