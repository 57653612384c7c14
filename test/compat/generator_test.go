// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// The world is small, so that operations meet: eleven keys (with more, equals
// have no settled order in etcd, whose sort is not stable), and few leases.
var keys = []string{"a", "a\x00", "aa", "ab", "b", "b/", "b/1", "c", "d", "\x00", "\xff\xff"}

const leases = 4

// generator makes requests, most of them sound, about what is there at a pair.
type generator struct {
	*rand.Rand
	*pair
}

// choice is a kind of step and how often it is made.
type choice struct {
	weight int
	make   func(g *generator) proto.Message
}

var choices = []choice{
	{30, func(g *generator) proto.Message { return g.put() }},
	{18, func(g *generator) proto.Message { return g.get() }},
	{2, func(g *generator) proto.Message { return g.inPieces() }},
	{8, func(g *generator) proto.Message { return g.delete() }},
	{25, func(g *generator) proto.Message { return g.txn(deepest) }},
	{1, func(g *generator) proto.Message {
		return &pb.CompactionRequest{Revision: g.past() + 3, Physical: g.chance(2)}
	}},
	{1, func(g *generator) proto.Message { return g.hash() }},
	{1, func(g *generator) proto.Message { return g.watcher() }},
	{3, func(g *generator) proto.Message { return &pb.LeaseGrantRequest{ID: g.lease(), TTL: 100_000} }},
	{2, func(g *generator) proto.Message { return &pb.LeaseRevokeRequest{ID: g.lease()} }},
	{1, func(g *generator) proto.Message {
		return &pb.LeaseTimeToLiveRequest{ID: g.lease(), Keys: g.chance(2)}
	}},
	{1, func(g *generator) proto.Message { return &pb.LeaseKeepAliveRequest{ID: g.lease()} }},
	{1, func(g *generator) proto.Message { return &pb.LeaseLeasesRequest{} }},
	{8, func(g *generator) proto.Message { return g.rule() }},
	{4, func(g *generator) proto.Message { return g.claim() }},
	{3, func(g *generator) proto.Message { return g.recipe() }},
}

// make does the next thing on both sides.
func (g *generator) make(t testing.TB) {
	t.Helper()
	g.actor = one(g, actors)
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	n := g.IntN(total)
	for _, c := range choices {
		if n -= c.weight; n >= 0 {
			continue
		}
		if r := c.make(g); claims(r) {
			g.contend(t, r)
		} else {
			g.step(t, r)
		}
		return
	}
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
		return g.ordered(g.key(), g.key())
	case 2:
		return g.key(), []byte{0}
	}
	return g.key(), nil
}

// lease is often none that is there, and zero only by mistake.
func (g *generator) lease() int64 { return int64(g.IntN(leases) + 1) }

// past is a revision near those that can be read.
func (g *generator) past() int64 {
	return g.compacted - 2 + g.Int64N(g.revision-g.compacted+5)
}

// ordered turns a window round that ends before it begins, while users count:
// whether one may touch nothing depends on the shape of a tree in etcd.
func (g *generator) ordered(key, end []byte) (from, to []byte) {
	if g.enabled && len(end) > 0 && bytes.Compare(key, end) >= 0 {
		return end, append(key[:len(key):len(key)], 0)
	}
	return key, end
}

// hash is of a revision after the compaction: at it etcd answers otherwise.
func (g *generator) hash() *pb.HashKVRequest {
	if r := g.past(); r > g.compacted {
		return &pb.HashKVRequest{Revision: r}
	}
	return &pb.HashKVRequest{Revision: g.revision + 1}
}

func (g *generator) watcher() *pb.WatchCreateRequest {
	r := &pb.WatchCreateRequest{WatchId: int64(g.IntN(2)), PrevKv: g.chance(2), Fragment: g.chance(2)}
	if r.Key, r.RangeEnd = g.window(); g.chance(2) {
		r.StartRevision = g.past()
	}
	return r
}

// inPieces leaves out what etcd sorts piece by piece.
func (g *generator) inPieces() inPieces {
	r := g.get()
	if r.SortOrder == pb.RangeRequest_NONE {
		r.SortTarget = pb.RangeRequest_KEY
	}
	return inPieces{r}
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
		if string(r.RangeEnd) == "\x00" {
			r.RangeEnd = []byte(lockName) // claims would be too many to be sorted
		}
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
			r.Key, r.RangeEnd = g.ordered(r.Key, []byte(keys[g.IntN(nestedDeletes)]))
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
