// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// guard asks with one comparison, which is all that the answer depends on.
func guard(compares ...*pb.Compare) *pb.TxnRequest {
	return &pb.TxnRequest{Compare: compares}
}

// compared is a comparison of a key's field with a number, or with the number
// as a text when the field is the value.
func compared(key, end string, target pb.Compare_CompareTarget, result pb.Compare_CompareResult, n int64) *pb.Compare {
	c := &pb.Compare{Key: []byte(key), RangeEnd: []byte(end), Target: target, Result: result}
	switch target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: n}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: n}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: n}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: []byte{byte('0' + n)}}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: n}
	}
	return c
}

// Each target with each result, unknown ones too, on keys that are there, that
// are not, and on ranges of them; with numbers below, at and above the truth.
func TestTxnCompares(t *testing.T) {
	alike(t, both, func(s *side) {
		history(s)
		for target := pb.Compare_CompareTarget(-1); target <= 5; target++ {
			for result := pb.Compare_CompareResult(-1); result <= 4; result++ {
				for _, w := range []window{
					{"a", ""}, {"c", ""}, {"none", ""}, {"a", "b"}, {"d", "\x00"}, {"x", "y"}, {"b", "a"}, {"\x00", "\x00"}, {"a/1", ""}, {"", ""},
				} {
					for _, n := range []int64{-1, 0, 1, 3, 7, 9, 16} {
						s.ask(guard(compared(w.key, w.end, target, result, n)))
					}
				}
			}
		}
	})
}

// A comparison may leave out what it compares with, or bring that of another
// target.
func TestTxnComparesWithNothing(t *testing.T) {
	alike(t, both, func(s *side) {
		history(s)
		for target := pb.Compare_CompareTarget(0); target <= 4; target++ {
			for result := pb.Compare_CompareResult(0); result <= 3; result++ {
				for _, key := range []string{"a", "e", "none"} {
					bare := &pb.Compare{Key: []byte(key), Target: target, Result: result}
					s.ask(guard(bare))
					for other := pb.Compare_CompareTarget(0); other <= 4; other++ {
						c := compared(key, "", other, result, 3)
						c.Target = target
						s.ask(guard(c))
					}
				}
			}
		}
	})
}

// All comparisons must hold.
func TestTxnComparesTogether(t *testing.T) { alike(t, both, comparisons) }

func comparisons(s *side) {
	history(s)
	yes := compared("a", "", pb.Compare_MOD, pb.Compare_EQUAL, 9)
	no := compared("a", "", pb.Compare_MOD, pb.Compare_EQUAL, 8)
	for _, compares := range [][]*pb.Compare{{}, {yes}, {no}, {yes, yes}, {yes, no}, {no, yes}, {no, no}} {
		s.ask(&pb.TxnRequest{
			Compare: compares,
			Success: []*pb.RequestOp{opPut("result", "yes"), opGet("result", "")},
			Failure: []*pb.RequestOp{opPut("result", "no"), opGet("result", "")},
		})
	}
}
