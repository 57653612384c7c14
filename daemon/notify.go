// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notify tells systemd how the service is. Without systemd it does nothing.
func notify(log *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.Warn("systemd was not told", "state", state, "cause", err)
	}
}

// tellEnd says why the member ends.
func (d *Daemon) tellEnd(ctx context.Context, err error) {
	why := "stopping"
	if err != nil && ctx.Err() == nil {
		why = oneLine(err)
	}
	notify(d.log, sd.SdNotifyStopping+"\nSTATUS="+why)
}

// notifyReloading announces a reload, or a new beginning; where a unit has
// Type=notify-reload, systemd wants the monotonic time beside it.
func notifyReloading(log *slog.Logger, what string) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		log.Warn("no monotonic time for systemd", "cause", err)
		return
	}
	notify(log, fmt.Sprintf("%s\nMONOTONIC_USEC=%d\nSTATUS=%s", sd.SdNotifyReloading, now.Nano()/1000, what))
}

// watchdog tells systemd that the member lives, twice in each interval, but
// only while agreed entries are being applied: a member that hangs in Apply is
// restarted. It returns at once when no watchdog is asked for.
func watchdog(ctx context.Context, log *slog.Logger, progress func() (committed, applied uint64)) error {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	if interval == 0 {
		return nil
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	var last uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			committed, applied := progress()
			if applied < committed && applied == last {
				log.Error("no entry was applied since the last look: the watchdog is not fed",
					"committed", committed, "applied", applied)
				continue
			}
			last = applied
			notify(log, sd.SdNotifyWatchdog)
		}
	}
}
