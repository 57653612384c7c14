// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// council answers as member 1's Cluster service; leader leads.
type council struct {
	pb.UnimplementedClusterServer
	members []*pb.Member
	leader  uint64
	asked   any
}

func (c *council) header() *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 0xc1, MemberId: 1, RaftTerm: 5}
}

func (c *council) MemberList(_ context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	c.asked = r.GetLinearizable()
	return &pb.MemberListResponse{Header: c.header(), Members: c.members}, nil
}

func (c *council) MemberAdd(_ context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	added := &pb.Member{ID: 0xadded, PeerURLs: r.GetPeerURLs(), IsLearner: r.GetIsLearner()}
	return &pb.MemberAddResponse{Header: c.header(), Member: added, Members: append(c.members, added)}, nil
}

func (c *council) MemberPromote(_ context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return &pb.MemberPromoteResponse{Header: c.header(), Members: c.members}, nil
}

// chair answers as its Maintenance service.
type chair struct {
	pb.UnimplementedMaintenanceServer
	*council
}

func (c chair) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	return &pb.StatusResponse{Header: c.header(), Leader: c.leader}, nil
}

func (c chair) MoveLeader(_ context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	c.council.asked = r.GetTargetID()
	return &pb.MoveLeaderResponse{Header: c.header()}, nil
}

func (c *council) open(t *testing.T) string {
	o := &office{}
	return o.serve(t, o, func(r grpc.ServiceRegistrar) {
		pb.RegisterClusterServer(r, c)
		pb.RegisterMaintenanceServer(r, chair{council: c})
	})
}

func TestAskingAllMembersNeedsNoLeader(t *testing.T) {
	c := &council{}
	c.members = []*pb.Member{{ID: 1, Name: "one", ClientURLs: []string{"https://127.0.0.1:1"}}}
	code, stdout, stderr := cleatctl(t, "endpoint", "status", "--cluster", "--socket", c.open(t))
	if code != exitDone || !strings.HasPrefix(stdout, "https://127.0.0.1:1, 1,") || c.asked != false {
		t.Errorf("exit code %d, %q, %q; asked for agreement: %v", code, stdout, stderr, c.asked)
	}
}

// What etcdctl prints in these forms is compared with the real one elsewhere.
func TestMembersAreShownInEachForm(t *testing.T) {
	c := &council{members: []*pb.Member{
		{ID: 1, Name: "one", PeerURLs: []string{"https://h:1", "https://h:2"}, ClientURLs: []string{"https://h:3"}},
		{ID: 0xab, PeerURLs: []string{"https://i:1"}, IsLearner: true},
	}}
	socket := c.open(t)
	for form, want := range map[string]string{
		"simple":       "1, started, one, https://h:1,https://h:2, https://h:3, false\nab, unstarted, , https://i:1, , true\n",
		"table":        "│ ab │ unstarted │      │             https://i:1 │              │       true │\n",
		"fields":       "\"ID\" : 171\n\"Name\" : \"\"\n\"PeerURL\" : \"https://i:1\"\n\"IsLearner\" : true\n\n",
		"fields --hex": "\"ID\" : ab\n",
		"json":         `{"ID":171,"peerURLs":["https://i:1"],"isLearner":true}]}`,
		"json --hex":   `{"ID":"ab","peerURLs":["https://i:1"],"isLearner":true}]}`,
		"protobuf":     "https://i:1",
	} {
		code, stdout, stderr := cleatctl(t, append(strings.Fields("member list --socket "+socket+" -w"), strings.Fields(form)...)...)
		if code != exitDone || !strings.Contains(stdout, want) {
			t.Errorf("-w %s: exit code %d, %s\n%s\nwant\n%s", form, code, stderr, stdout, want)
		}
	}
	if c.asked != true {
		t.Error("member list asked for no agreement")
	}
	if cleatctl(t, "member", "list", "--consistency=s", "--socket", socket); c.asked != false {
		t.Error("member list --consistency=s asked for agreement")
	}
}

func TestMemberAddTellsHowTheMachineJoins(t *testing.T) {
	c := &council{members: []*pb.Member{{ID: 1, Name: "one", PeerURLs: []string{"https://h:1"}}}}
	socket := c.open(t)
	code, stdout, stderr := cleatctl(t, "member", "add", "two", "--learner", "--peer-urls=https://i:1,https://j:1", "--socket", socket)
	want := `Member            added added as learner to cluster               c1

ETCD_NAME="two"
ETCD_INITIAL_CLUSTER="one=https://h:1,two=https://i:1,two=https://j:1"
ETCD_INITIAL_ADVERTISE_PEER_URLS="https://i:1,https://j:1"
ETCD_INITIAL_CLUSTER_STATE="existing"
`
	if code != exitDone || stdout != want {
		t.Errorf("exit code %d, got\n%s\nwant\n%s", code, stdout, want)
	}
	if want := "cleatctl: on a member, cleatctl invite --member added prints the line with which the machine joins\n"; stderr != want {
		t.Errorf("stderr is %q, want %q", stderr, want)
	}
	if _, stdout, stderr := cleatctl(t, "member", "promote", "a2", "--socket", socket); stdout != "Member               a2 promoted in cluster               c1\n" {
		t.Errorf("promote: %q, %q", stdout, stderr)
	}
	_, _, stderr = cleatctl(t, "member", "remove", "a2", "--socket", socket)
	if want := "cleatctl: remove member a2: method MemberRemove not implemented: "; !strings.HasPrefix(stderr, want) {
		t.Errorf("remove: %q, want %q…", stderr, want)
	}
}

func TestMoveLeaderAsksTheLeader(t *testing.T) {
	follower, leader := &council{leader: 2}, &council{leader: 1}
	both := "--endpoints=" + socketURL(follower.open(t)) + "," + socketURL(leader.open(t))
	_, stdout, stderr := cleatctl(t, "move-leader", "a2", both)
	if stdout != "Leadership transferred from 1 to a2\n" || follower.asked != nil || leader.asked != uint64(0xa2) {
		t.Errorf("%q, %q; asked the follower for %v, the leader for %v", stdout, stderr, follower.asked, leader.asked)
	}
	follower = &council{leader: 2}
	if _, stdout, stderr := cleatctl(t, "move-leader", "a2", "--socket", follower.open(t)); stdout != "Leadership transferred from 2 to a2\n" {
		t.Errorf("at a follower alone: %q, %q", stdout, stderr)
	}
	nobody := &council{}
	if code, _, stderr := cleatctl(t, "move-leader", "a2", "--socket", nobody.open(t)); code != exitFailed || !strings.Contains(stderr, "knows a leader") {
		t.Errorf("without a leader: exit code %d, %q", code, stderr)
	}
}
