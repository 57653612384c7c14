// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// load are clients that put one new key after another, and remember each for
// which they were told that it is there.
type load struct {
	t    *testing.T
	stop context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex // guards what follows
	acked  map[string]string
	failed []error // of puts whose outcome nobody knows
}

// begin sets writers to work, each with the client for its number.
func begin(t *testing.T, writers int, client func(n int) *clientv3.Client) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{t: t, stop: stop, acked: make(map[string]string)}
	for n := range writers {
		c := client(n)
		l.done.Go(func() { l.write(ctx, c, n) })
	}
	t.Cleanup(l.end)
	l.flows()
	return l
}

func (l *load) write(ctx context.Context, c *clientv3.Client, writer int) {
	for n := 0; ctx.Err() == nil; n++ {
		key, value := fmt.Sprintf("load/%d/%d", writer, n), fmt.Sprint("value ", writer*n)
		limited, cancel := context.WithTimeout(ctx, patience/2)
		_, err := c.Put(limited, key, value)
		cancel()
		l.mu.Lock()
		if err == nil {
			l.acked[key] = value
		} else if ctx.Err() == nil {
			l.failed = append(l.failed, fmt.Errorf("put %s: %w", key, err))
		}
		l.mu.Unlock()
	}
}

// flows returns once a hundred more puts were acknowledged, so that what comes
// next comes under load.
func (l *load) flows() {
	l.t.Helper()
	enough := l.count() + 100
	eventually(l.t, "puts go on", func() error {
		if n := l.count(); n < enough {
			return fmt.Errorf("%d of %d; failed: %v", n, enough, l.failures())
		}
		return nil
	})
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// failures are the last few reasons.
func (l *load) failures() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failed[max(0, len(l.failed)-5):])
}

// end stops the writers.
func (l *load) end() {
	l.stop()
	l.done.Wait()
}

// check ends the load, and wants all that was acknowledged to be there. It
// returns how much that was.
func (l *load) check(c *clientv3.Client) int {
	l.t.Helper()
	l.end()
	r, err := c.Get(within(l.t), "load/", clientv3.WithPrefix())
	if err != nil {
		l.t.Fatalf("list what was put: %v", err)
	}
	lost := maps.Clone(l.acked)
	for _, kv := range r.Kvs {
		if lost[string(kv.Key)] == string(kv.Value) {
			delete(lost, string(kv.Key))
		}
	}
	if len(lost) > 0 {
		l.t.Errorf("%d of %d acknowledged puts are lost or changed, such as %v", len(lost), len(l.acked), slices.Sorted(maps.Keys(lost))[0])
	}
	return len(l.acked)
}

// unfailing wants that no put has failed: nobody noticed what was done.
func (l *load) unfailing() {
	l.t.Helper()
	if failed := l.failures(); len(failed) > 0 {
		l.t.Errorf("puts failed: %v", failed)
	}
}

// local is a client of the machine's socket, which finds it again after reboots.
func (m *machine) local() *clientv3.Client {
	m.t.Helper()
	return newClient(m.t, clientv3.Config{Endpoints: []string{"unix:///run/cleat/cleat.sock"}}, func(ctx context.Context, _ string) (net.Conn, error) {
		return m.dialUnix(ctx, "/run/cleat/cleat.sock")
	})
}

// remote is a client on the machine that goes over the network.
func (m *machine) remote(trust *tls.Config, endpoints ...string) *clientv3.Client {
	m.t.Helper()
	return newClient(m.t, clientv3.Config{Endpoints: endpoints, TLS: trust}, m.dialTCP)
}

// newClient comes back soon to a member that was away.
func newClient(t testing.TB, config clientv3.Config, dial func(context.Context, string) (net.Conn, error)) *clientv3.Client {
	t.Helper()
	soon := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}
	config.Logger = zap.NewNop()
	config.DialKeepAliveTime, config.DialKeepAliveTimeout = time.Second, time.Second // a cut cable says nothing
	config.DialOptions = []grpc.DialOption{
		grpc.WithContextDialer(dial),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: time.Second}),
	}
	c, err := clientv3.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
