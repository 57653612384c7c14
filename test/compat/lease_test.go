// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// keepAlive renews leases on one stream and writes the replies down.
func (s *side) keepAlive(ids ...int64) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	stream, err := pb.NewLeaseClient(s.conn).LeaseKeepAlive(ctx)
	if err != nil {
		s.Fatal(err)
	}
	for _, id := range ids {
		r := &pb.LeaseKeepAliveRequest{ID: id}
		if err := stream.Send(r); err != nil && !errors.Is(err, io.EOF) { // it may have ended, which Recv tells
			s.Fatal(err)
		}
		reply, err := stream.Recv()
		s.note(describe(r), outcome(r, reply, err))
	}
	_ = stream.CloseSend() // the next line tells
	_, err = stream.Recv()
	s.note("the end of keep-alives", refusal(err))
}

func TestLeaseGrant(t *testing.T) { alike(t, both, grants) }

func grants(s *side) {
	for _, ttl := range []int64{math.MinInt64, -1, 0, 1, 2, 3, 1000, 8_999_999_999, 9_000_000_000, 9_000_000_001, math.MaxInt64} {
		s.ask(&pb.LeaseGrantRequest{TTL: ttl}, &pb.LeaseGrantRequest{TTL: ttl, ID: ttl + 5})
	}
	for _, id := range []int64{7, 7, -7, -7, math.MaxInt64, math.MinInt64} {
		s.ask(&pb.LeaseGrantRequest{ID: id, TTL: 1000}, &pb.LeaseGrantRequest{ID: id, TTL: 9_000_000_001})
	}
	s.ask(everything(), put("a", ""))
}

func TestLeaseRevoke(t *testing.T) { alike(t, both, revocations) }

func revocations(s *side) {
	s.ask(&pb.LeaseRevokeRequest{}, &pb.LeaseRevokeRequest{ID: 99}, &pb.LeaseRevokeRequest{ID: -1})
	s.ask(&pb.LeaseGrantRequest{ID: 7, TTL: 1000}, &pb.LeaseGrantRequest{ID: 8, TTL: 1000}, &pb.LeaseGrantRequest{ID: 9, TTL: 1000})
	// A lease without keys goes without a revision.
	s.ask(put("a", ""), &pb.LeaseRevokeRequest{ID: 9}, &pb.LeaseRevokeRequest{ID: 9}, put("a", ""))
	for _, key := range []string{"d", "b", "c", "a", "b"} {
		s.ask(&pb.PutRequest{Key: []byte(key), Value: []byte(key), Lease: 7})
	}
	// What moved to another lease, or to none, stays.
	s.ask(&pb.PutRequest{Key: []byte("c"), Lease: 8}, put("d", "free"), del("b", ""), &pb.PutRequest{Key: []byte("e"), Lease: 7})
	s.ask(&pb.LeaseTimeToLiveRequest{ID: 7, Keys: true}, &pb.LeaseRevokeRequest{ID: 7}, everything())
	s.ask(&pb.PutRequest{Key: []byte("a"), Lease: 7}, &pb.LeaseGrantRequest{ID: 7, TTL: 1000}, &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true})
	s.ask(then(opDelete("c", ""), op(&pb.PutRequest{Key: []byte("f"), Lease: 8})), &pb.LeaseTimeToLiveRequest{ID: 8, Keys: true})
	s.ask(&pb.LeaseRevokeRequest{ID: 8}, everything())
	readBack(s, 20)
	s.ask(&pb.HashKVRequest{})
}

// The keys that go with a lease go in one revision, in the order of the keys.
func TestLeaseRevokeInOneRevision(t *testing.T) { alike(t, both, revocationOfMany) }

func revocationOfMany(s *side) {
	s.ask(&pb.LeaseGrantRequest{ID: 7, TTL: 1000})
	for i := range 50 {
		s.ask(&pb.PutRequest{Key: fmt.Appendf(nil, "k%02d", i*37%50), Lease: 7})
	}
	w := s.watch()
	id := w.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), PrevKv: true})
	s.ask(&pb.LeaseRevokeRequest{ID: 7}, everything(), &pb.HashKVRequest{})
	w.until(id, 52)
	w.leave()
}

func TestLeaseTimeToLiveAndList(t *testing.T) { alike(t, both, leaseLists) }

func leaseLists(s *side) {
	s.ask(&pb.LeaseLeasesRequest{}, &pb.LeaseTimeToLiveRequest{}, &pb.LeaseTimeToLiveRequest{ID: 99, Keys: true}, &pb.LeaseTimeToLiveRequest{ID: -1})
	for _, id := range []int64{20, 7, -3, 11} {
		s.ask(&pb.LeaseGrantRequest{ID: id, TTL: 1000})
	}
	s.ask(&pb.LeaseLeasesRequest{}, put("x", ""), &pb.LeaseLeasesRequest{})
	s.excused("order of leases", func() {
		reply, err := pb.NewLeaseClient(s.conn).LeaseLeases(s.Context(), &pb.LeaseLeasesRequest{})
		s.note("the leases in their order", fmt.Sprint(reply.GetLeases(), err))
	})
	for _, key := range []string{"c", "a", "\x00", "b"} {
		s.ask(&pb.PutRequest{Key: []byte(key), Lease: 7})
	}
	for _, id := range []int64{7, -3} {
		s.ask(&pb.LeaseTimeToLiveRequest{ID: id}, &pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
	}
	s.ask(&pb.LeaseRevokeRequest{ID: -3}, &pb.LeaseLeasesRequest{}, &pb.LeaseTimeToLiveRequest{ID: -3})
}

func TestLeaseKeepAlive(t *testing.T) { alike(t, both, keepAlives) }

func keepAlives(s *side) {
	s.keepAlive(99, 0, -1, 99)
	s.ask(&pb.LeaseGrantRequest{ID: 7, TTL: 1000}, &pb.LeaseGrantRequest{ID: 8, TTL: 0})
	s.keepAlive(7, 7, 99, 8)
	s.ask(put("a", ""))
	s.keepAlive(7)
	s.ask(&pb.LeaseRevokeRequest{ID: 7})
	s.keepAlive(7, 8)
	s.keepAlive()
}

// A lease that nobody renews takes its keys with it, in one revision.
func TestLeaseExpires(t *testing.T) {
	alike(t, []door{socket}, func(s *side) {
		w := s.watch()
		id := w.on("\x00", "\x00", 0)
		s.ask(&pb.LeaseGrantRequest{ID: 7, TTL: 2})
		s.ask(then(op(&pb.PutRequest{Key: []byte("b"), Lease: 7}), op(&pb.PutRequest{Key: []byte("a"), Lease: 7})))
		w.until(id, 3)
		w.leave()
		s.ask(everything(), &pb.LeaseRevokeRequest{ID: 7}, &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true}, &pb.LeaseLeasesRequest{},
			&pb.PutRequest{Key: []byte("c"), Lease: 7}, &pb.HashKVRequest{})
		s.keepAlive(7)
	})
}
