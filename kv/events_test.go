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
	const txns, perTxn = 4, 20
	for i := range txns {
		b := s.NewBatch()
		txn := b.Begin()
		for j := range perTxn {
			txn.Put(fmt.Appendf(nil, "k%d/%d", j, i), value, 0)
		}
		txn.End()
		if err := b.Commit(uint64(i + 1)); err != nil {
			t.Fatal(err)
		}
		b.Close()
	}
	for rev := int64(2); rev < 2+txns-1; rev++ { // the newest is in memory
		events, next, err := s.Events(Range{Key: []byte{0}, End: []byte{0}}, rev, txns+1, 1000)
		if err != nil || next != rev+1 || len(events) != perTxn {
			t.Fatalf("%d events, next %d, %v; want those of revision %d", len(events), next, err, rev)
		}
	}
}
