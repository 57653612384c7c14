// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// However many take at once, no more is taken than there is, and whoever waits
// gets it in the end.
func TestABudgetIsNeverOverdrawn(t *testing.T) {
	const takers, times, each, limit = 8, 200, 3, 10
	b := newBudget(limit)
	var group sync.WaitGroup
	for range takers {
		group.Go(func() {
			for range times {
				if err := b.take(t.Context(), each); err != nil {
					t.Error(err)
					return
				}
				if used := b.used.Load(); used > limit {
					t.Errorf("%d of %d are used", used, limit)
				}
				b.give(each)
			}
		})
	}
	group.Wait()
	if used := b.used.Load(); used != 0 || b.waiting.Load() != 0 {
		t.Errorf("%d are used in the end", used)
	}
}

func TestWhoeverWaitsForABudgetLeavesWithTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(1)
		b.try(1)
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		left := make(chan error)
		go func() { left <- b.take(ctx, 1) }()
		synctest.Wait()
		cancel(gone)
		if err := <-left; !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
	})
}

// grpc gives nothing back of what a broken connection had yet to send, or does
// so later.
func TestAClosedConnectionGivesAllBackOnce(t *testing.T) {
	b := newBudget(100)
	p := purse{of: b}
	if !p.try(60) || p.try(60) {
		t.Fatal("took what is not there")
	}
	p.give(10)
	p.close()
	if used := b.used.Load(); used != 0 {
		t.Errorf("%d are used after the end", used)
	}
	p.give(50)
	if !p.try(100) {
		t.Error("what a closed connection takes counted")
	}
	p.give(100)
	p.close()
	if used := b.used.Load(); used != 0 {
		t.Errorf("%d are used after what came late", used)
	}
}
