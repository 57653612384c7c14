// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// cluster is members that have joined one another.
type cluster struct {
	t       *testing.T
	network *network
	members []*member
	id      uint64   // of the cluster
	history *history // what clients were told; nil until there are clients
}

func startCluster(t *testing.T, members int, program string) *cluster {
	t.Helper()
	// Not below t.TempDir, whose long names a socket's path has no room for.
	dir, err := os.MkdirTemp("", fmt.Sprint(ownPrefix, os.Getpid(), "-"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the directory is kept: %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	c := &cluster{t: t, network: newNetwork(t, members)}
	for place := range members {
		c.members = append(c.members, newMember(t, dir, place, c.network.names[place], program))
	}
	c.members[0].launch()
	c.members[0].open()
	c.await(c.members[0])
	for _, m := range c.members[1:] {
		c.join(m, c.members[0])
	}
	c.healthy()
	return c
}

// await waits until a member answers.
func (c *cluster) await(m *member) {
	c.t.Helper()
	c.eventually("a member serves", func(ctx context.Context) error {
		s, err := m.client.Status(ctx, m.client.Endpoints()[0])
		if err == nil {
			m.id, c.id = s.Header.MemberId, s.Header.ClusterId
		}
		return err
	})
}

// join makes a new machine one of the cluster, as an administrator would.
// Until it is, no client gets to it: it is a cluster of its own.
func (c *cluster) join(m, host *member) {
	c.t.Helper()
	m.launch()
	c.eventually("an invitation is made and taken", func(context.Context) error {
		line, err := host.ctl("invite")
		if err != nil {
			return err
		}
		_, err = m.ctl(strings.Fields(line)[1:]...)
		if list, e := m.ctl("member", "list"); e == nil && strings.Contains(list, fmt.Sprintf("%x", host.id)) {
			return nil // it is in, whatever else it said
		}
		return err
	})
	m.open()
	c.await(m)
}

// eventually tries until it works.
func (c *cluster) eventually(what string, try func(ctx context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for {
		short, end := context.WithTimeout(ctx, 2*time.Second)
		err := try(short)
		end()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("not in %v: %s: %v; the members said:\n%s", patience, what, err, c.said())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *cluster) said() string {
	var all strings.Builder
	for _, m := range c.members {
		fmt.Fprintf(&all, "member %d, %x:\n%s\n", m.place+1, m.id, m.said())
	}
	return all.String()
}

// healthy waits until all vote, know the same leader and have applied what any
// of them had at first. It returns the leader.
func (c *cluster) healthy() (leader *member) {
	c.t.Helper()
	var goal uint64 // an index that the first look has shown
	c.eventually("the cluster is healthy", func(ctx context.Context) (err error) {
		var least, most uint64
		leader, least, most, err = c.look(ctx)
		if goal = cmp.Or(goal, most); err == nil && least < goal {
			err = fmt.Errorf("a member has applied %d, not yet %d", least, goal)
		}
		return err
	})
	return leader
}

// look asks all members, and returns the leader, and the least and the most
// that any has applied.
func (c *cluster) look(ctx context.Context) (leader *member, least, most uint64, err error) {
	var applied []uint64
	for i, m := range c.members {
		s, err := m.client.Status(ctx, m.client.Endpoints()[0])
		if err != nil {
			return nil, 0, 0, fmt.Errorf("member %d: %w", i+1, err)
		}
		m.id = s.Header.MemberId
		at := slices.IndexFunc(c.members, func(m *member) bool { return m.id == s.Leader })
		if s.IsLearner || at < 0 || leader != nil && leader != c.members[at] {
			return nil, 0, 0, fmt.Errorf("member %d: learner %v, leader %x", i+1, s.IsLearner, s.Leader)
		}
		leader, applied = c.members[at], append(applied, s.RaftAppliedIndex)
	}
	list, err := leader.client.MemberList(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	if len(list.Members) != len(c.members) {
		return nil, 0, 0, fmt.Errorf("%d members", len(list.Members))
	}
	return leader, slices.Min(applied), slices.Max(applied), nil
}

// others is all members but one.
func (c *cluster) others(m *member) []*member {
	return slices.DeleteFunc(slices.Clone(c.members), func(o *member) bool { return o == m })
}
