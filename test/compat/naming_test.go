// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	etcdclient "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// updates writes down what a watcher of endpoints was told.
func (s *side) updates(ch endpoints.WatchChannel) {
	s.Helper()
	var said []string
	for _, u := range <-ch {
		said = append(said, fmt.Sprintf("%v %s %v", u.Op, u.Key, u.Endpoint))
	}
	s.note("updates", strings.Join(said, "; "))
}

func TestClientEndpoints(t *testing.T) {
	alike(t, []door{mutual}, func(s *side) {
		c := s.client()
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		manager, err := endpoints.NewManager(c, "service")
		if err != nil {
			s.Fatal(err)
		}
		s.leases(7)
		first := endpoints.Endpoint{Addr: "127.0.0.1:1", Metadata: "the first"}
		s.told("add", nil, manager.AddEndpoint(ctx, "service/1", first, etcdclient.WithLease(7)))
		told, err := manager.NewWatchChannel(ctx)
		s.told("watch", nil, err)
		s.updates(told)
		s.told("add", nil, manager.AddEndpoint(ctx, "service/2", endpoints.Endpoint{Addr: "127.0.0.1:2"}))
		s.updates(told)
		s.told("add badly", nil, manager.AddEndpoint(ctx, "elsewhere/2", first))
		s.told("add with a lease that is none", nil, manager.AddEndpoint(ctx, "service/3", first, etcdclient.WithLease(99)))
		s.told("several", nil, manager.Update(ctx, []*endpoints.UpdateWithOpts{
			endpoints.NewDeleteUpdateOpts("service/2"), endpoints.NewAddUpdateOpts("service/4", first), endpoints.NewAddUpdateOpts("service/5", first),
		}))
		s.updates(told)
		s.told("one twice", nil, manager.Update(ctx, []*endpoints.UpdateWithOpts{
			endpoints.NewAddUpdateOpts("service/6", first), endpoints.NewAddUpdateOpts("service/6", first),
		}))
		s.ask(&pb.LeaseRevokeRequest{ID: 7})
		s.updates(told)
		s.told("delete", nil, manager.DeleteEndpoint(ctx, "service/4"))
		s.updates(told)
		s.told("delete what is gone", nil, manager.DeleteEndpoint(ctx, "service/4"))
		all, err := manager.List(ctx)
		s.told(fmt.Sprint("all: ", all), nil, err)
		s.ask(everything())
	})
}

// greeter is a server that a name leads to: it knows one service, its own.
func greeter(t testing.TB, name string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	known := health.NewServer()
	known.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	g := grpc.NewServer()
	healthpb.RegisterHealthServer(g, known)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(listener) }()
	t.Cleanup(func() {
		g.Stop()
		<-ended
	})
	return listener.Addr().String()
}

// A connection by name goes to who has the name now.
func TestClientResolver(t *testing.T) {
	alike(t, []door{mutual}, func(s *side) {
		c := s.client()
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		manager, err := endpoints.NewManager(c, "greeters")
		if err != nil {
			s.Fatal(err)
		}
		byName, err := resolver.NewBuilder(c)
		if err != nil {
			s.Fatal(err)
		}
		conn, err := grpc.NewClient("etcd:///greeters", grpc.WithResolvers(byName), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			s.Fatal(err)
		}
		defer conn.Close()
		s.leases(7)
		for _, name := range []string{"one", "two", "three"} {
			where := endpoints.Endpoint{Addr: greeter(s, name)}
			s.told("add "+name, nil, manager.AddEndpoint(ctx, "greeters/it", where, etcdclient.WithLease(7)))
			for !greets(ctx, conn, name) {
				if ctx.Err() != nil {
					s.Fatalf("%s: the name never led to %s", s.name, name)
				}
			}
			s.note("greeted by", name)
		}
		s.ask(&pb.LeaseRevokeRequest{ID: 7}, get("greeters", "greeterz"))
	})
}

func greets(ctx context.Context, conn *grpc.ClientConn, name string) bool {
	r, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: name}, grpc.WaitForReady(true))
	return err == nil && r.Status == healthpb.HealthCheckResponse_SERVING
}

