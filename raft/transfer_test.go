// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// load proposes at all members until it is told to stop, and notes what came
// of it.
func (c *cluster) load(t *testing.T, will *testament) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for id, m := range c.members {
		for caller := range 3 {
			callers.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					line := fmt.Sprintf("%d-%d-%d", id, caller, i)
					_, err := m.Propose(patience(t), []byte(line))
					will.note(line, err)
					if errors.Is(err, ErrStopped) {
						return
					}
				}
			})
		}
	}
	return func() { cancel(); callers.Wait() }
}

func TestATransferLosesNothing(t *testing.T) {
	c := three(t)
	c.leader()
	will := &testament{undone: map[string]bool{}}
	stop := c.load(t, will)
	for round := range 3 {
		for to := range uint64(3) {
			at := c.members[(to+uint64(round))%3+1]
			eventually(t, func() error { return at.Transfer(patience(t), to+1) })
			if got := at.Status().Leader; got != to+1 {
				t.Errorf("leader %d after a transfer to %d", got, to+1)
			}
		}
	}
	stop()
	c.agree(t)
	will.check(t, c.members[1].book)
	if will.unknown > 0 || len(will.undone) > 0 {
		t.Errorf("%d callers do not know, %d were refused, want none", will.unknown, len(will.undone))
	}
}

// A leader keeps streams to the process that the other was before, and each of
// them is found broken only when it is used.
func TestAMemberThatIsBackTakesOverAtTheFirstWord(t *testing.T) {
	c := three(t)
	leader := c.leader()
	heir := c.others(leader.config.Member)[0].config.Member
	for range streamPool { // each way between the two is walked, and kept
		for _, to := range []uint64{heir, leader.config.Member} {
			eventually(t, func() error { return leader.Transfer(patience(t), to) })
		}
	}
	c.kill(heir)
	c.start(heir)
	leader.write(t, "x")
	c.agree(t, "x")
	if err := leader.Transfer(patience(t), heir); err != nil {
		t.Error(err)
	}
}

// hraft ends what it finds under way without telling what became of it, so
// nothing may be.
func TestHoldingLetsWhatWasTakenEndAndNothingIn(t *testing.T) {
	l, g := busy(t)
	p := ask(1)
	wait(t, l, p)
	idle := l.hold()
	if _, err := l.join(ask(1)); !errors.Is(err, ErrNoLeader) {
		t.Errorf("join: %v, want ErrNoLeader", err)
	}
	if _, err := l.joinAll([]*proposal{ask(1)}); !errors.Is(err, ErrNoLeader) {
		t.Errorf("join of another member's: %v, want ErrNoLeader", err)
	}
	for range 2 {
		select {
		case <-idle:
			t.Fatal("idle while a proposal is under way")
		default:
		}
		arrive(t, l, g)
		l.answer(g, [][]byte{nil}, 1)
		if g = l.next(); g == nil {
			break
		}
	}
	<-idle
	barrier := ask(0)
	barrier.barrier = true
	if _, err := l.join(barrier); err != nil {
		t.Errorf("a new leader's own entry was held: %v", err)
	}
	l.release()
	if _, err := l.join(ask(1)); err != nil {
		t.Errorf("join after the release: %v", err)
	}
}

func TestATransferToWhoCannotLeadIsRefused(t *testing.T) {
	c := three(t)
	c.join(4)
	leader := c.leader()
	for _, to := range []uint64{4, 9} {
		if err := leader.Transfer(patience(t), to); !errors.Is(err, ErrMember) {
			t.Errorf("transfer to %d: %v, want ErrMember", to, err)
		}
	}
	leader.write(t, "goes on")
	if err := leader.Transfer(patience(t), leader.config.Member); err != nil {
		t.Errorf("transfer to the leader itself: %v", err)
	}
}

func TestAPlannedStopLosesNothing(t *testing.T) {
	c := three(t)
	will := &testament{undone: map[string]bool{}}
	stop := c.load(t, will)
	leader := c.leader()
	c.others(leader.config.Member)[0].write(t, "under load")
	leader.stop(t)
	delete(c.members, leader.config.Member)
	c.others(0)[0].write(t, "goes on")
	stop()
	c.agree(t)
	will.check(t, c.others(0)[0].book)
	if will.unknown > 0 {
		t.Errorf("%d callers do not know what became of their command", will.unknown)
	}
}

