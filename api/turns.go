// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// turns lets few of many do what takes long. Each connection has a line of its
// own, in the order in which its requests came, and the lines are served in
// turn: who asks for much waits behind himself, not before others. A line whose
// connection has too much under way already is passed over until it has less.
type turns struct {
	waiting atomic.Int64 // in all lines

	mu    sync.Mutex // guards what follows
	all   int        // turns that there are
	free  int        // those that nobody has; below zero where there have been more
	lines []*line    // those in which somebody waits; the first is the next
	of    map[*account]*line
}

// line are those of one connection who wait.
type line struct {
	of      *account
	waiters []chan struct{} // each closed when its turn has come
}

// How many may wait. Each is a request, a goroutine and no more.
const (
	maxWaiting     = 4096
	maxWaitingEach = 512 // of one connection
)

var errLineFull = errors.New("api: too many large reads wait already")

func newTurns(n int) *turns { return &turns{all: n, free: n, of: make(map[*account]*line)} }

// resize makes it n turns. Whoever has one keeps it to its end.
func (t *turns) resize(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free += n - t.all
	t.all = n
	t.serveLocked()
}

// try takes a turn if one is free and nobody waits for it.
func (t *turns) try(a *account) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free <= 0 || len(t.lines) > 0 || a.laden() {
		return false
	}
	t.free--
	return true
}

// take waits for a turn until ctx ends.
func (t *turns) take(ctx context.Context, a *account) error {
	turn, err := t.join(a)
	if err != nil {
		return err
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	if !t.leave(a, turn) {
		t.give() // it came meanwhile
	}
	return context.Cause(ctx)
}

func (t *turns) join(a *account) (<-chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.of[a]
	if t.waiting.Load() >= maxWaiting || l != nil && len(l.waiters) >= maxWaitingEach {
		return nil, errLineFull
	}
	if l == nil {
		l = &line{of: a}
		t.of[a] = l
		t.lines = append(t.lines, l)
	}
	turn := make(chan struct{})
	l.waiters = append(l.waiters, turn)
	t.waiting.Add(1)
	t.serveLocked()
	return turn, nil
}

// leave is false if the turn has come.
func (t *turns) leave(a *account, turn <-chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.of[a]
	if l == nil {
		return false
	}
	i := slices.IndexFunc(l.waiters, func(w chan struct{}) bool { return w == turn })
	if i < 0 {
		return false
	}
	l.waiters = slices.Delete(l.waiters, i, i+1)
	t.waiting.Add(-1)
	if len(l.waiters) == 0 {
		t.dropLocked(l)
	}
	return true
}

func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free++
	t.serveLocked()
}

// look serves a line that was passed over, when its connection has less under
// way than it had.
func (t *turns) look() {
	if t.waiting.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.serveLocked()
}

// serveLocked gives the free turns away.
func (t *turns) serveLocked() {
	for t.free > 0 {
		i := slices.IndexFunc(t.lines, func(l *line) bool { return !l.of.laden() })
		if i < 0 {
			return
		}
		l := t.lines[i]
		close(l.waiters[0])
		l.waiters = l.waiters[1:]
		t.free--
		t.waiting.Add(-1)
		t.lines = append(slices.Delete(t.lines, i, i+1), l)
		if len(l.waiters) == 0 {
			t.dropLocked(l)
		}
	}
}

// A turn is one that somebody has, and gives back once.
type turn struct {
	of    *turns
	began time.Time
	once  sync.Once
}

func (t *turns) begin() *turn { return &turn{of: t, began: time.Now()} }

// linger has the turn end by itself: after the answer was read it is sent, which
// takes the processor as well, but a client that is slow to read must not keep
// the turn. It has as long for the one as the other took, and as long again.
func (t *turn) linger() { time.AfterFunc(2*time.Since(t.began), t.end) }

// end may be called again, and by others.
func (t *turn) end() {
	t.once.Do(t.of.give)
}

func (t *turns) dropLocked(l *line) {
	delete(t.of, l.of)
	t.lines = slices.DeleteFunc(t.lines, func(other *line) bool { return other == l })
}
