// SPDX-License-Identifier: Apache-2.0

package raft

import (
	hraft "github.com/hashicorp/raft"
)

// How followers learn what is committed.
//
// hraft tells them with the next entries, or else when its CommitTimeout is
// over: soon only if it keeps sending for nothing. A caller at a follower waits
// for that. So when something is committed and no entries follow at once, the
// leader says so here, with a message that hraft itself might send: no entries,
// behind the last one that the follower is known to have.

// spread is told of each commit, before it is applied. Entries that wait in
// line carry the news themselves.
func (n *Node) spread(index uint64) {
	if l, _ := n.reign.current(); l != nil && !n.line.crowded() {
		n.transport.tell(index)
	}
}

// told is what one follower has and knows.
type told struct {
	at     hraft.ServerAddress
	header hraft.AppendEntriesRequest // of the last message: term, leader
	match  uint64                     // the last entry that it has of this leader
	term   uint64                     // of that entry
	commit uint64                     // what it was told is committed
	wanted uint64                     // what it ought to know
	busy   bool                       // a goroutine is telling it
}

// tell lets all followers know that entries up to commit are committed. It
// never waits.
func (t *transport) tell(commit uint64) {
	t.toldMu.Lock()
	defer t.toldMu.Unlock()
	for id, f := range t.told {
		f.wanted = max(f.wanted, commit)
		t.hurryLocked(id, f)
	}
}

// noteSent remembers what a follower has after it answered a message.
func (t *transport) noteSent(id hraft.ServerID, at hraft.ServerAddress, args *hraft.AppendEntriesRequest, accepted bool) {
	t.toldMu.Lock()
	defer t.toldMu.Unlock()
	f := t.told[id]
	if !accepted {
		delete(t.told, id)
		return
	}
	if f == nil || f.header.Term != args.Term {
		f = new(told)
		t.told[id] = f
	}
	f.at, f.header = at, *args
	f.header.Entries = nil
	f.match, f.term = args.PrevLogEntry, args.PrevLogTerm
	if n := len(args.Entries); n > 0 {
		f.match, f.term = args.Entries[n-1].Index, args.Entries[n-1].Term
	}
	f.commit = max(f.commit, args.LeaderCommitIndex)
	t.hurryLocked(id, f)
}

func (t *transport) hurryLocked(id hraft.ServerID, f *told) {
	if f.busy || min(f.wanted, f.match) <= f.commit {
		return
	}
	f.busy = true
	go t.tellOne(id, f)
}

// tellOne ends when there is nothing more to tell, or when the follower does
// not take it: hraft finds out why, and sends what it lacks.
func (t *transport) tellOne(id hraft.ServerID, f *told) {
	for {
		t.toldMu.Lock()
		news := min(f.wanted, f.match, t.unsettled()-1)
		if news <= f.commit || t.told[id] != f {
			f.busy = false
			t.toldMu.Unlock()
			return
		}
		at, message := f.at, f.header
		message.PrevLogEntry, message.PrevLogTerm, message.LeaderCommitIndex = f.match, f.term, news
		t.toldMu.Unlock()

		var answer hraft.AppendEntriesResponse
		t.awaitVoice()
		err := t.NetworkTransport.AppendEntries(id, t.target(id, at), &message, &answer)

		t.toldMu.Lock()
		f.commit = news
		if (err != nil || !answer.Success) && t.told[id] == f {
			delete(t.told, id)
		}
		t.toldMu.Unlock()
	}
}