func TestALeaderRemovesItself(t *testing.T) {
	c := three(t)
	told := make(chan struct{})
	gone := c.leader().config.Member
	c.kill(gone)
	c.leader()
	c.start(gone, func(o *Config) { o.Removed = func() { close(told) } })
	leader := c.members[gone]
	eventually(t, func() error { return leader.Transfer(patience(t), gone) })
	if err := leader.Remove(patience(t), gone); err != nil {
		t.Fatal(err)
	}
	<-told
	delete(c.members, gone)
	c.leader().write(t, "x")
	c.agree(t, "x")
}

func TestAMemberLearnsThatItWasRemovedWhileItWasAway(t *testing.T) {
	c := three(t)
	leader := c.leader()
	away := c.others(leader.config.Member)[0].config.Member
	c.kill(away)
	if err := leader.Remove(patience(t), away); err != nil {
		t.Fatal(err)
	}
	c.kill(leader.config.Member) // it would still send what it could not
	c.start(leader.config.Member)
	c.leader()
	told := make(chan struct{})
	m := c.start(away, func(o *Config) { o.Removed = func() { close(told) } })
	<-told
	ctx, cancel := context.WithTimeout(t.Context(), 2*testElection)
	defer cancel()
	if _, err := m.Propose(ctx, []byte("x")); err == nil {
		t.Error("a removed member's command was carried out")
	}
	delete(c.members, away)
	c.leader().write(t, "y")
	c.agree(t, "y")
}

func TestAMemberThatMovedIsFound(t *testing.T) {
	c := three(t)
	moved := c.leader().config.Member
	c.kill(moved)
	c.leader().write(t, "without it")
	c.start(moved, func(o *Config) { o.Address = "elsewhere" })
	c.agree(t, "without it")
	eventually(t, func() error {
		for _, m := range c.members {
			if got := m.Members()[moved-1].Address; got != "elsewhere" {
				return fmt.Errorf("member %d has it at %s", m.config.Member, got)
			}
		}
		return nil
	})
}

// Two of three must agree on the new address, and one of these two is the one
// that moved. It lacks what the other has, so that only the other can lead.
func TestTheVoteOfAMemberThatMovedCounts(t *testing.T) {
	c := three(t)
	moved := c.others(c.leader().config.Member)[0].config.Member
	c.kill(moved)
	c.leader().write(t, "before")
	c.agree(t, "before")
	stays := c.ids()
	for _, id := range stays {
		c.kill(id)
	}
	c.start(moved, func(o *Config) { o.Address = "elsewhere" })
	c.start(stays[0])
	c.members[stays[0]].write(t, "after")
	c.agree(t, "before", "after")
}

func TestAMemberAloneTellsItsNewAddress(t *testing.T) {
	c := newCluster(t)
	c.start(1)
	c.leader()
	c.kill(1)
	m := c.start(1, func(o *Config) { o.Address = "elsewhere" })
	eventually(t, func() error {
		if got := m.Members()[0].Address; got != "elsewhere" {
			return errors.New(got)
		}
		return nil
	})
}

func TestAskReachesTheMemberOrTheLeader(t *testing.T) {
	c := newCluster(t)
	c.with = func(o *Config) {
		o.Asked = func(_ context.Context, from uint64, request []byte) ([]byte, error) {
			if string(request) == "no" {
				return nil, errors.New("not that")
			}
			return fmt.Appendf(nil, "%s from %d at %d", request, from, o.Member), nil
		}
	}
	c.start(1)
	c.join(2)
	c.join(3)
	c.agree(t)
	for _, at := range c.others(0) {
		for to, want := range map[uint64]uint64{0: 1, 1: 1, 2: 2, 3: 3} {
			answer, err := at.Ask(patience(t), to, []byte("hi"))
			if got := string(answer); err != nil || got != fmt.Sprintf("hi from %d at %d", at.config.Member, want) {
				t.Errorf("%d asks %d: %q, %v", at.config.Member, to, got, err)
			}
		}
		if _, err := at.Ask(patience(t), 2, []byte("no")); err == nil || !strings.Contains(err.Error(), "not that") {
			t.Errorf("a refused question: %v", err)
		}
	}
	if _, err := c.members[1].Ask(patience(t), 9, nil); !errors.Is(err, ErrUnreached) {
		t.Errorf("a stranger asked: %v", err)
	}
}
