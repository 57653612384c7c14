// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// cluster is several members in one world, numbered from 1.
type cluster struct {
	*world
	t       testing.TB
	dir     string
	with    func(*Config)
	members map[uint64]*member
}

func newCluster(t testing.TB) *cluster {
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
	return &cluster{world: newWorld(), t: t, dir: t.TempDir(), members: map[uint64]*member{}}
}

// three is a cluster of three voters.
func three(t testing.TB) *cluster {
	t.Helper()
	c := newCluster(t)
	c.start(1)
	for id := uint64(2); id <= 3; id++ {
		c.join(id)
		c.promote(id)
	}
	return c
}

func address(id uint64) string { return fmt.Sprintf("member-%d", id) }

func (c *cluster) start(id uint64, with ...func(*Config)) *member {
	c.t.Helper()
	m, err := c.tryStart(id, with...)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *cluster) tryStart(id uint64, with ...func(*Config)) (*member, error) {
	dir := filepath.Join(c.dir, address(id))
	all := append([]func(*Config){func(o *Config) {
		o.Member, o.Bootstrap = id, id == 1
		o.Address = address(id)
		o.ElectionTimeout = testElection
		if c.with != nil {
			c.with(o)
		}
	}}, with...)
	var h *host
	m, err := tryOpen(c.t, dir, append(all, func(o *Config) {
		h = c.host(id, o.Address)
		o.Network = h
	})...)
	if err != nil {
		return nil, err
	}
	h.serve(m.Node)
	c.members[id] = m
	c.t.Cleanup(func() { m.stop(c.t) })
	return m, nil
}

// join starts a member and has the cluster take it as a learner.
func (c *cluster) join(id uint64) *member {
	c.t.Helper()
	m := c.start(id)
	if err := c.members[1].AddLearner(patience(c.t), id, address(id)); err != nil {
		c.t.Fatalf("add learner %d: %v", id, err)
	}
	return m
}

func (c *cluster) promote(id uint64) {
	c.t.Helper()
	eventually(c.t, func() error {
		return c.members[1].Promote(patience(c.t), id)
	})
}

// kill ends a member without a word to the others.
func (c *cluster) kill(id uint64) {
	c.t.Helper()
	c.part(id, c.ids(), true)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.members[id].Shutdown(ctx); err != nil {
		c.t.Errorf("kill %d: %v", id, err)
	}
	delete(c.members, id)
	c.part(id, append(c.ids(), id), false)
}

