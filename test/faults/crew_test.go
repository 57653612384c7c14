// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// crew is all clients of a run.
type crew struct {
	cluster    *cluster
	stop, done context.CancelFunc
	work       sync.WaitGroup // those who ask
	watch      sync.WaitGroup // those who watch
}

// startCrew lets three clients work at each member, one lock, one take leases
// and two watch.
func startCrew(c *cluster) *crew {
	work, stop := context.WithCancel(context.Background())
	drain, done := context.WithCancel(context.Background())
	w := &crew{cluster: c, stop: stop, done: done}
	c.t.Cleanup(func() { stop(); done(); w.work.Wait(); w.watch.Wait() })
	id := 0
	join := func(m *member) *client {
		id++
		return newWorker(id, c.history, newClient(c.t, m.door()))
	}
	for _, m := range c.members {
		for range 3 {
			worker := join(m)
			w.work.Go(func() { worker.run(work) })
		}
		locker, leaser := join(m), join(m)
		w.work.Go(func() { locker.lockUp(work, string('a'+rune(m.place%2))) })
		w.work.Go(func() { leaser.lease(work) })
		for range 2 {
			watcher := join(m)
			w.watch.Go(func() { watcher.watch(work, drain, m.place) })
		}
	}
	return w
}

// rest ends the clients' work, waits until what they have left is gone, and
// until every watcher has been given the last of it.
func (w *crew) rest() {
	c := w.cluster
	c.t.Helper()
	c.healthy()
	w.stop()
	w.work.Wait()
	leader := c.healthy()
	c.leasesEnd(leader)
	last := newWorker(0, c.history, leader.client)
	ends := map[string]int64{}
	for _, prefix := range []string{registers, markers, ""} {
		a, err := last.do(bare(step{verb: put, key: prefix + "end", value: last.value()}))
		if err != nil {
			c.t.Fatal(err)
		}
		ends[prefix] = a.revision
	}
	c.eventually("all watchers have got everything", func(context.Context) error { return c.history.drained(ends) })
	w.done()
	w.watch.Wait()
}

// leasesEnd waits until a member has no key of a lease any more.
func (c *cluster) leasesEnd(m *member) {
	c.t.Helper()
	c.eventually("all leases have ended", func(ctx context.Context) error {
		r, err := m.client.Get(ctx, leased, clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil && r.Count > 0 {
			err = fmt.Errorf("%d keys are left", r.Count)
		}
		return err
	})
}

// drained says whether all watchers have got what came last in their range.
func (h *history) drained(ends map[string]int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.watches {
		if end, ours := ends[w.prefix]; ours && !w.has(end) {
			return fmt.Errorf("a watcher at member %d on %q lacks revision %d", w.member+1, w.prefix, end)
		}
	}
	return nil
}
