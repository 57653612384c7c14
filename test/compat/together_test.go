// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"fmt"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	etcdclient "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/api/recipe"
)

// everywhere is a side at each member of a cluster, with one transcript: the
// leader's place comes first.
type everywhere struct {
	*side
	at [members]*side
	c  *cluster
}

// TestMembersTogether does at one member what others must know of.
func TestMembersTogether(t *testing.T) {
	t.Parallel()
	w := startTwins(t, cheap...)
	for _, b := range []struct {
		name string
		run  func(*everywhere)
	}{
		{"leases", (*everywhere).leasesTogether}, {"locks", (*everywhere).locksTogether}, {"auth", (*everywhere).authTogether}, {"alarms", (*everywhere).alarmsTogether},
		{"history", (*everywhere).historyTogether}, {"client", (*everywhere).clientTogether}, {"mutexes", (*everywhere).mutexesTogether}, {"a member is killed", (*everywhere).killedTogether},
	} {
		t.Run(b.name, func(t *testing.T) {
			w.alike(t, places[0], func(s *side) {
				e := &everywhere{side: s, c: w.of(s)}
				leader := e.c.leader()
				for i := range members {
					e.at[i] = e.c.visit(t, (leader+i)%members, atPort)
				}
				b.run(e)
				for _, at := range e.at {
					e.transcript = append(e.transcript, at.transcript...)
				}
			})
		})
	}
}

// leasesTogether has a lease kept and looked at everywhere, and then end, which
// all who watch are told.
func (e *everywhere) leasesTogether() {
	e.at[1].ask(&pb.LeaseGrantRequest{ID: 7, TTL: 1000}, &pb.LeaseGrantRequest{ID: 8, TTL: 2}, then(op(&pb.PutRequest{Key: []byte("b"), Lease: 8}), op(&pb.PutRequest{Key: []byte("a"), Lease: 8})))
	var watches []*watching
	for _, at := range e.at {
		at.ask(get("a", ""), &pb.LeaseTimeToLiveRequest{ID: 7, Keys: true}, &pb.LeaseGrantRequest{ID: 7, TTL: 5}, &pb.PutRequest{Key: []byte("c"), Lease: 7})
		at.keepAlive(7, 9)
		w := at.watch()
		w.on("a", "c", 2)
		watches = append(watches, w)
	}
	for i, w := range watches {
		w.until(0, 6)
		w.leave()
		e.at[i].ask(everything(), &pb.LeaseTimeToLiveRequest{ID: 8}, &pb.LeaseRevokeRequest{ID: 8})
		e.at[i].keepAlive(8)
	}
}

// locksTogether has a lock and an election pass from one member's caller to
// another's.
func (e *everywhere) locksTogether() {
	e.at[0].leases(7, 8, 9)
	name := []byte("e")
	e.at[0].play(&recipe.LockRequest{Name: []byte("l"), Lease: 7})
	second := e.at[1].later(e.Context(), &recipe.LockRequest{Name: []byte("l"), Lease: 8})
	e.at[2].claimed("l/8")
	third := e.at[2].later(e.Context(), &recipe.LockRequest{Name: []byte("l"), Lease: 9})
	e.at[0].claimed("l/9")
	e.at[2].play(&recipe.UnlockRequest{Key: []byte("l/7")})
	second()
	e.at[0].ask(&pb.LeaseRevokeRequest{ID: 8})
	third()
	won := e.at[2].play(&recipe.CampaignRequest{Name: name, Lease: 7, Value: []byte("one")}).(*recipe.CampaignResponse).Leader
	finish := e.at[1].later(e.Context(), &recipe.CampaignRequest{Name: name, Lease: 9, Value: []byte("two")})
	e.at[0].claimed("e/9")
	e.at[0].play(&recipe.ProclaimRequest{Leader: won, Value: []byte("three")})
	e.at[1].play(&recipe.LeaderRequest{Name: name})
	e.at[0].play(&recipe.ResignRequest{Leader: won})
	finish()
	e.at[2].play(&recipe.LeaderRequest{Name: name})
	e.at[1].ask(everything())
}

// authTogether makes users at one member; they, and the tokens that they get,
// count at all.
func (e *everywhere) authTogether() {
	e.at[1].staff()
	root := e.at[1].token
	tokens := []string{root}
	for i, at := range e.at {
		at.as([]string{"alice", "bob", "root"}[i])
		tokens = append(tokens, at.token)
	}
	for _, at := range e.at {
		for _, token := range tokens {
			at.token = token
			at.ask(put("a", "1"), get("a", ""), put("b", "1"), &pb.AuthUserListRequest{}, &pb.AuthStatusRequest{}, &pb.LeaseGrantRequest{ID: 7, TTL: 100}, &pb.LeaseRevokeRequest{ID: 7})
			at.create(&pb.WatchCreateRequest{Key: []byte("a")})
		}
	}
	e.at[2].token = root
	e.at[2].ask(grant("writer", "b", "c", 2), &pb.AuthUserChangePasswordRequest{Name: "bob", Password: "new"})
	for i, at := range e.at {
		at.token = tokens[1]
		at.ask(put("b", "2"))
		at.token = tokens[2]
		at.ask(get("a", ""), &pb.AuthenticateRequest{Name: "bob", Password: fmt.Sprint([]string{"bob", "new", "bob"}[i])})
	}
	e.at[0].token = root
	e.at[0].ask(&pb.AuthDisableRequest{})
	e.at[1].token = tokens[2]
	e.at[1].ask(get("a", ""))
}

