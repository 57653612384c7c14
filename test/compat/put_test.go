// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// both are the doors of cleatd.
var both = []door{socket, mutual}

func put(key, value string) *pb.PutRequest {
	return &pb.PutRequest{Key: []byte(key), Value: []byte(value)}
}

func del(key, end string) *pb.DeleteRangeRequest {
	return &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}
}

func get(key, end string) *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end)}
}

// everything shows all keys with all their fields.
func everything() proto.Message { return get("\x00", "\x00") }

func TestPut(t *testing.T) { alike(t, both, puts) }

func puts(s *side) {
	s.ask(everything())
	s.ask(
		put("a", "1"), put("a", "2"), put("b", ""), put("a\x00", "zero"), put("\xff\xff", "\xfe\x00"),
		&pb.PutRequest{Key: []byte("c")},
		&pb.PutRequest{Key: []byte("a"), Value: []byte("3"), PrevKv: true},
		&pb.PutRequest{Key: []byte("d"), Value: []byte("new"), PrevKv: true},
		&pb.PutRequest{Key: []byte("b"), Value: []byte("x"), PrevKv: true},
		everything(),
		// A deleted key begins anew.
		del("a", ""), put("a", "again"), get("a", ""),
	)
}

func TestPutWithALease(t *testing.T) { alike(t, both, leasedPuts) }

func leasedPuts(s *side) {
	s.ask(
		&pb.LeaseGrantRequest{ID: 7, TTL: 1000}, &pb.LeaseGrantRequest{ID: 8, TTL: 1000},
		&pb.PutRequest{Key: []byte("a"), Value: []byte("1"), Lease: 7},
		&pb.PutRequest{Key: []byte("b"), Value: []byte("1"), Lease: 99},
		&pb.PutRequest{Key: []byte("b"), Value: []byte("1"), Lease: -1},
		everything(),
		&pb.PutRequest{Key: []byte("a"), Value: []byte("2"), IgnoreLease: true, PrevKv: true},
		&pb.PutRequest{Key: []byte("a"), Value: []byte("3"), Lease: 8, PrevKv: true},
		&pb.LeaseTimeToLiveRequest{ID: 7, Keys: true}, &pb.LeaseTimeToLiveRequest{ID: 8, Keys: true},
		put("a", "4"),
		&pb.LeaseTimeToLiveRequest{ID: 8, Keys: true},
		everything(),
	)
}

func TestPutIsRefused(t *testing.T) { alike(t, both, refusedPuts) }

func refusedPuts(s *side) {
	s.ask(put("a", "1"), &pb.LeaseGrantRequest{ID: 7, TTL: 1000})
	s.ask(
		&pb.PutRequest{}, &pb.PutRequest{Value: []byte("x")},
		&pb.PutRequest{Key: []byte("a"), Value: []byte("x"), IgnoreValue: true},
		&pb.PutRequest{Key: []byte("a"), Lease: 7, IgnoreLease: true},
		&pb.PutRequest{Key: []byte("none"), IgnoreValue: true},
		&pb.PutRequest{Key: []byte("none"), Value: []byte("x"), IgnoreLease: true},
		&pb.PutRequest{Key: []byte("none"), IgnoreValue: true, IgnoreLease: true},
		&pb.PutRequest{Key: []byte("none"), IgnoreValue: true, Lease: 99},
		&pb.PutRequest{Value: []byte("x"), IgnoreValue: true, Lease: 7, IgnoreLease: true},
		&pb.PutRequest{Key: []byte("a"), Value: []byte("x"), IgnoreValue: true, Lease: 7, IgnoreLease: true},
		&pb.PutRequest{Key: []byte("a"), IgnoreValue: true, Lease: 99},
		everything(),
		&pb.PutRequest{Key: []byte("a"), IgnoreValue: true, Lease: 7, PrevKv: true},
		&pb.PutRequest{Key: []byte("a"), IgnoreValue: true, IgnoreLease: true, PrevKv: true},
		&pb.PutRequest{Key: []byte("a"), IgnoreValue: true, PrevKv: true},
		everything(),
	)
}

func TestDeleteRange(t *testing.T) { alike(t, both, deletions) }

func deletions(s *side) {
	fill := func() {
		for _, key := range []string{"a", "a\x00", "ab", "b", "c", "d", "\xff"} {
			s.ask(put(key, "value of "+key))
		}
	}
	fill()
	s.ask(
		&pb.DeleteRangeRequest{}, del("", "b"), del("", "\x00"),
		del("none", ""), del("x", "y"), del("b", "a"), del("b", "b"), del("b", "\x00\x00"),
		everything(),
		&pb.DeleteRangeRequest{Key: []byte("a"), PrevKv: true},
		&pb.DeleteRangeRequest{Key: []byte("a"), PrevKv: true},
		&pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("c"), PrevKv: true},
		del("d", "\x00"),
		everything(),
	)
	fill()
	s.ask(del("\x00", "\x00"), del("\x00", "\x00"), everything())
	s.ask(&pb.RangeRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00"), Revision: 8})
}
