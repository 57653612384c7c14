// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// storageVersion is the only one there is, which etcd knows a while after its
// start.
func storageVersion(told string) string {
	if told == "" || told == "3.7.0" {
		return "the storage's"
	}
	return told
}

func TestStatus(t *testing.T) { alike(t, both, memberStatus) }

func memberStatus(s *side) {
	s.ask(put("a", "1"))
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	r := s.resting(ctx)
	s.note("status", fmt.Sprint(r.Version, storageVersion(r.StorageVersion), r.Errors, r.IsLearner, r.DowngradeInfo, r.Header.Revision,
		r.Leader == r.Header.MemberId, r.RaftTerm == r.Header.RaftTerm, r.RaftIndex > 0, r.DbSize > 0, r.DbSizeInUse > 0 && r.DbSizeInUse <= r.DbSize))
}

// resting is the status of a member that has applied all there is. A new etcd
// has entries of its own under way for a while: its version, its attributes.
func (s *side) resting(ctx context.Context) *pb.StatusResponse {
	s.Helper()
	for {
		r, err := pb.NewMaintenanceClient(s.conn).Status(ctx, &pb.StatusRequest{})
		if err != nil {
			s.Fatalf("%s: the status of a member that has applied all: %v", s.name, err)
		}
		if r.RaftIndex == r.RaftAppliedIndex {
			return r
		}
	}
}

// What is asked of one member for its upkeep.
func TestUpkeep(t *testing.T) { alike(t, both, upkeep) }

func upkeep(s *side) {
	s.ask(put("a", "1"), put("a", "2"), &pb.DefragmentRequest{}, get("a", ""))
	r, err := pb.NewMaintenanceClient(s.conn).Hash(s.Context(), &pb.HashRequest{})
	s.note("a hash of everything", fmt.Sprint(r.GetHash() != 0, r.GetHeader().GetRevision(), err))
	self := r.GetHeader().GetMemberId()
	s.ask(&pb.MoveLeaderRequest{}, &pb.MoveLeaderRequest{TargetID: 9})
	s.refuses(&pb.HashKVRequest{Revision: 999_999}, &pb.HashKVRequest{Revision: -1})
	_, err = call(s.Context(), s.conn, &pb.MoveLeaderRequest{TargetID: self})
	s.note("leadership to who has it", refusal(err))
	s.post("/v3/maintenance/defragment", `{}`, `{`)
	s.post("/v3/maintenance/transfer-leadership", `{}`, `{"targetID":"9"}`, `{"targetID":"x"}`)
	s.post("/v3/maintenance/hashkv", `{"revision":"999999"}`, `{"revision":"-x"}`)
	s.post("/v3/cluster/member/add", `{}`, `{"peerURLs":["x"]}`, `{"peerURLs":["x"],"isLearner":true}`)
	s.post("/v3/cluster/member/remove", `{"ID":"9"}`)
	s.post("/v3/cluster/member/promote", `{"ID":"9"}`)
	s.post("/v3/cluster/member/update", `{"ID":"9","peerURLs":["https://127.0.0.1:1"]}`)
	for _, path := range []string{"/v3/maintenance/status", "/v3/maintenance/hash", "/v3/maintenance/hashkv", "/v3/cluster/member/list"} {
		s.members(path)
	}
}

// members writes down what a JSON answer has, but not its values.
func (s *side) members(path string) {
	s.Helper()
	response := s.request("POST", path, "{}")
	defer response.Body.Close()
	said := make(map[string]any)
	if err := json.NewDecoder(response.Body).Decode(&said); err != nil {
		s.Fatalf("%s: %s: %v", s.name, path, err)
	}
	delete(said, "dbSizeQuota")    // cleat has none unless one is set
	delete(said, "storageVersion") // etcd knows it later
	s.note("POST "+path, heading(response)+strings.Join(sortedKeys(said), " "))
}

// A snapshot comes in pieces which say how much is left, and ends with its sum.
func TestSnapshotStream(t *testing.T) { alike(t, both, snapshotPieces) }

func snapshotPieces(s *side) {
	for i := range 40 {
		s.ask(fill(i % 30))
	}
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	stream, err := pb.NewMaintenanceClient(s.conn).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		s.Fatal(err)
	}
	var blobs [][]byte
	var remaining []uint64
	versions := make(map[string]bool)
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.Fatal(err)
		}
		blobs, remaining = append(blobs, m.Blob), append(remaining, m.RemainingBytes)
		versions[storageVersion(m.Version)] = true
	}
	last := len(blobs) - 1
	sum, left, large := sha256.New(), remaining[0]+uint64(len(blobs[0])), 0
	for i, blob := range blobs[:last] {
		sum.Write(blob)
		if left -= uint64(len(blob)); remaining[i] != left {
			s.Errorf("%s: piece %d says that %d bytes are left, of %d", s.name, i, remaining[i], left)
		}
		large = max(large, len(blob))
	}
	s.note("the pieces", fmt.Sprint(large, left, remaining[last], sortedKeys(versions)))
	s.note("the last", fmt.Sprint(string(sum.Sum(nil)) == string(blobs[last])))
}

// A token may come under either name, and with the scheme that HTTP has.
func TestAuthTokenUnderEitherName(t *testing.T) {
	alikeWith(t, cheap, func(s *side) {
		s.staff()
		s.as("alice")
		token := s.token
		s.token = ""
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		for _, pair := range [][]string{
			{"token", token}, {"authorization", token}, {"authorization", "Bearer " + token}, {"token", "Bearer " + token}, {"authorization", "bearer " + token},
			{"authorization", "Basic " + token}, {"token", token, "authorization", "none"}, {"token", "none", "authorization", token}, {"token", "none", "token", token},
		} {
			for _, r := range []proto.Message{put("a", "1"), get("a", ""), put("b", "1")} {
				reply, err := call(metadata.AppendToOutgoingContext(ctx, pair...), s.conn, r)
				s.note(fmt.Sprint(strings.ReplaceAll(fmt.Sprint(pair), token, "its token"), describe(r)), outcome(r, reply, err))
			}
		}
	})
}
