// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	etcdclient "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
	"go.etcd.io/etcd/client/v3/snapshot"
	"go.uber.org/zap"
)

// do writes down what a KV of etcd's client makes of operations.
func (s *side) do(kv etcdclient.KV, ops ...etcdclient.Op) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	for i, op := range ops {
		r, err := kv.Do(ctx, op)
		if err != nil {
			s.told(fmt.Sprint("op ", i), nil, err)
			continue
		}
		s.told(fmt.Sprint("op ", i), answerOf(r), nil)
	}
}

// events writes down as many as there are, however they come together.
func (s *side) events(step string, ch etcdclient.WatchChan, n int) {
	s.Helper()
	for n > 0 {
		r, open := <-ch
		if !open || r.Err() != nil {
			s.Fatalf("%s: %s: no more events: %v", s.name, step, r.Err())
		}
		n -= len(r.Events)
		for _, e := range r.Events {
			s.note(step, fmt.Sprint(e.Type, e.Kv, " before ", e.PrevKv))
		}
	}
}

func TestClientNamespace(t *testing.T) {
	alike(t, []door{mutual}, func(s *side) {
		c := s.client()
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		s.leases(7)
		s.ask(put("a", "outside"), put("app", "outside"), put("app0", "outside"))
		kv, watcher, lease := namespace.NewKV(c.KV, "app/"), namespace.NewWatcher(c.Watcher, "app/"), namespace.NewLease(c.Lease, "app/")
		live := watcher.Watch(ctx, "", etcdclient.WithPrefix(), etcdclient.WithPrevKV())
		one := watcher.Watch(ctx, "b", etcdclient.WithRev(1))
		s.do(kv,
			etcdclient.OpPut("a", "1", etcdclient.WithLease(7)), etcdclient.OpPut("b", "1"), etcdclient.OpPut("a", "2", etcdclient.WithPrevKV(), etcdclient.WithIgnoreLease()),
			etcdclient.OpPut("", "x"), etcdclient.OpGet(""), etcdclient.OpGet("a"), etcdclient.OpGet("", etcdclient.WithPrefix()), etcdclient.OpGet("b", etcdclient.WithFromKey()),
			etcdclient.OpGet("a", etcdclient.WithRange("b")), etcdclient.OpGet("a", etcdclient.WithRev(99)),
			etcdclient.OpTxn([]etcdclient.Cmp{etcdclient.Compare(etcdclient.Value("a"), "=", "2"), etcdclient.Compare(etcdclient.Version("").WithPrefix(), ">", 0)},
				[]etcdclient.Op{etcdclient.OpPut("c", "1"), etcdclient.OpTxn(nil, []etcdclient.Op{etcdclient.OpGet("", etcdclient.WithPrefix()), etcdclient.OpDelete("b", etcdclient.WithPrevKV())}, nil)},
				[]etcdclient.Op{etcdclient.OpGet("a")}),
			etcdclient.OpDelete("", etcdclient.WithFromKey(), etcdclient.WithPrevKV()),
		)
		s.events("below the namespace", live, 7)
		s.events("one key", one, 2)
		s.do(kv, etcdclient.OpPut("z", "1", etcdclient.WithLease(7)))
		s.events("below the namespace", live, 1)
		left, err := lease.TimeToLive(ctx, 7, etcdclient.WithAttachedKeys())
		if err != nil {
			s.Fatal(err)
		}
		s.note("keys of the lease", fmt.Sprintf("%q", left.Keys))
		s.ask(&pb.LeaseRevokeRequest{ID: 7})
		s.events("the lease is lost", live, 1)
		s.ask(everything(), &pb.CompactionRequest{Revision: 5})
		s.seen("compacted", <-watcher.Watch(ctx, "", etcdclient.WithPrefix(), etcdclient.WithRev(2)))
	})
}

// stale answers as it did before, for a while: a member that is behind.
type stale struct {
	etcdclient.KV
	answer etcdclient.OpResponse
	times  int
}

