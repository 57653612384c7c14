// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	hraft "github.com/hashicorp/raft"
)

func TestALabelIsSeenOnlyAfterTheStateIsDurable(t *testing.T) {
	m := open(t, t.TempDir(), func(c *Config) { c.SnapshotBytes = 2 << 10 })
	m.sync(t)
	m.book.mu.Lock()
	m.book.step = func() error { // before and after the machine's write
		list, err := m.labels.List()
		if err != nil {
			return err
		}
		if len(list) > 0 && list[0].Index > m.book.durable() {
			t.Errorf("the label promises entry %d while the state on disk is at %d", list[0].Index, m.book.durable())
		}
		return nil
	}
	m.book.mu.Unlock()
	for i := range 60 {
		m.write(t, fmt.Sprintf("%d %s", i, strings.Repeat("x", 200)))
	}
	eventually(t, func() error {
		list, err := m.labels.List()
		if err == nil && len(list) == 0 {
			err = errors.New("no label")
		}
		return err
	})
	m.stop(t)
	checkLabel(t, m.dir)
}

// What was written by lives too short for a label is labelled by the next, even
// if nothing more is written.
func TestALogThatEarlierLivesHaveFilledIsLabelled(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	for i := range 20 {
		m.write(t, fmt.Sprintf("%d %s", i, strings.Repeat("x", 200)))
	}
	m.stop(t)
	m = open(t, dir, func(c *Config) { c.SnapshotBytes = 2 << 10 })
	m.sync(t)
	eventually(t, func() error {
		list, err := m.labels.List()
		if err == nil && len(list) == 0 {
			err = errors.New("no label")
		}
		return err
	})
}

func TestALabelThatACrashHasTornIsCleared(t *testing.T) {
	torn := filepath.Join(t.TempDir(), "0000000000000001-0000000000000001.label.tmp")
	if err := os.WriteFile(torn, []byte{1}, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openLabels(filepath.Dir(torn), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(); err != nil || len(list) != 0 || exists(torn) {
		t.Errorf("labels %v, %v; torn one there: %t", list, err, exists(torn))
	}
}

// Whoever closes the sink first, the label waits for the machine.
func TestASinkRefusesToCloseEarly(t *testing.T) {
	s, err := openLabels(t.TempDir(), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	to, err := s.Create(1, 10, 2, hraft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); !errors.Is(err, errLabelEarly) {
		t.Errorf("closed early: %v", err)
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Errorf("labels %v, %v: want none", list, err)
	}
}

func TestPersistComesBeforeTheLabel(t *testing.T) {
	s, err := openLabels(t.TempDir(), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	b, err := openBook(filepath.Join(t.TempDir(), "book"))
	if err != nil {
		t.Fatal(err)
	}
	var seen []int
	b.step = func() error {
		list, err := s.List()
		seen = append(seen, len(list))
		return err
	}
	to, err := s.Create(1, 10, 2, hraft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &applier{machine: b, fail: func(error) {}}
	if err := (*snapshot)(a).Persist(to); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(seen) != "[0 0]" {
		t.Errorf("labels before and after the machine's write: %v, want none", seen)
	}
	if list, err := s.List(); err != nil || len(list) != 1 || list[0].Index != 10 || b.durable() != 10 {
		t.Errorf("labels %v, %v, state at %d: want both at 10", list, err, b.durable())
	}
}

func TestTheOldLabelStaysUntilTheNewOneIsThere(t *testing.T) {
	dir := t.TempDir()
	s, err := openLabels(dir, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	label := func(index uint64) error {
		return s.write(&hraft.SnapshotMeta{ID: fmt.Sprintf("%016x-2", index), Index: index})
	}
	if err := label(5); err != nil {
		t.Fatal(err)
	}
	s.put = func(path string, data []byte) error { // dies before the rename
		return errors.Join(errDisk, os.WriteFile(path+".tmp", data[:3], 0o600))
	}
	if err := label(9); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if list, err := s.List(); err != nil || len(list) != 1 || list[0].Index != 5 {
		t.Fatalf("labels %v, %v: want the old one", list, err)
	}
	s.put = writeDurably
	if err := label(9); err != nil {
		t.Fatal(err)
	}
	if names, err := s.names(); err != nil || len(names) != 1 {
		t.Fatalf("labels %v, %v: want only the new one", names, err)
	}
}

func TestTheLogIsCutByBytes(t *testing.T) {
	for _, kind := range bothLogs {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, dir, onLog(kind), func(c *Config) { c.SnapshotBytes = 512 << 10 })
			for i := range 60 {
				m.write(t, fmt.Sprintf("%d %s", i, strings.Repeat("x", 64<<10)))
			}
			eventually(t, func() error {
				if s := m.Status(); s.First <= 1 {
					return fmt.Errorf("the log still begins at entry %d", s.First)
				}
				return nil
			})
			m.stop(t)
			checkLabel(t, dir)
			again := open(t, dir, onLog(kind))
			again.sync(t)
			if got := len(again.book.lines()); got != 60 {
				t.Fatalf("%d lines from a cut log and the state, want 60", got)
			}
		})
	}
}

// The state may be durable beyond the label: hraft brings those entries again.
func TestEntriesThatTheMachineHoldsAreNotAppliedAgain(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	for i := range 10 {
		m.write(t, fmt.Sprint(i))
		if i == 6 {
			if err := m.book.Persist(0); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.stop(t)
	again := open(t, dir)
	again.sync(t) // the book panics if an entry comes twice
	if got := len(again.book.lines()); got != 10 {
		t.Fatalf("%d lines, want 10", got)
	}
	if again.book.batch[0] != 3 {
		t.Errorf("the first replay brought %d commands, want the 3 that were missing", again.book.batch[0])
	}
}

func TestSizes(t *testing.T) {
	var s sizes
	for i := uint64(1); i <= 100; i++ {
		s.add(i, 100<<10)
	}
	if got := s.newest(1 << 20); got < 7 || got > 10 {
		t.Errorf("%d entries of 100 KiB in 1 MiB", got)
	}
	if got := s.newest(0); got != 0 {
		t.Errorf("%d entries in nothing", got)
	}
	s.remove(1, 95)
	if got := s.newest(1 << 40); got > 7 {
		t.Errorf("%d entries left of 5, with marks each 256 KiB", got)
	}
	s.remove(98, 100)
	s.add(98, 1)
	if s.last != 98 {
		t.Errorf("last %d, want 98", s.last)
	}
}
