// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
)

// leadership is one stretch of time in which this member leads.
type leadership struct {
	term  uint64        // of an entry of its own; valid once ready is closed
	ready chan struct{} // closed when that entry has been applied
	lost  chan struct{} // closed when the stretch is over
}

// reign is what this member knows of its own leadership.
type reign struct {
	mu      sync.Mutex
	now     *leadership   // nil while another leads, or nobody
	changed chan struct{} // closed, and replaced, whenever now or its readiness changes
}

func newReign() *reign { return &reign{changed: make(chan struct{})} }

func (r *reign) current() (now *leadership, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now, r.changed
}

func (r *reign) begin() *leadership {
	r.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = &leadership{ready: make(chan struct{}), lost: make(chan struct{})}
	r.tellLocked()
	return r.now
}

func (r *reign) confirm(l *leadership, term uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.term = term
	close(l.ready)
	r.tellLocked()
}

func (r *reign) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now == nil {
		return
	}
	close(r.now.lost)
	r.now = nil
	r.tellLocked()
}

// tell wakes those who wait for a leader.
func (r *reign) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tellLocked()
}

func (r *reign) tellLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// follow takes note of elections until the node is finished.
func (n *Node) follow() {
	for {
		select {
		case leads := <-n.elections:
			n.reign.end()
			if leads {
				n.ascend()
			}
		case <-n.finished:
			n.reign.end()
			return
		}
	}
}

// herald takes note of other leaders until the node is finished.
func (n *Node) herald() {
	for {
		select {
		case o := <-n.leaders:
			n.announce(o)
		case <-n.finished:
			return
		}
	}
}

// ascend begins a leadership. It is ready once an entry of its own term has
// been applied: until then the member cannot know what its predecessors
// committed.
func (n *Node) ascend() {
	l := n.reign.begin()
	out := n.propose(context.Background(), nil, true)
	if out.err != nil {
		return // hraft tells the loss that caused it, or the node is stopping
	}
	n.reign.confirm(l, out.term)
}

func (n *Node) announce(o hraft.Observation) {
	n.reign.tell()
	l, ok := o.Data.(hraft.LeaderObservation)
	if !ok {
		return
	}
	if l.LeaderID == "" {
		n.config.Logger.Info("no leader", "term", n.raft.CurrentTerm())
		return
	}
	n.metrics.leaders.Inc()
	n.config.Logger.Info("leader changed", "leader", string(l.LeaderID), "term", n.raft.CurrentTerm())
}

// isReady says whether an entry of the leadership's own term has been applied.
func (l *leadership) isReady() bool {
	if l == nil {
		return false
	}
	select {
	case <-l.ready:
		return true
	default:
		return false
	}
}

// leader is who leads as far as this member knows, or zero.
func (n *Node) leader() uint64 {
	_, id := n.raft.LeaderWithID()
	return memberOf(id)
}

// awaitLeader returns this member's leadership once it is ready, or nil if
// another member leads.
func (n *Node) awaitLeader(ctx context.Context) (*leadership, error) {
	for {
		l, changed := n.reign.current()
		if l.isReady() {
			return l, nil
		}
		if leader := n.leader(); n.config.Network != nil && leader != 0 && leader != n.config.Member {
			return nil, nil
		}
		select {
		case <-changed:
		case <-n.stopping:
			return nil, n.stopReason()
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err())
		}
	}
}

// again says whether a request that ended with err was not carried out and may
// be made once more, and lets a moment pass: a leader that is refused or lost
// takes as long to be replaced.
func (n *Node) again(ctx context.Context, err error) bool {
	if !errors.Is(err, ErrNoLeader) || errors.Is(err, ErrUnknown) {
		return false
	}
	_, changed := n.reign.current()
	moment := time.NewTimer(n.config.ElectionTimeout / 20)
	defer moment.Stop()
	select {
	case <-changed:
	case <-moment.C:
	case <-n.stopping:
	case <-ctx.Done():
		return false
	}
	return true
}

// awaitLeading returns the present leadership once it is ready.
func (n *Node) awaitLeading(ctx context.Context) (*leadership, error) {
	for {
		l, changed := n.reign.current()
		if l.isReady() {
			return l, nil
		}
		select {
		case <-changed:
		case <-n.stopping:
			return nil, n.stopReason()
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err())
		}
	}
}

// Lead calls fn whenever this member has become the leader and its state holds
// everything committed before. The context that fn gets ends when leadership
// is lost, when the node stops, and with ctx. If fn returns an error while it
// leads, Lead returns that; if it returns nil, it is not called again before
// the next leadership. Otherwise Lead returns ctx's error, or ErrStopped.
func (n *Node) Lead(ctx context.Context, fn func(ctx context.Context) error) error {
	for {
		l, err := n.awaitLeading(ctx)
		if err != nil {
			return n.whyNotLeading(ctx, err)
		}
		if err := n.lead(ctx, l, fn); err != nil {
			return err
		}
		select {
		case <-l.lost:
		case <-n.stopping:
			return n.stopReason()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *Node) whyNotLeading(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

var errLost = errors.New("raft: leadership lost")

// lead runs fn for one leadership. Its error is fn's own, not one that the end
// of the leadership caused.
func (n *Node) lead(ctx context.Context, l *leadership, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-l.lost:
			if n.life.Err() != nil { // a member that stops loses it as well
				cancel(ErrStopped)
			}
			cancel(errLost)
		case <-n.stopping:
			cancel(ErrStopped)
		case <-ctx.Done():
		}
	}()
	err := fn(ctx)
	ended := ctx.Err() != nil
	cancel(nil)
	<-over
	if ended {
		return nil
	}
	return err
}
