// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
)

// seen waits for the next response of a watch.
func seen(t *testing.T, w clientv3.WatchChan) clientv3.WatchResponse {
	t.Helper()
	select {
	case r := <-w:
		return r
	case <-time.After(patience):
		t.Fatal("the watch is silent")
		return clientv3.WatchResponse{}
	}
}

// A learner has no vote. Whatever clients ask of a member it answers all the
// same, by way of the leader where that must be.
func TestALearnerServesWhatAMemberDoes(t *testing.T) {
	one, two := begin(t, advertised(t, "one")), begin(t, advertised(t, "two"))
	two.join(one.invite(&admin.InviteRequest{Learner: true}))
	c := two.client
	watched := c.Watch(within(t), "k", clientv3.WithCreatedNotify())
	if r := seen(t, watched); !r.Created {
		t.Fatalf("watch: %+v", r)
	}
	if _, err := one.client.Put(within(t), "k", "1"); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string][]clientv3.OpOption{"linearizable": nil, "serializable": {clientv3.WithSerializable()}} {
		if r, err := c.Get(within(t), "k", options...); err != nil || len(r.Kvs) != 1 || r.Header.MemberId != two.d.dir.memberID() || r.Header.RaftTerm == 0 {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if r := seen(t, watched); len(r.Events) != 1 || string(r.Events[0].Kv.Value) != "1" {
		t.Errorf("watch: %+v", r)
	}
	if err := c.RequestProgress(within(t)); err != nil {
		t.Error(err)
	}
	l, err := c.Grant(within(t), 100)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.KeepAliveOnce(within(t), l.ID); err != nil || r.TTL != 100 {
		t.Errorf("keep alive: %v, %v", r, err)
	}
	txn := c.Txn(within(t)).If(clientv3.Compare(clientv3.Value("k"), "=", "1")).Then(clientv3.OpPut("k", "2"))
	if r, err := txn.Commit(); err != nil || !r.Succeeded {
		t.Errorf("txn: %v, %v", r, err)
	}
	if r, err := c.Status(within(t), c.Endpoints()[0]); err != nil || !r.IsLearner || r.Leader != one.d.dir.memberID() || len(r.Errors) != 0 {
		t.Errorf("status: %v, %v", r, err)
	}
}

func TestWithoutALeaderNobodyWaitsForEver(t *testing.T) {
	members := three(t)
	left, c := members[2], members[2].client
	if _, err := c.Put(within(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	insists := clientv3.WithRequireLeader(within(t))
	watched := c.Watch(insists, "k", clientv3.WithCreatedNotify())
	seen(t, watched)
	for _, l := range members[:2] {
		l.end()
	}
	left.reports(func(s *admin.StatusResponse) error {
		if s.Raft.Leader != 0 {
			return errors.New("a leader still")
		}
		return nil
	})
	if _, err := c.Put(insists, "k", "w"); !errors.Is(err, rpctypes.ErrNoLeader) {
		t.Errorf("put that insists on a leader: %v", err)
	}
	for name, call := range map[string]func(context.Context) error{
		"put":    func(ctx context.Context) error { _, err := c.Put(ctx, "k", "w"); return err },
		"get":    func(ctx context.Context) error { _, err := c.Get(ctx, "k"); return err },
		"lease":  func(ctx context.Context) error { _, err := c.Grant(ctx, 10); return err },
		"list":   func(ctx context.Context) error { _, err := c.MemberList(ctx); return err },
		"add":    func(ctx context.Context) error { _, err := c.MemberAdd(ctx, []string{"https://x:1"}); return err },
		"remove": func(ctx context.Context) error { _, err := c.MemberRemove(ctx, left.d.dir.memberID()); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := call(ctx)
		cancel()
		known := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, rpctypes.ErrNoLeader)
		if code := status.Code(err); !known && code != codes.DeadlineExceeded && code != codes.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r, err := c.Get(within(t), "k", clientv3.WithSerializable()); err != nil || len(r.Kvs) != 1 {
		t.Errorf("serializable: %v, %v", r, err)
	}
	if r, err := c.Status(within(t), c.Endpoints()[0]); err != nil || r.Leader != 0 || !slices.Contains(r.Errors, "etcdserver: no leader") {
		t.Errorf("status: %v, %v", r, err)
	}
	if r := seen(t, watched); !errors.Is(r.Err(), rpctypes.ErrNoLeader) {
		t.Errorf("watch that insists on a leader: %+v, %v", r, r.Err())
	}
}
