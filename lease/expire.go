// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"time"
)

// due takes the leases that have run out, and those whose time is to be
// recorded, up to a batch of each. If there are none it says how long none
// will be due; zero if there may be more.
//
// What is taken as run out cannot be renewed any more, whatever becomes of the
// proposal; and a renewal must undo a checkpoint from now on.
func (k *Keeper) due(s *clocks) (expired, checkpoints []*clock, idle time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	s.catchUp(now)
	// Each round handles one clock; its bound keeps the lock short.
	for range checkpointBatch {
		if len(s.queue) == 0 {
			return expired, checkpoints, math.MaxInt64
		}
		c := s.queue[0]
		if c.due > now {
			return expired, checkpoints, time.Duration(c.due - now)
		}
		if len(expired) == expireBatch {
			break
		}
		heap.Pop(&s.queue)
		if c.deadline <= now {
			expired = append(expired, c)
			continue
		}
		if c.checkpoint <= now {
			if c.flight == nil {
				c.checkpointed = true
				c.flight = make(chan struct{})
				checkpoints = append(checkpoints, c)
			}
			c.schedule(now)
		}
		s.enqueue(c)
	}
	return expired, checkpoints, 0
}

// expire has leases revoked. Those still in the table afterwards are put back
// in the queue.
func (k *Keeper) expire(ctx context.Context, s *clocks, expired []*clock) error {
	if len(expired) == 0 {
		return nil
	}
	refs := make([]Ref, len(expired))
	for i, c := range expired {
		refs[i] = c.lease.Ref()
	}
	err := k.options.Expire(ctx, refs)

	k.mu.Lock()
	defer k.mu.Unlock()
	s.catchUp(k.now())
	left := 0
	for _, c := range expired {
		if s.byID[c.lease.ID] == c {
			s.enqueue(c)
			left++
		}
	}
	k.metrics.expired.Add(float64(len(expired) - left))
	if err == nil && left > 0 {
		err = fmt.Errorf("lease: %d leases are left after their revocation", left)
	}
	return err
}

// checkpoint records what leases have left. A failure costs nothing but
// lateness; the next try comes with the next interval. No renewal is granted
// meanwhile, so what is left cannot grow.
func (k *Keeper) checkpoint(ctx context.Context, checkpoints []*clock) error {
	if len(checkpoints) == 0 {
		return nil
	}
	remaining := make(map[Ref]int64, len(checkpoints))
	k.mu.Lock()
	now := k.now()
	for _, c := range checkpoints {
		remaining[c.lease.Ref()] = max(c.remaining(now), 1)
	}
	k.mu.Unlock()
	err := k.options.Checkpoint(ctx, remaining)

	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range checkpoints {
		close(c.flight)
		c.flight = nil
	}
	return err
}
