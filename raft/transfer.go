// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"

	hraft "github.com/hashicorp/raft"
)

// Transfer hands leadership to a voter; 0 is the one with the newest log. It
// may be called at any member and returns nil when this member knows that the
// other leads. Proposals lose nothing by it: new ones wait for the next
// leader, and those under way are answered first.
//
// ErrMember: there is no such voter. ErrNoLeader: the leader did not change,
// or another than the one wanted was elected.
func (n *Node) Transfer(ctx context.Context, to uint64) error {
	if _, err := n.awaitLeader(ctx); err != nil {
		return err
	}
	var err error
	from := n.leader()
	term := n.raft.CurrentTerm()
	switch from {
	case 0:
		return fmt.Errorf("%w: one is being elected", ErrNoLeader)
	case n.config.Member:
		err = n.transferHere(ctx, to)
	default:
		_, err = n.callLeader(ctx, kindTransfer, number(to))
	}
	if err != nil {
		return err
	}
	return n.awaitSuccessor(ctx, term, from, to)
}

func (n *Node) answerTransfer(ctx context.Context, body []byte) ([]byte, error) {
	to, rest, ok := cutUvarint(body)
	if !ok || len(rest) != 0 {
		return nil, errMessage
	}
	return number(0), n.transferHere(ctx, to)
}

func (n *Node) transferHere(ctx context.Context, to uint64) error {
	if err := n.beginChange(ctx); err != nil { // hraft takes none during a transfer
		return err
	}
	defer n.endChange()
	if _, err := n.leading(ctx); err != nil {
		return err
	}
	if to == n.config.Member {
		return nil
	}
	return n.yield(ctx, to)
}

// abdicate hands leadership over so that the next leader can go on with a
// change that this one cannot make. Its error says to look for that leader.
func (n *Node) abdicate(ctx context.Context) error {
	if err := n.yield(ctx, 0); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s has handed leadership over", ErrNoLeader, n.id)
}

// yield holds new proposals back, waits until all that were taken are
// answered, and only then lets hraft hand over: hraft ends whatever it finds
// under way without telling what became of it.
func (n *Node) yield(ctx context.Context, to uint64) error {
	heir, err := n.heir(ctx, to)
	if err != nil {
		return err
	}
	idle := n.line.hold()
	defer func() {
		n.line.release()
		n.reign.tell()
	}()
	select {
	case <-idle:
	case <-n.stopping:
		return n.stopReason()
	case <-ctx.Done():
		return fmt.Errorf("%w: transfer: %w", ErrNoLeader, ctx.Err())
	}
	term := n.raft.CurrentTerm()
	done := make(chan error, 1)
	go func() { // not joined: hraft may never answer once it stops
		done <- n.raft.LeadershipTransferToServer(heir.ID, heir.Address).Error()
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%w: transfer to %s: %w", ErrNoLeader, heir.ID, err)
		}
		return n.awaitSuccessor(ctx, term, n.config.Member, 0)
	case <-n.stopping:
		return n.stopReason()
	case <-ctx.Done():
		return fmt.Errorf("%w: transfer: %w", ErrNoLeader, ctx.Err())
	}
}

// heir finds the voter to hand over to: hraft itself might choose one that is
// not there.
func (n *Node) heir(ctx context.Context, to uint64) (hraft.Server, error) {
	var best hraft.Server
	var most uint64
	reach := n.reach(ctx)
	for _, s := range n.servers() {
		if s.Suffrage != hraft.Voter || s.ID == n.id || to != 0 && s.ID != serverID(to) {
			continue
		}
		if last, ok := reach[s.ID]; ok && (best.ID == "" || last > most) {
			best, most = s, last
		}
	}
	if best.ID == "" {
		return best, fmt.Errorf("%w: no voter to hand leadership to answers", ErrMember)
	}
	return best, nil
}

// awaitSuccessor returns when this member knows of another leader than from,
// who led in term, or that from leads again.
func (n *Node) awaitSuccessor(ctx context.Context, term, from, want uint64) error {
	for {
		_, changed := n.reign.current()
		now := n.raft.CurrentTerm() // first: in a new term nobody leads until somebody is elected
		leader := n.leader()
		switch {
		case want != 0 && leader == want, want == 0 && leader != 0 && leader != from:
			return nil
		case leader != 0 && leader != from:
			return fmt.Errorf("%w: %s was elected, not %s", ErrNoLeader, serverID(leader), serverID(want))
		case leader == from && now > term:
			return fmt.Errorf("%w: %s was elected again", ErrNoLeader, serverID(from))
		}
		select {
		case <-changed:
		case <-n.stopping:
			return n.stopReason()
		case <-ctx.Done():
			return fmt.Errorf("%w: transfer: %w", ErrNoLeader, ctx.Err())
		}
	}
}

// retire hands leadership over before a planned stop, if this member leads and
// another can. What is wrong with that is no reason not to stop.
func (n *Node) retire(ctx context.Context) {
	if l, _ := n.reign.current(); n.config.Network == nil || n.failed() != nil || !l.isReady() || n.alone() {
		return
	}
	err := n.transferHere(ctx, 0)
	if err != nil && !errors.Is(err, ErrStopped) {
		n.config.Logger.Warn("raft: leadership not handed over", "err", err)
	}
}
