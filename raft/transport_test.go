// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"math"
	"sync/atomic"
	"testing"

	hraft "github.com/hashicorp/raft"
)

func entries(sizes ...int) (list []*hraft.Log) {
	for i, size := range sizes {
		list = append(list, &hraft.Log{Index: uint64(11 + i), Data: make([]byte, size)})
	}
	return list
}

// A receiver commits up to what it is told, whatever its log holds there.
func TestAMessageClaimsNoMoreCommittedThanItShows(t *testing.T) {
	const all = math.MaxUint64
	for name, c := range map[string]struct {
		entries                           []*hraft.Log
		claimed, unsettled, count, claims uint64
	}{
		"all of it is committed":     {entries(1, 1), 12, all, 2, 12},
		"less is committed":          {entries(1, 1), 11, all, 2, 11},
		"more was committed since":   {entries(1, 1), 20, all, 2, 12},
		"nothing but what is before": {nil, 20, all, 0, 10},
		"what was cut off":           {entries(1, maxMessageBytes, 1), 13, all, 1, 11},
		"less is on the own disk":    {entries(1, 1), 12, 12, 2, 11},
		"one large entry":            {entries(maxMessageBytes + 1), 11, all, 1, 11},
	} {
		args := &hraft.AppendEntriesRequest{PrevLogEntry: 10, Entries: c.entries, LeaderCommitIndex: c.claimed}
		limit(args, c.unsettled)
		if args.LeaderCommitIndex != c.claims || uint64(len(args.Entries)) != c.count {
			t.Errorf("%s: %d entries, %d committed, want %d and %d",
				name, len(args.Entries), args.LeaderCommitIndex, c.count, c.claims)
		}
	}
}

func TestEntriesWaitUntilAHeartbeatGetsThrough(t *testing.T) {
	c := three(t)
	leader := c.leader()
	away := c.others(leader.config.Member)[0]
	leader.write(t, "before")
	c.part(away.config.Member, c.ids(), true)
	waits := func() error {
		leader.transport.awayMu.Lock()
		defer leader.transport.awayMu.Unlock()
		if leader.transport.away[away.id] == nil {
			return errors.New("the leader does not know that the member is away")
		}
		return nil
	}
	eventually(t, waits)
	leader.write(t, "while it is away")
	var back atomic.Bool
	returned := make(chan bool)
	go func() {
		args := &hraft.AppendEntriesRequest{PrevLogEntry: 1}
		_ = leader.transport.AppendEntries(away.id, hraft.ServerAddress(away.config.Address), args, &hraft.AppendEntriesResponse{})
		returned <- back.Load()
	}()
	pause(testElection)
	back.Store(true)
	c.part(away.config.Member, c.ids(), false)
	if !<-returned {
		t.Error("entries did not wait for a heartbeat")
	}
	c.agree(t, "before", "while it is away")
}

// Two members that change places must not both get a vote in one term: hraft
// tells candidates apart by what it takes for their addresses.
func TestHraftKnowsMembersByTheirIdsOnly(t *testing.T) {
	c := newCluster(t)
	m := c.start(1)
	if got := m.transport.LocalAddr(); got != hraft.ServerAddress(serverID(1)) {
		t.Errorf("local address %s", got)
	}
	if got := string(m.transport.EncodePeer(serverID(2), "elsewhere")); got != string(serverID(2)) {
		t.Errorf("address of another member %s", got)
	}
}
