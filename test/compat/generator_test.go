// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"fmt"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// The world is small, so that operations meet: eleven keys (with more, equals
// have no settled order in etcd, whose sort is not stable), and few leases.
var keys = []string{"a", "a\x00", "aa", "ab", "b", "b/", "b/1", "c", "d", "\x00", "\xff\xff"}

const leases = 4

// generator makes requests, most of them sound, about what is there.
type generator struct {
	*rand.Rand
	revision, compacted int64 // of the store
}

// choice is a kind of request and how often it is made.
type choice struct {
	weight int
	make   func(g *generator) proto.Message
}

var choices = []choice{
	{30, func(g *generator) proto.Message { return g.put() }},
	{20, func(g *generator) proto.Message { return g.get() }},
	{8, func(g *generator) proto.Message { return g.delete() }},
	{25, func(g *generator) proto.Message { return g.txn(deepest) }},
	{1, func(g *generator) proto.Message {
		return &pb.CompactionRequest{Revision: g.past() + 3, Physical: g.chance(2)}
	}},
	{3, func(g *generator) proto.Message { return &pb.LeaseGrantRequest{ID: g.lease(), TTL: 100_000} }},
	{2, func(g *generator) proto.Message { return &pb.LeaseRevokeRequest{ID: g.lease()} }},
	{1, func(g *generator) proto.Message { return &pb.LeaseTimeToLiveRequest{ID: g.lease(), Keys: true} }},
}

func (g *generator) next() proto.Message {
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	n := g.IntN(total)
	for _, c := range choices {
		if n -= c.weight; n < 0 {
			return c.make(g)
		}
	}
	panic("the weights do not add up")
}

func (g *generator) chance(of int) bool { return g.IntN(of) == 0 }

func (g *generator) key() []byte {
	if g.chance(100) {
		return nil
	}
	return []byte(keys[g.IntN(len(keys))])
}

// window is a key, a range, all behind a key, or what makes no sense.
func (g *generator) window() (key, end []byte) {
	switch g.IntN(6) {
	case 0, 1:
		return g.key(), g.key()
	case 2:
		return g.key(), []byte{0}
	}
	return g.key(), nil
}

// lease is often none that is there, and zero only by mistake.
func (g *generator) lease() int64 { return int64(g.IntN(leases) + 1) }

// past is a revision near those that can be read.
func (g *generator) past() int64 {
	oldest := max(g.compacted, 0)
	return oldest - 2 + g.Int64N(g.revision-oldest+5)
}

func (g *generator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), PrevKv: g.chance(3), IgnoreValue: g.chance(15), IgnoreLease: g.chance(15)}
	if !r.IgnoreValue || g.chance(20) {
		r.Value = fmt.Appendf(nil, "%d", g.IntN(30))
	}
	if g.chance(4) {
		r.Lease = g.lease()
	}
	return r
}

func (g *generator) delete() *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{PrevKv: g.chance(2)}
	if r.Key = g.key(); g.chance(4) {
		r.Key, r.RangeEnd = g.window()
	}
	return r
}

func (g *generator) get() *pb.RangeRequest {
	r := &pb.RangeRequest{Serializable: g.chance(4), KeysOnly: g.chance(6), CountOnly: g.chance(8)}
	r.Key, r.RangeEnd = g.window()
	if g.chance(2) {
		r.Revision = g.past()
	}
	if g.chance(3) {
		r.Limit = int64(g.IntN(8) - 1)
	}
	if g.chance(3) {
		r.SortOrder, r.SortTarget = pb.RangeRequest_SortOrder(g.IntN(3)), pb.RangeRequest_SortTarget(g.IntN(5))
	}
	for _, bound := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if g.chance(10) {
			*bound = g.past()
		}
	}
	return r
}

// deepest is how far transactions are nested.
const deepest = 2

// txn may have others in it, so deep.
func (g *generator) txn(depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for range g.IntN(3) {
		r.Compare = append(r.Compare, g.compare())
	}
	for range g.IntN(4) {
		r.Success = append(r.Success, g.op(depth))
	}
	for range g.IntN(3) {
		r.Failure = append(r.Failure, g.op(depth))
	}
	return r
}

func (g *generator) op(depth int) *pb.RequestOp {
	switch n := g.IntN(10); {
	case n < 4:
		return op(g.putIn(depth))
	case n < 6:
		return op(g.deleteIn(depth))
	case n < 8 || depth == 0:
		r := g.get()
		if g.chance(2) {
			r.Revision = 0 // most at the present, or few transactions succeed
		}
		return op(r)
	}
	return op(g.txn(depth - 1))
}

// What is nested does not delete what is put beside it, and ranges without an
// end stay out of transactions: etcd's check overlooks these.

func (g *generator) putIn(depth int) *pb.PutRequest {
	r := g.put()
	if depth < deepest {
		r.Key = []byte(keys[nestedDeletes+g.IntN(len(keys)-nestedDeletes)])
	}
	return r
}

func (g *generator) deleteIn(depth int) *pb.DeleteRangeRequest {
	r := g.delete()
	if string(r.RangeEnd) == "\x00" {
		r.RangeEnd = nil
	}
	if depth < deepest {
		r.Key = []byte(keys[g.IntN(nestedDeletes)])
		if r.RangeEnd != nil {
			r.RangeEnd = []byte(keys[g.IntN(nestedDeletes)])
		}
	}
	return r
}

// nestedDeletes is how many of the keys only nested deletions change; what is
// nested puts the others.
const nestedDeletes = 4

func (g *generator) compare() *pb.Compare {
	target, result := pb.Compare_CompareTarget(g.IntN(5)), pb.Compare_CompareResult(g.IntN(4))
	n := int64(g.IntN(5))
	if target == pb.Compare_CREATE || target == pb.Compare_MOD {
		n = g.past()
	}
	c := compared("", "", target, result, n)
	if c.Key = g.key(); g.chance(4) {
		c.Key, c.RangeEnd = g.window()
	}
	return c
}