// alarmsTogether raises an alarm at one member and takes it back at another.
func (e *everywhere) alarmsTogether() {
	for _, kind := range []pb.AlarmType{pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT} {
		e.at[1].alarm(pb.AlarmRequest_ACTIVATE, kind, 5)
		for _, at := range e.at {
			at.alarms()
			at.ask(put("a", "1"), get("a", ""), del("a", ""), &pb.LeaseGrantRequest{ID: 7, TTL: 100})
		}
		e.at[2].alarm(pb.AlarmRequest_DEACTIVATE, kind, 5)
		for _, at := range e.at {
			at.alarms()
			at.ask(put("a", "1"))
		}
	}
}

// historyTogether makes a history at all members, compacts it at one, and hashes
// and saves it at each.
func (e *everywhere) historyTogether() {
	for i := range 12 {
		e.at[i%members].ask(put(fmt.Sprint("k", i%4), fmt.Sprint(i)), then(opPut("x", fmt.Sprint(i)), opDelete(fmt.Sprint("k", (i+1)%4), "")))
	}
	e.at[1].ask(&pb.CompactionRequest{Revision: 10, Physical: true}, &pb.CompactionRequest{Revision: 10})
	for _, at := range e.at {
		at.ask(everything(), &pb.CompactionRequest{Revision: 9})
		readBack(at, 26)
		for _, revision := range []int64{11, 17, 25, 99} {
			at.ask(&pb.HashKVRequest{Revision: revision})
		}
		at.ask(&pb.DefragmentRequest{}, everything())
		at.snapshotEnds()
	}
}

// clients returns etcd's client of all members, or of one.
func (e *everywhere) clients(at ...*side) *etcdclient.Client {
	e.Helper()
	var endpoints []string
	for _, s := range at {
		endpoints = append(endpoints, s.target())
	}
	c, err := etcdclient.New(etcdclient.Config{Endpoints: endpoints, TLS: at[0].tls, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { _ = c.Close() })
	return c
}

// clientTogether learns of all members from one, and asks each of them.
func (e *everywhere) clientTogether() {
	ctx, cancel := context.WithTimeout(e.Context(), patience)
	defer cancel()
	c := e.clients(e.at[1])
	e.told("sync", nil, c.Sync(ctx))
	e.note("endpoints", fmt.Sprint(len(c.Endpoints())))
	met := map[uint64]bool{}
	for i := range 4 * members {
		put, err := c.Put(ctx, "a", fmt.Sprint(i))
		e.told("put", (*pb.PutResponse)(put), err)
		get, err := c.Get(ctx, "a")
		if err == nil {
			met[get.Header.MemberId] = true
		}
		e.told("get", (*pb.RangeResponse)(get), err)
	}
	e.note("how many answered", fmt.Sprint(len(met)))
	for _, endpoint := range c.Endpoints() {
		_, err := c.Status(ctx, endpoint)
		e.told("status", nil, err)
	}
}

// mutexesTogether has the library's locks and elections pass between clients of
// different members.
func (e *everywhere) mutexesTogether() {
	ctx, cancel := context.WithTimeout(e.Context(), patience)
	defer cancel()
	var mutexes []*concurrency.Mutex
	var elections []*concurrency.Election
	for i, at := range e.at {
		c := e.clients(at)
		e.leases(int64(i + 7))
		session, err := concurrency.NewSession(c, concurrency.WithLease(etcdclient.LeaseID(i+7)))
		if err != nil {
			e.Fatal(err)
		}
		mutexes = append(mutexes, concurrency.NewMutex(session, "l"))
		elections = append(elections, concurrency.NewElection(session, "e"))
	}
	for i, m := range mutexes {
		e.told(fmt.Sprint("lock ", i), nil, m.Lock(ctx))
		for _, other := range mutexes[i+1:] {
			e.told("try", nil, other.TryLock(ctx))
		}
		if i+1 == len(mutexes) {
			break
		}
		next := e.waits(fmt.Sprint("next ", i+1), func() error { return mutexes[i+1].Lock(ctx) })
		e.claimed(fmt.Sprintf("l/%x", i+8))
		e.told("unlock", nil, m.Unlock(ctx))
		next()
		e.told("unlock", nil, mutexes[i+1].Unlock(ctx))
	}
	told := elections[2].Observe(ctx)
	for _, i := range []int{0, 1} {
		e.told("campaign", nil, elections[i].Campaign(ctx, fmt.Sprint(i)))
		r := <-told
		e.told("observed", (*pb.RangeResponse)(r), nil)
		e.told("resign", nil, elections[i].Resign(ctx))
	}
	e.ask(everything())
}

// killedTogether has a client of three members, of which one is killed: it goes
// on. Nothing may follow, as nobody brings that member back.
func (e *everywhere) killedTogether() {
	ctx, cancel := context.WithTimeout(e.Context(), patience)
	defer cancel()
	c := e.clients(e.at[:]...)
	watch := c.Watch(ctx, "a", etcdclient.WithCreatedNotify())
	e.note("watch", fmt.Sprint((<-watch).Created))
	lost := slices.IndexFunc(e.c.members, func(m *member) bool { return m.doors[len(m.doors)-1].address == e.at[0].address })
	e.c.kill(e.c.members[lost])
	for range 20 {
		_, err := c.Get(ctx, "a")
		e.told("get", nil, err)
	}
	eventually(e, "a put after a member was killed", func() error {
		_, err := c.Put(ctx, "a", "1")
		return err
	})
	for r := range watch {
		if len(r.Events) > 0 {
			e.note("the watch goes on", fmt.Sprint(r.Events[0].Kv.Value))
			break
		}
	}
	e.at = [members]*side{e.at[1], e.at[2], e.at[1]}
	for i, at := range e.at[:2] {
		reply, err := call(ctx, at.conn, proto.Message(get("a", "")))
		if err != nil {
			e.Fatal(err)
		}
		e.note(fmt.Sprint("told at ", i), fmt.Sprint(reply.(*pb.RangeResponse).Count))
	}
}
