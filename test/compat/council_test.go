// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// portray writes down the members of a cluster as a member lists them: who runs
// by its name, who has not come by its URLs.
func (s *side) portray(c *cluster) {
	s.Helper()
	for _, linearizable := range []bool{true, false} {
		s.note(fmt.Sprint("the members, linearizable ", linearizable), s.portrait(c, linearizable))
	}
}

func (s *side) portrait(c *cluster, linearizable bool) string {
	s.Helper()
	r := s.list(linearizable)
	var all []string
	for _, m := range r.Members {
		place := slices.IndexFunc(c.members, func(known *member) bool { return known.id == m.ID })
		if place < 0 {
			all = append(all, fmt.Sprintf("nobody yet at %q, client URLs %d, learner %v", m.PeerURLs, len(m.ClientURLs), m.IsLearner))
			continue
		}
		all = append(all, fmt.Sprintf("one by its name %v, peer URLs %d, client URLs %d, learner %v, out %v",
			m.Name == fmt.Sprint("m", place), len(m.PeerURLs), len(m.ClientURLs), m.IsLearner, c.members[place].away))
	}
	slices.Sort(all)
	return fmt.Sprintf("revision %d, term %v, cluster %v: %s",
		r.Header.Revision, r.Header.RaftTerm != 0, r.Header.ClusterId == c.id, strings.Join(all, "; "))
}

