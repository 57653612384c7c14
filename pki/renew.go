// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// checkEvery bounds one wait: timers stand still while a machine sleeps, and
	// know nothing of a clock that is set.
	checkEvery = time.Minute

	leastRetry = 10 * time.Millisecond // with a life of a second
	firstRetry = 5 * time.Second
	lastRetry  = 10 * time.Minute
)

// Run renews this member's certificate for as long as ctx lives; it is started
// once. A renewal that fails is tried again, ever more slowly; when a tenth of
// the certificate's life is left, the member does without the ledger, which is
// told when there is a quorum again: without certificates there would never be
// one. It returns nil.
func (a *Authority) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { a.record(ctx) })
	wg.Go(func() { a.tellRefusals(ctx) })
	wg.Go(func() {
		a.chronicle.run(ctx, func(d time.Duration) bool {
			until := time.Now().Add(d)
			return a.await(ctx, nil, func() time.Time { return until })
		})
	})
	wg.Go(func() { a.follow(ctx) })
	wg.Go(func() { a.keepKeys(ctx) })
	wg.Go(func() { a.confirm(ctx) })
	for a.await(ctx, a.replaced, func() time.Time { return a.current.Load().renew }) && a.renewUntilDone(ctx) {
	}
	return nil
}

// await returns true when the moment has come, false when ctx is done. The
// moment is asked for again at every check, and whenever something comes from
// moved, since a reload moves it.
func (a *Authority) await(ctx context.Context, moved <-chan struct{}, moment func() time.Time) bool {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-moved:
		case <-timer.C:
		}
		left := time.Until(moment())
		if left <= 0 {
			return true
		}
		timer.Reset(min(left, checkEvery))
	}
}

// renewUntilDone returns false when ctx is done first.
func (a *Authority) renewUntilDone(ctx context.Context) bool {
	leaf := a.current.Load().certificate.Leaf
	life := leaf.NotAfter.Sub(issuedAt(leaf))
	delay := max(min(firstRetry, life/100), leastRetry)
	alone := leaf.NotAfter.Add(-life / 10) // from when on it does without the ledger
	for {
		err := a.renewOrBeRefused(ctx)
		if err != nil && ctx.Err() == nil && !time.Now().Before(alone) {
			a.log.Warn("certificate will be recorded later", "err", err)
			err = a.renewUnrecorded(ctx)
		}
		if err == nil {
			a.metrics.renewals.WithLabelValues("ok").Inc()
			a.logIdentity("certificate renewed")
			a.noteIdentity(ActRenew, "certificate renewed", "")
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		a.metrics.renewals.WithLabelValues("failed").Inc()
		retry := time.Now().Add(delay/2 + rand.N(delay))
		if time.Now().Before(alone) && retry.After(alone) { // the next one might come after the end
			retry = alone
		}
		a.log.Log(ctx, levelOf(time.Until(leaf.NotAfter)), "certificate not renewed",
			"err", err, "not_after", leaf.NotAfter, "retry_at", retry)
		if !a.await(ctx, nil, func() time.Time { return retry }) {
			return false
		}
		delay = min(2*delay, lastRetry, max(life/10, delay))
	}
}

// renewOrBeRefused does without the ledger if the others do not listen to this
// member's certificate any more.
func (a *Authority) renewOrBeRefused(ctx context.Context) error {
	if a.current.Load().refused {
		return a.renewUnrecorded(ctx)
	}
	return a.renew(ctx)
}

// levelOf a failed renewal: while time is left someone should look, after that
// nobody can connect.
func levelOf(left time.Duration) slog.Level {
	if left <= 0 {
		return slog.LevelError
	}
	return slog.LevelWarn
}
