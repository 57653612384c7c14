// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// issue makes a remote client's certificate and returns how to use it.
func (h home) issue(t *testing.T) *tls.Config {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "alice")
	h.ctl(t, "cert", "issue", "alice", "--out", dir)
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "alice.crt"), filepath.Join(dir, "alice.key"))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	return &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: roots}
}

// company is who does something else than put, while a crowd does.
type company struct {
	crowd                       *crowd
	gets, txns, kept, witnessed atomic.Int64
}

// accompany has clients at the sockets and over TLS get, change keys in
// transactions, watch and keep leases alive. What fails goes to the crowd's
// failures. leave ends them and says what they have done.
func (c *trio) accompany(w *crowd) (leave func() (said string)) {
	c.t.Helper()
	a := &company{crowd: w}
	ctx, cancel := context.WithCancel(c.t.Context())
	var all sync.WaitGroup
	for id := range 2 {
		client := c.dial(id)
		c.t.Cleanup(func() { _ = client.Close() })
		lease, err := client.Grant(ctx, 9)
		if err != nil {
			c.t.Fatal(err)
		}
		kept, err := client.KeepAlive(ctx, lease.ID)
		if err != nil {
			c.t.Fatal(err)
		}
		watched := client.Watch(ctx, fmt.Sprintf("txn%d", id), clientv3.WithCreatedNotify())
		if r := <-watched; !r.Created {
			c.t.Fatalf("watch: %+v", r)
		}
		all.Go(func() { a.get(ctx, client) })
		all.Go(func() { a.change(ctx, client, fmt.Sprintf("txn%d", id), lease.ID) })
		all.Go(func() { a.watch(ctx, watched) })
		all.Go(func() { a.keep(ctx, kept) })
	}
	return sync.OnceValue(func() string {
		cancel()
		all.Wait()
		return fmt.Sprintf("%d gets, %d transactions, %d events and %d keep-alives", a.gets.Load(), a.txns.Load(), a.witnessed.Load(), a.kept.Load())
	})
}

func (a *company) get(ctx context.Context, client *clientv3.Client) {
	for ctx.Err() == nil {
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		r, err := client.Get(short, "w0/00000000")
		cancel()
		if err == nil && len(r.Kvs) != 1 {
			err = fmt.Errorf("%d keys, want 1", len(r.Kvs))
		}
		a.count(ctx, &a.gets, "get", err)
	}
}

// change counts a key up; nobody else changes it. It is the lease's, so a lease
// that expires would take it away.
func (a *company) change(ctx context.Context, client *clientv3.Client, key string, lease clientv3.LeaseID) {
	for version := int64(0); ctx.Err() == nil; version++ {
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		r, err := client.Txn(short).
			If(clientv3.Compare(clientv3.Version(key), "=", version)).
			Then(clientv3.OpPut(key, "x", clientv3.WithLease(lease))).
			Commit()
		cancel()
		if err == nil && !r.Succeeded {
			err = fmt.Errorf("%s is not at version %d", key, version)
		}
		a.count(ctx, &a.txns, "txn", err)
	}
}

func (a *company) watch(ctx context.Context, watched clientv3.WatchChan) {
	version := int64(0)
	for r := range watched {
		if r.Err() != nil {
			a.count(ctx, &a.witnessed, "watch", r.Err())
		}
		for _, e := range r.Events {
			var err error
			if version++; e.Type != clientv3.EventTypePut || e.Kv.Version != version {
				err = fmt.Errorf("%s of %q, version %d, want %d", e.Type, e.Kv.Key, e.Kv.Version, version)
			}
			a.count(ctx, &a.witnessed, "watch", err)
		}
	}
	if ctx.Err() == nil {
		a.crowd.fail(fmt.Errorf("the watch ended at version %d", version))
	}
}

func (a *company) keep(ctx context.Context, kept <-chan *clientv3.LeaseKeepAliveResponse) {
	for r := range kept {
		var err error
		if r.TTL <= 0 {
			err = fmt.Errorf("TTL %d", r.TTL)
		}
		a.count(ctx, &a.kept, "keep alive", err)
	}
	if ctx.Err() == nil {
		a.crowd.fail(fmt.Errorf("a lease is kept alive no more"))
	}
}

// count takes note of one answer; what is cut off at the end is none.
func (a *company) count(ctx context.Context, done *atomic.Int64, what string, err error) {
	switch {
	case err == nil:
		done.Add(1)
	case ctx.Err() == nil:
		a.crowd.fail(fmt.Errorf("%s: %w", what, err))
	}
}
