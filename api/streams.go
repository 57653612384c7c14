// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"sync"
)

// streams are the open streams, so that the server can end them: all of them
// when it stops, and those of clients that insist on a leader when there has
// been none for a while.
type streams struct {
	mu      sync.Mutex
	next    uint64
	open    map[uint64]openStream
	stopped bool
}

type openStream struct {
	cancel      context.CancelCauseFunc
	needsLeader bool
}

// add returns the context that a stream lives in, and what to call when the
// stream has ended.
func (s *streams) add(parent context.Context, needsLeader bool) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		cancel(errStopping)
		return ctx, func() {}
	}
	if s.open == nil {
		s.open = make(map[uint64]openStream)
	}
	s.next++
	id := s.next
	s.open[id] = openStream{cancel, needsLeader}
	return ctx, func() {
		s.mu.Lock()
		delete(s.open, id)
		s.mu.Unlock()
		cancel(nil)
	}
}

// stop ends all streams, and those yet to come.
func (s *streams) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, o := range s.open {
		o.cancel(errStopping)
	}
}

// loseLeader ends the streams of clients that insist on a leader.
func (s *streams) loseLeader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.open {
		if o.needsLeader {
			o.cancel(errNoLeaderForLong)
		}
	}
}
