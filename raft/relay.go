// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// maxBatches is how many batches of commands are on their way to the
	// leader at once. While they are, more commands gather for the next.
	maxBatches = 3
	// batchPatience is how long the leader may take over a batch. It is longer
	// than anybody waits for a command: whoever leaves earlier is not kept.
	batchPatience = 20 * time.Second
)

// relay is where commands wait to be handed to a leader that is another
// member. A batch that was sent is never sent again: its commands' fate is
// what the leader answers, or unknown. What was not sent, or what the leader
// refused, goes back to its caller's goroutine, which looks for the leader
// again.
type relay struct {
	wanted chan struct{} // holds one: run should look

	mu      sync.Mutex
	waiting []*proposal
	lane    *lane
	closed  error // why no proposal is taken any more
}

// lane is the way to one leader. When another leads, what is under way may
// still be answered for a while, and does not keep others waiting.
type lane struct {
	leader uint64
	ctx    context.Context // of the calls; ends a while after the leader has lost its place
	cancel context.CancelFunc
	calls  int // under relay.mu
}

func newRelay() *relay { return &relay{wanted: make(chan struct{}, 1)} }

func (r *relay) join(p *proposal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed != nil {
		return r.closed
	}
	r.waiting = append(r.waiting, p)
	r.kick()
	return nil
}

func (r *relay) kick() {
	select {
	case r.wanted <- struct{}{}:
	default:
	}
}

// leave is for a caller whose context ended.
func (r *relay) leave(p *proposal, cause error) outcome {
	r.mu.Lock()
	if i := slices.Index(r.waiting, p); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
		r.mu.Unlock()
		return outcome{err: fmt.Errorf("%w: %w", ErrNoLeader, cause)}
	}
	r.mu.Unlock()
	select {
	case out := <-p.done:
		return out
	default:
		return outcome{err: fmt.Errorf("%w: %w", ErrUnknown, cause)}
	}
}

// next returns the first in line, up to maxGroupBytes or one command that is
// larger, if there is room on the way to leader.
func (r *relay) next(leader uint64, open func() *lane) ([]*proposal, *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lane == nil || r.lane.leader != leader {
		r.lane = open()
	}
	if len(r.waiting) == 0 || r.lane.calls >= maxBatches {
		return nil, nil
	}
	n, bytes := 0, 0
	for n < len(r.waiting) {
		bytes += len(r.waiting[n].command)
		if n > 0 && bytes > maxGroupBytes {
			break
		}
		n++
	}
	batch := slices.Clone(r.waiting[:n])
	r.waiting = slices.Delete(r.waiting, 0, n)
	r.lane.calls++
	return batch, r.lane
}

func (r *relay) landed(l *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.calls--
	r.kick()
}

// leaveLane gives up the way to a leader that leads no more.
func (r *relay) leaveLane() *lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := r.lane
	r.lane = nil
	return left
}

// refuse answers all who wait.
func (r *relay) refuse(reason error) {
	r.mu.Lock()
	waiting := r.waiting
	r.waiting = nil
	r.mu.Unlock()
	for _, p := range waiting {
		p.done <- outcome{err: reason}
	}
}

func (r *relay) close(reason error) {
	r.mu.Lock()
	r.closed = reason
	r.mu.Unlock()
	r.refuse(reason)
}

// forward proposes at the leader.
func (n *Node) forward(ctx context.Context, command []byte) outcome {
	p := &proposal{command: command, done: make(chan outcome, 1)}
	if err := n.relay.join(p); err != nil {
		return outcome{err: err}
	}
	select {
	case out := <-p.done:
		return out
	case <-ctx.Done():
		return n.relay.leave(p, ctx.Err())
	}
}

var errElsewhere = fmt.Errorf("%w: this member leads now", ErrNoLeader)

// relayAll hands over what waits, until the node stops.
func (n *Node) relayAll() {
	for {
		_, changed := n.reign.current()
		leader := n.leader()
		if l := n.relay.lane; l != nil && l.leader != leader { // only this goroutine sets lane
			time.AfterFunc(n.config.ElectionTimeout, n.relay.leaveLane().cancel)
		}
		switch leader {
		case 0:
		case n.config.Member:
			n.relay.refuse(errElsewhere)
		default:
			n.relayTo(leader)
		}
		select {
		case <-n.relay.wanted:
		case <-changed:
		case <-n.stopping:
			n.relay.close(n.stopReason())
			return
		}
	}
}

func (n *Node) relayTo(leader uint64) {
	open := func() *lane {
		ctx, cancel := context.WithCancel(n.life)
		return &lane{leader: leader, ctx: ctx, cancel: cancel}
	}
	for {
		batch, l := n.relay.next(leader, open)
		if batch == nil {
			return
		}
		n.questions.Go(func() { n.send(l, batch) })
	}
}

// send hands a batch over, and gives each caller its result once this member's
// own state has it.
func (n *Node) send(l *lane, batch []*proposal) {
	n.metrics.batches.Observe(float64(len(batch)))
	ctx, cancel := context.WithTimeout(l.ctx, batchPatience)
	answer, err := n.call(ctx, l.leader, kindPropose, encodeGroup(batch))
	cancel()
	n.relay.landed(l)
	var outs []outcome
	if err == nil {
		outs, err = decodeOutcomes(answer, len(batch))
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrUnknown, err)
		}
	}
	if errors.Is(err, ErrUnreached) {
		err = fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	for i, p := range batch {
		if err != nil {
			p.done <- outcome{err: err}
			continue
		}
		p.done <- n.applied(outs[i])
	}
}

func (n *Node) applied(out outcome) outcome {
	if out.err != nil {
		return out
	}
	if err := n.awaitApplied(n.life, out.index); err != nil {
		return outcome{err: fmt.Errorf("%w: %w", ErrUnknown, err)}
	}
	return out
}
