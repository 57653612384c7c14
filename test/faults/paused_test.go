// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestALeaderThatWasStoppedPromisesNoLease keeps leases alive at a leader that
// is stopped, when the others have elected another. Whoever answers when it
// goes on, the leases must live as long as promised.
func TestALeaderThatWasStoppedPromisesNoLease(t *testing.T) {
	needRoot(t)
	c := startCluster(t, 3, program(t, ".build", "faults", "cleatd"))
	c.history = newHistory(c.id)
	leader := c.healthy()
	other := c.others(leader)[0]
	ctx, cancel := context.WithCancel(t.Context())
	var watch, keep sync.WaitGroup
	watch.Go(func() { (&watching{from: 1}).run(ctx, c.history, other.client) })
	leases := c.leasesAt(leader, 50)

	leader.process.signal(t, syscall.SIGSTOP)
	c.elects(other, leader)
	<-time.After(time.Second) // by so much a promise of the old leader is wrong
	for lease, k := range leases {
		keep.Go(func() { _ = k.keepAlive(lease) }) // the history has what was promised
	}
	c.writeFor(other, time.Second) // the requests have come to where the old leader will find them
	leader.process.signal(t, syscall.SIGCONT)
	keep.Wait()

	c.leasesEnd(other)
	cancel()
	watch.Wait()
	report(t, c.check())
}

// leasesAt takes leases at a member, each by a client of its own, which has
// kept it alive already.
func (c *cluster) leasesAt(m *member, n int) map[int64]*client {
	c.t.Helper()
	leases := map[int64]*client{}
	for id := range n {
		k := newWorker(id, c.history, newClient(c.t, m.door()))
		lease, err := k.grant(4)
		if err != nil {
			c.t.Fatal(err)
		}
		must(c.t, k, bare(step{verb: put, key: fmt.Sprint(leased, id), value: k.value(), lease: lease}))
		if err := k.keepAlive(lease); err != nil {
			c.t.Fatal(err)
		}
		leases[lease] = k
	}
	return leases
}

// elects waits until a member knows another leader than one.
func (c *cluster) elects(m, than *member) {
	c.t.Helper()
	c.eventually("another leads", func(ctx context.Context) error {
		s, err := m.client.Status(ctx, m.client.Endpoints()[0])
		if err == nil && (s.Leader == than.id || s.Leader == 0) {
			err = errors.New("not yet")
		}
		return err
	})
}

// writeFor writes at a member for a while.
func (c *cluster) writeFor(m *member, span time.Duration) {
	c.t.Helper()
	w := newWorker(-1, c.history, m.client)
	for since := c.history.now(); c.history.now() < since+span; {
		must(c.t, w, bare(step{verb: put, key: registers, value: w.value()}))
	}
}
