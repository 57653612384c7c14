// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	hraft "github.com/hashicorp/raft"
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

// hraft never answers what it has handed to the goroutine that applies, and
// that one has not taken, when it is stopped. Nothing waits for that.
func TestShutdownDoesNotWaitForWhatIsNeverAnswered(t *testing.T) {
	for range 8 { // whether that goroutine takes more or ends is left to chance
		m := open(t, t.TempDir())
		m.sync(t)
		entered, release := m.book.hold()
		answered := make(chan error, 2) // one that is being applied, and one that waits for it
		for i := range cap(answered) {
			last := m.raft.LastIndex()
			go func() {
				_, err := m.Propose(patience(t), fmt.Appendf(nil, "%d", i))
				answered <- err
			}()
			eventually(t, func() error {
				if m.raft.CommitIndex() == last {
					return errors.New("not committed")
				}
				return nil
			})
		}
		<-entered
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		stopped := make(chan error, 1)
		go func() { stopped <- m.Shutdown(ctx) }()
		for range cap(answered) {
			if err := <-answered; !errors.Is(err, ErrUnknown) {
				t.Errorf("propose: %v, want ErrUnknown", err)
			}
		}
		eventually(t, func() error {
			if s := m.raft.State(); s != hraft.Shutdown {
				return fmt.Errorf("hraft is a %s", s)
			}
			return nil
		})
		release()
		if err := <-stopped; err != nil {
			t.Fatalf("shutdown: %v", err)
		}
	}
}
