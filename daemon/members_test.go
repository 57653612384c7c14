// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/raft"
)

// list returns the members as one of them shows them, by name.
func (l *life) list() map[string]*clientMember {
	l.t.Helper()
	reply, err := l.client.MemberList(within(l.t))
	if err != nil {
		l.t.Fatal(err)
	}
	found := map[string]*clientMember{}
	for _, m := range reply.Members {
		found[m.Name] = &clientMember{m.ID, m.IsLearner, m.PeerURLs, m.ClientURLs}
	}
	return found
}

type clientMember struct {
	id         uint64
	learner    bool
	peer, urls []string
}

func TestMembersAreListedAlikeEverywhere(t *testing.T) {
	members := three(t)
	first := members[0].list()
	for _, l := range members {
		got := l.list()
		for _, other := range members {
			name := other.d.config().Name
			m := got[name]
			if m == nil || m.learner || m.id != first[name].id || !slices.Equal(m.urls, other.d.clientURLs()) || !slices.Equal(m.peer, other.d.peerURLs()) {
				t.Errorf("%s sees %s as %+v", l.d.config().Name, name, m)
			}
		}
	}
}

func TestMembersAreAnnouncedComeAndGo(t *testing.T) {
	one, two := begin(t, advertised(t, "one")), begin(t, advertised(t, "two"))
	c := one.client
	for name, call := range map[string]struct {
		do   func() error
		want error
	}{
		"remove a stranger": {func() error { _, err := c.MemberRemove(within(t), 7); return err }, rpctypes.ErrMemberNotFound},
		"remove the last":   {func() error { _, err := c.MemberRemove(within(t), one.list()["one"].id); return err }, rpctypes.ErrMemberNotEnoughStarted},
		"promote a voter":   {func() error { _, err := c.MemberPromote(within(t), one.list()["one"].id); return err }, rpctypes.ErrMemberNotLearner},
		"a taken URL":       {func() error { _, err := c.MemberAdd(within(t), one.d.peerURLs()); return err }, rpctypes.ErrPeerURLExist},
		"update a stranger": {func() error { _, err := c.MemberUpdate(within(t), 7, []string{"https://x:1"}); return err }, rpctypes.ErrMemberNotFound},
	} {
		if err := call.do(); !errors.Is(err, call.want) {
			t.Errorf("%s: %v, want %v", name, err, call.want)
		}
	}

	added, err := c.MemberAddAsLearner(within(t), []string{"https://later:2380"})
	if err != nil || !added.Member.IsLearner || len(added.Members) != 2 {
		t.Fatalf("add: %v, %v", added, err)
	}
	if _, err := c.MemberAddAsLearner(within(t), []string{"https://more:2380"}); !errors.Is(err, rpctypes.ErrTooManyLearners) {
		t.Errorf("a second learner: %v", err)
	}
	if _, err := c.MemberUpdate(within(t), added.Member.ID, two.d.peerURLs()); err != nil {
		t.Errorf("update: %v", err)
	}
	if _, err := c.MemberPromote(within(t), added.Member.ID); !errors.Is(err, rpctypes.ErrMemberLearnerNotReady) {
		t.Errorf("promote who has not come: %v", err)
	}
	voter, err := c.MemberAdd(within(t), []string{"https://voter:2380"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.MemberPromote(within(t), voter.Member.ID); !errors.Is(err, rpctypes.ErrMemberLearnerNotReady) {
		t.Errorf("promote a voter who has not come: %v", err)
	}
	if _, err := c.MemberRemove(within(t), voter.Member.ID); err != nil {
		t.Errorf("remove a voter who has not come: %v", err)
	}
	if _, err := c.Put(within(t), "k", "v"); err != nil { // who is announced does not count yet
		t.Fatal(err)
	}

	if id := two.join(one.invite(&admin.InviteRequest{Member: added.Member.ID})); id != added.Member.ID {
		t.Fatalf("joined as %x, announced as %x", id, added.Member.ID)
	}
	if m := one.list()["two"]; m == nil || !m.learner || m.id != added.Member.ID {
		t.Fatalf("after joining: %+v", m)
	}
	if _, err := c.MemberPromote(within(t), added.Member.ID); err != nil {
		t.Fatal(err)
	}
	two.voter()

	if _, err := two.client.MemberRemove(within(t), added.Member.ID); err != nil { // by itself
		t.Fatal(err)
	}
	if err := two.fall(); !errors.Is(err, ErrConfig) {
		t.Errorf("the removed member ended with %v", err)
	}
	if list := one.list(); len(list) != 1 {
		t.Errorf("after the removal: %v", list)
	}
	if _, err := c.Put(within(t), "k", "w"); err != nil {
		t.Fatal(err)
	}
}

func TestTheLeaderMayBeMovedAndRemoved(t *testing.T) {
	members := three(t)
	id := func(l *life) uint64 { return l.d.dir.memberID() }
	leader := members[0].d.node.Status().Leader
	at := slices.IndexFunc(members, func(l *life) bool { return id(l) == leader })
	old, next, third := members[at], members[(at+1)%3], members[(at+2)%3]
	if _, err := next.client.MoveLeader(within(t), id(next)); !errors.Is(err, rpctypes.ErrNotLeader) {
		t.Errorf("asked of a follower: %v", err)
	}
	if _, err := old.client.MoveLeader(within(t), 7); !errors.Is(err, rpctypes.ErrBadLeaderTransferee) {
		t.Errorf("to a stranger: %v", err)
	}
	if _, err := old.client.MoveLeader(within(t), id(next)); err != nil {
		t.Fatal(err)
	}
	next.reports(func(s *admin.StatusResponse) error {
		if s.Raft.Leader != id(next) {
			return fmt.Errorf("%x leads", s.Raft.Leader)
		}
		return nil
	})
	if _, err := third.client.MemberRemove(within(t), id(next)); err != nil {
		t.Fatal(err)
	}
	if err := next.fall(); !errors.Is(err, ErrConfig) {
		t.Errorf("the removed leader ended with %v", err)
	}
	if list := old.list(); len(list) != 2 || list[next.d.config().Name] != nil {
		t.Errorf("after the removal: %v", list)
	}
}

// Leases live where the leader is; every member serves them.
func TestLeasesAtAFollower(t *testing.T) {
	members := three(t)
	c := members[2].client
	l, err := c.Grant(within(t), 100)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(within(t), "k", "v", clientv3.WithLease(l.ID)); err != nil {
		t.Fatal(err)
	}
	if r, err := c.KeepAliveOnce(within(t), l.ID); err != nil || r.TTL != 100 {
		t.Errorf("keep alive: %v, %v", r, err)
	}
	if r, err := c.TimeToLive(within(t), l.ID, clientv3.WithAttachedKeys()); err != nil || r.TTL < 30 || len(r.Keys) != 1 {
		t.Errorf("time to live: %v, %v", r, err)
	}
	if _, err := c.Revoke(within(t), l.ID); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Get(within(t), "k"); err != nil || len(r.Kvs) != 0 {
		t.Errorf("its key: %v, %v", r, err)
	}
	short, err := c.Grant(within(t), 2)
	if err != nil {
		t.Fatal(err)
	}
	watched := c.Watch(within(t), "k")
	if _, err := c.Put(within(t), "k", "v", clientv3.WithLease(short.ID)); err != nil {
		t.Fatal(err)
	}
	for want := range 2 {
		select {
		case w := <-watched:
			if len(w.Events) != 1 || int(w.Events[0].Type) != want {
				t.Fatalf("event %d: %+v", want, w)
			}
		case <-time.After(patience):
			t.Fatal("nothing seen")
		}
	}
}

// A leader that ends in the middle of a removal leaves it to the next, and so a
// member that is out never gets in again by what it still has.
func TestAnotherLeaderFinishesARemoval(t *testing.T) {
	members := three(t)
	gone, left := members[2], members[0]
	id := gone.d.dir.memberID()
	if err := gone.end(); err != nil {
		t.Fatal(err)
	}
	if err := left.d.leaving(within(t), id, true); err != nil {
		t.Fatal(err)
	}
	if err := left.d.node.Remove(within(t), id); err != nil {
		t.Fatal(err)
	}
	left.reports(func(*admin.StatusResponse) error {
		if _, listed := left.d.machine.Member(id); listed || !left.d.machine.Removed(id) {
			return fmt.Errorf("member %x is listed still", id)
		}
		return nil
	})
}

func TestARemovalThatWouldLoseTheQuorumLeavesNoTrace(t *testing.T) {
	members := three(t)
	down := members[2]
	if err := down.end(); err != nil {
		t.Fatal(err)
	}
	id := members[1].d.dir.memberID()
	if _, err := members[0].client.MemberRemove(within(t), id); !errors.Is(err, rpctypes.ErrUnhealthy) {
		t.Errorf("a removal after which one of two votes: %v", err)
	}
	for _, l := range members[:2] {
		if _, err := l.client.Get(within(t), "k"); err != nil {
			t.Fatal(err)
		}
		if row, known := l.d.machine.Member(id); !known || row.Leaving {
			t.Errorf("its row: %+v, %v", row, known)
		}
	}
}

// The limit counts who is to stay a learner: not who is to vote.
func TestOneMemberMayBeALearnerForGood(t *testing.T) {
	one, two := begin(t, advertised(t, "one")), begin(t, advertised(t, "two"))
	by := one.invite(&admin.InviteRequest{Learner: true, Uses: 3})
	learner := hexID(two.join(by))

	three := begin(t, advertised(t, "three"))
	_, err := three.administer().Join(within(t), &admin.JoinRequest{Token: by.Token, Address: by.Address})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "no more than 1 learner") || !strings.Contains(err.Error(), learner) {
		t.Errorf("a second learner joins: %v", err)
	}
	if _, err := three.client.Put(within(t), "k", "v"); err != nil {
		t.Errorf("who was refused does not go on as it was: %v", err)
	}

	four := begin(t, advertised(t, "four"))
	four.join(one.invite(&admin.InviteRequest{}))
	four.voter()
	if list := one.list(); len(list) != 3 || !list["two"].learner || list["four"].learner {
		t.Errorf("members: %v", list)
	}
}

// Two that were let in before either arrived are told apart by the state.
func TestOfTwoLearnersThatJoinAtOnceOneIsTakenIn(t *testing.T) {
	one := begin(t, advertised(t, "one"))
	by := one.invite(&admin.InviteRequest{Learner: true, Uses: 2})
	both := []*life{begin(t, advertised(t, "two")), begin(t, advertised(t, "three"))}
	token, err := readToken(by.Token)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range both {
		if _, err := l.d.askIn(within(t), token, by.Address, ""); err != nil {
			t.Fatal(err)
		}
	}
	anew := func(l *life) {
		l.d.anew <- rebirth{"joining", func() error { return l.d.dir.take(l.d.config().RaftLog) }}
	}
	anew(both[0])
	one.reports(func(*admin.StatusResponse) error {
		if list := one.list(); list["two"] == nil {
			return fmt.Errorf("members: %v", list)
		}
		return nil
	})
	anew(both[1])
	if err := both[1].fall(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "no more than 1 learner") {
		t.Errorf("the second ended with %v", err)
	}
	if list := one.list(); len(list) != 2 {
		t.Errorf("members: %v", list)
	}
}

func TestJoinsQueueBesideALearnerThatHasNotCome(t *testing.T) {
	one := begin(t, advertised(t, "one"))
	if _, err := one.client.MemberAddAsLearner(within(t), []string{"https://later:2380"}); err != nil {
		t.Fatal(err)
	}
	by := one.invite(&admin.InviteRequest{Uses: 4})
	var joins errgroup.Group
	var newcomers []*life
	for _, name := range []string{"two", "three", "four", "five"} {
		l := begin(t, advertised(t, name))
		calls := l.administer()
		newcomers = append(newcomers, l)
		joins.Go(func() error {
			_, err := calls.Join(within(t), &admin.JoinRequest{Token: by.Token, Address: by.Address})
			return err
		})
	}
	if err := joins.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, l := range newcomers {
		l.reports(func(s *admin.StatusResponse) error {
			if m := one.list()[l.d.config().Name]; m == nil || m.learner || s.MemberId != m.id || s.Raft.Leader == 0 {
				return fmt.Errorf("%s is %+v to the others", l.d.config().Name, m)
			}
			return nil
		})
	}
}

// deaf is a network that reaches nobody with raft's messages while it is told
// so. Calls pass.
type deaf struct {
	raft.Network
	now *atomic.Bool
}

func (d deaf) Dial(ctx context.Context, member uint64, address string) (net.Conn, error) {
	if d.now.Load() {
		return nil, raft.ErrUnreached
	}
	return d.Network.Dial(ctx, member, address)
}

// It answers, and lacks too much of the log.
func TestALearnerThatLagsIsNotPromoted(t *testing.T) {
	const lag = 1001 // entries
	var now atomic.Bool
	o := advertised(t, "one")
	o.faults.raft = func(c *raft.Config) { c.Network = deaf{c.Network, &now} }
	one, two := begin(t, o), begin(t, advertised(t, "two"))
	id := two.join(one.invite(&admin.InviteRequest{Learner: true}))
	there := Options{Config: *two.d.config(), Level: two.d.level, Logger: two.d.log}
	there.Config.ListenPeer = two.d.doors.peer()[0].Addr().String()
	if err := two.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := one.client.MemberPromote(within(t), id); !errors.Is(err, rpctypes.ErrMemberLearnerNotReady) {
		t.Errorf("promote who does not answer: %v", err)
	}
	now.Store(true)
	for range lag {
		if err := one.put("k", 1); err != nil {
			t.Fatal(err)
		}
	}
	two = begin(t, there)
	if r, err := two.client.Get(within(t), "k", clientv3.WithSerializable()); err != nil || len(r.Kvs) != 0 {
		t.Fatalf("it does not lag: %v, %v", r, err)
	}
	one.reports(func(*admin.StatusResponse) error {
		_, err := one.d.node.Ask(within(t), id, []byte{0xff})
		if err != nil && strings.Contains(err.Error(), "does not know") {
			return nil // it answers
		}
		return err
	})
	_, err := one.client.MemberPromote(within(t), id)
	if !errors.Is(err, rpctypes.ErrMemberLearnerNotReady) || err.Error() != "etcdserver: can only promote a learner member which is in sync with leader" {
		t.Errorf("promote who lags: %v", err)
	}
	now.Store(false)
	two.reports(func(*admin.StatusResponse) error {
		_, err := one.client.MemberPromote(within(t), id)
		return err
	})
	two.voter()
}
