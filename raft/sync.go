// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"fmt"
	"sync"

	hraft "github.com/hashicorp/raft"
)

// Sync returns when this member's state holds every command whose result any
// member had returned before the call: a read that follows is linearizable.
// It has four steps, and each is needed.
//
//  1. An entry of the leader's own term has been applied. Before that the
//     leader's commit index may lack what its predecessor acknowledged.
//  2. The commit index is noted: all that was acknowledged lies at or below.
//  3. The leader makes sure that it leads still, after step 2. A deposed
//     leader does not know of newer commits. Callers share the question to the
//     other members: a round answers all who came before it began. The only
//     voter need not ask, because nobody can lead without its vote.
//  4. Everything up to the noted index has been applied. What is committed is
//     applied on another goroutine, later.
//
// A member that does not lead, a learner too, asks the leader for the first
// three steps. Its callers share the call as they do the question. A voter's
// call tells its own term: of three members that makes a majority, and the
// leader asks nobody else.
//
// It waits for a leader as long as ctx allows. ErrNoLeader and ErrStopped say
// why it gave up.
func (n *Node) Sync(ctx context.Context) error {
	if !readsConfirmed {
		return nil
	}
	err := n.sync(ctx)
	if err != nil {
		n.metrics.unread.Inc()
	}
	return err
}

func (n *Node) sync(ctx context.Context) error {
	for {
		if err := n.ended(); err != nil {
			return err
		}
		l, err := n.awaitLeader(ctx)
		if err != nil {
			return err
		}
		var index uint64
		if l != nil { // step 1 is done
			index, err = n.readIndex(ctx, l) // steps 2 and 3
		} else {
			index, err = n.await(ctx, n.remote.join())
		}
		if err == nil {
			return n.awaitApplied(ctx, index) // step 4
		}
		if !n.again(ctx, err) {
			return err
		}
	}
}

func (n *Node) readIndex(ctx context.Context, l *leadership) (uint64, error) {
	index := n.committed()
	if n.raft.State() == hraft.Leader && n.raft.CurrentTerm() == l.term && n.alone() {
		return index, nil
	}
	return n.await(ctx, n.rounds.join())
}

// Confirm makes sure that this member leads, and that nobody has led in its
// place since the call began. What it did as the leader until then, any later
// leader comes after. It fails with ErrNoLeader, ErrStopped, or ctx's error.
func (n *Node) Confirm(ctx context.Context) error {
	if err := n.ended(); err != nil {
		return err
	}
	l, _ := n.reign.current()
	if !l.isReady() {
		return fmt.Errorf("%w: %s does not lead", ErrNoLeader, n.id)
	}
	_, err := n.readIndex(ctx, l)
	return err
}

func (n *Node) await(ctx context.Context, r *round) (uint64, error) {
	select {
	case <-r.done:
		return r.index, r.err
	case <-n.stopping:
		return 0, n.stopReason()
	case <-ctx.Done():
		return 0, fmt.Errorf("raft: sync: %w", ctx.Err())
	}
}

func (n *Node) awaitApplied(ctx context.Context, index uint64) error {
	if n.progress.applied.Load() >= index {
		return nil
	}
	select {
	case <-n.progress.reached(index):
		return nil
	case <-n.stopping:
		return n.stopReason()
	case <-ctx.Done():
		return fmt.Errorf("raft: sync: %w", ctx.Err())
	}
}

// soleVoter says whether this member's vote is the only one. The configuration
// is the newest in the log, committed or not, which is the one that counts.
func (n *Node) soleVoter() bool {
	voters, self := 0, false
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage != hraft.Voter {
			continue
		}
		voters++
		self = self || s.ID == n.id
	}
	return voters == 1 && self
}

// rounds are questions to the other members whether this one leads.
type rounds struct {
	wanted chan struct{} // holds one: next has callers

	mu   sync.Mutex
	next *round // has not begun; nil if nobody asked
}

type round struct {
	done  chan struct{} // closed when index and err are set
	index uint64
	err   error
}

func newRounds() *rounds { return &rounds{wanted: make(chan struct{}, 1)} }

// join returns a round that has not begun yet.
func (r *rounds) join() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
		select {
		case r.wanted <- struct{}{}:
		default:
		}
	}
	return r.next
}

func (r *rounds) take() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.next
	r.next = nil
	return taken
}

// run holds rounds that note the commit index and then verify it.
func (r *rounds) run(stop <-chan struct{}, commit func() uint64, verify func() error) {
	r.serve(stop, func() (uint64, error) {
		index := commit()
		if err := verify(); err != nil {
			return index, fmt.Errorf("%w: %w", ErrNoLeader, err)
		}
		return index, nil
	})
}

// serve holds one round after another until stop is closed.
func (r *rounds) serve(stop <-chan struct{}, ask func() (uint64, error)) {
	for {
		select {
		case <-r.wanted:
		case <-stop:
			return
		}
		now := r.take()
		if now == nil {
			continue
		}
		now.index, now.err = ask()
		close(now.done)
	}
}
