// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/state"
)

// lead runs while this member leads.
func (d *Daemon) lead(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.keeper.Run(ctx) })
	g.Go(func() error { return d.collect(ctx) })
	g.Go(func() error { return d.promote(ctx) })
	g.Go(func() error { return d.raiseFormat(ctx) })
	g.Go(func() error { return d.compare(ctx) })
	return g.Wait()
}

// raiseFormat has the cluster use the newest format as soon as all its members
// have announced that they read it.
func (d *Daemon) raiseFormat(ctx context.Context) error {
	for {
		changed := d.machine.MembersChanged()
		var again <-chan time.Time
		if next := d.commonFormat(); next > d.machine.Format() {
			_, err := committed(d.node.Propose(ctx, state.FormatCommand(next)))
			switch {
			case err == nil:
				d.log.Info("all members read a newer format: it is used from now on, and no older cleatd can come back", "format", next)
			case ctx.Err() == nil:
				d.log.Warn("the format is not raised yet; trying again", "format", next, "cause", err)
				again = time.After(time.Second)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
		}
	}
}

// commonFormat is the newest format that all members read, zero while one of
// them has not said.
func (d *Daemon) commonFormat() uint32 {
	for _, m := range d.node.Members() {
		if row, known := d.machine.Member(m.ID); !known || row.Reserved {
			return 0
		}
	}
	return d.machine.Common()
}

// tooOld refuses a member that does not read what the cluster writes.
func (d *Daemon) tooOld(reads uint32) error {
	if format := d.machine.Format(); format > reads {
		return status.Errorf(codes.OutOfRange,
			"the cluster has format %d, that machine's cleatd reads up to %d: install a newer cleatd there", format, reads)
	}
	return nil
}
