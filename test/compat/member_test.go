// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// reachable are doors of a member that others could join.
func reachable() []door {
	var doors []door
	for _, d := range []door{socket, mutual} {
		doors = append(doors, door{d.name, func(t testing.TB, flags ...string) server {
			return d.start(t, append(flags, "--listen-peer=127.0.0.1:0", "--listen-ca=127.0.0.1:0", "--advertise=127.0.0.1")...)
		}})
	}
	return doors
}

// council speaks to a side's Cluster service about members that have names here
// instead of ids.
type council struct {
	*side
	pb.ClusterClient
	ctx  context.Context
	self *pb.Member
}

const stranger = 7

// TestMembers asks a cluster of one. Who is added never comes.
func TestMembers(t *testing.T) {
	alike(t, reachable(), func(s *side) {
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		c := &council{s, pb.NewClusterClient(s.conn), ctx, nil}
		c.list(true)
		c.list(false)
		c.badURLs()
		later := c.learners()
		c.ids(later)
		c.changes(later)
		c.add("a voter", false, "https://127.0.0.1:9") // the last: etcd waits for it from now on
	})
}

// list writes down the fields of one who leads alone.
func (c *council) list(linearizable bool) {
	c.Helper()
	step := fmt.Sprintf("list, linearizable %v", linearizable)
	r, err := c.MemberList(c.ctx, &pb.MemberListRequest{Linearizable: linearizable})
	if err != nil || len(r.Members) != 1 {
		c.Fatalf("%s: %s: %v, %v", c.name, step, r, err)
	}
	c.self = r.Members[0]
	c.note(step, fmt.Sprintf("id %v, name %v, peer URLs %d, client URLs %d, learner %v, revision %d, term %v, cluster %v",
		c.self.ID == r.Header.MemberId, c.self.Name != "", len(c.self.PeerURLs), len(c.self.ClientURLs), c.self.IsLearner,
		r.Header.Revision, r.Header.RaftTerm != 0, r.Header.ClusterId != 0))
}

// add writes down what an addition came to, and returns who was added.
func (c *council) add(what string, learner bool, urls ...string) *pb.Member {
	c.Helper()
	r, err := c.MemberAdd(c.ctx, &pb.MemberAddRequest{PeerURLs: urls, IsLearner: learner})
	step := fmt.Sprintf("add %s, learner %v, %q", what, learner, urls)
	if err != nil {
		c.note(step, refusal(err))
		return nil
	}
	c.note(step, fmt.Sprintf("%s; id %v; all: %s", plain(r.Member), r.Member.ID != 0, c.plainly(r.Members)))
	return r.Member
}

// done writes down what another change came to.
func (c *council) done(step string, members []*pb.Member, err error) {
	c.Helper()
	if err != nil {
		c.note(step, refusal(err))
		return
	}
	c.note(step, c.plainly(members))
}

func (c *council) remove(what string, id uint64) {
	r, err := c.MemberRemove(c.ctx, &pb.MemberRemoveRequest{ID: id})
	c.done("remove "+what, r.GetMembers(), err)
}

func (c *council) update(what string, id uint64, urls ...string) {
	r, err := c.MemberUpdate(c.ctx, &pb.MemberUpdateRequest{ID: id, PeerURLs: urls})
	c.done(fmt.Sprintf("update %s, %q", what, urls), r.GetMembers(), err)
}

func (c *council) promote(what string, id uint64) {
	r, err := c.MemberPromote(c.ctx, &pb.MemberPromoteRequest{ID: id})
	c.done("promote "+what, r.GetMembers(), err)
}

// plain is a member who has not come, without its id.
func plain(m *pb.Member) string {
	return fmt.Sprintf("%q %q %q learner %v", m.Name, m.PeerURLs, m.ClientURLs, m.IsLearner)
}

// plainly are all members; of the one that runs only that it is there.
func (c *council) plainly(members []*pb.Member) string {
	var all, own []string
	for _, m := range members {
		if m.ID == c.self.ID {
			own = append(own, "itself")
			continue
		}
		all = append(all, plain(m))
	}
	return strings.Join(append(own, all...), ", ")
}

func (c *council) badURLs() {
	for _, urls := range [][]string{
		nil, {""}, {"x"}, {"127.0.0.1:1"}, {"https://127.0.0.1"}, {"https://127.0.0.1:1/path"}, {"ftp://127.0.0.1:1"},
		{"https://127.0.0.1:1", "x"}, {"https://[::1:1"},
	} {
		c.add("badly", true, urls...)
	}
	c.excused("plaintext between members", func() {
		if m := c.add("in plaintext", true, "http://127.0.0.1:1"); m != nil {
			if _, err := c.MemberRemove(c.ctx, &pb.MemberRemoveRequest{ID: m.ID}); err != nil {
				c.Fatal(err)
			}
		}
	})
}

// learners adds one that is not refused.
func (c *council) learners() *pb.Member {
	own := c.self.PeerURLs[0]
	for _, learner := range []bool{true, false} {
		_, err := c.MemberAdd(c.ctx, &pb.MemberAddRequest{PeerURLs: []string{own}, IsLearner: learner})
		c.note(fmt.Sprintf("add the URL of who runs, learner %v", learner), refusal(err))
	}
	later := c.add("a learner", true, "https://127.0.0.1:1", "https://localhost:1")
	if later == nil {
		c.Fatalf("%s: no learner", c.name)
	}
	c.add("its URL again", true, "https://127.0.0.1:1")
	c.add("its other URL again", false, "https://localhost:1")
	c.add("a second learner", true, "https://127.0.0.1:2")
	return later
}

func (c *council) ids(later *pb.Member) {
	c.remove("a stranger", stranger)
	c.update("a stranger", stranger, "https://127.0.0.1:3")
	c.promote("a stranger", stranger)
	c.promote("who votes", c.self.ID)
	c.promote("who has not come", later.ID)
	c.remove("the only voter", c.self.ID)
}

func (c *council) changes(later *pb.Member) {
	c.update("a learner", later.ID, "https://127.0.0.1:4")
	c.update("a learner, to where it is", later.ID, "https://127.0.0.1:4")
	_, err := c.MemberUpdate(c.ctx, &pb.MemberUpdateRequest{ID: later.ID, PeerURLs: c.self.PeerURLs})
	c.note("update a learner, to who runs", refusal(err))
	c.remove("a learner", later.ID)
	c.remove("who was removed", later.ID)
	c.update("who was removed", later.ID, "https://127.0.0.1:5")
	c.promote("who was removed", later.ID)
	// Of one whom etcd would dial it dies.
	c.excused("a malformed update", func() { c.update("itself", c.self.ID, "x") })
}
