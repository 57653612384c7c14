// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/raft"
)

// forgetful members keep hardly any log. raft-boltdb cuts it at the entry.
func forgetful(o Options) Options {
	o.Config.RaftLog = "boltdb"
	o.faults.raft = func(c *raft.Config) { c.SnapshotBytes, c.TrailingBytes = 4<<10, 1 }
	return o
}

// cutLog writes until a member's log begins behind entry past.
func (l *life) cutLog(past uint64) {
	l.t.Helper()
	for i := 0; l.d.node.Status().First <= past+1; i++ {
		if _, err := l.client.Put(within(l.t), fmt.Sprint("filler ", i%50), strings.Repeat("x", 1000)); err != nil {
			l.t.Fatal(err)
		}
	}
}

// sameHistory fails unless all hold the same.
func sameHistory(t *testing.T, members ...*life) {
	t.Helper()
	var first *clientv3.HashKVResponse
	for _, l := range members {
		if _, err := l.client.Get(within(t), "k"); err != nil { // it is as new as the others
			t.Fatal(err)
		}
		r, err := l.client.HashKV(within(t), l.client.Endpoints()[0], 0)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = r
		}
		if r.Hash != first.Hash || r.CompactRevision != first.CompactRevision || r.HashRevision != first.HashRevision {
			t.Errorf("%s: hash %d at %d since %d, another %d at %d since %d", l.d.config().Name,
				r.Hash, r.HashRevision, r.CompactRevision, first.Hash, first.HashRevision, first.CompactRevision)
		}
	}
}

// A member that was away for longer than the others keep their logs comes back
// as one of them, and serves those who had left it.
func TestAMemberThatWasAwayForLongCatchesUp(t *testing.T) {
	o := forgetful(advertised(t, "three"))
	members := []*life{begin(t, forgetful(advertised(t, "one"))), begin(t, forgetful(advertised(t, "two"))), begin(t, o)}
	by := members[0].invite(&admin.InviteRequest{Uses: 2})
	for _, l := range members[1:] {
		l.join(by)
		l.voter()
	}
	one, three := members[0], members[2]
	if _, err := three.client.Put(within(t), "k", "old"); err != nil {
		t.Fatal(err)
	}
	gone, err := three.client.Grant(within(t), 1000)
	if err != nil {
		t.Fatal(err)
	}
	last := three.d.node.Status().Last
	if err := three.end(); err != nil {
		t.Error(err)
	}

	if _, err := one.client.Revoke(within(t), gone.ID); err != nil {
		t.Fatal(err)
	}
	came, err := one.client.Grant(within(t), 1000)
	if err != nil {
		t.Fatal(err)
	}
	mark, err := one.client.Put(within(t), "k", "new", clientv3.WithLease(came.ID))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.client.Compact(within(t), mark.Header.Revision); err != nil {
		t.Fatal(err)
	}
	for _, l := range members[:2] {
		l.cutLog(last)
	}

	three = begin(t, o)
	sameHistory(t, members[0], members[1], three)
	if r, err := three.client.Leases(within(t)); err != nil || len(r.Leases) != 1 || r.Leases[0].ID != came.ID {
		t.Errorf("leases %v, %v, want the one that was granted meanwhile", r, err)
	}
	if r, err := three.client.TimeToLive(within(t), came.ID, clientv3.WithAttachedKeys()); err != nil || len(r.Keys) != 1 {
		t.Errorf("the lease has %v, %v", r, err)
	}
	w := seen(t, three.client.Watch(within(t), "k", clientv3.WithRev(2)))
	if !errors.Is(w.Err(), rpctypes.ErrCompacted) || w.CompactRevision != mark.Header.Revision {
		t.Errorf("a watch from before the compaction: %+v", w)
	}
	w = seen(t, three.client.Watch(within(t), "k", clientv3.WithRev(mark.Header.Revision)))
	if len(w.Events) != 1 || string(w.Events[0].Kv.Value) != "new" {
		t.Errorf("a watch from the compaction: %+v", w)
	}
	if _, err := three.client.Put(within(t), "k", "newest"); err != nil {
		t.Fatal(err)
	}
	sameHistory(t, members[0], members[1], three)
}

// A machine may join however long the cluster has been there.
func TestAMachineJoinsLate(t *testing.T) {
	one := begin(t, forgetful(advertised(t, "one")))
	if _, err := one.client.Put(within(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	one.cutLog(1)
	two := begin(t, forgetful(advertised(t, "two")))
	two.join(one.invite(&admin.InviteRequest{}))
	two.voter()
	sameHistory(t, one, two)
	three := begin(t, forgetful(advertised(t, "three")))
	three.join(two.invite(&admin.InviteRequest{}))
	three.voter()
	sameHistory(t, one, two, three)
	if err := one.end(); err != nil {
		t.Error(err)
	}
	if r, err := three.client.Get(within(t), "k"); err != nil || len(r.Kvs) != 1 {
		t.Errorf("after the first has gone: %v, %v", r, err)
	}
}
