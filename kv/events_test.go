// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"fmt"
	"strings"
	"testing"
)

// The bound of Events holds for the records that it reads from disk, however
// large they turn out: a watcher that lags behind large values must not cost a
// thousand of them at once.
func TestEventsFromDiskAreBounded(t *testing.T) {
	s := newStore(t)
	const puts, value, most = 300, 10_000, 50_000
	for i := range puts {
		size := value
		if i%7 == 0 {
			size = 1
		}
		if i%10 == 0 {
			size = 3 * most
		}
		put(t, s, uint64(i+1), fmt.Sprint("k", i*7919%puts), strings.Repeat("v", size))
	}
	rev, rounds := int64(2), 0
	for ; rev <= puts+1; rounds++ {
		events, next, err := s.Events(Range{Key: []byte{0}, End: []byte{0}}, rev, puts+1, most)
		if err != nil || next <= rev {
			t.Fatalf("from %d: next %d, %v", rev, next, err)
		}
		size := 0
		for _, e := range events {
			if e.Record.ModRevision() != rev {
				t.Fatalf("revision %d, want %d", e.Record.ModRevision(), rev)
			}
			rev++
			size += len(e.Record)
		}
		if rev != next {
			t.Fatalf("next is %d after revision %d", next, rev-1)
		}
		if size > 2*most && len(events) > 1 {
			t.Errorf("%d bytes in %d events, want about %d", size, len(events), most)
		}
	}
	if rounds > puts/2 {
		t.Errorf("%d rounds for %d revisions", rounds, puts)
	}
}

// A revision is never parted, not even one beyond the bound.
func TestEventsOfALargeRevisionStayTogether(t *testing.T) {
	s := newStore(t)
	value := []byte(strings.Repeat("v", 10_000))
	sizes := []int{20, 3, 20, 3, 3, 20, 1} // the newest stays in memory
	for i, keys := range sizes {
		b := s.NewBatch()
		txn := b.Begin()
		for j := range keys {
			txn.Put(fmt.Appendf(nil, "k%d/%d", j, i), value, 0)
		}
		txn.End()
		if err := b.Commit(uint64(i + 1)); err != nil {
			t.Fatal(err)
		}
		b.Close()
	}
	for _, most := range []int{1000, 20_000, 50_000} {
		for from := int64(2); from < s.Revision(); {
			events, next, err := s.Events(Range{Key: []byte{0}, End: []byte{0}}, from, s.Revision()-1, most)
			if err != nil || next <= from {
				t.Fatalf("from %d: next %d, %v", from, next, err)
			}
			want := 0
			for ; from < next; from++ {
				want += sizes[from-2]
			}
			if len(events) != want || events[want-1].Record.ModRevision() != next-1 {
				t.Errorf("at most %d bytes before revision %d: %d events, want %d", most, next, len(events), want)
			}
		}
	}
}
