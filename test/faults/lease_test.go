// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// tenure is what is known of a lease.
type tenure struct {
	id      int64
	until   time.Duration // it must not end before, by what was acknowledged
	why     string        // what was acknowledged
	revoked time.Duration // when somebody first asked to revoke it; zero: nobody did
}

// grant asks for a lease. The time of the question counts, not the answer's.
func (c *client) grant(ttl int64) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2500*time.Millisecond)
	defer cancel()
	sent := c.history.now()
	r, err := c.conn.Grant(ctx, ttl)
	if err != nil {
		return 0, err
	}
	if r.ResponseHeader.ClusterId != c.history.cluster {
		return 0, fmt.Errorf("cluster %x has answered", r.ResponseHeader.ClusterId)
	}
	c.history.prolong(int64(r.ID), sent, r.TTL, "granted")
	return int64(r.ID), nil
}

func (c *client) keepAlive(id int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2500*time.Millisecond)
	defer cancel()
	sent := c.history.now()
	r, err := c.conn.KeepAliveOnce(ctx, clientv3.LeaseID(id))
	if err != nil {
		return err
	}
	c.history.prolong(id, sent, r.TTL, "kept alive")
	return nil
}

func (c *client) revoke(id int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 2500*time.Millisecond)
	defer cancel()
	c.history.revoking(id)
	_, _ = c.conn.Revoke(ctx, clientv3.LeaseID(id)) // if it does not, the lease ends by itself
}

func (h *history) prolong(id int64, sent time.Duration, ttl int64, what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.leases[id]
	if t == nil {
		t = &tenure{id: id}
		h.leases[id] = t
	}
	if until := sent + time.Duration(ttl)*time.Second; until > t.until {
		t.until, t.why = until, fmt.Sprintf("%s for %d s at %.6f", what, ttl, sent.Seconds())
	}
}

func (h *history) revoking(id int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.leases[id]; t.revoked == 0 {
		t.revoked = h.now()
	}
}

// lease takes leases again and again, hangs keys on them, and keeps, revokes
// or abandons them.
func (c *client) lease(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		id, err := c.grant(2 + c.chance.Int64N(4))
		if err != nil {
			c.rest(ctx)
			continue
		}
		for key := range 1 + c.chance.IntN(3) {
			name := fmt.Sprintf("%s%d/%d/%d", leased, c.id, n, key)
			_, _ = c.do(bare(step{verb: put, key: name, value: c.value(), lease: id})) // the history has it
		}
		switch c.chance.IntN(3) {
		case 0: // abandoned
		case 1:
			c.rest(ctx)
			c.revoke(id)
		default:
			c.keep(ctx, id)
		}
	}
}

// keep keeps a lease alive for longer than it has, and abandons it then.
func (c *client) keep(ctx context.Context, id int64) {
	for range 5 + c.chance.IntN(10) {
		select {
		case <-time.After(700 * time.Millisecond):
		case <-ctx.Done():
			return
		}
		if err := c.keepAlive(id); err != nil && ctx.Err() != nil {
			return
		}
	}
}
