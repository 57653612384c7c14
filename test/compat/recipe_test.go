// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	etcdclient "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/api/recipe"
)

// play asks for one act of a lock or an election, and writes it down.
func (s *side) play(r proto.Message) proto.Message {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	reply, err := act(ctx, recipe.NewLockClient(s.conn), recipe.NewElectionClient(s.conn), r)
	s.note(describe(r), outcome(r, reply, err))
	if err != nil {
		return nil
	}
	return reply
}

func act(ctx context.Context, locks recipe.LockClient, elections recipe.ElectionClient, r proto.Message) (proto.Message, error) {
	switch r := r.(type) {
	case *recipe.LockRequest:
		return locks.Lock(ctx, r)
	case *recipe.UnlockRequest:
		return locks.Unlock(ctx, r)
	case *recipe.CampaignRequest:
		return elections.Campaign(ctx, r)
	case *recipe.ProclaimRequest:
		return elections.Proclaim(ctx, r)
	case *recipe.LeaderRequest:
		return elections.Leader(ctx, r)
	case *recipe.ResignRequest:
		return elections.Resign(ctx, r)
	}
	return nil, fmt.Errorf("no act takes a %T", r)
}

// later plays in the background, and writes down when it is asked to.
func (s *side) later(ctx context.Context, r proto.Message) (finish func()) {
	type end struct {
		reply proto.Message
		err   error
	}
	ended := make(chan end, 1)
	go func() {
		reply, err := act(ctx, recipe.NewLockClient(s.conn), recipe.NewElectionClient(s.conn), r)
		ended <- end{reply, err}
	}()
	return func() {
		e := <-ended
		s.note(describe(r), outcome(r, e.reply, e.err))
	}
}

// claimed waits until there is a key; that there once was one does not count.
func (s *side) claimed(key string) {
	s.Helper()
	c := s.client()
	w := etcdclient.NewWatcher(c)
	defer w.Close()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	for range w.Watch(ctx, key, etcdclient.WithRev(s.base+1), etcdclient.WithFilterDelete()) {
		if r, err := c.Get(ctx, key); err == nil && len(r.Kvs) > 0 {
			return
		}
	}
	s.Fatalf("%s: %s never came", s.name, key)
}

func (s *side) leases(ids ...int64) {
	s.Helper()
	for _, id := range ids {
		s.ask(&pb.LeaseGrantRequest{ID: id, TTL: 1000})
	}
}

func TestLocks(t *testing.T) { alike(t, both, locks) }

func locks(s *side) {
	s.leases(7, 8, 9)
	s.play(&recipe.LockRequest{Name: []byte("l"), Lease: 7})
	s.play(&recipe.LockRequest{Name: []byte("l"), Lease: 7})
	s.ask(everything())
	finish := s.later(s.Context(), &recipe.LockRequest{Name: []byte("l"), Lease: 8})
	s.claimed("l/8")
	third := s.later(s.Context(), &recipe.LockRequest{Name: []byte("l"), Lease: 9})
	s.claimed("l/9")
	s.play(&recipe.UnlockRequest{Key: []byte("l/7")})
	finish()
	s.ask(&pb.LeaseRevokeRequest{ID: 8})
	third()
	s.play(&recipe.UnlockRequest{Key: []byte("l/9")})
	s.play(&recipe.UnlockRequest{Key: []byte("none")})
	s.play(&recipe.UnlockRequest{})
	s.ask(everything())
	for _, name := range []string{"", "/", "a/b", "\x00", "l\xff"} {
		s.play(&recipe.LockRequest{Name: []byte(name), Lease: 7})
	}
	s.play(&recipe.LockRequest{Name: []byte("l"), Lease: 99})
	s.play(&recipe.LockRequest{Name: []byte("l"), Lease: -1})
	s.ask(everything())
}

// A lease that ends takes the claim of who waits with it.
func TestALockWhoseLeaseEnds(t *testing.T) { alike(t, both, lostLocks) }

func lostLocks(s *side) {
	s.leases(7, 8)
	s.play(&recipe.LockRequest{Name: []byte("l"), Lease: 7})
	finish := s.later(s.Context(), &recipe.LockRequest{Name: []byte("l"), Lease: 8})
	s.claimed("l/8")
	s.ask(&pb.LeaseRevokeRequest{ID: 8}, &pb.LeaseRevokeRequest{ID: 7})
	finish()
	s.ask(everything())
}

// Who gives up waiting leaves no claim behind.
func TestALockThatIsNotWaitedFor(t *testing.T) {
	alike(t, both, func(s *side) {
		s.leases(7, 8)
		for _, r := range []proto.Message{&recipe.LockRequest{Name: []byte("l"), Lease: 7}, &recipe.CampaignRequest{Name: []byte("e"), Lease: 7}} {
			s.play(r)
		}
		for key, r := range map[string]proto.Message{"l/8": &recipe.LockRequest{Name: []byte("l"), Lease: 8}} {
			ctx, cancel := context.WithCancel(s.Context())
			finish := s.later(ctx, r)
			s.claimed(key)
			cancel()
			finish()
			s.vanished(key)
		}
		ctx, cancel := context.WithCancel(s.Context())
		finish := s.later(ctx, &recipe.CampaignRequest{Name: []byte("e"), Lease: 8, Value: []byte("x")})
		s.claimed("e/8")
		cancel()
		finish()
		s.vanished("e/8")
		s.ask(everything())
	})
}

// vanished waits until a key that was there is not.
func (s *side) vanished(key string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	c := s.client()
	for r := range c.Watch(ctx, key, etcdclient.WithRev(s.base+1), etcdclient.WithFilterPut()) {
		if len(r.Events) > 0 {
			return
		}
	}
	s.Fatalf("%s: %s stays", s.name, key)
}

