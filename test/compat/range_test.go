// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// history writes keys whose orders by key, version, creation, modification and
// value all differ, with a lease, a deletion and a compaction on the way.
func history(s *side) {
	s.ask(&pb.LeaseGrantRequest{ID: 7, TTL: 1000})
	s.ask(
		put("b", "6"), put("a", "9"), put("c", "5"), put("a/1", "4"), put("a/2", "8"), // up to revision 6
		put("c", "1"), put("c", "2"), put("a", "3"), del("b", ""), // 10
		&pb.PutRequest{Key: []byte("a/1"), Value: []byte("7"), Lease: 7}, put("b", "0"), // 12
		&pb.TxnRequest{Success: []*pb.RequestOp{opPut("d", "4"), opPut("a\x00", "4"), opDelete("c", "")}}, // 13
		put("\xff\xff", "\xff"), put("e", ""), put("c", "5"), // 16
		&pb.CompactionRequest{Revision: 8, Physical: true},
		everything(),
	)
}

// window is a range of keys.
type window struct{ key, end string }

var windows = []window{
	{"a", ""}, {"b", ""}, {"none", ""}, {"a", "b"}, {"a/", "a0"}, {"a", "a"}, {"b", "a"}, {"b", "\x00"},
	{"\x00", "\x00"}, {"\x00", ""}, {"\x00", "b"}, {"", ""}, {"", "b"}, {"", "\x00"}, {"\xff", "\x00"}, {"a", "\xff\xff"}, {"a", "\x00\x00"},
}

// options change a request; each is tried on every window and with every other.
var options = map[string]func(*pb.RangeRequest){
	"":                func(*pb.RangeRequest) {},
	"limit 1":         func(r *pb.RangeRequest) { r.Limit = 1 },
	"limit 3":         func(r *pb.RangeRequest) { r.Limit = 3 },
	"exact limit":     func(r *pb.RangeRequest) { r.Limit = 8 },
	"negative limit":  func(r *pb.RangeRequest) { r.Limit = -1 },
	"keys only":       func(r *pb.RangeRequest) { r.KeysOnly = true },
	"count only":      func(r *pb.RangeRequest) { r.CountOnly = true },
	"serializable":    func(r *pb.RangeRequest) { r.Serializable = true },
	"negative":        func(r *pb.RangeRequest) { r.Revision = -5 },
	"first":           func(r *pb.RangeRequest) { r.Revision = 1 },
	"compacted":       func(r *pb.RangeRequest) { r.Revision = 7 },
	"oldest":          func(r *pb.RangeRequest) { r.Revision = 8 },
	"with a deletion": func(r *pb.RangeRequest) { r.Revision = 10 },
	"past":            func(r *pb.RangeRequest) { r.Revision = 12 },
	"current":         func(r *pb.RangeRequest) { r.Revision = 16 },
	"future":          func(r *pb.RangeRequest) { r.Revision = 17 },
	"min mod":         func(r *pb.RangeRequest) { r.MinModRevision = 11 },
	"max mod":         func(r *pb.RangeRequest) { r.MaxModRevision = 12 },
	"min create":      func(r *pb.RangeRequest) { r.MinCreateRevision = 6 },
	"max create":      func(r *pb.RangeRequest) { r.MaxCreateRevision = 12 },
	"no such mod":     func(r *pb.RangeRequest) { r.MinModRevision, r.MaxModRevision = 9, 8 },
	"negative mod":    func(r *pb.RangeRequest) { r.MinModRevision, r.MaxModRevision = -1, -1 },
	"descending":      func(r *pb.RangeRequest) { r.SortOrder = pb.RangeRequest_DESCEND },
	"by value":        func(r *pb.RangeRequest) { r.SortTarget = pb.RangeRequest_VALUE },
	"newest first":    func(r *pb.RangeRequest) { r.SortOrder, r.SortTarget = pb.RangeRequest_DESCEND, pb.RangeRequest_MOD },
}

// pairs are the requests for a window with each two of the options, in an
// order that is the same every time.
func pairs(w window) []proto.Message {
	var all []proto.Message
	names := sortedKeys(options)
	for i, first := range names {
		for _, second := range names[i:] {
			r := get(w.key, w.end)
			options[first](r)
			options[second](r)
			all = append(all, r)
		}
	}
	return all
}

func TestRangeWithEachTwoOptions(t *testing.T) {
	alike(t, both, func(s *side) {
		history(s)
		for _, w := range windows {
			s.ask(pairs(w)...)
		}
	})
}

// Every target with every order, the unknown ones too, with and without what
// else takes part in the order of things.
func TestRangeSorted(t *testing.T) {
	alike(t, both, func(s *side) {
		history(s)
		for target := pb.RangeRequest_SortTarget(-1); target <= 5; target++ {
			for order := pb.RangeRequest_SortOrder(-1); order <= 3; order++ {
				for _, w := range []window{{"\x00", "\x00"}, {"a", "c"}, {"a", ""}, {"", ""}} {
					for _, name := range []string{"", "limit 3", "keys only", "count only", "past", "max create"} {
						r := get(w.key, w.end)
						options[name](r)
						r.SortTarget, r.SortOrder = target, order
						s.ask(r)
					}
				}
			}
		}
	})
}

// Before anything is written the store is at revision 1.
func TestRangeOfNothing(t *testing.T) {
	alike(t, both, func(s *side) {
		for _, w := range windows {
			for _, name := range sortedKeys(options) {
				r := get(w.key, w.end)
				options[name](r)
				s.ask(r)
			}
		}
	})
}

// A range of more keys than any part of a server looks at in one go.
func TestRangeOfManyKeys(t *testing.T) {
	alike(t, []door{socket}, func(s *side) {
		for i := range 30 {
			s.ask(fill(i))
		}
		for _, limit := range []int64{0, 1, 99, 2999, 3000, 3001} {
			for _, name := range []string{"", "keys only", "count only", "past", "min mod", "descending"} {
				r := get("k", "l")
				options[name](r)
				r.Limit = limit
				s.ask(r)
			}
		}
	})
}

// fill writes a hundred keys in one transaction.
func fill(n int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for i := range 100 {
		r.Success = append(r.Success, opPut(fmt.Sprintf("k%02d%02d", n, i), fmt.Sprint(i)))
	}
	return r
}
