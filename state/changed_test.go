// SPDX-License-Identifier: Apache-2.0

package state

import (
	"testing"
	"time"
)

func TestWhoWaitsForABucketIsToldOfItsChangesAndOfNoOthers(t *testing.T) {
	m := newMachine(t)
	index := uint64(0)
	apply := func(command []byte) {
		t.Helper()
		index++
		if m.Apply([]Entry{{Index: index, Commands: [][]byte{command}}}) == nil {
			t.Fatal("not applied")
		}
	}
	told := func(changed <-chan struct{}) bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}
	now := time.Unix(1000, 0)
	set := func(bucket string, expires time.Time, if_ Condition) []byte {
		return LedgerCommand(now, []Op{{Bucket: bucket, Key: []byte("k"), Value: []byte("v"), Expires: expires, If: if_}})
	}
	for _, c := range []struct {
		name    string
		command []byte
		ours    bool
	}{
		{"another bucket", set("theirs", time.Time{}, Always), false},
		{"one whose name begins alike", set("ours2", time.Time{}, Always), false},
		{"it", set("ours", now.Add(time.Second), Always), true},
		{"a condition that does not hold", set("ours", time.Time{}, Absent), false},
		{"nothing has expired", LedgerExpireCommand(now, 10), false},
		{"an item has expired", LedgerExpireCommand(now.Add(time.Minute), 10), true},
	} {
		changed := m.LedgerChanged("ours")
		apply(c.command)
		if told(changed) != c.ours {
			t.Errorf("%s: told %v, want %v", c.name, !c.ours, c.ours)
		}
	}
}