func (s *stale) Do(ctx context.Context, op etcdclient.Op) (etcdclient.OpResponse, error) {
	if s.times--; s.times >= 0 {
		return s.answer, nil
	}
	return s.KV.Do(ctx, op)
}

// Revisions only rise, so an answer of a member that is behind is noticed.
func TestClientOrdering(t *testing.T) {
	alike(t, []door{mutual}, func(s *side) {
		c := s.client()
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		behind := &stale{KV: c.KV}
		kv := ordering.NewKV(behind, func(_ etcdclient.Op, r etcdclient.OpResponse, before int64) error {
			s.note("a violation", fmt.Sprint(r.Get().Header.Revision, " after ", before))
			return nil
		})
		for i := range 3 {
			s.ask(put("a", fmt.Sprint(i)))
			r, err := kv.Get(ctx, "a", etcdclient.WithSerializable())
			s.told("serializable", (*pb.RangeResponse)(r), err)
			if i == 0 {
				behind.answer = r.OpResponse()
			}
		}
		behind.times = 2
		r, err := kv.Get(ctx, "a")
		s.told("behind", (*pb.RangeResponse)(r), err)
		txn, err := kv.Txn(ctx).If(etcdclient.Compare(etcdclient.Version("a"), ">", 9)).Else(etcdclient.OpGet("a"), etcdclient.OpPut("b", "1")).Commit()
		s.told("transaction", (*pb.TxnResponse)(txn), err)
		behind.times = 99
		_, err = ordering.NewKV(behind, ordering.NewOrderViolationSwitchEndpointClosure(c)).Get(ctx, "a")
		s.told("behind from the start", nil, err)
		strict := ordering.NewKV(behind, ordering.NewOrderViolationSwitchEndpointClosure(c))
		behind.times = 0
		_, err = strict.Get(ctx, "a")
		s.told("up to date", nil, err)
		behind.times = 99
		_, err = strict.Get(ctx, "a")
		s.told("behind for ever", nil, err)
	})
}

// A mirror takes what there is in pages, then what changes; it is told when the
// history that it needs is gone.
func TestClientMirror(t *testing.T) {
	alike(t, []door{mutual}, func(s *side) {
		c := s.client()
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		for i := range 10 {
			r := &pb.TxnRequest{}
			for j := range 128 {
				r.Success = append(r.Success, opPut(fmt.Sprintf("k%d/%03d", i, j), "x"))
			}
			s.ask(r)
		}
		s.ask(put("a", "1"), put("z", "1"))
		for _, prefix := range []string{"", "k", "k3/", "none"} {
			syncer := mirror.NewSyncer(c, prefix, 0)
			pages, errs := syncer.SyncBase(ctx)
			for r := range pages {
				s.told("a page of "+prefix, (*pb.RangeResponse)(r), nil)
			}
			s.told("base of "+prefix, nil, <-errs)
			updates := syncer.SyncUpdates(ctx)
			s.ask(put(prefix+"new", "1"), del(prefix+"new", ""))
			s.events("update of "+prefix, updates, 2)
		}
		early := mirror.NewSyncer(c, "k", 3)
		s.ask(&pb.CompactionRequest{Revision: 12, Physical: true})
		_, errs := early.SyncBase(ctx)
		s.told("a base that is gone", nil, <-errs)
		s.seen("updates that are gone", <-early.SyncUpdates(ctx))
	})
}

