// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"errors"
	"fmt"
	"testing"
)

func changesOf(t *testing.T, v *View) (all []string) {
	t.Helper()
	err := v.Changes(func(c Change) error {
		all = append(all, fmt.Sprintf("%d %s=%s", c.Main, c.Key, c.Record.Value()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAViewStaysWhereItIs(t *testing.T) {
	s := newStore(t)
	put(t, s, 1, "a", "1")
	put(t, s, 2, "b", "2")
	put(t, s, 3, "a", "3")
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, 4, "a", "4")
	b := s.NewBatch()
	if _, err := b.Compact(5); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(5); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if got := fmt.Sprint(changesOf(t, v)); got != "[4 a=3 2 a=1 3 b=2]" || v.Revision() != 4 || v.Compacted() != -1 || v.Index() != 3 {
		t.Errorf("%s at revision %d, compacted at %d, index %d", got, v.Revision(), v.Compacted(), v.Index())
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err = s.View(); err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got := fmt.Sprint(changesOf(t, v)); got != "[5 a=4 3 b=2]" { // whether removed already or not
		t.Errorf("after the compaction: %s", got)
	}
}

func TestALoadedStoreIsTheOneItCameFrom(t *testing.T) {
	from, to := newStore(t), newStore(t)
	put(t, from, 1, "a", "1")
	put(t, from, 2, "a", "2")
	l, err := to.Load()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for rev := int64(2); rev <= 3; rev++ {
		r, err := from.Range(Range{Key: []byte("a")}, ReadOptions{Revision: rev})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Add(Change{Main: rev, Key: []byte("a"), Record: r.Records[0]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Add(Change{Main: 2, Key: []byte("b")}); err == nil {
		t.Error("a revision before the last was taken")
	}
	if err := l.Finish(3, -1); err != nil {
		t.Fatal(err)
	}
	a, err := from.HashKV(0)
	b, also := to.HashKV(0)
	if err != nil || also != nil || a != b {
		t.Errorf("%+v %v, loaded %+v %v", a, err, b, also)
	}
	if _, err := to.Load(); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("loaded twice: %v", err)
	}
	put(t, to, 1, "a", "3") // it goes on
	if events, _, err := to.Events(Range{Key: []byte("a")}, 2, 4, 1<<20); err != nil || len(events) != 3 {
		t.Errorf("%v, %v", events, err)
	}
}
