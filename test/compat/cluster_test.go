// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// cluster is the members of one program that agree with one another. Only the
// goroutine of its test uses it.
type cluster struct {
	testing.TB
	name    string
	members []*member // in the order in which they came
	grow    func(c *cluster, learner bool) *member
	by      server   // how clients come to etcd, but for the address
	flags   []string // of every member
	id      uint64   // told by the first
	base    int64    // where the revisions of the next body begin
}

// member is a process and how it is reached.
type member struct {
	process *os.Process
	doors   []server // etcd has one, cleatd its socket and mTLS
	id      uint64
	peer    string // its URL for other members
	control *side  // for what is not compared
	learner bool
	away    bool // stopped, or out
}

// members is how many begin.
const members = 3

// atSocket and atPort are the doors of a cleatd.
const (
	atSocket = iota
	atPort
)

// visit connects to a member, for a body that begins where the last one ended.
func (c *cluster) visit(t testing.TB, place, door int) *side {
	t.Helper()
	m := c.members[place]
	s := connect(t, c.name, m.doors[min(door, len(m.doors)-1)])
	s.base = c.base
	return s
}

// take adds a member that has started.
func (c *cluster) take(m *member) *member {
	c.Helper()
	m.control = connect(c.TB, c.name, m.doors[0])
	r, err := c.status(m)
	if err != nil {
		c.Fatalf("%s: the status of a member that has started: %v", c.name, err)
	}
	c.id, m.id = cmp.Or(c.id, r.Header.ClusterId), r.Header.MemberId
	c.members = append(c.members, m)
	return m
}

func (c *cluster) status(m *member) (*pb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	return pb.NewMaintenanceClient(m.control.conn).Status(ctx, &pb.StatusRequest{}, grpc.WaitForReady(true))
}

// leader waits until all who are there know the same leader, have applied the
// same and know the cluster's version, and returns the leader's place.
func (c *cluster) leader() (place int) {
	c.Helper()
	eventually(c.TB, c.name+" agrees", func() error {
		found, err := c.look()
		place = found
		return err
	})
	return place
}

func (c *cluster) look() (leader int, err error) {
	c.Helper()
	leader = -1
	var first *pb.StatusResponse
	for i, m := range c.members {
		if m.away {
			continue
		}
		r, err := c.status(m)
		if err != nil {
			return 0, fmt.Errorf("member %d: %w", i, err)
		}
		if first == nil {
			first = r
		}
		if r.Leader == 0 || r.Leader != first.Leader || r.RaftAppliedIndex != first.RaftAppliedIndex {
			return 0, fmt.Errorf("member %d says %v, the first %v", i, r, first)
		}
		if r.Leader == m.id {
			leader = i
		}
		if v := m.control.clusterVersion(); v != "3.7.0" {
			return 0, fmt.Errorf("member %d takes the cluster's version for %q", i, v)
		}
	}
	if leader < 0 {
		return 0, fmt.Errorf("nobody leads: %v", first)
	}
	return leader, nil
}

// clusterVersion is etcd's a while after its start.
func (s *side) clusterVersion() string {
	s.Helper()
	response := s.request("GET", "/version", "")
	defer response.Body.Close()
	var told struct{ Etcdcluster string }
	if err := json.NewDecoder(response.Body).Decode(&told); err != nil {
		s.Fatalf("%s: the version: %v", s.name, err)
	}
	return told.Etcdcluster
}

// pause stops a member where it is; its connections stay.
func (c *cluster) pause(m *member) {
	c.Helper()
	m.away = true
	c.signal(m, syscall.SIGSTOP)
}

func (c *cluster) resume(m *member) {
	c.Helper()
	m.away = false
	c.signal(m, syscall.SIGCONT)
}

func (c *cluster) kill(m *member) {
	c.Helper()
	m.away = true
	c.signal(m, syscall.SIGKILL)
}

func (c *cluster) signal(m *member, s syscall.Signal) {
	c.Helper()
	if err := m.process.Signal(s); err != nil {
		c.Fatalf("%s: %v: %v", c.name, s, err)
	}
}

// end kills all at once: who is stopped in order waits for the others.
func (c *cluster) end() {
	for _, m := range c.members {
		_ = m.process.Kill() // it may have ended
	}
}

// clear takes away what a body left behind, and returns what all members then
// take for the history.
func (c *cluster) clear(t testing.TB) []entry {
	t.Helper()
	there := func(m *member) bool { return !m.away }
	s := c.visit(t, slices.IndexFunc(c.members, there), atSocket)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if r, err := call(ctx, s.conn, &pb.AuthenticateRequest{Name: "root", Password: "root"}); err == nil {
		s.token = r.(*pb.AuthenticateResponse).Token
	}
	do := func(r proto.Message) proto.Message {
		t.Helper()
		reply, err := call(s.bearing(ctx), s.conn, r)
		if err != nil {
			t.Fatalf("%s: clearing up: %s: %v", c.name, describe(r), err)
		}
		return reply
	}
	do(&pb.AuthDisableRequest{})
	s.token = ""
	for _, name := range do(&pb.AuthUserListRequest{}).(*pb.AuthUserListResponse).Users {
		do(&pb.AuthUserDeleteRequest{Name: name})
	}
	for _, name := range do(&pb.AuthRoleListRequest{}).(*pb.AuthRoleListResponse).Roles {
		do(&pb.AuthRoleDeleteRequest{Role: name})
	}
	leases := do(&pb.LeaseLeasesRequest{}).(*pb.LeaseLeasesResponse).Leases
	slices.SortFunc(leases, func(a, b *pb.LeaseStatus) int { return cmp.Compare(a.ID, b.ID) })
	for _, l := range leases {
		do(&pb.LeaseRevokeRequest{ID: l.ID})
	}
	do(put("last", "")) // so that the deletion is behind any compaction
	c.base = do(del("\x00", "\x00")).(*pb.DeleteRangeResponse).Header.Revision - 1
	c.leader()
	var hashes []entry
	for _, m := range c.members {
		if m.learner || m.away {
			continue // a learner of etcd does not tell it
		}
		r := &pb.HashKVRequest{Revision: c.base + 1}
		reply, err := call(ctx, m.control.conn, r)
		hashes = append(hashes, entry{step: "the hash of a member", outcome: outcome(r, reply, err)})
	}
	return hashes
}

// eventually tries until it succeeds.
func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	tick, late := time.NewTicker(10*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not in %v: %v", what, patience, err)
		}
	}
}