func TestElections(t *testing.T) { alike(t, both, elections) }

func elections(s *side) {
	s.leases(7, 8)
	name := []byte("e")
	s.play(&recipe.LeaderRequest{Name: name})
	s.play(&recipe.ProclaimRequest{})
	s.play(&recipe.ResignRequest{})
	won := s.play(&recipe.CampaignRequest{Name: name, Lease: 7, Value: []byte("one")}).(*recipe.CampaignResponse).Leader
	s.play(&recipe.CampaignRequest{Name: name, Lease: 7, Value: []byte("one")})
	s.play(&recipe.CampaignRequest{Name: name, Lease: 7, Value: []byte("another")})
	s.play(&recipe.LeaderRequest{Name: name})
	s.play(&recipe.ProclaimRequest{Leader: won, Value: []byte("two")})
	s.play(&recipe.LeaderRequest{Name: name})
	finish := s.later(s.Context(), &recipe.CampaignRequest{Name: name, Lease: 8, Value: []byte("next")})
	s.claimed("e/8")
	s.play(&recipe.LeaderRequest{Name: name})
	s.play(&recipe.ResignRequest{Leader: won})
	finish()
	s.play(&recipe.LeaderRequest{Name: name})
	s.play(&recipe.ResignRequest{Leader: won})
	s.play(&recipe.ProclaimRequest{Leader: won, Value: []byte("late")})
	s.play(&recipe.ProclaimRequest{Leader: &recipe.LeaderKey{Lease: 7}})
	s.play(&recipe.ResignRequest{Leader: &recipe.LeaderKey{Lease: 7}})
	s.play(&recipe.ProclaimRequest{Leader: &recipe.LeaderKey{Name: name, Key: []byte("e/8"), Rev: 99, Lease: 8}})
	s.play(&recipe.CampaignRequest{Name: name, Lease: 99})
	s.play(&recipe.CampaignRequest{Lease: 8})
	s.ask(everything())
}

// Locks and elections of etcd's client library are the same as the server's.
func TestRecipesOfTheClientAndTheServer(t *testing.T) { alike(t, both, mixedRecipes) }

func mixedRecipes(s *side) {
	s.leases(7, 8)
	c := s.client()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	session, err := concurrency.NewSession(c, concurrency.WithLease(7))
	if err != nil {
		s.Fatal(err)
	}
	mutex := concurrency.NewMutex(session, "l")
	s.told("lock by the client", nil, mutex.Lock(ctx))
	finish := s.later(ctx, &recipe.LockRequest{Name: []byte("l"), Lease: 8})
	s.claimed("l/8")
	s.told("unlock by the client", nil, mutex.Unlock(ctx))
	finish()
	s.told("try by the client", nil, mutex.TryLock(ctx))
	s.play(&recipe.UnlockRequest{Key: []byte("l/8")})
	s.told("try by the client", nil, mutex.TryLock(ctx))
}

func TestObserve(t *testing.T) { alike(t, both, observations) }

func observations(s *side) {
	s.leases(7, 8)
	name := []byte("e")
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	early, err := recipe.NewElectionClient(s.conn).Observe(ctx, &recipe.LeaderRequest{Name: name})
	if err != nil {
		s.Fatal(err)
	}
	hear := func(stream recipe.Election_ObserveClient) {
		s.Helper()
		reply, err := stream.Recv()
		if err != nil && !errors.Is(err, io.EOF) {
			s.Fatal(err)
		}
		s.note("observed", outcome(nil, reply, err))
	}
	won := s.play(&recipe.CampaignRequest{Name: name, Lease: 7, Value: []byte("one")}).(*recipe.CampaignResponse).Leader
	hear(early)
	late, err := recipe.NewElectionClient(s.conn).Observe(ctx, &recipe.LeaderRequest{Name: name})
	if err != nil {
		s.Fatal(err)
	}
	hear(late)
	for _, value := range []string{"two", "three"} {
		s.play(&recipe.ProclaimRequest{Leader: won, Value: []byte(value)})
		hear(early)
		hear(late)
	}
	finish := s.later(ctx, &recipe.CampaignRequest{Name: name, Lease: 8, Value: []byte("next")})
	s.claimed("e/8")
	s.play(&recipe.ResignRequest{Leader: won})
	finish()
	hear(early)
	hear(late)
}

func TestGatewayRecipes(t *testing.T) { alike(t, both, gatewayRecipes) }

func gatewayRecipes(s *side) {
	s.leases(7, 8)
	s.post("/v3/lock/lock", `{"name":"@l","lease":"7"}`, `{"name":"@l","lease":7}`, `{"name":"@l","lease":"99"}`, `{`)
	s.post("/v3/lock/unlock", `{"key":"@l/7"}`, `{"key":"@l/7"}`, `{}`)
	s.post("/v3/election/leader", `{"name":"@e"}`, `{}`)
	s.post("/v3/election/campaign", `{"name":"@e","lease":"7","value":"@one"}`)
	s.post("/v3/election/leader", `{"name":"@e"}`)
	s.post("/v3/election/proclaim", `{"leader":{"name":"@e","key":"@e/7","rev":"4","lease":"7"},"value":"@two"}`, `{"leader":{"name":"@e","key":"@e/7","rev":"1","lease":"7"}}`, `{}`)
	s.post("/v3/election/resign", `{"leader":{"name":"@e","key":"@e/7","rev":"4","lease":"7"}}`, `{}`)
	s.fetch("GET", "/v3/lock/lock", "")
	s.fetch("GET", "/v3/election/observe", "")
}
