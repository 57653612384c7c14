// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/lease"
	"github.com/cleatd/cleat/raft"
)

// loner is the membership of a cluster of one, which no member joins or leaves.
type loner struct{}

var lonely = &pb.Member{ID: 42, Name: "solo", PeerURLs: []string{"https://127.0.0.1:2380"}, ClientURLs: []string{"https://127.0.0.1:2379"}}

func (loner) List() []*pb.Member { return []*pb.Member{lonely} }

func (loner) Add(_ context.Context, urls []string, learner bool) (*pb.Member, error) {
	return &pb.Member{ID: 43, PeerURLs: urls, IsLearner: learner}, nil
}
func (loner) Remove(context.Context, uint64) error           { return rpctypes.ErrGRPCMemberNotFound }
func (loner) Update(context.Context, uint64, []string) error { return raft.ErrNoLeader }
func (loner) Promote(context.Context, uint64) error          { return rpctypes.ErrGRPCMemberNotLearner }
func (loner) MoveLeader(context.Context, uint64) error       { return rpctypes.ErrGRPCBadLeaderTransferee }

// stuck is one whose leadership nobody takes.
type stuck struct{ loner }

func (stuck) MoveLeader(ctx context.Context, _ uint64) error { <-ctx.Done(); return ctx.Err() }

func TestTheClusterServiceSpeaksAsEtcdDoes(t *testing.T) {
	s := startServer(t, func(c *Config) { c.Members, c.RequestTimeout = stuck{}, 50*time.Millisecond })
	cluster := pb.NewClusterClient(s.dial(t))
	ctx := t.Context()
	list, err := cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil || len(list.Members) != 1 || list.Members[0].Name != "solo" || list.Header.Revision != 0 || list.Header.MemberId != 42 {
		t.Errorf("list: %v, %v", list, err)
	}
	added, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"https://two:2380"}, IsLearner: true})
	if err != nil || added.Member.ID != 43 || !added.Member.IsLearner || !slices.Equal(added.Member.PeerURLs, []string{"https://two:2380"}) {
		t.Errorf("add: %v, %v", added, err)
	}
	maintenance := pb.NewMaintenanceClient(s.dial(t))
	for name, c := range map[string]struct {
		call func() error
		want error
	}{
		"add without a URL": {func() error { _, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{}); return err }, rpctypes.ErrGRPCMemberBadURLs},
		"add with no port": {func() error {
			_, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"https://x"}})
			return err
		}, rpctypes.ErrGRPCMemberBadURLs},
		"update with a bad URL": {func() error {
			_, err := cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: 1, PeerURLs: []string{"x"}})
			return err
		}, rpctypes.ErrGRPCMemberBadURLs},
		"update without leader": {func() error {
			_, err := cluster.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: 1, PeerURLs: []string{"https://x:1"}})
			return err
		}, rpctypes.ErrGRPCNoLeader},
		"remove a stranger":      {func() error { _, err := cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 1}); return err }, rpctypes.ErrGRPCMemberNotFound},
		"promote a voter":        {func() error { _, err := cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: 42}); return err }, rpctypes.ErrGRPCMemberNotLearner},
		"hand over for too long": {func() error { _, err := maintenance.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 1}); return err }, rpctypes.ErrGRPCTimeout},
	} {
		if err := c.call(); status.Code(err) != status.Code(c.want) || status.Convert(err).Message() != status.Convert(c.want).Message() {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// remote is a keeper whose clocks run elsewhere.
type remote struct{}

func (remote) Renew(context.Context, int64) (int64, error) { return 0, lease.ErrNotLeading }
func (remote) Remaining(int64) (time.Duration, error)      { return 0, lease.ErrNotLeading }

// A member that does not lead asks the leader for a lease's time, also one that
// has only just come to lead.
func TestLeasesAreRenewedWhereTheirClocksAre(t *testing.T) {
	var leader Keeper
	asked := 0
	s := startServer(t, func(c *Config) {
		leader, c.Keeper = c.Keeper, remote{}
		c.Ask = func(ctx context.Context, question []byte) ([]byte, error) {
			if asked++; asked == 1 {
				return AnswerLease(ctx, remote{}, question)
			}
			return AnswerLease(ctx, leader, question)
		}
	})
	leases := pb.NewLeaseClient(s.dial(t))
	granted, err := leases.LeaseGrant(t.Context(), &pb.LeaseGrantRequest{TTL: 100})
	if err != nil {
		t.Fatal(err)
	}
	left, err := leases.LeaseTimeToLive(t.Context(), &pb.LeaseTimeToLiveRequest{ID: granted.ID})
	if err != nil || left.TTL < 98 || left.TTL > 100 || asked != 2 {
		t.Errorf("left: %v, %v, asked %d times", left, err, asked)
	}
	stream, err := leases.LeaseKeepAlive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ id, want int64 }{{granted.ID, 100}, {granted.ID + 1, 0}} {
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: c.id}); err != nil {
			t.Fatal(err)
		}
		if r, err := stream.Recv(); err != nil || r.TTL != c.want {
			t.Errorf("renewed: %v, %v, want a TTL of %d", r, err, c.want)
		}
	}
}

func TestAnAnswerThatSaysNothingIsAFault(t *testing.T) {
	for _, answer := range [][]byte{nil, {askedDone}, {askedDone, 0x80}, {99}} {
		s := startServer(t, func(c *Config) {
			c.Ask = func(ctx context.Context, _ []byte) ([]byte, error) { return answer, ctx.Err() }
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := s.askLeader(ctx, askRenew, 7); !errors.Is(err, errAsked) {
			t.Errorf("%x: %v", answer, err)
		}
	}
}

func FuzzAnswerLease(f *testing.F) {
	f.Add([]byte{askRenew, 4})
	f.Fuzz(func(t *testing.T, question []byte) {
		answer, err := AnswerLease(t.Context(), remote{}, question)
		if err == nil && (len(answer) != 1 || answer[0] != askedNotLeading) || err != nil && !errors.Is(err, errAsked) {
			t.Errorf("%x, %v", answer, err)
		}
	})
}
