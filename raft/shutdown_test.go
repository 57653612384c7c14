// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

func TestShutdownAnswersEverybody(t *testing.T) {
	m := open(t, t.TempDir())
	m.sync(t)
	will := &testament{undone: map[string]bool{}}
	started := make(chan struct{}, 1000)
	var callers sync.WaitGroup
	for i := range 50 {
		callers.Go(func() {
			for j := 0; ; j++ {
				line := fmt.Sprintf("%d-%d", i, j)
				_, err := m.Propose(patience(t), []byte(line))
				will.note(line, err)
				if err != nil {
					if !errors.Is(err, ErrStopped) {
						t.Errorf("propose: %v, want ErrStopped", err)
					}
					return
				}
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 200 {
		<-started
	}
	m.stop(t)
	callers.Wait()
	will.check(t, m.book)
	if will.unknown > 0 {
		t.Errorf("%d callers do not know what became of their command", will.unknown)
	}
	if _, err := m.Propose(patience(t), []byte("late")); !errors.Is(err, ErrStopped) {
		t.Errorf("propose: %v, want ErrStopped", err)
	}
	if err := m.Sync(patience(t)); !errors.Is(err, ErrStopped) {
		t.Errorf("sync: %v, want ErrStopped", err)
	}
	m.stop(t) // again
}

// A machine that does not come to an end is not waited for beyond ctx, and
// whoever waits for it is told.
func TestShutdownDoesNotWaitForEver(t *testing.T) {
	m := open(t, t.TempDir())
	m.sync(t)
	entered, release := m.book.hold()
	answered := make(chan error, 1)
	go func() {
		_, err := m.Propose(patience(t), []byte("x"))
		answered <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- m.Shutdown(ctx) }()
	if err := <-answered; !errors.Is(err, ErrUnknown) {
		t.Errorf("propose: %v, want ErrUnknown", err)
	}
	release()
	if err := <-stopped; err != nil {
		t.Errorf("shutdown: %v", err)
	}
}
