// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/raft"
)

func TestKeysThroughEtcdsClient(t *testing.T) {
	s := startServer(t, nil)
	c := s.client(t)
	ctx := t.Context()

	first, err := c.Put(ctx, "foo", "bar")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, first.Header, &pb.ResponseHeader{ClusterId: 1<<63 + 7, MemberId: 42, Revision: 2, RaftTerm: 3})
	second, err := c.Put(ctx, "foo", "baz", clientv3.WithPrevKV())
	if err != nil || string(second.PrevKv.GetValue()) != "bar" || second.Header.Revision != 3 {
		t.Fatalf("got %v, %v", second, err)
	}
	old, err := c.Get(ctx, "foo", clientv3.WithRev(2))
	if err != nil || string(old.Kvs[0].Value) != "bar" || old.Header.Revision != 3 {
		t.Fatalf("got %v, %v", old, err)
	}
	txn, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Version("foo"), "=", 2)).
		Then(clientv3.OpPut("foo1", "x"), clientv3.OpGet("foo", clientv3.WithPrefix())).Commit()
	if err != nil || !txn.Succeeded || txn.Header.Revision != 4 || len(txn.Responses[1].GetResponseRange().Kvs) != 2 {
		t.Fatalf("got %v, %v", txn, err)
	}
	read, err := c.Txn(ctx).Then(clientv3.OpGet("foo", clientv3.WithPrefix(), clientv3.WithCountOnly())).Commit()
	if err != nil || read.Header.Revision != 4 || read.Responses[0].GetResponseRange().Count != 2 {
		t.Fatalf("got %v, %v", read, err)
	}
	removed, err := c.Delete(ctx, "foo", clientv3.WithPrefix(), clientv3.WithPrevKV())
	if err != nil || removed.Deleted != 2 || len(removed.PrevKvs) != 2 || removed.Header.Revision != 5 {
		t.Fatalf("got %v, %v", removed, err)
	}
	if _, err := c.Compact(ctx, 4, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, "foo", clientv3.WithRev(2)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Fatalf("got %v", err)
	}
}

func TestRangeStreamIsTheSameAsRange(t *testing.T) {
	s := startServer(t, nil)
	c, conn := s.client(t), s.dial(t)
	for i := range 57 {
		if _, err := c.Put(t.Context(), fmt.Sprintf("k%02d", i), strings.Repeat("v", i)); err != nil {
			t.Fatal(err)
		}
	}
	all := []byte{0}
	for name, r := range map[string]*pb.RangeRequest{
		"all":        {Key: all, RangeEnd: all},
		"none":       {Key: []byte("x"), RangeEnd: []byte("y")},
		"one":        {Key: []byte("k07")},
		"limited":    {Key: all, RangeEnd: all, Limit: 23},
		"keys only":  {Key: all, RangeEnd: all, KeysOnly: true},
		"count only": {Key: all, RangeEnd: all, CountOnly: true},
		"older":      {Key: all, RangeEnd: all, Revision: 31, Serializable: true},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := pb.NewKVClient(conn).Range(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			chunks, err := rangeStream(t, conn, r)
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			got := new(pb.RangeResponse)
			for i, chunk := range chunks {
				if last := i == len(chunks)-1; (chunk.Header != nil) != last {
					t.Errorf("chunk %d of %d has the header %v", i, len(chunks), chunk.Header)
				}
				proto.Merge(got, chunk)
			}
			equal(t, got, want)
		})
	}
	if _, err := rangeStream(t, conn, &pb.RangeRequest{Key: all, Revision: 1000}); status.Code(err) != codes.OutOfRange {
		t.Fatalf("got %v", err)
	}
}

