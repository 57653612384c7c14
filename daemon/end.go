// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
)

// How a member ends: the reverse of how it begins.

// closeAfter closes what a failed start has opened. Its own faults follow from
// the failure more often than not, and must not hide it.
func (d *Daemon) closeAfter() {
	if err := d.Close(); err != nil {
		d.log.Warn("closing after a failed start", "cause", err)
	}
}

// fail tells Run of what ends this member. The first cause is the one shown.
func (d *Daemon) fail(err error) {
	select {
	case d.fatal <- err:
	default:
	}
}

// Close ends the member in the reverse order of Open, the network first, so
// that nothing new arrives while the rest drains. It takes two seconds at most
// (tests allow more); what hangs longer is reported and left.
func (d *Daemon) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), d.limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.closeInOrder(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("stop: not done after %v; the log has everything that was acknowledged", d.limit)
	}
}

func (d *Daemon) closeInOrder(ctx context.Context) error {
	signal.Stop(d.hangup)
	errs := []error{d.end(ctx)}
	if d.doors != nil {
		d.doors.Close()
	}
	if d.dir != nil {
		errs = append(errs, d.dir.Close()) // last: the directory is free for the next
	}
	return errors.Join(errs...)
}

// handOver gives leadership to another member, if there is one.
func (d *Daemon) handOver(ctx context.Context) {
	if d.node == nil || len(d.node.Members()) < 2 || d.node.Status().Leader != d.dir.memberID() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.limit/2)
	defer cancel()
	if err := d.node.Transfer(ctx, 0); err != nil {
		d.log.Warn("leadership was not handed over; the others elect a leader", "cause", err)
	}
}

// end is the reverse of begin.
func (d *Daemon) end(ctx context.Context) error {
	var errs []error
	d.handOver(ctx) // while requests still pass
	if d.server != nil {
		d.server.Stop(ctx)
	}
	d.closeTracing(ctx) // there are no more requests
	d.stop()            // leader work ends while proposals still pass
	d.work.Wait()
	if d.node != nil {
		errs = append(errs, d.node.Shutdown(ctx))
	}
	if d.store != nil {
		errs = append(errs, d.store.Close()) // after the log: nothing applies any more
	}
	d.server, d.ca, d.node, d.store, d.pki, d.peers = nil, nil, nil, nil, nil, nil
	return errors.Join(errs...)
}