func (c *cluster) ids() []uint64 {
	var ids []uint64
	for id := range c.members {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// leader waits until one member leads and all know it.
func (c *cluster) leader() *member {
	c.t.Helper()
	var found *member
	eventually(c.t, func() error {
		leaders := map[uint64]bool{}
		for _, m := range c.members {
			leaders[m.Status().Leader] = true
		}
		for id := range leaders {
			if found = c.members[id]; found != nil && len(leaders) == 1 {
				return nil
			}
		}
		return fmt.Errorf("leaders are %v", leaders)
	})
	return found
}

// others are all members but one, in order.
func (c *cluster) others(than uint64) []*member {
	var others []*member
	for _, id := range c.ids() {
		if id != than {
			others = append(others, c.members[id])
		}
	}
	return others
}

// agree checks that all members hold the same lines after a Sync.
func (c *cluster) agree(t testing.TB, want ...string) {
	t.Helper()
	var first []string
	for i, m := range c.others(0) {
		m.sync(t)
		lines := m.book.lines()
		if i == 0 {
			first = lines
		}
		if !slices.Equal(lines, first) {
			t.Errorf("member %d holds %d lines, another %d, or in another order", m.config.Member, len(lines), len(first))
		}
		for _, line := range want {
			if !slices.Contains(lines, line) {
				t.Errorf("member %d lacks %q", m.config.Member, line)
			}
		}
	}
}

func TestThreeMembersAgree(t *testing.T) {
	c := three(t)
	var want []string
	for i := range 20 {
		line := fmt.Sprint(i)
		c.leader().write(t, line)
		want = append(want, line)
	}
	c.agree(t, want...)
	for _, m := range c.members {
		if got := m.Members(); len(got) != 3 || got[2] != (Member{ID: 3, Address: "member-3"}) {
			t.Errorf("members %+v", got)
		}
	}
}

func TestTheOthersGoOnWithoutTheLeader(t *testing.T) {
	c := three(t)
	var want []string
	for round := range 3 {
		for i := range 10 {
			line := fmt.Sprintf("%d-%d", round, i)
			c.leader().write(t, line)
			want = append(want, line)
		}
		lost := c.leader().config.Member
		c.kill(lost)
		line := fmt.Sprintf("%d without %d", round, lost)
		c.leader().write(t, line)
		want = append(want, line)
		c.start(lost)
	}
	c.agree(t, want...)
}

func TestAMemberWithoutAMajorityAcknowledgesNothing(t *testing.T) {
	c := three(t)
	old := c.leader()
	old.write(t, "before")
	c.part(old.config.Member, c.ids(), true)
	ctx, cancel := context.WithTimeout(t.Context(), 3*testElection)
	defer cancel()
	if _, err := old.Propose(ctx, []byte("lost")); err == nil {
		t.Error("a leader that was cut off acknowledged a command")
	}
	if err := old.Sync(ctx); !errors.Is(err, ErrNoLeader) {
		t.Errorf("sync: %v, want ErrNoLeader", err)
	}
	c.others(old.config.Member)[0].write(t, "after")
	c.part(old.config.Member, c.ids(), false)
	c.agree(t, "before", "after")
	if got := len(old.book.lines()); got != 2 {
		t.Errorf("%d lines, want those of the majority", got)
	}
}

func TestALearnerHasNoVote(t *testing.T) {
	c := newCluster(t)
	c.start(1)
	c.join(2)
	c.leader().write(t, "x")
	c.agree(t, "x")
	if s := c.members[2].Status(); !s.Learner || s.Leader != 1 {
		t.Errorf("status %+v", s)
	}
	c.kill(2)
	c.members[1].write(t, "y") // nobody waits for a learner
	c.start(2)
	c.agree(t, "x", "y")
}

func TestChangesThatAreRefused(t *testing.T) {
	c := three(t)
	m := c.members[2]
	ctx := patience(t)
	if err := m.AddLearner(ctx, 3, "elsewhere"); !errors.Is(err, ErrMember) {
		t.Errorf("a member added twice: %v", err)
	}
	if err := m.AddLearner(ctx, 4, address(3)); !errors.Is(err, ErrMember) {
		t.Errorf("an address added twice: %v", err)
	}
	if err := m.Promote(ctx, 3); !errors.Is(err, ErrMember) {
		t.Errorf("a voter promoted: %v", err)
	}
	if err := m.Remove(ctx, 9); !errors.Is(err, ErrMember) {
		t.Errorf("a stranger removed: %v", err)
	}
	if err := m.AddLearner(ctx, 4, address(4)); err != nil {
		t.Fatal(err)
	}
	if err := m.Promote(ctx, 4); !errors.Is(err, ErrNotReady) {
		t.Errorf("a learner that does not run promoted: %v", err)
	}
	c.kill(3)
	leader := c.leader()
	if err := leader.Remove(ctx, c.others(leader.config.Member)[0].config.Member); !errors.Is(err, ErrLastQuorum) {
		t.Errorf("the quorum removed: %v", err)
	}
	if err := leader.Remove(ctx, 3); err != nil {
		t.Errorf("a dead member removed: %v", err)
	}
	c.leader().write(t, "goes on")
	c.agree(t, "goes on")
}

func TestTheLastVoterStays(t *testing.T) {
	c := newCluster(t)
	m := c.start(1)
	if err := m.Remove(patience(t), 1); !errors.Is(err, ErrLastQuorum) {
		t.Errorf("remove: %v, want ErrLastQuorum", err)
	}
	m.write(t, "x")
}

// A new member may die at any time while it gets the log that was written
// before it came.
func TestANewMemberMayDieWhileItCatchesUp(t *testing.T) {
	c := newCluster(t)
	c.start(1)
	for i := range 100 {
		c.members[1].write(t, fmt.Sprint(i))
	}
	for i := range 5 {
		m := c.start(2)
		if i == 0 {
			if err := c.members[1].AddLearner(patience(t), 2, address(2)); err != nil {
				t.Fatal(err)
			}
		}
		last := m.Status().Last
		eventually(t, func() error {
			if now := m.Status(); now.Term == 0 || i > 0 && now.Last == last && last < 100 {
				return fmt.Errorf("nothing has come: %+v", now)
			}
			return nil
		})
		c.kill(2)
	}
	c.start(2)
	c.agree(t)
}

// A new member hears of a term before it gets its first entry. It must not be
// taken for one that has lost its log, nor the other way round.
func TestAMemberWithoutALogIsNewOrHasLostIt(t *testing.T) {
	c := newCluster(t)
	restart := func(key []byte, value uint64) error {
		s, err := openBolt(filepath.Join(c.dir, address(2), "raft", stableFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.SetUint64(key, value), s.Close()); err != nil {
			t.Fatal(err)
		}
		m, err := c.tryStart(2)
		if err == nil {
			m.stop(t)
		}
		return err
	}
	c.start(2).stop(t)
	if err := restart(keyTerm, 5); err != nil {
		t.Errorf("a new member that has heard of a term: %v", err)
	}
	if err := restart(keyMember, 2); err == nil || !strings.Contains(err.Error(), "the log is lost") {
		t.Errorf("a member that had a log: %v", err)
	}
	if err := restart(keyMember, 3); !errors.Is(err, ErrMember) {
		t.Errorf("another member's directory: %v, want ErrMember", err)
	}
}