func TestFaultsBecomeEtcdsErrors(t *testing.T) {
	cases := []struct {
		fault, want error
	}{
		{kv.ErrCompacted, rpctypes.ErrGRPCCompacted},
		{fmt.Errorf("deep: %w", kv.ErrFuture), rpctypes.ErrGRPCFutureRev},
		{raft.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
		{fmt.Errorf("%w: lost", raft.ErrUnknown), rpctypes.ErrGRPCTimeoutDueToLeaderFail},
		{raft.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
		{raft.ErrStopped, rpctypes.ErrGRPCStopped},
		{kv.ErrFailed, rpctypes.ErrGRPCStopped},
		{fmt.Errorf("%w: %w", raft.ErrUnknown, context.DeadlineExceeded), rpctypes.ErrGRPCTimeout},
		{errors.New("a bug"), status.Error(codes.Internal, "a bug")},
	}
	s := startServer(t, nil)
	client := pb.NewKVClient(s.dial(t))
	for _, c := range cases {
		s.node.fail(nodeFaults{propose: c.fault, sync: c.fault})
		_, write := client.Put(t.Context(), &pb.PutRequest{Key: []byte("k")})
		_, read := client.Range(t.Context(), &pb.RangeRequest{Key: []byte("k")})
		if write == nil || read == nil || write.Error() != c.want.Error() || read.Error() != c.want.Error() {
			t.Errorf("%v: got %v and %v, want %v", c.fault, write, read, c.want)
		}
	}
	if n := s.logged("request met an unknown fault"); n != 2 {
		t.Errorf("the unknown fault was logged %d times, want once for each request", n)
	}
}

func TestRequestsThatAreTooLarge(t *testing.T) {
	s := startServer(t, func(c *Config) { c.MaxRequestBytes = 1000 })
	client := pb.NewKVClient(s.dial(t))
	put := func(size int) error {
		_, err := client.Put(t.Context(), &pb.PutRequest{Key: []byte("k"), Value: make([]byte, size)})
		return err
	}
	if err := put(900); err != nil {
		t.Error(err)
	}
	if err := put(1000); err == nil || err.Error() != rpctypes.ErrGRPCRequestTooLarge.Error() {
		t.Errorf("got %v", err)
	}
	if err := put(1000 + overhead); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
}

func TestNoSpaceRefusesOnlyWhatTakesSpace(t *testing.T) {
	s := startServer(t, func(c *Config) {
		c.Room, c.Disk = func(context.Context, int) bool { return false }, func() bool { return false }
	})
	conn := s.dial(t)
	client, leases := pb.NewKVClient(conn), pb.NewLeaseClient(conn)
	ctx := t.Context()
	_, put := client.Put(ctx, &pb.PutRequest{})
	_, txn := client.Txn(ctx, &pb.TxnRequest{Success: ops(putOp("a"))})
	_, grant := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 10})
	for name, err := range map[string]error{"put": put, "txn": txn, "grant": grant} {
		if err == nil || err.Error() != rpctypes.ErrGRPCNoSpace.Error() {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, remove := client.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("a")})
	_, removeTxn := client.Txn(ctx, &pb.TxnRequest{Success: ops(deleteOp("a", ""))})
	_, read := client.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
	if err := errors.Join(remove, removeTxn, read); err != nil {
		t.Error(err)
	}
	alarms, err := pb.NewMaintenanceClient(conn).Alarm(ctx, &pb.AlarmRequest{})
	if err != nil || len(alarms.Alarms) != 1 || alarms.Alarms[0].Alarm != pb.AlarmType_NOSPACE || alarms.Alarms[0].MemberID != 42 {
		t.Errorf("got %v, %v", alarms, err)
	}
}

func TestMetadataIsChecked(t *testing.T) {
	s := startServer(t, nil)
	client := pb.NewKVClient(s.dial(t))
	get := func(pairs ...string) error {
		ctx := metadata.AppendToOutgoingContext(t.Context(), pairs...)
		_, err := client.Range(ctx, &pb.RangeRequest{Key: []byte("k")})
		return err
	}
	if err := get(rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader); err != nil {
		t.Error(err)
	}
	s.node.fail(nodeFaults{leaderOff: true})
	if err := get(rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader); err == nil || err.Error() != rpctypes.ErrGRPCNoLeader.Error() {
		t.Errorf("got %v", err)
	}
	// grpc's client would not send this.
	ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: &caller{}})
	ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(rpctypes.MetadataClientAPIVersionKey, "\xff\xfe"))
	if _, err := s.admit(ctx, &s.metrics.unary); err != rpctypes.ErrGRPCInvalidClientAPIVersion {
		t.Errorf("got %v", err)
	}
}

func TestWaitsForAgreementEnd(t *testing.T) {
	s := startServer(t, func(c *Config) { c.RequestTimeout = 50 * time.Millisecond })
	client := pb.NewKVClient(s.dial(t))
	s.node.fail(nodeFaults{hold: func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", raft.ErrUnknown, ctx.Err())
	}})
	_, put := client.Put(t.Context(), &pb.PutRequest{Key: []byte("k")})
	_, get := client.Range(t.Context(), &pb.RangeRequest{Key: []byte("k")})
	for name, err := range map[string]error{"put": put, "get": get} {
		if err == nil || err.Error() != rpctypes.ErrGRPCTimeout.Error() {
			t.Errorf("%s: got %v", name, err)
		}
	}
	hurry, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := client.Put(hurry, &pb.PutRequest{Key: []byte("k")}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
}
