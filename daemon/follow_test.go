// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
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
	for _, options := range [][]clientv3.OpOption{nil, {clientv3.WithSerializable()}} { // the first waits until the second can see it
		if r, err := c.Get(within(t), "k", options...); err != nil || len(r.Kvs) != 1 || r.Header.MemberId != two.d.dir.memberID() || r.Header.RaftTerm == 0 {
			t.Errorf("get with %d options: %v, %v", len(options), r, err)
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
	lease, err := c.Grant(within(t), 1000)
	if err != nil {
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
	left.answersWithoutALeader(lease.ID)
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

// answersWithoutALeader makes each call that needs a leader, without a deadline:
// the member itself must give up, in etcd's words.
func (l *life) answersWithoutALeader(lease clientv3.LeaseID) {
	l.t.Helper()
	conn, id := l.connection(), l.d.dir.memberID()
	kv, leases, members := pb.NewKVClient(conn), pb.NewLeaseClient(conn), pb.NewClusterClient(conn)
	put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("k")}}}
	calls := map[string]func(context.Context) error{
		"put":              unary(kv.Put, &pb.PutRequest{Key: []byte("k")}),
		"linearizable get": unary(kv.Range, &pb.RangeRequest{Key: []byte("k")}),
		"txn":              unary(kv.Txn, &pb.TxnRequest{Success: []*pb.RequestOp{put}}),
		"delete":           unary(kv.DeleteRange, &pb.DeleteRangeRequest{Key: []byte("k")}),
		"compact":          unary(kv.Compact, &pb.CompactionRequest{Revision: 1}),
		"lease grant":      unary(leases.LeaseGrant, &pb.LeaseGrantRequest{TTL: 10}),
		"lease revoke":     unary(leases.LeaseRevoke, &pb.LeaseRevokeRequest{ID: int64(lease)}),
		"lease timetolive": unary(leases.LeaseTimeToLive, &pb.LeaseTimeToLiveRequest{ID: int64(lease)}),
		"member list":      unary(members.MemberList, &pb.MemberListRequest{Linearizable: true}),
		"member add":       unary(members.MemberAdd, &pb.MemberAddRequest{PeerURLs: []string{"https://x:1"}}),
		"member remove":    unary(members.MemberRemove, &pb.MemberRemoveRequest{ID: id}),
		"member update":    unary(members.MemberUpdate, &pb.MemberUpdateRequest{ID: id, PeerURLs: []string{"https://x:1"}}),
		"member promote":   unary(members.MemberPromote, &pb.MemberPromoteRequest{ID: id}),
		"lease keepalive": func(ctx context.Context) error {
			stream, err := leases.LeaseKeepAlive(ctx)
			if err != nil {
				return err
			}
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease)}); err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		},
	}
	type answer struct {
		call string
		err  error
	}
	answers := make(chan answer, len(calls))
	for name, call := range calls {
		go func() { answers <- answer{name, call(l.t.Context())} }() // ends with the test at the latest
	}
	for late := time.After(patience); len(calls) > 0; {
		select {
		case a := <-answers:
			delete(calls, a.call)
			if text := status.Convert(a.err).Message(); text != "etcdserver: request timed out" && text != "etcdserver: no leader" {
				l.t.Errorf("%s: %v", a.call, a.err)
			}
		case <-late:
			l.t.Fatalf("no answer to %v", slices.Collect(maps.Keys(calls)))
		}
	}
}

// unary is a call whose error is all that matters.
func unary[Q, A any](call func(context.Context, Q, ...grpc.CallOption) (A, error), request Q) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := call(ctx, request)
		return err
	}
}