// shown is what a cached answer has for sure. Revisions it has not: how often
// clients claim a key of each other is the clock's affair.
func (s *side) shown(step string, r *etcdclient.GetResponse, err error) {
	s.Helper()
	if err != nil {
		s.told(step, nil, err)
		return
	}
	said := fmt.Sprint(r.Count, r.More)
	for _, kv := range r.Kvs {
		said += fmt.Sprintf(" %s=%s, of version %d", kv.Key, kv.Value, kv.Version)
	}
	s.note(step, said)
}

// Two clients that lease keys to each other see what both write, also when one
// lost its lease, and so its cache.
func TestClientLeasing(t *testing.T) {
	alike(t, []door{mutual}, func(s *side) {
		c := s.client()
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		brief := concurrency.WithTTL(12) // a third of it passes before a client hears that its lease is lost
		one, done, err := leasing.NewKV(c, "leased/", brief)
		if err != nil {
			s.Fatal(err)
		}
		defer done()
		other, finished, err := leasing.NewKV(s.client(), "leased/", brief)
		if err != nil {
			s.Fatal(err)
		}
		defer finished()
		look := func() {
			for _, kv := range []etcdclient.KV{one, other, one} {
				for _, key := range []string{"a", "b", "none"} {
					r, err := kv.Get(ctx, key)
					s.shown("get "+key, r, err)
				}
			}
			r, err := one.Get(ctx, "a", etcdclient.WithRange("c"))
			s.shown("get both", r, err)
		}
		write := func() {
			for _, kv := range []etcdclient.KV{one, other} {
				_, err := kv.Put(ctx, "a", "put")
				s.told("put", nil, err)
				look()
				r, err := kv.Txn(ctx).If(etcdclient.Compare(etcdclient.Value("a"), "=", "put"), etcdclient.Compare(etcdclient.Version("none"), "=", 0)).
					Then(etcdclient.OpPut("b", "then"), etcdclient.OpGet("a")).Else(etcdclient.OpDelete("a")).Commit()
				s.told("txn "+fmt.Sprint(r.Succeeded, len(r.Responses)), nil, err)
				look()
				gone, err := kv.Delete(ctx, "a")
				s.told("delete "+fmt.Sprint(gone.Deleted), nil, err)
				look()
				gone, err = kv.Delete(ctx, "a", etcdclient.WithRange("c")) // not the claims below leased/, which come and go
				s.told("delete all "+fmt.Sprint(gone.Deleted), nil, err)
			}
		}
		write()
		r, err := c.Leases(ctx)
		if err != nil || len(r.Leases) != 2 {
			s.Fatalf("%s: the leases of two clients: %v, %v", s.name, r, err)
		}
		for _, l := range r.Leases {
			_, err := c.Revoke(ctx, l.ID)
			s.told("a lease is lost", nil, err)
		}
		// Until it hears of that, which may come amid any request, a client has
		// the old lease and cache.
		for renewed := false; !renewed; {
			now, err := c.Leases(ctx)
			if err != nil {
				s.Fatalf("%s: the clients never got leases anew: %v", s.name, err)
			}
			renewed = len(now.Leases) == 2
		}
		for _, key := range []string{"a", "b", "none"} {
			_, err := c.Put(ctx, key, "by another")
			s.told("put by another", nil, err)
			s.notices(ctx, one, key, "by another") // that what it kept counts no more
			s.notices(ctx, other, key, "by another")
		}
		_, err = one.Delete(ctx, "none")
		s.told("delete", nil, err)
		write()
		_, err = one.Get(ctx, "a", etcdclient.WithRev(9999))
		s.told("a future revision", nil, err)
		_, err = one.Put(ctx, "", "x")
		s.told("no key", nil, err)
		rest, err := c.Get(ctx, "a", etcdclient.WithRange("b\x00"))
		s.shown("in the end", rest, err)
	})
}

// notices asks until a value is there.
func (s *side) notices(ctx context.Context, kv etcdclient.KV, key, value string) {
	s.Helper()
	for {
		r, err := kv.Get(ctx, key)
		if err != nil {
			s.Fatalf("%s: %s never became %s: %v", s.name, key, value, err)
		}
		if len(r.Kvs) == 1 && string(r.Kvs[0].Value) == value {
			return
		}
	}
}