func TestClientSnapshot(t *testing.T) {
	alike(t, []door{mutual}, func(s *side) {
		s.ask(put("a", "1"), put("b", "2"), del("a", ""), &pb.LeaseGrantRequest{ID: 7, TTL: 1000}, &pb.PutRequest{Key: []byte("c"), Lease: 7})
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		config := etcdclient.Config{Endpoints: []string{s.target()}, TLS: s.tls}
		path := filepath.Join(s.TempDir(), "db")
		version, err := snapshot.SaveWithVersion(ctx, zap.NewNop(), config, path)
		s.told("saved, of version "+storageVersion(version), nil, err)
		info, err := os.Stat(path)
		if err != nil {
			s.Fatal(err)
		}
		s.note("its size", fmt.Sprint("of pages and a sum: ", info.Size()%512))
		for _, name := range []string{"key", "lease"} {
			s.note("its "+name, fmt.Sprint(buckets(s, path)[name]))
		}
		config.Endpoints = append(config.Endpoints, "another")
		_, err = snapshot.SaveWithVersion(ctx, zap.NewNop(), config, path)
		s.note("of two at once is refused", fmt.Sprint(err != nil))
		cancel()
		_, err = snapshot.SaveWithVersion(ctx, zap.NewNop(), etcdclient.Config{Endpoints: []string{s.target()}, TLS: s.tls}, filepath.Join(s.TempDir(), "db"))
		s.told("given up", nil, err)
	})
}

func TestClientKubernetes(t *testing.T) {
	alike(t, []door{mutual}, func(s *side) {
		c, err := kubernetes.New(etcdclient.Config{Endpoints: []string{s.target()}, TLS: s.tls, Logger: zap.NewNop()})
		if err != nil {
			s.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		defer cancel()
		told := func(step string, reply any, err error) { s.note(step, fmt.Sprintf("%+v %v", reply, err)) }
		write := func(key, value string, expected int64, options kubernetes.PutOptions) {
			r, err := c.Kubernetes.OptimisticPut(ctx, key, []byte(value), expected, options)
			told(fmt.Sprint("put ", key, expected, options), r, err)
		}
		remove := func(key string, expected int64, options kubernetes.DeleteOptions) {
			r, err := c.Kubernetes.OptimisticDelete(ctx, key, expected, options)
			told(fmt.Sprint("delete ", key, expected, options), r, err)
		}
		s.leases(7)
		for i := range 5 {
			write(fmt.Sprint("/registry/pods/", i), "pod", 0, kubernetes.PutOptions{})
		}
		write("/registry/pods/0", "taken", 0, kubernetes.PutOptions{GetOnFailure: true})
		write("/registry/pods/0", "taken", 0, kubernetes.PutOptions{})
		write("/registry/pods/0", "moved", 2, kubernetes.PutOptions{LeaseID: 7})
		write("/registry/pods/0", "late", 2, kubernetes.PutOptions{GetOnFailure: true})
		write("/registry/pods/9", "none", 2, kubernetes.PutOptions{GetOnFailure: true})
		write("/registry/pods/9", "none", 0, kubernetes.PutOptions{LeaseID: 99})
		for _, options := range []kubernetes.ListOptions{{}, {Limit: 2}, {Limit: 2, Continue: "/registry/pods/1\x00"}, {Revision: 3}, {Revision: 99}, {Limit: 1, Revision: 4, Continue: "/registry/pods/4"}} {
			r, err := c.Kubernetes.List(ctx, "/registry/pods/", options)
			told(fmt.Sprint("list ", options), r, err)
		}
		count, err := c.Kubernetes.Count(ctx, "/registry/pods/", kubernetes.CountOptions{})
		told("count", count, err)
		remove("/registry/pods/1", 9, kubernetes.DeleteOptions{GetOnFailure: true})
		remove("/registry/pods/1", 9, kubernetes.DeleteOptions{})
		remove("/registry/pods/1", 3, kubernetes.DeleteOptions{GetOnFailure: true})
		remove("/registry/pods/1", 3, kubernetes.DeleteOptions{GetOnFailure: true})
		s.ask(&pb.LeaseRevokeRequest{ID: 7}, &pb.CompactionRequest{Revision: 7})
		for _, revision := range []int64{0, 3, 7, 99} {
			r, err := c.Kubernetes.Get(ctx, "/registry/pods/0", kubernetes.GetOptions{Revision: revision})
			told(fmt.Sprint("get at ", revision), r, err)
			list, err := c.Kubernetes.List(ctx, "/registry/", kubernetes.ListOptions{Revision: revision})
			told(fmt.Sprint("list at ", revision), list, err)
		}
	})
}
