// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"
)

// Member 3 would trust the leader for hours; what it has not heard for a moment
// is all that counts for the other.
func TestWhoHearsNoLeaderVotesForAnother(t *testing.T) {
	c := newCluster(t)
	c.start(1)
	c.with = func(o *Config) {
		if o.Member == 3 {
			o.ElectionTimeout, o.faults.trust = time.Hour, testElection
		}
	}
	for id := uint64(2); id <= 3; id++ {
		c.join(id)
		c.promote(id)
	}
	c.members[1].write(t, "a")
	eventually(t, func() error { // or 3 would rightly refuse 2, whose log is shorter
		two, three := c.members[2].Status(), c.members[3].Status()
		if two.Last != three.Last || two.Last != c.members[1].Status().Last {
			return fmt.Errorf("the logs end at %d and %d", two.Last, three.Last)
		}
		return nil
	})
	c.kill(1)
	eventually(t, func() error {
		if two, three := c.members[2].Status(), c.members[3].Status(); two.Leader != 2 || three.Leader != 2 {
			return fmt.Errorf("%d leads: %+v, %+v, which heard a leader %v ago", two.Leader, two, three, time.Since(c.members[3].raft.LastContact()))
		}
		return nil
	})
}

// Who hears the leader refuses: another that does not must not end it.
func TestWhoHearsTheLeaderKeepsIt(t *testing.T) {
	said := new(lines)
	c := newCluster(t)
	c.with = func(o *Config) { o.Logger = slog.New(slog.NewTextHandler(said, nil)) }
	c.start(1)
	for id := uint64(2); id <= 3; id++ {
		c.join(id)
		c.promote(id)
	}
	leader := c.leader()
	term := leader.Status().Term
	deaf := c.others(leader.config.Member)[0].config.Member
	before := said.count("rejecting pre-vote request since we have a leader")
	c.world.set(leader.config.Member, deaf, true)
	eventually(t, func() error {
		if said.count("rejecting pre-vote request since we have a leader") < before+3 {
			return errors.New("it was not refused yet")
		}
		return nil
	})
	leader.write(t, "x")
	if now := leader.Status(); now.Term != term || now.Leader != leader.config.Member {
		t.Errorf("%d leads in term %d, want %d in %d", now.Leader, now.Term, leader.config.Member, term)
	}
}
