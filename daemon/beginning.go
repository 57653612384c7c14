// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// beginning is a start, or a new beginning, on its way.
type beginning struct {
	step    atomic.Pointer[string]        // that is being taken
	waiting atomic.Pointer[string]        // for what it waits on purpose; nil: for nothing
	applied atomic.Pointer[func() uint64] // entries; nil: there is no log yet
}

// Systemd is told every tellEvery of a start that moves, and then gives it
// moreTime from there.
const (
	tellEvery = 5 * time.Second
	moreTime  = 30 * time.Second
)

// told has systemd wait as long as the start moves: takes another step, applies
// entries, or waits on purpose, to be let in by another member say. One that hangs
// is systemd's to end. It returns what ends the telling.
func (b *beginning) told(log *slog.Logger, every time.Duration) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var telling sync.WaitGroup
	telling.Go(func() { b.tell(ctx, log, every) })
	return func() {
		cancel()
		telling.Wait()
	}
}

func (b *beginning) tell(ctx context.Context, log *slog.Logger, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := ""; ; {
		now, moves := b.look(last)
		if moves {
			notify(log, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d\n%s\nSTATUS=starting: %s", moreTime.Microseconds(), sd.SdNotifyWatchdog, now))
		}
		last = now
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look says how far it is, and whether that is to be told.
func (b *beginning) look(last string) (now string, moves bool) {
	if what := b.waiting.Load(); what != nil {
		return *what, true
	}
	if step := b.step.Load(); step != nil {
		now = *step
	}
	if applied := b.applied.Load(); applied != nil {
		now += fmt.Sprintf(", %d entries applied", (*applied)())
	}
	return now, now != last
}

// whileMoving is ctx, but ends when no entry has been applied for startLimit: to
// apply a long log takes its time.
func (d *Daemon) whileMoving(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for last := d.machine.AppliedIndex(); ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(startLimit):
			}
			now := d.machine.AppliedIndex()
			if now == last {
				cancel(fmt.Errorf("no entry was applied for %v: %w", startLimit, context.DeadlineExceeded))
			}
			last = now
		}
	})
	return ctx, func() {
		cancel(nil)
		watching.Wait()
	}
}
