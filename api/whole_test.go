// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/cleatd/cleat/lease"
	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
)

// applier is the state machine as raft wants it.
type applier struct{ *state.Machine }

func (a applier) Apply(entries []raft.Entry) [][]byte {
	plain := make([]state.Entry, len(entries))
	for i, e := range entries {
		plain[i] = state.Entry{Index: e.Index, Commands: e.Commands}
	}
	return a.Machine.Apply(plain)
}

func (a applier) Checkpoint(index uint64) (raft.Checkpoint, error) {
	return a.Machine.Checkpoint(index)
}

func (a applier) Prepare(from io.Reader) (raft.Prepared, error) { return a.Machine.Prepare(from) }

// withRaft puts real agreement and a real keeper under a server.
func withRaft(t testing.TB) func(*Config) {
	return func(c *Config) {
		node, err := raft.Open(raft.Config{
			Dir: t.TempDir(), Member: c.MemberID, Bootstrap: true, Logger: c.Logger,
			Fatal: func(err error) { t.Errorf("raft: %v", err) },
		}, applier{c.Machine})
		if err != nil {
			t.Fatal(err)
		}
		propose := func(ctx context.Context, command []byte) error {
			result, err := node.Propose(ctx, command)
			if err == nil {
				_, err = state.ParseResult(result)
			}
			return err
		}
		keeper := lease.NewKeeper(c.Machine.Leases(), lease.KeeperOptions{
			Confirm: node.Confirm,
			Expire:  func(ctx context.Context, refs []lease.Ref) error { return propose(ctx, state.ExpireCommand(refs)) },
			Checkpoint: func(ctx context.Context, left map[lease.Ref]int64) error {
				return propose(ctx, state.CheckpointCommand(left))
			},
		})
		ctx, cancel := context.WithCancel(context.Background())
		led := make(chan error, 1)
		go func() { led <- node.Lead(ctx, keeper.Run) }()
		t.Cleanup(func() {
			cancel()
			<-led
			if err := node.Shutdown(context.Background()); err != nil {
				t.Errorf("shut raft down: %v", err)
			}
		})
		if err := node.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		c.Node, c.Keeper = node, keeper
	}
}

// secureClient is etcd's client at the TLS door.
func secureClient(t testing.TB, address string, config *tls.Config) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"https://" + address}, TLS: config, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A service registers itself with a lease, another watches, and the first one
// dies: over mTLS, with real agreement and a real clock.
func TestALeaseEndsAndItsWatcherLearnsOfIt(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a lease of two seconds")
	}
	ours := newAuthority(t)
	s := startServer(t, withRaft(t))
	address := startTLS(t, s, ours.serverConfig(t))
	c := secureClient(t, address, ours.clientConfig(ours.issue(t, "alice", time.Now().Add(time.Hour))))
	ctx := t.Context()

	events := c.Watch(ctx, "/dc/", clientv3.WithPrefix())
	granted, err := c.Grant(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := c.Put(ctx, "/dc/1", "up", clientv3.WithLease(granted.ID)); err != nil {
		t.Fatal(err)
	}
	left, err := c.TimeToLive(ctx, granted.ID)
	if err != nil || left.TTL > 2 || left.TTL < 1 || left.GrantedTTL != 2 {
		t.Fatalf("got %v, %v", left, err)
	}
	for _, want := range []string{"PUT", "DELETE"} {
		r := <-events
		if err := r.Err(); err != nil || len(r.Events) != 1 || r.Events[0].Type.String() != want {
			t.Fatalf("got %+v (%v), want a %s", r, err, want)
		}
	}
	if lived := time.Since(began); lived < 2*time.Second-100*time.Millisecond || lived > 4*time.Second {
		t.Errorf("the lease lived %v", lived)
	}
	if _, err := c.KeepAliveOnce(ctx, granted.ID); err == nil {
		t.Error("a dead lease was renewed")
	}
}

// etcd's recipes use leases, transactions, watches and keep-alive together.
func TestALockPassesFromOneToTheOther(t *testing.T) {
	ours := newAuthority(t)
	s := startServer(t, withRaft(t))
	address := startTLS(t, s, ours.serverConfig(t))
	config := ours.clientConfig(ours.issue(t, "alice", time.Now().Add(time.Hour)))
	lock := func() (*concurrency.Mutex, error) {
		session, err := concurrency.NewSession(secureClient(t, address, config), concurrency.WithTTL(10))
		if err != nil {
			return nil, err
		}
		return concurrency.NewMutex(session, "/lock"), nil
	}
	first, err1 := lock()
	second, err2 := lock()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if err := first.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.TryLock(t.Context()); !errors.Is(err, concurrency.ErrLocked) {
		t.Fatalf("got %v", err)
	}
	got := make(chan error, 1)
	go func() { got <- second.Lock(t.Context()) }()
	if err := first.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(fmt.Errorf("the second did not get the lock: %w", err))
	}
}
