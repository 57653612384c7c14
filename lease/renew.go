// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"fmt"
)

// Renew gives a lease its whole TTL again and returns it, in seconds.
//
// A lease that has run out is not revived, even if its revocation has not been
// applied yet: Renew waits for that, so that who learns that a lease is gone
// finds its keys gone too, and returns [ErrNotFound]. If the state holds a
// checkpoint, the renewal is recorded there before Renew returns: the next
// leader must not start from the checkpoint.
//
// A member that was stopped, or cut off, may believe that it leads while
// another measures the lease's time already. So leadership is confirmed after
// the renewal: whoever leads next begins with the whole TTL after it.
//
// Renew fails with [ErrNotLeading] when this member does not lead, or stops
// to, and with ctx's error.
func (k *Keeper) Renew(ctx context.Context, id int64) (ttl int64, err error) {
	for {
		ttl, pending, err := k.renew(ctx, id)
		if pending == nil && err == nil {
			return ttl, k.confirm(ctx)
		}
		if pending == nil {
			return 0, err
		}
		select {
		case <-pending.done:
		case <-pending.ended:
			return 0, ErrNotLeading
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		if pending.expiry {
			return 0, ErrNotFound
		}
	}
}

func (k *Keeper) confirm(ctx context.Context) error {
	err := k.options.Confirm(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrNotLeading, err)
}

// pending is what a renewal must wait for.
type pending struct {
	done, ended <-chan struct{}
	expiry      bool
}

func (k *Keeper) renew(ctx context.Context, id int64) (int64, *pending, error) {
	k.mu.Lock()
	c, now, err := k.clockLocked(id)
	if err != nil {
		k.mu.Unlock()
		return 0, nil, err
	}
	defer k.mu.Unlock()
	switch s := k.clocks; {
	case c.deadline <= now:
		if c.gone == nil {
			c.gone = make(chan struct{})
		}
		return 0, &pending{c.gone, s.ended, true}, nil
	case c.flight != nil:
		return 0, &pending{c.flight, s.ended, false}, nil
	}
	c.wind(now, c.lease.TTL)
	if c.checkpointed {
		if err := k.undoLocked(ctx, c); err != nil {
			return 0, nil, err
		}
	}
	k.metrics.renewed.Inc()
	return c.lease.TTL, nil, nil
}

// undoLocked lets go of the lock while it records that a checkpointed lease
// was renewed.
func (k *Keeper) undoLocked(ctx context.Context, c *clock) error {
	s := k.clocks
	flight := make(chan struct{})
	c.flight = flight
	k.mu.Unlock()
	err := k.options.Checkpoint(ctx, map[Ref]int64{c.lease.Ref(): c.lease.TTL})
	k.mu.Lock()
	c.flight = nil
	close(flight)
	if err != nil {
		return fmt.Errorf("record the renewal of lease %x: %w", c.lease.ID, err)
	}
	c.checkpointed = false
	if k.clocks != s {
		return ErrNotLeading
	}
	return nil
}
