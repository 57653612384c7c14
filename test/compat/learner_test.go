// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/api/recipe"
)

// A learner of etcd answers little; of cleat, what others do. Both say alike
// who may become a voter, and when.
func TestLearner(t *testing.T) {
	t.Parallel()
	w := startTwins(t)
	for _, c := range []*cluster{w.want, w.got} {
		c.take(c.grow(c, true)).learner = true
	}
	for door, name := range []string{"socket", "mtls"} {
		t.Run(name, func(t *testing.T) { w.alikeAt(t, members, door, w.learning) })
	}
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) { w.alike(t, at, w.aboutLearners) })
	}
	t.Run("promoted", func(t *testing.T) { w.alike(t, places[1], w.promoted) })
	t.Run("a voter now", func(t *testing.T) {
		w.alikeAt(t, members, atPort, func(s *side) { s.ask(put("a", "1"), everything()) })
	})
}

// alikeAt is alike at a place that does not depend on who leads.
func (w *twins) alikeAt(t *testing.T, at, door int, run func(*side)) {
	t.Helper()
	w.alike(t, place{pick: func(int) int { return at }, door: door}, run)
}

// learning asks a learner for everything.
func (w *twins) learning(s *side) {
	serializable := get("a", "")
	serializable.Serializable = true
	s.ask(serializable, &pb.RangeRequest{Serializable: true})
	s.refuses(&pb.StatusRequest{})
	s.note("status", fmt.Sprint(s.resting(s.Context()).IsLearner))
	s.snapshotEnds()
	s.excused("a learner", func() {
		if s.askFor(put("a", "1")) == nil { // the others have the same history all the same
			if _, err := call(s.Context(), w.of(s).members[0].control.conn, put("a", "1")); err != nil {
				s.Fatal(err)
			}
		}
		s.askStream(serializable)
		s.ask(then(op(serializable)), get("a", ""), put("", ""), get("", ""), del("none", ""), then(opDelete("none", "")),
			&pb.LeaseGrantRequest{ID: 7, TTL: 100}, &pb.LeaseTimeToLiveRequest{ID: 7}, &pb.LeaseLeasesRequest{}, &pb.CompactionRequest{Revision: 999_999},
			&pb.HashKVRequest{Revision: 1}, &pb.AuthStatusRequest{}, &pb.AuthUserListRequest{}, &pb.AuthRoleAddRequest{Name: "r"}, addUser("u", "u"))
		s.refuses(&pb.MemberListRequest{}, &pb.MemberListRequest{Linearizable: true}, &pb.DefragmentRequest{}, &pb.HashRequest{}, &pb.AlarmRequest{})
		s.renew(7)
		s.create(&pb.WatchCreateRequest{Key: []byte("a")})
		s.play(&recipe.LeaderRequest{Name: []byte("e")})
		s.post("/v3/kv/range", `{"key":"@a"}`)
	})
	for _, path := range []string{
		"/health", "/health?serializable=true", "/livez?verbose", "/readyz", "/readyz?verbose", "/readyz/non_learner", "/readyz/serializable_read", "/readyz/linearizable_read", "/readyz?exclude=non_learner",
	} {
		s.fetch("GET", path, "")
	}
}

// snapshotEnds takes a snapshot and writes down how it ended.
func (s *side) snapshotEnds() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.bearing(s.Context()), patience)
	defer cancel()
	stream, err := pb.NewMaintenanceClient(s.conn).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		s.Fatal(err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	s.note("a snapshot ends", refusal(err))
}

// aboutLearners is what others say of one that is there, and of one that never
// comes.
func (w *twins) aboutLearners(s *side) {
	c := w.of(s)
	learner, voter := c.members[members], c.members[0]
	s.portray(c)
	s.refuses(&pb.MoveLeaderRequest{TargetID: learner.id})
	s.transcript[len(s.transcript)-1].step = "move leadership to a learner"
	s.asks("promote a voter", &pb.MemberPromoteRequest{ID: voter.id})
	s.asks("a second learner", &pb.MemberAddRequest{PeerURLs: []string{"https://127.0.0.1:1"}, IsLearner: true})
	s.asks("a voter where the learner is", &pb.MemberAddRequest{PeerURLs: c.peers(s, learner.id)})
}

// promoted replaces the learner by one that never comes.
func (w *twins) promoted(s *side) {
	c := w.of(s)
	learner := c.members[members]
	eventually(s, "the learner has caught up", func() error {
		_, err := call(s.Context(), s.conn, &pb.MemberPromoteRequest{ID: learner.id})
		return err
	})
	c.members[members].learner = false
	s.portray(c)
	s.asks("promote it again", &pb.MemberPromoteRequest{ID: learner.id})
	r := s.asks("another learner", &pb.MemberAddRequest{PeerURLs: []string{"https://127.0.0.1:1"}, IsLearner: true})
	added, _ := r.(*pb.MemberAddResponse)
	id := added.GetMember().GetID()
	s.asks("promote who has not come", &pb.MemberPromoteRequest{ID: id})
	s.portray(c)
	s.asks("remove who has not come", &pb.MemberRemoveRequest{ID: id})
	s.portray(c)
}

// of returns the cluster that a side belongs to.
func (w *twins) of(s *side) *cluster {
	if s.name == w.want.name {
		return w.want
	}
	return w.got
}

// asks writes down whether a request about members is refused, under a name
// without their ids, and returns the reply.
func (s *side) asks(step string, r proto.Message) proto.Message {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	reply, err := call(s.bearing(ctx), s.conn, r)
	s.note(step, refusal(err))
	if err != nil {
		return nil
	}
	return reply
}
