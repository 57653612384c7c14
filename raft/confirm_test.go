// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"slices"
	"testing"

	hraft "github.com/hashicorp/raft"
)

// A voter that asks for an index in the leader's term is a majority with it, of
// three; whoever may be wrong about that is not believed.
func TestWhoVouchesForTheLeader(t *testing.T) {
	c := three(t)
	c.join(4) // a learner
	leader := c.leader()
	leader.write(t, "x")
	leader.sync(t)
	l, _ := leader.reign.current()
	voter := c.others(leader.config.Member)[0].config.Member
	for name, ask := range map[string]struct {
		from uint64
		body []byte
		want bool
	}{
		"a voter in the term":     {voter, number(l.term), true},
		"a voter of an older one": {voter, number(l.term - 1), false},
		"a voter of a newer one":  {voter, number(l.term + 1), false},
		"one who does not say":    {voter, nil, false},
		"a learner":               {4, number(l.term), false},
		"a stranger":              {9, number(l.term), false},
		"the leader itself":       {leader.config.Member, number(l.term), false},
	} {
		index, ok := leader.vouched(l, ask.from, ask.body)
		if ok != ask.want || ok && index < leader.Status().Applied {
			t.Errorf("%s: index %d, %v; want %v and at least %d", name, index, ok, ask.want, leader.Status().Applied)
		}
	}
	c.promote(4)
	c.join(5)
	c.promote(5)
	if _, ok := leader.vouched(l, voter, number(l.term)); ok {
		t.Error("two of five voters are taken for a majority")
	}
}

// The vote of a member that does not answer is found at another.
func TestALeaderIsConfirmedByWhoeverAnswers(t *testing.T) {
	c := three(t)
	leader := c.leader()
	l, _ := leader.reign.current()
	for _, m := range c.others(leader.config.Member) {
		away := m.config.Member
		leader.confirmer.Store(away) // the first that is asked
		c.part(away, c.ids(), true)
		if err := leader.confirm(patience(t), l.term); err != nil {
			t.Errorf("without member %d: %v", away, err)
		}
		if leader.confirmer.Load() == away {
			t.Error("who did not answer is asked first again")
		}
		c.part(away, c.ids(), false)
	}
}

// Everyone is asked at last, however many refuse.
func TestALeaderIsNotConfirmedByAMinority(t *testing.T) {
	c := three(t)
	leader := c.leader()
	l, _ := leader.reign.current()
	voters, agree, others := leader.standing(l.term, 0)
	if voters != 3 || agree != 1 || len(others) != 2 || slices.Contains(others, leader.config.Member) {
		t.Fatalf("%d voters, %d agree, others %v", voters, agree, others)
	}
	if _, agree, _ := leader.standing(l.term+1, 0); agree != 0 && leader.raft.State() == hraft.Leader {
		t.Error("it leads in another term")
	}
	c.part(leader.config.Member, c.ids(), true)
	defer c.part(leader.config.Member, c.ids(), false)
	if err := leader.confirm(patience(t), l.term); !errors.Is(err, ErrNoLeader) {
		t.Errorf("confirmed by nobody: %v", err)
	}
}
