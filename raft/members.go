// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"

	hraft "github.com/hashicorp/raft"
)

// promoteLag is how many entries a learner may lack when it gets a vote.
const promoteLag = 1000

// operation is a change of the configuration. The leader makes one at a time.
type operation uint64

const (
	addLearner operation = iota + 1
	promote
	remove
	setAddress
)

// AddLearner makes a member part of the cluster, without a vote. It need not
// run yet. ErrMember: there is a member with this id or address.
//
// This and the following changes may be made at any member, which hands them
// to the leader. They wait for it as long as ctx allows and return when the
// change is committed and this member has it. ErrNoLeader means that
// nothing was changed, ErrUnknown that it may have been.
func (n *Node) AddLearner(ctx context.Context, member uint64, address string) error {
	if member == 0 || address == "" {
		return fmt.Errorf("%w: a learner needs an id and an address", ErrMember)
	}
	return n.change(ctx, addLearner, member, address)
}

// Promote gives a learner its vote. ErrMember: there is no such learner.
// ErrNotReady: it does not answer, or lacks too much of the log.
func (n *Node) Promote(ctx context.Context, member uint64) error {
	return n.change(ctx, promote, member, "")
}

// Remove takes a member out of the cluster for good: its id must not be used
// again. A leader hands leadership over first. ErrMember: there is no such
// member. ErrLastQuorum: fewer than a majority of the voters that would be
// left answer.
func (n *Node) Remove(ctx context.Context, member uint64) error {
	return n.change(ctx, remove, member, "")
}

// SetAddress says where a member is reached. A running member tells so itself.
// ErrMember: there is no such member, or another one has that address.
func (n *Node) SetAddress(ctx context.Context, member uint64, address string) error {
	return n.change(ctx, setAddress, member, address)
}

func (n *Node) change(ctx context.Context, op operation, member uint64, address string) error {
	for {
		l, err := n.awaitLeader(ctx)
		if err != nil {
			return err
		}
		var index uint64
		if l != nil {
			index, err = n.changeHere(ctx, op, member, address)
		} else {
			index, err = n.callLeader(ctx, kindChange, appendText(appendUvarints(nil, uint64(op), member), address))
		}
		switch {
		case err == nil && op == remove && member == n.config.Member:
			return nil // nobody tells this member any more
		case err == nil:
			return n.awaitApplied(ctx, index)
		}
		if !n.again(ctx, err) {
			return err
		}
	}
}

// callLeader makes a call that may be made again if the leader did not get it,
// or did nothing: ErrNoLeader.
func (n *Node) callLeader(ctx context.Context, kind byte, body []byte) (uint64, error) {
	index, err := n.callNumber(ctx, n.leader(), kind, body)
	if errors.Is(err, ErrUnreached) {
		return 0, fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	return index, err
}

func (n *Node) answerChange(ctx context.Context, body []byte) ([]byte, error) {
	r := reader{rest: body}
	op, member, address := operation(r.uvarint()), r.uvarint(), r.text()
	if r.bad || len(r.rest) != 0 {
		return nil, errMessage
	}
	index, err := n.changeHere(ctx, op, member, address)
	return number(index), err
}

// changeHere changes the configuration as the leader. It returns the index of
// the entry that does.
func (n *Node) changeHere(ctx context.Context, op operation, member uint64, address string) (uint64, error) {
	if err := n.beginChange(ctx); err != nil {
		return 0, err
	}
	f, index, err := n.submitChange(ctx, op, member, address)
	if f == nil {
		n.endChange()
		return index, err
	}
	return n.settled(ctx, f)
}

func (n *Node) beginChange(ctx context.Context) error {
	select {
	case n.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err())
	}
}

func (n *Node) endChange() { <-n.changing }

// submitChange checks a change and passes it to hraft. Without a future there
// was nothing to do, or err says why not.
func (n *Node) submitChange(ctx context.Context, op operation, member uint64, address string) (f hraft.IndexFuture, index uint64, err error) {
	if _, err := n.leading(ctx); err != nil {
		return nil, 0, err
	}
	// Whatever was changed before has been applied: this member is ready, and
	// changes are made one at a time. hraft refuses if there is a newer one.
	after := n.applier.configured.Load()
	id := serverID(member)
	s, known := n.server(member)
	switch op {
	case addLearner:
		if err := n.newcomer(id, address, known); err != nil {
			return nil, 0, err
		}
		return n.raft.AddNonvoter(id, hraft.ServerAddress(address), after, untilDeadline(ctx)), 0, nil
	case setAddress:
		return n.move(ctx, s, known, address, after)
	}
	if !known {
		return nil, 0, fmt.Errorf("%w: %s is not in the cluster", ErrMember, id)
	}
	switch op {
	case promote:
		if err := n.ready(ctx, s); err != nil {
			return nil, 0, err
		}
		return n.raft.AddVoter(id, s.Address, after, untilDeadline(ctx)), 0, nil
	case remove:
		if err := n.expendable(ctx, id); err != nil {
			return nil, 0, err
		}
		if id == n.id {
			return nil, 0, n.abdicate(ctx)
		}
		return n.raft.RemoveServer(id, after, untilDeadline(ctx)), 0, nil
	}
	return nil, 0, fmt.Errorf("raft: change %d, which this version does not know", op)
}

