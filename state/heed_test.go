// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// closed says whether a channel is; what Apply does is done when it returns.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestWhoHeedsABucketIsToldOfItsChangesAndOfNoOthers(t *testing.T) {
	m := newMachine(t)
	now := time.Unix(1000, 0)
	index := uint64(0)
	for name, c := range map[string]struct {
		command []byte
		told    bool
	}{
		"a set":                         {LedgerCommand(now, []Op{{Bucket: "b", Key: []byte("k"), Value: []byte("v"), Expires: now.Add(time.Minute)}}), true},
		"another bucket":                {LedgerCommand(now, []Op{{Bucket: "bb", Key: []byte("k"), Value: []byte("v")}}), false},
		"a key":                         {put("b", "k"), false},
		"a check":                       {LedgerCommand(now, []Op{{Bucket: "b", Key: []byte("x"), If: Absent, Check: true}}), false},
		"a condition that did not hold": {LedgerCommand(now, []Op{{Bucket: "b", Key: []byte("x"), Value: []byte("v"), If: Equals, Old: []byte("y")}}), false},
	} {
		changed, other := m.LedgerChanged("b"), m.LedgerChanged("b")
		index++
		mustApply(t, m, index, c.command)
		if closed(changed) != c.told || closed(other) != c.told {
			t.Errorf("%s: told %v, want %v", name, closed(changed), c.told)
		}
	}
	changed := m.LedgerChanged("b")
	mustApply(t, m, index+1, LedgerExpireCommand(now.Add(time.Hour), 10))
	if !closed(changed) {
		t.Error("an expiry was not told")
	}
	changed = m.LedgerChanged("b")
	mustApply(t, m, index+2, LedgerCommand(now, []Op{{Bucket: "b", Key: []byte("k")}}))
	if items, err := m.LedgerList(now, "b", nil); !closed(changed) || len(items) != 0 || err != nil {
		t.Errorf("a deletion: told %v, %d items, %v", closed(changed), len(items), err)
	}
}

func TestACheckpointInThePlaceOfTheStateIsToldToAllWhoHeed(t *testing.T) {
	from := newMachine(t)
	mustApply(t, from, 1, FormCommand(7), LedgerCommand(time.Unix(1, 0), []Op{{Bucket: "b", Key: []byte("k"), Value: []byte("v")}}))
	to := openMachine(t, vfs.NewCrashableMem(), func(err error) { t.Errorf("fatal: %v", err) })
	mustApply(t, to, 1, FormCommand(7))
	p, err := to.Prepare(bytes.NewReader(checkpointOf(t, from, 2)))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	changed := to.LedgerChanged("b")
	if err := p.Install(); err != nil {
		t.Fatal(err)
	}
	if items, err := to.LedgerList(time.Unix(1, 0), "b", nil); !closed(changed) || len(items) != 1 || err != nil {
		t.Errorf("told %v, %d items, %v", closed(changed), len(items), err)
	}
}
