// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func opPut(key, value string) *pb.RequestOp { return op(put(key, value)) }

func opDelete(key, end string) *pb.RequestOp { return op(del(key, end)) }

func opGet(key, end string) *pb.RequestOp { return op(get(key, end)) }

// op makes a request one of a transaction; nil makes an empty one.
func op(r any) *pb.RequestOp {
	switch r := r.(type) {
	case *pb.PutRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
	case *pb.DeleteRangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
	case *pb.RangeRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	case *pb.TxnRequest:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
	}
	return &pb.RequestOp{}
}

// then is a transaction that compares nothing.
func then(ops ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: ops} }

// otherwise is one whose comparison fails.
func otherwise(ops ...*pb.RequestOp) *pb.TxnRequest {
	return &pb.TxnRequest{
		Compare: []*pb.Compare{compared("none", "", pb.Compare_VERSION, pb.Compare_GREATER, 0)},
		Failure: ops,
	}
}

func TestTxnOps(t *testing.T) { alike(t, both, operations) }

func operations(s *side) {
	history(s)
	s.ask(
		then(), otherwise(), otherwise(opPut("f", "1")),
		then(opGet("a", "b"), opGet("\x00", "\x00")),
		// Later ones see earlier ones.
		then(opGet("n", ""), opPut("n", "1"), opGet("n", ""), opDelete("m", ""), opGet("a", "\x00")),
		then(opDelete("a", "b"), opGet("a", "b"), opPut("b", "2"), opGet("a", "c")),
		then(opDelete("zz", ""), opGet("b", "")),
		then(opDelete("b", ""), opDelete("b", "")),
		// All at one revision, with what was there before.
		then(op(&pb.PutRequest{Key: []byte("c"), Value: []byte("x"), PrevKv: true}),
			op(&pb.DeleteRangeRequest{Key: []byte("d"), RangeEnd: []byte("f"), PrevKv: true}),
			op(&pb.PutRequest{Key: []byte("n"), IgnoreValue: true, Lease: 7, PrevKv: true}),
			opGet("\x00", "\x00")),
		everything(),
		// Ranges at a revision, which is of the time before the transaction.
		then(opPut("q", "1"), op(&pb.RangeRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00"), Revision: 16})),
		then(op(&pb.RangeRequest{Key: []byte("a"), Revision: 9}), op(&pb.RangeRequest{Key: []byte("a"), Serializable: true})),
		then(op(&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("z"), Limit: 2, SortOrder: pb.RangeRequest_DESCEND, KeysOnly: true}),
			op(&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("z"), CountOnly: true, MinModRevision: 12})),
		then(op(&pb.RangeRequest{Key: []byte("a"), Serializable: true})),
	)
}

func TestTxnNested(t *testing.T) { alike(t, both, nestedTxns) }

func nestedTxns(s *side) {
	history(s)
	s.ask(
		then(op(then())), then(op(then(op(then(op(otherwise(opPut("deep", "1")))))))),
		then(op(then(opGet("a", "")))),
		then(op(otherwise(opPut("n", "1"), opGet("n", ""))), opGet("n", ""), opPut("m", "2")),
		// The comparison of a nested one is made before anything is done.
		then(opPut("x", "1"), op(&pb.TxnRequest{
			Compare: []*pb.Compare{compared("x", "", pb.Compare_VERSION, pb.Compare_EQUAL, 1)},
			Success: []*pb.RequestOp{opPut("y", "sees it")}, Failure: []*pb.RequestOp{opPut("y", "does not")},
		}), opGet("x", "z")),
		then(opDelete("x", ""), op(&pb.TxnRequest{
			Compare: []*pb.Compare{compared("x", "", pb.Compare_CREATE, pb.Compare_GREATER, 0)},
			Success: []*pb.RequestOp{opGet("x", "")}, Failure: []*pb.RequestOp{opGet("a", "")},
		})),
		then(op(then(opDelete("none", "")))), // writes in form only
		then(op(then(op(&pb.RangeRequest{Key: []byte("a"), Revision: 12}))), opPut("p", "1")),
		everything(),
	)
}

// What fails a transaction fails all of it.
func TestTxnFailsWhole(t *testing.T) { alike(t, both, failingTxns) }

