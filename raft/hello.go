// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"slices"
	"time"

	hraft "github.com/hashicorp/raft"
)

// verdict is what a member is told who says hello.
type verdict uint64

const (
	noted    verdict = iota + 1 // the one asked does not lead, and has noted the address
	welcome                     // a member, at this address
	unknown                     // the cluster has no such member, and that is committed
	notFound                    // the one asked has no such member, which may change
)

// greet tells the other members where this one is while the cluster does not
// know, or while nobody leads: one that moved must be found before it can be
// elected or vote. It is also how a member learns that it was removed while it
// was away: nobody talks to it any more.
func (n *Node) greet() {
	tick := time.NewTicker(n.config.ElectionTimeout)
	defer tick.Stop()
	for {
		if !n.settledIn() {
			n.introduce()
		}
		select {
		case <-tick.C:
		case <-n.stopping:
			return
		}
	}
}

// Move says that this member is reached elsewhere from now on. The others learn of
// it in the background, as often as it takes.
func (n *Node) Move(address string) { n.moved.Store(&address) }

// address is where this member is reached.
func (n *Node) address() string {
	if moved := n.moved.Load(); moved != nil {
		return *moved
	}
	return n.config.Address
}

func (n *Node) settledIn() bool {
	s, ok := n.server(n.config.Member)
	return ok && string(s.Address) == n.address() && n.leader() != 0
}

func (n *Node) introduce() {
	ctx, cancel := context.WithTimeout(n.life, 4*n.config.ElectionTimeout)
	defer cancel()
	l, _ := n.reign.current()
	switch {
	case l.isReady(): // nobody to tell
		if _, err := n.changeHere(ctx, setAddress, n.config.Member, n.address()); err != nil {
			n.config.Logger.Warn("raft: own address not set", "err", err)
		}
	case n.sayHello(ctx):
		n.dismiss()
	}
}

// sayHello asks all others at once. It returns true if the leader has
// confirmed that this member is one no longer.
func (n *Node) sayHello(ctx context.Context) bool {
	others := slices.DeleteFunc(n.servers(), func(s hraft.Server) bool { return s.ID == n.id })
	removed := make(chan bool, len(others))
	for _, s := range others {
		n.questions.Go(func() {
			v, err := n.callNumber(ctx, memberOf(s.ID), kindHello, []byte(n.address()))
			removed <- err == nil && verdict(v) == unknown
		})
	}
	for range others {
		if <-removed {
			return true
		}
	}
	return false
}

// answerHello notes where a member is, and if this one leads makes it so for
// all.
func (n *Node) answerHello(ctx context.Context, from uint64, address string) ([]byte, error) {
	s, known := n.server(from)
	if known && address != "" && string(s.Address) != address {
		n.hints.note(s.ID, address, string(s.Address))
	}
	l, _ := n.reign.current()
	switch {
	case known && !l.isReady():
		return number(uint64(noted)), nil
	case known:
		_, err := n.changeHere(ctx, setAddress, from, address)
		return number(uint64(welcome)), err
	case !l.isReady():
		return number(uint64(notFound)), nil
	}
	if _, err := n.readIndex(ctx, l); err != nil {
		return nil, err
	}
	// The newest configuration lacks it. So may the committed one only if it
	// is that: no change is under way.
	if err := n.beginChange(ctx); err != nil {
		return nil, err
	}
	defer n.endChange()
	if _, known := n.server(from); known {
		return number(uint64(notFound)), nil
	}
	return number(uint64(unknown)), nil
}

// dismiss tells once that this member was removed.
func (n *Node) dismiss() {
	n.dismissed.Do(func() {
		n.config.Logger.Info("raft: this member was removed from the cluster", "member", n.id)
		n.work.Go(n.config.Removed)
	})
}