// settled waits for a change that hraft has taken or refused. The next change
// waits for it too, whether its caller does or not.
func (n *Node) settled(ctx context.Context, f hraft.IndexFuture) (uint64, error) {
	done := make(chan error, 1)
	go func() { // not joined: hraft may never answer once it stops
		defer n.endChange()
		done <- f.Error()
	}()
	select {
	case err := <-done:
		if err != nil {
			return 0, outcomeOf(err)
		}
		return f.Index(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	case <-n.stopping:
		return 0, fmt.Errorf("%w: %w", ErrUnknown, n.stopReason())
	}
}

func (n *Node) newcomer(id hraft.ServerID, address string, known bool) error {
	if known {
		return fmt.Errorf("%w: %s is in the cluster already", ErrMember, id)
	}
	return n.unused(address)
}

func (n *Node) unused(address string) error {
	for _, s := range n.servers() {
		if string(s.Address) == address {
			return fmt.Errorf("%w: %s has the address %s", ErrMember, s.ID, address)
		}
	}
	return nil
}

func (n *Node) move(ctx context.Context, s hraft.Server, known bool, address string, after uint64) (hraft.IndexFuture, uint64, error) {
	if !known || address == "" {
		return nil, 0, fmt.Errorf("%w: no such member, or no address", ErrMember)
	}
	if string(s.Address) == address {
		return nil, after, nil
	}
	if err := n.unused(address); err != nil {
		return nil, 0, err
	}
	add := n.raft.AddVoter
	if s.Suffrage != hraft.Voter {
		add = n.raft.AddNonvoter
	}
	return add(s.ID, hraft.ServerAddress(address), after, untilDeadline(ctx)), 0, nil
}

// ready returns nil if a learner has nearly all of the log. It answers for
// itself, so that a vote is never given to a member that is not there.
func (n *Node) ready(ctx context.Context, s hraft.Server) error {
	if s.Suffrage == hraft.Voter {
		return fmt.Errorf("%w: %s has a vote already", ErrMember, s.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*n.config.ElectionTimeout)
	defer cancel()
	last, err := n.callNumber(ctx, memberOf(s.ID), kindReach, nil)
	if err != nil {
		return fmt.Errorf("%w: %s does not answer: %v", ErrNotReady, s.ID, err)
	}
	if commit := n.committed(); last+promoteLag < commit {
		return fmt.Errorf("%w: %s is at entry %d of %d", ErrNotReady, s.ID, last, commit)
	}
	return nil
}

// expendable returns nil if the others can do without a member.
func (n *Node) expendable(ctx context.Context, id hraft.ServerID) error {
	voters, there := 0, 0
	reach := n.reach(ctx)
	for _, s := range n.servers() {
		if s.Suffrage != hraft.Voter || s.ID == id {
			continue
		}
		voters++
		if _, ok := reach[s.ID]; ok {
			there++
		}
	}
	if there > voters/2 {
		return nil
	}
	return fmt.Errorf("%w: without %s, %d of %d voters are there", ErrLastQuorum, id, there, voters)
}

// reach asks all voters for the newest entry in their logs. Who is not in the
// answer is not there.
func (n *Node) reach(ctx context.Context) map[hraft.ServerID]uint64 {
	ctx, cancel := context.WithTimeout(ctx, 2*n.config.ElectionTimeout)
	defer cancel()
	type answer struct {
		id   hraft.ServerID
		last uint64
		err  error
	}
	answers := make(chan answer)
	asked := 0
	for _, s := range n.servers() {
		if s.Suffrage != hraft.Voter {
			continue
		}
		asked++
		go func() {
			if s.ID == n.id {
				answers <- answer{s.ID, n.raft.LastIndex(), nil}
				return
			}
			last, err := n.callNumber(ctx, memberOf(s.ID), kindReach, nil)
			answers <- answer{s.ID, last, err}
		}()
	}
	found := map[hraft.ServerID]uint64{}
	for range asked {
		if a := <-answers; a.err == nil {
			found[a.id] = a.last
		}
	}
	return found
}
