// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// scribble writes transactions of several keys, one of which is the beginning
// of another, and returns the last revision.
func scribble(t testing.TB, s *Store, txns int) int64 {
	t.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	for i := range txns {
		b := s.NewBatch()
		txn := b.Begin()
		for _, k := range []string{"a", "a\x00", "a\x00b", "b"} {
			switch random.IntN(3) {
			case 0:
				txn.Put([]byte(k), fmt.Appendf(nil, "%d", i), 0)
			case 1:
				txn.Delete(Range{Key: []byte(k)}, false)
			}
		}
		txn.End()
		if err := b.Commit(uint64(i + 1)); err != nil {
			t.Fatal(err)
		}
		b.Close()
	}
	return s.Revision()
}

// all reads in pieces until to.
func all(t testing.TB, s *Store, r Range, from, to int64, maxBytes int) (events []Event) {
	t.Helper()
	for from <= to {
		piece, next, err := s.Events(r, from, to, maxBytes)
		if err != nil || next <= from {
			t.Fatalf("from %d: next %d, %v", from, next, err)
		}
		if single := len(r.End) == 0; single && maxBytes == 1 && len(piece) > 1 {
			t.Errorf("%d events, want one at a time", len(piece))
		}
		events, from = append(events, piece...), next
	}
	return events
}

// The events of one key are read in a way of their own: they must be those that
// the whole history has.
func TestEventsOfOneKeyAreThoseOfTheHistory(t *testing.T) {
	s := newStore(t)
	last := scribble(t, s, 300)
	b := s.NewBatch()
	done, err := b.Compact(40)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(1000); err != nil {
		t.Fatal(err)
	}
	b.Close()
	<-done
	for _, span := range [][2]int64{{40, last}, {41, 200}, {77, 77}, {last - 3, last}, {60, last + 9}} {
		from, to := span[0], min(span[1], last)
		history := all(t, s, Range{Key: []byte{0}, End: []byte{0}}, from, to, 1000)
		for _, k := range []string{"a", "a\x00", "a\x00b", "b", "c"} {
			want := slices.DeleteFunc(slices.Clone(history), func(e Event) bool { return string(e.Record.Key()) != k })
			for _, most := range []int{1, 50, 1 << 20} {
				got := all(t, s, Range{Key: []byte(k)}, from, to, most)
				if !slices.EqualFunc(got, want, func(a, b Event) bool {
					return a.Delete == b.Delete && string(a.Record) == string(b.Record)
				}) {
					t.Errorf("%q from %d to %d: %d events, want %d", k, from, to, len(got), len(want))
				}
			}
		}
	}
	if _, _, err := s.Events(Range{Key: []byte("a")}, 39, last, 1); err != ErrCompacted {
		t.Errorf("before the compaction: %v", err)
	}
}

// A key that is watched alone costs nothing for what happened to others.
func TestEventsOfOneKeyDoNotReadThoseOfOthers(t *testing.T) {
	cost := func(others int) float64 {
		s := newStore(t)
		put(t, s, 1, "k", "v")
		for i := range others {
			put(t, s, uint64(i+2), fmt.Sprint("other", i), "v")
		}
		least := math.Inf(1) // Pebble's goroutines, which come and go, are counted too
		for range 5 {
			least = min(least, testing.AllocsPerRun(20, func() {
				events, next, err := s.Events(Range{Key: []byte("k")}, 2, s.Revision(), 1<<20)
				if err != nil || len(events) != 1 || next != s.Revision()+1 {
					t.Fatalf("%d events, next %d, %v", len(events), next, err)
				}
			}))
		}
		return least
	}
	if few, many := cost(10), cost(3000); many > few+5 {
		t.Errorf("%v allocations among few others, %v among many", few, many)
	}
}
