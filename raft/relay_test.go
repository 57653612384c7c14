// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

func TestEveryMemberTakesProposals(t *testing.T) {
	c := three(t)
	c.join(4) // a learner
	var callers sync.WaitGroup
	for id, m := range c.members {
		for caller := range 20 {
			callers.Go(func() {
				for i := range 5 {
					line := fmt.Sprintf("%d-%d-%d", id, caller, i)
					result, err := m.Propose(patience(t), []byte(line))
					if err != nil {
						t.Errorf("propose at %d: %v", id, err)
						return
					}
					lines := m.book.lines()
					if at := slices.Index(lines, line); at < 0 || fmt.Sprintf("%d:%s", at+1, line) != string(result) {
						t.Errorf("result %q at member %d, whose own state has it at %d", result, id, at)
					}
				}
			})
		}
	}
	callers.Wait()
	c.agree(t)
	if got := len(c.members[4].book.lines()); got != 4*20*5 {
		t.Errorf("%d lines, want %d", got, 4*20*5)
	}
}

// Commands that wait while others are on their way travel together.
func TestCommandsTravelInBatches(t *testing.T) {
	c := three(t)
	leader := c.leader()
	m := c.others(leader.config.Member)[0]
	m.write(t, "first")
	entered, release := leader.book.hold()
	defer release()
	var callers sync.WaitGroup
	propose := func(i int) {
		callers.Go(func() {
			if _, err := m.Propose(patience(t), fmt.Appendf(nil, "%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range maxBatches {
		propose(i)
		if i == 0 {
			<-entered
		}
		eventually(t, func() error { return c.calls(m, i+1) })
	}
	for i := range 50 {
		propose(maxBatches + i)
	}
	eventually(t, func() error {
		m.relay.mu.Lock()
		defer m.relay.mu.Unlock()
		if n := len(m.relay.waiting); n != 50 || m.relay.lane.calls != maxBatches {
			return fmt.Errorf("%d wait, %d calls", n, m.relay.lane.calls)
		}
		return nil
	})
	release()
	callers.Wait()
	c.agree(t)
}

func (c *cluster) calls(m *member, want int) error {
	m.relay.mu.Lock()
	defer m.relay.mu.Unlock()
	if l := m.relay.lane; l == nil || l.calls != want {
		return fmt.Errorf("want %d calls", want)
	}
	return nil
}

func TestAProposalWaitsForALeader(t *testing.T) {
	c := three(t)
	leader := c.leader().config.Member
	m := c.others(leader)[0]
	c.kill(leader)
	m.write(t, "x") // the old leader is not reached any more
	c.start(leader)
	c.agree(t, "x")
}

// What was on its way when the link broke is neither done again nor denied.
func TestALostAnswerIsUnknown(t *testing.T) {
	c := three(t)
	leader := c.leader().config.Member
	m := c.others(leader)[0].config.Member
	c.members[m].sync(t)
	entered, release := c.members[leader].book.hold()
	defer release()
	got := make(chan error, 1)
	go func() {
		_, err := c.members[m].Propose(patience(t), []byte("x"))
		got <- err
	}()
	<-entered
	c.part(m, c.ids(), true)
	release()
	if err := <-got; !errors.Is(err, ErrUnknown) {
		t.Errorf("propose: %v, want ErrUnknown", err)
	}
	c.part(m, c.ids(), false)
	c.agree(t, "x")
	if n := len(c.members[m].book.twice); n > 0 {
		t.Errorf("%d lines twice", n)
	}
}

func TestWhatWasNotSentIsNotUnknown(t *testing.T) {
	c := three(t)
	m := c.others(c.leader().config.Member)[0]
	m.sync(t)
	c.part(m.config.Member, c.ids(), true)
	ctx, cancel := context.WithTimeout(t.Context(), 3*testElection)
	defer cancel()
	if _, err := m.Propose(ctx, []byte("x")); !errors.Is(err, ErrNoLeader) || errors.Is(err, ErrUnknown) {
		t.Errorf("propose: %v, want ErrNoLeader", err)
	}
	c.part(m.config.Member, c.ids(), false)
	c.agree(t)
	if n := len(m.book.lines()); n != 0 {
		t.Errorf("%d lines, want none", n)
	}
}

func TestSyncAtAnyMemberSeesWhatAnyAcknowledged(t *testing.T) {
	c := three(t)
	c.join(4) // a learner
	for i := range 40 {
		from, to := c.members[uint64(i%4+1)], c.members[uint64(i/2%4+1)]
		line := fmt.Sprint(i)
		from.write(t, line)
		to.sync(t)
		if !slices.Contains(to.book.lines(), line) {
			t.Errorf("member %d does not see after Sync what member %d acknowledged", to.config.Member, from.config.Member)
		}
	}
}

// A leader that does not know yet that it was replaced must not answer reads,
// neither its own nor those of a member that still follows it.
func TestADeposedLeaderAnswersNoReads(t *testing.T) {
	c := three(t)
	old := c.leader()
	others := c.others(old.config.Member)
	stays, goes := others[0], others[1]
	stays.sync(t)
	// The old leader keeps one follower that hears it, and loses the majority.
	c.part(old.config.Member, []uint64{goes.config.Member}, true)
	c.set(stays.config.Member, old.config.Member, true) // its answers are lost
	ctx, cancel := context.WithTimeout(t.Context(), 2*testElection)
	defer cancel()
	for _, m := range []*member{old, stays} {
		if err := m.Sync(ctx); err == nil {
			t.Errorf("member %d synced with a leader that no majority has confirmed", m.config.Member)
		}
	}
	c.set(stays.config.Member, old.config.Member, false)
	c.part(old.config.Member, []uint64{goes.config.Member}, false)
	c.leader().write(t, "x")
	c.agree(t, "x")
}

func TestALeaderAsksForTermsNotForHeartbeats(t *testing.T) {
	c := three(t)
	leader := c.leader()
	leader.sync(t)
	l, _ := leader.reign.current()
	if err := leader.confirm(patience(t), l.term); err != nil {
		t.Errorf("term %d not confirmed: %v", l.term, err)
	}
	if err := leader.confirm(patience(t), l.term-1); !errors.Is(err, ErrNoLeader) {
		t.Errorf("an older term confirmed: %v", err)
	}
}
