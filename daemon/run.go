// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/cleatd/cleat/lease"
	"github.com/cleatd/cleat/state"
)

// Run tells systemd that the member is ready, and keeps it until ctx ends or
// the member cannot go on; the error is then the reason. The caller closes the
// daemon in both cases. When the member joins a cluster, or is recovered, it ends
// and begins anew on what it then is, behind the same doors.
func (d *Daemon) Run(ctx context.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	defer notify(d.log, sd.SdNotifyStopping+"\nSTATUS=stopping")
	for {
		notify(d.log, sd.SdNotifyReady+"\nSTATUS=serving cluster "+hexID(d.dir.clusterID()))
		next, err := d.live(ctx, hangup)
		if next.do == nil {
			return err
		}
		if err := d.beginAnew(ctx, next); err != nil {
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
	notify(d.log, sd.SdNotifyReloading+"\nSTATUS="+next.what)
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
func (d *Daemon) live(ctx context.Context, hangup <-chan os.Signal) (next rebirth, err error) {
	for {
		select {
		case <-ctx.Done():
			d.log.Info("stopping", "reason", context.Cause(ctx))
			return rebirth{}, nil
		case err := <-d.fatal:
			return rebirth{}, d.withMend(err)
		case next := <-d.anew:
			return next, nil
		case <-hangup:
			d.applyReload()
		}
	}
}

// applyReload takes over what may change in a running member. Settings that
// cannot are named; a bad configuration changes nothing.
func (d *Daemon) applyReload() {
	notifyReloading(d.log)
	defer notify(d.log, sd.SdNotifyReady)
	if d.reload != nil {
		next, err := d.reload()
		if err != nil {
			d.log.Error("the new configuration is refused, the old one stays in force", "cause", err)
			return
		}
		for _, name := range d.config.fixedChanges(next) {
			d.log.Warn("this setting changes with the next start only", "setting", name)
		}
		d.config.LogLevel = next.LogLevel
		d.level.Set(next.LogLevel)
	}
	if err := d.pki.Reload(); err != nil {
		d.log.Error("certificates were not reloaded, the old ones stay in force", "cause", err)
		return
	}
	d.log.Info("reloaded", "log_level", d.config.LogLevel)
}

// fixedChanges names the settings of next that differ and need a restart.
func (c Config) fixedChanges(next Config) []string {
	next.LogLevel = c.LogLevel
	var names []string
	for _, s := range Settings() {
		if !s.same(&c, &next) {
			names = append(names, s.Name)
		}
	}
	return names
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