func (s *side) list(linearizable bool) *pb.MemberListResponse {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	r, err := pb.NewClusterClient(s.conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: linearizable})
	if err != nil {
		s.Fatalf("%s: the members: %v", s.name, err)
	}
	slices.SortFunc(r.Members, func(a, b *pb.Member) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

// peers are the URLs at which a member is known to the others.
func (c *cluster) peers(s *side, id uint64) []string {
	c.Helper()
	for _, m := range s.list(true).Members {
		if m.ID == id {
			return m.PeerURLs
		}
	}
	c.Fatalf("%s: member %x is not listed", c.name, id)
	return nil
}

// TestCouncil changes who belongs to a cluster, at a leader and at a follower.
func TestCouncil(t *testing.T) {
	t.Parallel()
	w := startTwins(t)
	w.stay(t)
	for _, at := range places {
		t.Run("additions at a "+at.name, func(t *testing.T) { w.alike(t, at, w.additions) })
		t.Run("leadership at a "+at.name, func(t *testing.T) { w.alike(t, at, w.leadership) })
	}
	t.Run("headers", func(t *testing.T) { w.alike(t, places[1], w.headers) })
	t.Run("removals", func(t *testing.T) { w.removals(t) })
}

// stay waits until etcd lets others in, which wants all to have been connected
// for five seconds.
func (w *twins) stay(t *testing.T) {
	t.Helper()
	for _, c := range []*cluster{w.want, w.got} {
		var r proto.Message
		control := c.members[0].control
		eventually(t, "members are added", func() (err error) {
			r, err = call(t.Context(), control.conn, &pb.MemberAddRequest{PeerURLs: []string{"https://127.0.0.1:9"}, IsLearner: true})
			return err
		})
		if _, err := call(t.Context(), control.conn, &pb.MemberRemoveRequest{ID: r.(*pb.MemberAddResponse).Member.ID}); err != nil {
			t.Fatal(err)
		}
	}
}

// additions adds one that never comes, names it by ids and URLs, good and bad,
// and takes it away.
func (w *twins) additions(s *side) {
	c := w.of(s)
	s.portray(c)
	for _, m := range c.members {
		for _, learner := range []bool{true, false} {
			s.asks(fmt.Sprint("add the URL of who runs, learner ", learner), &pb.MemberAddRequest{PeerURLs: c.peers(s, m.id), IsLearner: learner})
		}
	}
	s.asks("add badly", &pb.MemberAddRequest{PeerURLs: []string{"x"}})
	for i, learner := range []bool{true, false} {
		// In etcd the same URLs are the same id, within a second, so no two have the same.
		urls := []string{fmt.Sprint("https://127.0.0.1:", 1000+10*int(c.base)+i), "https://localhost:1"}
		added, _ := s.asks(fmt.Sprint("add one, learner ", learner), &pb.MemberAddRequest{PeerURLs: urls, IsLearner: learner}).(*pb.MemberAddResponse)
		id := added.GetMember().GetID()
		s.portray(c)
		s.asks("add it again", &pb.MemberAddRequest{PeerURLs: urls[:1], IsLearner: learner})
		s.asks("promote it", &pb.MemberPromoteRequest{ID: id})
		s.asks("update it", &pb.MemberUpdateRequest{ID: id, PeerURLs: []string{"https://127.0.0.1:2", "https://localhost:2"}})
		s.asks("update it to who runs", &pb.MemberUpdateRequest{ID: id, PeerURLs: c.peers(s, c.members[2].id)})
		s.portray(c)
		if learner { // etcd would wait for the other
			s.asks("lead it", &pb.MoveLeaderRequest{TargetID: id})
		}
		s.asks("remove it", &pb.MemberRemoveRequest{ID: id})
		s.asks("remove it again", &pb.MemberRemoveRequest{ID: id})
		s.asks("update who was removed", &pb.MemberUpdateRequest{ID: id, PeerURLs: []string{"https://127.0.0.1:2"}})
		s.asks("promote who was removed", &pb.MemberPromoteRequest{ID: id})
		s.portray(c)
	}
	for _, m := range c.members {
		s.asks("promote a voter", &pb.MemberPromoteRequest{ID: m.id})
		s.asks("update a voter to where it is", &pb.MemberUpdateRequest{ID: m.id, PeerURLs: c.peers(s, m.id)})
	}
	s.ask(&pb.MemberRemoveRequest{ID: stranger}, &pb.MemberPromoteRequest{ID: stranger}, &pb.MemberUpdateRequest{ID: stranger, PeerURLs: []string{"https://127.0.0.1:3"}}, &pb.MemberRemoveRequest{})
	s.portray(c)
}

// leadership is sent to and fro.
func (w *twins) leadership(s *side) {
	c := w.of(s)
	leader := c.leader()
	s.ask(&pb.MoveLeaderRequest{TargetID: stranger}, &pb.MoveLeaderRequest{})
	s.asks("to who has it", &pb.MoveLeaderRequest{TargetID: c.members[leader].id})
	s.post("/v3/maintenance/transfer-leadership", `{"targetID":"7"}`, `{}`)
	next := (leader + 2) % members
	s.asks("to another", &pb.MoveLeaderRequest{TargetID: c.members[next].id})
	s.note("it went there", fmt.Sprint(c.leader() == next))
	s.ask(put("a", "1"), everything())
	for i, m := range c.members {
		told := m.control.resting(s.Context())
		s.note(fmt.Sprint("told by member ", i), fmt.Sprint(told.Leader == c.members[c.leader()].id))
	}
}

// headers say at each member who answers, of which cluster, and how far it is.
func (w *twins) headers(s *side) {
	c := w.of(s)
	var first *pb.ResponseHeader
	for i := range c.members {
		s.ask(put("a", fmt.Sprint(i)))
		for _, r := range []proto.Message{get("a", ""), &pb.StatusRequest{}, &pb.MemberListRequest{Linearizable: true}, &pb.LeaseLeasesRequest{}, &pb.AuthStatusRequest{}, &pb.AlarmRequest{}} {
			// What is linearizable comes first, so that the member has caught up.
			reply, err := call(s.Context(), c.members[i].control.conn, r)
			if err != nil {
				s.Fatal(err)
			}
			h := reply.(interface{ GetHeader() *pb.ResponseHeader }).GetHeader()
			if first == nil {
				first = h
			}
			s.note(fmt.Sprintf("member %d answers %s", i, describe(r)), fmt.Sprint(
				h.ClusterId == first.ClusterId, h.MemberId == c.members[i].id, h.RaftTerm == first.RaftTerm, h.Revision))
		}
	}
}

// removals leave one member of three, one of them after it was killed. What
// would cost the quorum is refused.
func (w *twins) removals(t *testing.T) {
	var said [2][]entry
	for i, c := range []*cluster{w.want, w.got} {
		leader := c.leader()
		lost, other := c.members[(leader+1)%members], c.members[(leader+2)%members]
		s, follower := c.visit(t, leader, atSocket), c.visit(t, (leader+2)%members, atPort)
		c.kill(lost)
		if c == w.want {
			s.misses(1)
		}
		for _, at := range []*side{s, follower} {
			at.asks("remove one of two that are left", &pb.MemberRemoveRequest{ID: other.id})
			at.asks("remove the leader of two that are left", &pb.MemberRemoveRequest{ID: c.members[leader].id})
			at.ask(put("a", "1"))
		}
		follower.asks("remove who was killed", &pb.MemberRemoveRequest{ID: lost.id})
		follower.asks("remove it again", &pb.MemberRemoveRequest{ID: lost.id})
		follower.asks("update it", &pb.MemberUpdateRequest{ID: lost.id, PeerURLs: []string{"https://127.0.0.1:3"}})
		follower.asks("promote it", &pb.MemberPromoteRequest{ID: lost.id})
		for _, at := range []*side{s, follower} {
			at.portray(c)
			at.ask(put("a", "2"), everything())
		}
		other.away = true
		s.asks("remove a follower that runs", &pb.MemberRemoveRequest{ID: other.id})
		s.portray(c)
		s.ask(put("a", "3"), everything())
		s.asks("remove the last", &pb.MemberRemoveRequest{ID: c.members[leader].id})
		s.asks("lead a member that was removed", &pb.MoveLeaderRequest{TargetID: other.id})
		s.portray(c)
		said[i] = append(s.transcript, follower.transcript...)
	}
	compare(t, said[1], said[0])
}

var connected = regexp.MustCompile(`(?m)^etcd_network_active_peers\{.*\} 1$`)

// misses waits until an etcd has noticed that only so many others are there, by
// which it decides; cleat asks them when it has to.
func (s *side) misses(left int) {
	s.Helper()
	eventually(s, "etcd misses the others", func() error {
		response := s.request("GET", "/metrics", "")
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if n := len(connected.FindAll(text, -1)); err == nil && n != left {
			err = fmt.Errorf("%d others are there", n)
		}
		return err
	})
}