func failingTxns(s *side) {
	history(s)
	for _, wrong := range []*pb.RequestOp{
		op(&pb.RangeRequest{Key: []byte("a"), Revision: 99}), op(&pb.RangeRequest{Key: []byte("a"), Revision: 3}),
		op(&pb.RangeRequest{Key: []byte("a"), Revision: 17}),
		op(&pb.PutRequest{Key: []byte("z"), Lease: 99}), op(&pb.PutRequest{Key: []byte("none"), IgnoreValue: true}),
		op(&pb.PutRequest{Key: []byte("none"), IgnoreLease: true}),
		op(&pb.PutRequest{Key: []byte("a"), Value: []byte("x"), IgnoreValue: true}),
		op(&pb.PutRequest{Key: []byte("a"), Lease: 7, IgnoreLease: true}),
		opPut("", "x"), opGet("", ""), opDelete("", ""), op(nil), nil,
		op(&pb.RangeRequest{Key: []byte("a"), SortOrder: 9}), op(&pb.RangeRequest{Key: []byte("a"), SortTarget: 9}),
	} {
		s.ask(then(wrong), then(opPut("w", "1"), wrong), then(wrong, opPut("w", "1")),
			then(opPut("w", "1"), op(then(wrong))), then(op(then(opPut("w", "1"))), op(otherwise(wrong))),
			// On the path not taken.
			otherwise(op(then(opPut("v", "1"))), op(&pb.TxnRequest{Failure: []*pb.RequestOp{wrong}})))
	}
	// A key made by the transaction itself is there for what ignores its value.
	s.ask(then(opPut("made", "1"), op(then(op(&pb.PutRequest{Key: []byte("made"), IgnoreValue: true})))),
		then(op(then(opPut("made", "1"))), opDelete("made", "")), everything())
}

func TestTxnRefusesDuplicateKeys(t *testing.T) {
	alike(t, both, func(s *side) {
		history(s)
		ops := touching()
		for _, first := range sortedKeys(ops) {
			for _, second := range sortedKeys(ops) {
				if !overlooked(first, second) {
					s.ask(then(ops[first], ops[second]))
				}
			}
			s.ask(then(opPut("n", "1"), ops[first], opDelete("k", "n"), ops[first]))
		}
		s.ask(everything())
	})
}

// touching are operations that change the key a, or nearly.
func touching() map[string]*pb.RequestOp {
	return map[string]*pb.RequestOp{
		"put a": opPut("a", "1"), "put b": opPut("b", "1"), "put \xff": opPut("\xff", "1"),
		"delete a": opDelete("a", ""), "delete a-b": opDelete("a", "b"),
		"delete b-a": opDelete("b", "a"), "delete a-a": opDelete("a", "a"), "get": opGet("a", ""),
		"then put a": op(then(opPut("a", "1"))), "else put a": op(otherwise(opPut("a", "1"))),
		"then delete a": op(then(opDelete("a", ""))), "else delete a-b": op(otherwise(opDelete("a", "b"))),
		"either put a": op(&pb.TxnRequest{Success: []*pb.RequestOp{opPut("a", "1")}, Failure: []*pb.RequestOp{opPut("a", "2")}}),
		"put or delete a": op(&pb.TxnRequest{
			Success: []*pb.RequestOp{opPut("a", "1")}, Failure: []*pb.RequestOp{opDelete("a", "")},
		}),
		"deep put a": op(then(op(then(opPut("a", "1"))))),
	}
}

// overlooked says that etcd does not see that both change the key: what is
// nested puts it, and what is nested behind that deletes it.
func overlooked(first, second string) bool {
	puts := []string{"then put a", "else put a", "either put a", "put or delete a", "deep put a"}
	return slices.Contains(puts, first) && slices.Contains([]string{"then delete a", "else delete a-b"}, second)
}

func TestTxnRefusesWhatEtcdOverlooks(t *testing.T) {
	alike(t, both, func(s *side) {
		ops := touching()
		s.excused("key changed twice", func() {
			for _, first := range sortedKeys(ops) {
				for _, second := range sortedKeys(ops) {
					if overlooked(first, second) {
						s.ask(then(ops[first], ops[second]))
					}
				}
			}
			s.ask(
				then(opDelete("a", "\x00"), opPut("a", "1")), then(opPut("b", "1"), opDelete("a", "\x00")),
				then(opDelete("\x00", "\x00"), opPut("c", "1")), then(op(then(opDelete("a", "\x00"))), opPut("a", "1")),
			)
		})
	})
}

func TestTxnRefusesTooManyOps(t *testing.T) {
	alike(t, both, func(s *side) {
		for _, n := range []int{1, 127, 128, 129} {
			var puts, gets []*pb.RequestOp
			var compares []*pb.Compare
			for i := range n {
				puts, gets = append(puts, opPut(fmt.Sprint(i), "")), append(gets, opGet(fmt.Sprint(i), ""))
				compares = append(compares, compared(fmt.Sprint(i), "", pb.Compare_VERSION, pb.Compare_EQUAL, 0))
			}
			s.ask(then(puts...), otherwise(gets...), guard(compares...), &pb.TxnRequest{Compare: compares, Success: puts, Failure: gets},
				then(op(then(puts...))), then(op(then()), op(then(gets...))), then(op(then(op(then(gets...))))))
		}
		deep := then(opGet("a", ""))
		for depth := range 130 {
			if deep = then(op(deep)); depth > 125 {
				s.ask(deep)
			}
		}
	})
}
