// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cleatd/cleat/lease"
	"github.com/cleatd/cleat/state"
)

// Run tells systemd that the member is ready, and keeps it until ctx ends or
// the member cannot go on; the error is then the reason. The caller closes the
// daemon in both cases. When the member joins a cluster, or is recovered, it ends
// and begins anew on what it then is, behind the same doors.
func (d *Daemon) Run(ctx context.Context) error {
	for {
		notify(d.log, ready(d.statusText()))
		next, err := d.live(ctx)
		if next.do != nil {
			err = d.beginAnew(ctx, next)
		}
		if next.do == nil || err != nil {
			d.tellEnd(ctx, err)
			return err
		}
	}
}

// rebirth is what becomes of a member's directory between its end and a new
// beginning. The zero value is an end for good.
type rebirth struct {
	what string // "joining a cluster"
	do   func() error
}

// beginAnew ends the member that was, and begins the one that it becomes.
func (d *Daemon) beginAnew(ctx context.Context, next rebirth) error {
	notifyReloading(d.log, next.what)
	defer d.begins.told(d.log, tellEvery)()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.limit)
	defer cancel()
	if err := d.end(closing); err != nil {
		d.log.Warn("closing before "+next.what, "cause", err)
	}
	if err := next.do(); err != nil {
		return fmt.Errorf("%s: %w", next.what, err)
	}
	select {
	case <-d.fatal: // of the member that was
	default:
	}
	return d.begin(ctx)
}

// live returns when the member is to end, for good or to begin anew.
func (d *Daemon) live(ctx context.Context) (next rebirth, err error) {
	for {
		select {
		case <-ctx.Done():
			d.log.Info("stopping", "reason", context.Cause(ctx))
			return rebirth{}, nil
		case err := <-d.fatal:
			return rebirth{}, d.withMend(err)
		case next := <-d.anew:
			return next, nil
		case <-d.hangup:
			d.applyReload()
		case asker := <-d.reloads:
			asker <- d.applyReload()
		}
	}
}

// collectEvery is how often the leader collects what has expired in the
// ledger, and collectMost how much in one command.
const (
	collectEvery = time.Minute
	collectMost  = 1000
)

// collect deletes expired ledger items while this member leads.
func (d *Daemon) collect(ctx context.Context) error {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		_, err := committed(d.node.Propose(ctx, state.LedgerExpireCommand(time.Now(), collectMost)))
		if err != nil && ctx.Err() == nil {
			d.log.Warn("expired ledger items were not collected; the next round tries again", "cause", err)
		}
	}
}

func (d *Daemon) confirm(ctx context.Context) error { return d.node.Confirm(ctx) }

func (d *Daemon) proposeExpiry(ctx context.Context, refs []lease.Ref) error {
	_, err := committed(d.node.Propose(ctx, state.ExpireCommand(refs)))
	return err
}

func (d *Daemon) proposeCheckpoint(ctx context.Context, remaining map[lease.Ref]int64) error {
	_, err := committed(d.node.Propose(ctx, state.CheckpointCommand(remaining)))
	return err
}

// committed reads a result whose payload does not matter. It is false when a
// ledger's condition did not hold.
func committed(result []byte, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	_, err = state.ParseResult(result)
	if errors.Is(err, state.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}
