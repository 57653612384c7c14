// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// rpc is one method of the API, with the messages that it takes and gives.
type rpc struct {
	method         string
	request, reply proto.Message
	streams        bool
}

func rpcs() []rpc {
	kv, lease, maintenance := "/etcdserverpb.KV/", "/etcdserverpb.Lease/", "/etcdserverpb.Maintenance/"
	cluster := "/etcdserverpb.Cluster/"
	return []rpc{
		{kv + "Range", &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), Limit: 3, SortOrder: 1, SortTarget: 2}, &pb.RangeResponse{}, false},
		{kv + "Put", &pb.PutRequest{Key: []byte("a"), Value: []byte("v"), Lease: 7, PrevKv: true}, &pb.PutResponse{}, false},
		{kv + "DeleteRange", &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte{0}, PrevKv: true}, &pb.DeleteRangeResponse{}, false},
		{kv + "Txn", fuzzTxn(), &pb.TxnResponse{}, false},
		{kv + "Compact", &pb.CompactionRequest{Revision: 1, Physical: true}, &pb.CompactionResponse{}, false},
		{kv + "RangeStream", &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}, &pb.RangeStreamResponse{}, true},
		{"/etcdserverpb.Watch/Watch", watchCreate(&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("z"), StartRevision: 1, PrevKv: true, Fragment: true}), &pb.WatchResponse{}, true},
		{lease + "LeaseGrant", &pb.LeaseGrantRequest{ID: 7, TTL: 10}, &pb.LeaseGrantResponse{}, false},
		{lease + "LeaseRevoke", &pb.LeaseRevokeRequest{ID: 7}, &pb.LeaseRevokeResponse{}, false},
		{lease + "LeaseTimeToLive", &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true}, &pb.LeaseTimeToLiveResponse{}, false},
		{lease + "LeaseLeases", &pb.LeaseLeasesRequest{}, &pb.LeaseLeasesResponse{}, false},
		{lease + "LeaseKeepAlive", &pb.LeaseKeepAliveRequest{ID: 7}, &pb.LeaseKeepAliveResponse{}, true},
		{maintenance + "Status", &pb.StatusRequest{}, &pb.StatusResponse{}, false},
		{maintenance + "Alarm", &pb.AlarmRequest{Action: 1, Alarm: 1}, &pb.AlarmResponse{}, false},
		{maintenance + "Defragment", &pb.DefragmentRequest{}, &pb.DefragmentResponse{}, false},
		{maintenance + "Hash", &pb.HashRequest{}, &pb.HashResponse{}, false},
		{maintenance + "HashKV", &pb.HashKVRequest{Revision: 1}, &pb.HashKVResponse{}, false},
		{maintenance + "MoveLeader", &pb.MoveLeaderRequest{TargetID: 9}, &pb.MoveLeaderResponse{}, false},
		{maintenance + "Downgrade", &pb.DowngradeRequest{Version: "3.6"}, &pb.DowngradeResponse{}, false},
		{maintenance + "Snapshot", &pb.SnapshotRequest{}, &pb.SnapshotResponse{}, true},
		{cluster + "MemberList", &pb.MemberListRequest{Linearizable: true}, &pb.MemberListResponse{}, false},
		{cluster + "MemberAdd", &pb.MemberAddRequest{PeerURLs: []string{"x"}}, &pb.MemberAddResponse{}, false},
	}
}

func fuzzTxn() *pb.TxnRequest {
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("a"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("v")}}},
		Success: ops(putOp("a"), rangeOp(&pb.RangeRequest{Key: []byte("a")}), txnOp(ops(putOp("b")), ops(deleteOp("b", "")))),
		Failure: ops(deleteOp("a", "c"), putOp("d")),
	}
}

func watchCreate(r *pb.WatchCreateRequest) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
}

// rawCodec lets a client send and receive any bytes as a message.
type rawCodec struct{}

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func (rawCodec) Name() string { return "proto" }

// ask sends bytes to a method and returns the first reply. The end of a
// stream without a reply is a reply of nothing.
func (r rpc) ask(ctx context.Context, conn *grpc.ClientConn, request []byte) (reply []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if !r.streams {
		err = conn.Invoke(ctx, r.method, &request, &reply, grpc.ForceCodecV2(rawCodec{}))
		return reply, err
	}
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := conn.NewStream(ctx, desc, r.method, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(&request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if _, watching := r.request.(*pb.WatchRequest); watching {
		// What is no watch request is passed over without an answer.
		probe, _ := proto.Marshal(watchCreate(&pb.WatchCreateRequest{Key: []byte("probe")}))
		_ = stream.SendMsg(&probe) // refused if the stream has ended, which RecvMsg tells
	}
	_ = stream.CloseSend() // never fails before the stream does
	err = stream.RecvMsg(&reply)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return reply, err
}

// answered checks the one promise about bytes that nobody wrote: an error that
// is not this server's fault, or a valid reply.
func (r rpc) answered(ctx context.Context, s *testServer, conn *grpc.ClientConn, request []byte) error {
	before, leases := s.store.Revision(), s.config.Machine.Leases().Len()
	reply, err := r.ask(ctx, conn, request)
	malformed := proto.Unmarshal(request, proto.Clone(r.request)) != nil
	switch {
	case malformed && err == nil:
		return fmt.Errorf("malformed bytes got the reply %x", reply)
	case malformed:
		if after := s.store.Revision(); after != before || s.config.Machine.Leases().Len() != leases {
			return fmt.Errorf("malformed bytes changed the state: revision %d, was %d", after, before)
		}
		return nil
	case err == nil:
		return proto.Unmarshal(reply, proto.Clone(r.reply))
	}
	switch code := status.Code(err); code {
	case codes.Internal, codes.Unknown, codes.DeadlineExceeded, codes.Unavailable:
		return fmt.Errorf("well-formed bytes met a fault of the server: %w", err)
	}
	return nil
}

func FuzzRequests(f *testing.F) {
	all := rpcs()
	for i, r := range all {
		valid, err := proto.Marshal(r.request)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), valid)
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{0xff})
		if len(valid) > 1 {
			f.Add(uint8(i), valid[:len(valid)-1])
		}
	}
	s := startServer(f, nil)
	conn := s.dial(f)
	f.Fuzz(func(t *testing.T, which uint8, request []byte) {
		r := all[int(which)%len(all)]
		if err := r.answered(t.Context(), s, conn, request); err != nil {
			t.Fatalf("%s: %x: %v", r.method, request, err)
		}
	})
}

// The same with mutations that do not need the fuzzer's engine.
func TestMutatedRequestsGetAnErrorOrAReply(t *testing.T) {
	s := startServer(t, nil)
	conn := s.dial(t)
	random := rand.New(rand.NewPCG(1, 2))
	for _, r := range rpcs() {
		valid, err := proto.Marshal(r.request)
		if err != nil {
			t.Fatal(err)
		}
		for range 150 {
			request := mutate(random, valid)
			if err := r.answered(t.Context(), s, conn, request); err != nil {
				t.Fatalf("%s: %x: %v", r.method, request, err)
			}
		}
	}
}

func mutate(random *rand.Rand, valid []byte) []byte {
	b := append([]byte(nil), valid...)
	for range 1 + random.IntN(3) {
		switch at := random.IntN(len(b) + 1); {
		case at == len(b):
			b = append(b, byte(random.Uint32()))
		case random.IntN(4) == 0:
			b = append(b[:at], b[at+1:]...)
		case random.IntN(2) == 0:
			b[at] ^= 1 << random.IntN(8)
		default:
			b[at] = byte(random.Uint32())
		}
	}
	return b
}
