// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"encoding/binary"
	"fmt"

	hraft "github.com/hashicorp/raft"
)

// confirmed notes the commit index and then makes sure that this member led
// when it was noted.
//
// It asks the other voters for their terms. A majority that is still in the
// leader's term after the index was noted has not elected another leader
// before. hraft's own question counts answers to heartbeats that were sent
// before it was asked: a leader that was stopped for a while could read such an
// answer and take it for a confirmation.
func (n *Node) confirmed() (uint64, error) {
	l, _ := n.reign.current()
	if !l.isReady() {
		return 0, fmt.Errorf("%w: %s leads no more", ErrNoLeader, n.id)
	}
	index := n.committed()
	ctx, cancel := context.WithTimeout(n.life, n.config.ElectionTimeout)
	defer cancel()
	if err := n.confirm(ctx, l.term); err != nil {
		return 0, err
	}
	return index, nil
}

// confirm returns nil once a majority of the voters has been in term since the
// call.
func (n *Node) confirm(ctx context.Context, term uint64) error {
	var others []uint64
	voters, agree := 0, 0
	for _, s := range n.servers() {
		if s.Suffrage != hraft.Voter {
			continue
		}
		voters++
		if s.ID != n.id {
			others = append(others, memberOf(s.ID))
			continue
		}
		if n.raft.State() == hraft.Leader && n.raft.CurrentTerm() == term {
			agree++
		}
	}
	if agree > voters/2 {
		return nil
	}
	answers := make(chan bool, len(others))
	for _, member := range others {
		n.questions.Go(func() {
			now, err := n.callNumber(ctx, member, kindConfirm, nil)
			answers <- err == nil && now == term
		})
	}
	for range others {
		if <-answers {
			agree++
		}
		if agree > voters/2 {
			return nil
		}
	}
	return fmt.Errorf("%w: %d of %d voters follow %s", ErrNoLeader, agree, voters, n.id)
}

// remoteIndex asks the leader for the index that a read must wait for.
func (n *Node) remoteIndex() (uint64, error) {
	leader := n.leader()
	if leader == 0 || leader == n.config.Member {
		return 0, fmt.Errorf("%w: no other member leads", ErrNoLeader)
	}
	ctx, cancel := context.WithTimeout(n.life, 2*n.config.ElectionTimeout)
	defer cancel()
	index, err := n.callNumber(ctx, leader, kindIndex, nil)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	return index, nil
}

func appendUvarints(to []byte, values ...uint64) []byte {
	for _, v := range values {
		to = binary.AppendUvarint(to, v)
	}
	return to
}
