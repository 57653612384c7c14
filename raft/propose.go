// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"fmt"
	"sync"
	"time"

	hraft "github.com/hashicorp/raft"
)

var proposals = sync.Pool{New: func() any { return &proposal{done: make(chan outcome, 1)} }}

// Propose replicates command and returns the result of applying it, once it
// has been applied here. Any member may do it: one that does not lead hands
// commands to the leader, many at once. It waits for a leader as long as ctx
// allows. Concurrent calls share entries of the log, in the order in which
// they came.
//
// ErrNoLeader, ErrTooLarge, ErrStopped and a bare ctx error mean that the
// command was not carried out, ErrUnknown (with ctx's error when that is the
// reason) that it may have been. The command must not be changed until
// Propose returns, and for good if the error is ErrUnknown.
func (n *Node) Propose(ctx context.Context, command []byte) ([]byte, error) {
	if len(command) > maxCommandBytes {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(command), maxCommandBytes)
	}
	if n.config.Network != nil {
		if !n.callers.enter() {
			return nil, n.stopReason()
		}
		defer n.callers.leave()
	}
	out := n.proposeSomewhere(ctx, command)
	if out.err != nil {
		n.metrics.refused.Inc()
	}
	return out.result, out.err
}

// proposeSomewhere proposes here or at another member, wherever the leader is.
// It looks again only for what was certainly not carried out.
func (n *Node) proposeSomewhere(ctx context.Context, command []byte) outcome {
	for {
		l, err := n.awaitLeader(ctx)
		if err != nil {
			return outcome{err: err}
		}
		var out outcome
		if l != nil {
			out = n.propose(ctx, command, false)
		} else {
			out = n.forward(ctx, command)
		}
		if !n.again(ctx, out.err) {
			return out
		}
	}
}

func (n *Node) propose(ctx context.Context, command []byte, barrier bool) outcome {
	p := proposals.Get().(*proposal)
	p.command, p.barrier = command, barrier
	g, err := n.line.join(p)
	if err != nil {
		return outcome{err: err}
	}
	if g != nil {
		n.submit(g, untilDeadline(ctx))
	}
	select {
	case out := <-p.done:
		if out.err == nil { // else the submitter may still be reading it
			p.command = nil
			proposals.Put(p)
		}
		return out
	case <-ctx.Done():
		return n.line.leave(p, ctx.Err())
	}
}

// untilDeadline is how long hraft may take to accept an entry; zero is for
// ever. Its main loop takes long only when its disk hangs.
func untilDeadline(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Until(deadline), 1)
}

// submit hands a group to hraft.
func (n *Node) submit(g *group, patience time.Duration) {
	n.metrics.groups.Observe(float64(len(g.proposals)))
	data := encodeGroup(g.proposals)
	n.line.register(g, data)
	f := n.raft.ApplyLog(hraft.Log{Data: data}, patience)
	n.submitted <- submission{g, f}
}

type submission struct {
	group  *group
	future hraft.ApplyFuture
}

// collect learns what hraft refused or lost. Futures end in the order in which
// they were made, or at once. hraft never answers those that a forced stop
// finds between its loops. Shutdown has answered their callers by then, and
// does not wait for this goroutine.
func (n *Node) collect() {
	for {
		select {
		case s := <-n.submitted:
			if err := s.future.Error(); err != nil {
				n.line.refuse(s.group, outcomeOf(err))
			}
		case <-n.finished:
			return
		}
	}
}

// submitWaiting hands those who wait to hraft whenever the way is free.
func (n *Node) submitWaiting() {
	for {
		select {
		case <-n.line.more:
			if g := n.line.next(); g != nil {
				n.submit(g, 0)
			}
		case <-n.finished:
			return
		}
	}
}
