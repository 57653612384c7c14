// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"fmt"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/api/recipe"
)

// The lock and the election lie behind all other keys, where only what is open
// to the end reaches.
const (
	lockName     = "\xff\xff/lock"
	electionName = "\xff\xff/race"
)

func (g *generator) claim() proto.Message {
	if g.chance(2) {
		return &recipe.LockRequest{Name: []byte(lockName), Lease: g.lease()}
	}
	return &recipe.CampaignRequest{Name: []byte(electionName), Lease: g.lease(), Value: g.value()}
}

func (g *generator) value() []byte { return fmt.Appendf(nil, "%d", g.IntN(30)) }

// recipe is what does not wait.
func (g *generator) recipe() proto.Message {
	var leader *recipe.LeaderKey
	if n := len(g.leaders); n > 0 && !g.chance(20) {
		leader = g.leaders[g.IntN(n)]
	}
	switch g.IntN(6) {
	case 0:
		return &recipe.LeaderRequest{Name: []byte(electionName)}
	case 1, 2:
		return &recipe.ProclaimRequest{Leader: leader, Value: g.value()}
	case 3:
		return &recipe.ResignRequest{Leader: leader}
	}
	return &recipe.UnlockRequest{Key: fmt.Appendf(nil, "%s/%x", lockName, g.lease())}
}

// claims is true of what may have to wait for others.
func claims(r proto.Message) bool {
	switch r.(type) {
	case *recipe.LockRequest, *recipe.CampaignRequest:
		return true
	}
	return false
}

// contend makes a claim. If another is before it, it waits on both sides until
// that is gone.
func (g *generator) contend(t testing.TB, r proto.Message) {
	t.Helper()
	name, lease := lockName, int64(0)
	switch r := r.(type) {
	case *recipe.LockRequest:
		lease = r.Lease
	case *recipe.CampaignRequest:
		name, lease = electionName, r.Lease
	}
	actor := g.actor
	g.asRoot(t)
	before := g.step(t, &pb.RangeRequest{
		Key: []byte(name + "/"), RangeEnd: []byte(name + "0"), SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_ASCEND,
	}).(*pb.RangeResponse).Kvs
	alive := g.step(t, &pb.LeaseTimeToLiveRequest{ID: lease}).(*pb.LeaseTimeToLiveResponse).TTL > 0
	g.actor = actor
	own := fmt.Sprintf("%s/%x", name, lease)
	switch {
	case len(before) == 0 || string(before[0].Key) == own || !alive:
		g.step(t, r)
	case !g.enabled: // or it might not be allowed to wait
		g.wait(t, r, before, own)
	}
}

// wait makes a claim behind others. Who campaigns with a claim that is taken away
// meanwhile leads in etcd all the same (DESIGN.md), so only locks lose theirs.
func (g *generator) wait(t testing.TB, r proto.Message, before []*mvccpb.KeyValue, own string) {
	t.Helper()
	_, campaigns := r.(*recipe.CampaignRequest)
	if campaigns && slices.ContainsFunc(before, func(kv *mvccpb.KeyValue) bool { return string(kv.Key) == own }) {
		return
	}
	g.contended++
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	finish := g.later(ctx, r)
	g.revision++
	g.hear(t) // of the claim; until then it may not be behind the others
	if !campaigns && g.chance(5) {
		g.step(t, del(own, ""))
	}
	for _, kv := range before {
		if g.chance(2) {
			g.step(t, del(string(kv.Key), ""))
		} else {
			g.step(t, &pb.LeaseRevokeRequest{ID: kv.Lease})
		}
	}
	want, got := finish()
	g.settle(t, r, want, got)
}
