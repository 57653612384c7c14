// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestLeadBeginsWithTheWholeState(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	for i := range 30 {
		m.write(t, fmt.Sprint(i))
	}
	m.stop(t)
	again := open(t, dir)
	done := errors.New("done")
	err := again.Lead(patience(t), func(context.Context) error {
		if got := len(again.book.lines()); got != 30 {
			t.Errorf("%d lines when the work of the leader began, want 30", got)
		}
		return done
	})
	if !errors.Is(err, done) {
		t.Fatalf("Lead returned %v, want what its function returned", err)
	}
}

func TestLeadEndsWithLeadershipAndBeginsAgain(t *testing.T) {
	m := open(t, t.TempDir())
	began, ended := make(chan struct{}), make(chan error)
	led := make(chan error, 1)
	go func() {
		led <- m.Lead(patience(t), func(ctx context.Context) error {
			began <- struct{}{}
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		})
	}()
	<-began
	m.elections <- false // as hraft tells a deposed leader
	if cause := <-ended; !errors.Is(cause, errLost) {
		t.Errorf("ended by %v, want the loss of leadership", cause)
	}
	m.elections <- true
	<-began
	go m.stop(t)
	if cause := <-ended; !errors.Is(cause, ErrStopped) {
		t.Errorf("ended by %v, want ErrStopped", cause)
	}
	if err := <-led; !errors.Is(err, ErrStopped) {
		t.Errorf("Lead returned %v, want ErrStopped", err)
	}
}

func TestLeadEndsWithItsContext(t *testing.T) {
	m := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := m.Lead(ctx, func(context.Context) error {
		calls++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Fatalf("Lead returned %v after %d calls, want the context's error after one", err, calls)
	}
}

func TestStatusOfALoneMember(t *testing.T) {
	m := open(t, t.TempDir())
	m.sync(t)
	m.write(t, "x")
	s := m.Status()
	if s.Member != 7 || s.Leader != 7 || s.Learner || s.Term < 2 {
		t.Errorf("status %+v", s)
	}
	if s.First != 1 || s.Applied != s.Last || s.Commit != s.Last || s.Last < 4 {
		t.Errorf("indexes %+v: want everything in the log committed and applied", s)
	}
}
