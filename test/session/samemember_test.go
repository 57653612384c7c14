// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// council answers both clients the same about members, whose IDs real clusters
// choose by the time.
type council struct {
	pb.UnimplementedClusterServer
	pb.UnimplementedMaintenanceServer
}

var (
	councilHeader = &pb.ResponseHeader{ClusterId: 0xcdf818194e3a8c32, MemberId: 0x8e9e05c52164694d, RaftTerm: 7}
	newcomer      = &pb.Member{ID: 0xabc, PeerURLs: []string{"https://[fd00::3]:2380", "https://three:2380"}}
	councillors   = []*pb.Member{
		{ID: councilHeader.MemberId, Name: "one", PeerURLs: []string{"https://10.0.0.1:2380"}, ClientURLs: []string{"https://10.0.0.1:2379", "https://one:2379"}},
		{ID: 1 << 63, Name: "t<w>o", PeerURLs: []string{"https://10.0.0.2:2380"}, ClientURLs: []string{"https://10.0.0.2:2379"}, IsLearner: true},
		newcomer,
	}
)

func (council) MemberList(_ context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if !r.GetLinearizable() {
		return &pb.MemberListResponse{Header: councilHeader}, nil
	}
	return &pb.MemberListResponse{Header: councilHeader, Members: councillors}, nil
}

func (council) MemberAdd(_ context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	added := &pb.Member{ID: newcomer.ID, PeerURLs: r.GetPeerURLs(), IsLearner: r.GetIsLearner()}
	return &pb.MemberAddResponse{Header: councilHeader, Member: added, Members: append(councillors[:2:2], added)}, nil
}

func (council) MemberRemove(context.Context, *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return &pb.MemberRemoveResponse{Header: councilHeader, Members: councillors}, nil
}

func (council) MemberUpdate(context.Context, *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	return &pb.MemberUpdateResponse{Header: councilHeader, Members: councillors}, nil
}

func (council) MemberPromote(context.Context, *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return &pb.MemberPromoteResponse{Header: councilHeader, Members: councillors}, nil
}

func (council) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	return &pb.StatusResponse{Header: councilHeader, Version: "3.7.3", Leader: councilHeader.MemberId}, nil
}

func (council) MoveLeader(context.Context, *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	return &pb.MoveLeaderResponse{Header: councilHeader}, nil
}

func (c council) open(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterClusterServer(server, c)
	pb.RegisterMaintenanceServer(server, c)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return listener.Addr().String()
}

func TestCleatctlPrintsEtcdctlsBytesOfMembers(t *testing.T) {
	endpoint := council{}.open(t)
	// etcdctl has no other forms for changes.
	changes := []string{
		"member add three --peer-urls=https://[fd00::3]:2380,https://three:2380", "member add --learner three --peer-urls https://h:1",
		"member remove 8e9e05c52164694d", "member update abc --peer-urls=https://h:1", "member promote 8000000000000000", "move-leader abc",
	}
	for _, form := range []string{"", " -w simple", " --hex", " -w json", " -w json --hex", " -w protobuf", " -w table", " -w fields", " -w fields --hex"} {
		lines := []string{"member list" + form, "member list --consistency=l" + form}
		if form != "" && form != " -w simple" && form != " --hex" {
			lines = append(lines, "member list --consistency=s"+form) // without members the simple form is empty
		}
		if !strings.Contains(form, "table") && !strings.Contains(form, "fields") {
			for _, change := range changes {
				lines = append(lines, change+form)
			}
		}
		for _, line := range lines {
			got, want := printed(t, cleatctl, endpoint, line), printed(t, etcdctl, endpoint, line)
			if got != want || want == "" {
				t.Errorf("%s\ncleatctl: %q\n etcdctl: %q", line, got, want)
			}
		}
	}
}

func printed(t *testing.T, name, endpoint, line string) string {
	t.Helper()
	out, err := exec.Command(program(t, name), append([]string{"--endpoints=" + endpoint}, strings.Fields(line)...)...).Output()
	if err != nil {
		t.Errorf("%s %s: %v", name, line, err)
	}
	return string(out)
}
