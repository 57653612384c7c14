// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

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

// confirmPatience is how long a voter is waited for before the rest are asked,
// too. It takes many times what an answer takes where nothing is wrong.
const confirmPatience = 5 * time.Millisecond

// confirm returns nil once a majority of the voters has been in term since the
// call. It asks as many as are needed, first who answered the last time, and
// all others when one of them takes long or refuses.
func (n *Node) confirm(ctx context.Context, term uint64) error {
	voters, agree, others := n.standing(term, 0)
	answers := make(chan uint64, len(others))
	ask := func(members []uint64) {
		for _, member := range members {
			n.questions.Go(func() {
				now, err := n.callNumber(ctx, member, kindConfirm, nil)
				if err != nil || now != term {
					member = 0
				}
				answers <- member
			})
		}
	}
	first := others[:min(len(others), max(0, voters/2+1-agree))]
	rest := others[len(first):]
	ask(first)
	late := time.NewTimer(confirmPatience)
	defer late.Stop()
	for waiting := len(others); agree <= voters/2 && waiting > 0; {
		select {
		case member := <-answers:
			waiting--
			if member != 0 {
				agree++
				n.confirmer.Store(member)
				continue
			}
		case <-late.C:
		}
		ask(rest)
		rest = nil
	}
	if agree > voters/2 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d voters follow %s", ErrNoLeader, agree, voters, n.id)
}

// standing counts the voters and those that are in term: this member, if it
// leads, and the one that vouches for itself. The others can be asked, best
// first.
func (n *Node) standing(term, voucher uint64) (voters, agree int, others []uint64) {
	for _, s := range n.servers() {
		if s.Suffrage != hraft.Voter {
			continue
		}
		voters++
		switch member := memberOf(s.ID); {
		case s.ID == n.id:
			if n.raft.State() == hraft.Leader && n.raft.CurrentTerm() == term {
				agree++
			}
		case member == voucher:
			agree++
		case member == n.confirmer.Load():
			others = slices.Insert(others, 0, member)
		default:
			others = append(others, member)
		}
	}
	return voters, agree, others
}

// vouched is the index to read at for a member that was in the leader's term
// when it asked, if with it a majority was, so that nobody else need be asked:
// no other leader can have been elected, and nothing acknowledged that this one
// does not know, before the question. What came later the caller need not see.
func (n *Node) vouched(l *leadership, from uint64, body []byte) (index uint64, ok bool) {
	term, rest, ok := cutUvarint(body)
	if !ok || len(rest) != 0 || term != l.term {
		return 0, false
	}
	index = n.committed()
	voters, agree, _ := n.standing(term, from)
	return index, agree > voters/2
}

// remoteIndex asks the leader for the index that a read must wait for.
func (n *Node) remoteIndex() (uint64, error) {
	leader := n.leader()
	if leader == 0 || leader == n.config.Member {
		return 0, fmt.Errorf("%w: no other member leads", ErrNoLeader)
	}
	ctx, cancel := context.WithTimeout(n.life, 2*n.config.ElectionTimeout)
	defer cancel()
	// The term is this member's after all who wait for the answer have called.
	index, err := n.callNumber(ctx, leader, kindIndex, number(n.raft.CurrentTerm()))
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
