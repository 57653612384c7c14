// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// member is a replicated table with its keeper. What the keeper proposes is
// applied at once, unless a test says otherwise.
type member struct {
	t       testing.TB
	disk    *disk
	metrics *prometheus.Registry // anew with each restart
	table   *Table
	keeper  *Keeper

	mu          sync.Mutex // one command at a time; guards all below
	index       uint64     // of the last grant
	expired     map[int64]time.Time
	checkpoints []map[int64]int64
	fault       error         // a proposal fails with it
	hold        chan struct{} // a proposal waits until it is closed
	held        int           // proposals that wait
	deposed     error         // why it cannot confirm that it leads
}

func leads(context.Context) error { return nil }

func newMember(t testing.TB) *member {
	m := &member{t: t, disk: newDisk(), expired: make(map[int64]time.Time)}
	m.open()
	return m
}

// open is what a restart does.
func (m *member) open() {
	m.t.Helper()
	m.table = load(m.t, m.disk)
	m.metrics = prometheus.NewRegistry()
	m.keeper = NewKeeper(m.table, KeeperOptions{
		Confirm:    func(context.Context) error { return m.deposed },
		Expire:     m.expire,
		Checkpoint: m.checkpoint,
		Logger:     slog.New(slog.NewTextHandler(m.t.Output(), nil)),
		Registerer: m.metrics,
	})
}

// lead runs the keeper until the function that it returns is called.
func (m *member) lead() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- m.keeper.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			m.t.Errorf("run ended with %v", err)
		}
	}
}

func (m *member) propose(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hold == nil {
		return m.fault
	}
	hold := m.hold
	m.held++
	m.mu.Unlock()
	select {
	case <-hold:
	case <-ctx.Done():
	}
	m.mu.Lock()
	m.held--
	return errors.Join(m.fault, ctx.Err())
}

func (m *member) expire(ctx context.Context, refs []Ref) error {
	if err := m.propose(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range refs {
		if !m.table.Holds(r) {
			continue // revoked by its owner meanwhile
		}
		if _, err := m.table.Revoke(m.disk, r.ID); err != nil {
			return err
		}
		m.expired[r.ID] = time.Now()
	}
	return nil
}

func (m *member) checkpoint(ctx context.Context, remaining map[Ref]int64) error {
	if err := m.propose(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checkpoints = append(m.checkpoints, byID(remaining))
	for r, left := range remaining {
		if err := m.table.Checkpoint(m.disk, r, left); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

func byID(remaining map[Ref]int64) map[int64]int64 {
	plain := make(map[int64]int64, len(remaining))
	for r, left := range remaining {
		plain[r.ID] = left
	}
	return plain
}

func (m *member) grant(id, ttl int64) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index++
	must(m.t, m.table.Grant(m.disk, id, ttl, m.index))
}

func (m *member) revoke(id int64) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.table.Revoke(m.disk, id)
	must(m.t, err)
}

func (m *member) renew(id int64) (int64, error) { return m.keeper.Renew(context.Background(), id) }

func (m *member) setFault(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = err
}

// holdProposals makes proposals wait until release is called.
func (m *member) holdProposals() (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hold := make(chan struct{})
	m.hold = hold
	return func() {
		m.mu.Lock()
		m.hold = nil
		m.mu.Unlock()
		close(hold)
	}
}

func (m *member) wantAlive(id int64, alive bool) {
	m.t.Helper()
	synctest.Wait()
	if _, known := m.table.Lookup(id); known != alive {
		m.t.Fatalf("lease %d alive: %v, want %v", id, known, alive)
	}
}

// story runs a test in a bubble where time stands still until all wait.
func story(t *testing.T, tell func(t *testing.T, m *member)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { tell(t, newMember(t)) })
}

const tick = time.Nanosecond
