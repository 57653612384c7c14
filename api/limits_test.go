// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A larger request gets through on a client's connection from before the limit as
// soon as that has heard of it, and a stream from before it goes on; a smaller
// limit counts at once.
func TestLimitsChangeUnderOpenConnections(t *testing.T) {
	s := startServer(t, nil)
	conn := s.dial(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watch, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}
	if err := watch.Send(&pb.WatchRequest{RequestUnion: create}); err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	put := func(size int) codes.Code {
		_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte(strings.Repeat("x", size))})
		return status.Code(err)
	}
	if got := put(2560 << 10); got != codes.ResourceExhausted {
		t.Errorf("above the limit: %v", got)
	}
	l := *s.limits.Load()
	for _, size := range []int{2560 << 10, 3072 << 10, 3584 << 10} { // each needs another server
		l.MaxRequestBytes = size + 1<<10
		before := s.local.Load()
		s.SetLimits(l)
		if s.local.Load() == before {
			t.Fatalf("the server that takes %d bytes serves on", before.takes)
		}
		got := put(size)
		for got == codes.ResourceExhausted && ctx.Err() == nil {
			got = put(size) // the connection has not heard of it yet
		}
		if got != codes.OK {
			t.Fatalf("%d bytes below the limit: %v", size, got)
		}
		if r, err := watch.Recv(); err != nil || len(r.Events) != 1 {
			t.Fatalf("the watch from before got %v", err)
		}
	}
	l.MaxRequestBytes = 1 << 10
	s.SetLimits(l)
	if got := put(2 << 10); got != codes.InvalidArgument {
		t.Errorf("above a smaller limit: %v", got)
	}
	l.MaxTxnOps = 1
	s.SetLimits(l)
	op := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k")}}}
	if _, err := pb.NewKVClient(conn).Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{op, op}}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("two operations where one is allowed: %v", err)
	}
	if left := len(s.retiring()); left == 0 {
		t.Error("no desk is left for the watch")
	}
}

// retiring are the desks that have connections still.
func (s *Server) retiring() []*desk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retired
}

// Less memory counts for what comes then; turns that are taken stay so.
func TestTurnsAndBudgetsChangeTheirSize(t *testing.T) {
	turns, who := connections(2)
	turns.resize(2)
	if !turns.try(who[0]) || !turns.try(who[1]) {
		t.Fatal("there are two turns")
	}
	turns.resize(1)
	turns.give()
	if turns.try(who[0]) {
		t.Error("there is one turn, which is taken")
	}
	turns.give()
	if !turns.try(who[0]) {
		t.Error("the turn is free")
	}
	b := newBudget(10)
	if !b.try(8) {
		t.Fatal("8 of 10")
	}
	b.resize(4)
	if b.give(4); b.try(1) {
		t.Error("5 of 4 are taken")
	}
	b.resize(5)
	if !b.try(1) {
		t.Error("5 of 5 are not there")
	}
}
