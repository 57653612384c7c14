// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"time"

	hraft "github.com/hashicorp/raft"
)

// How followers learn what is committed.
//
// hraft tells them with the next entries, or else when its CommitTimeout is
// over: soon only if it keeps sending for nothing. A caller at a follower waits
// for that. So the leader says so here, with a message that hraft itself might
// send: no entries, behind the last one that the follower is known to have.
//
// It costs every member about as much as an entry does, so it is kept back
// while the next entries are likely to say it as soon: where proposals wait in
// line, and for tellWithin where the last commit is no longer ago than that.
// Followers whose own callers wait are told at once.
const tellWithin = 2 * time.Millisecond

// spread is told of each commit, before it is applied.
func (n *Node) spread(index uint64) {
	if l, _ := n.reign.current(); l != nil && !n.line.crowded() {
		n.transport.tell(index, time.Now())
	}
}

// spreadTo is for a follower that has been told to wait for an entry.
func (n *Node) spreadTo(member, index uint64) {
	if n.transport != nil && !n.line.crowded() {
		n.transport.tellTo(serverID(member), index)
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
func (t *transport) tell(commit uint64, now time.Time) {
	t.toldMu.Lock()
	defer t.toldMu.Unlock()
	if t.patient = now.Sub(t.lastCommit) < tellWithin; t.patient && !t.reminded {
		t.reminded = true
		t.reminder = time.AfterFunc(tellWithin, t.remind)
	}
	t.lastCommit = now
	for id, f := range t.told {
		f.wanted = max(f.wanted, commit)
		t.hurryLocked(id, f, t.waiting[id] > 0)
	}
}

// remind tells what was kept back once nothing has been committed for a while.
func (t *transport) remind() {
	t.toldMu.Lock()
	defer t.toldMu.Unlock()
	if left := tellWithin - time.Since(t.lastCommit); left > 0 {
		t.reminder.Reset(left)
		return
	}
	t.patient, t.reminded = false, false
	for id, f := range t.told {
		t.hurryLocked(id, f, true)
	}
}

// tellTo lets one follower know at once.
func (t *transport) tellTo(id hraft.ServerID, commit uint64) {
	t.toldMu.Lock()
	defer t.toldMu.Unlock()
	if f := t.told[id]; f != nil {
		f.wanted = max(f.wanted, commit)
		t.hurryLocked(id, f, true)
	}
}

// await says that a follower's callers wait for what is proposed here, until
// the function that it returns is called.
func (t *transport) await(id hraft.ServerID) (done func()) {
	add := func(n int) {
		t.toldMu.Lock()
		defer t.toldMu.Unlock()
		t.waiting[id] += n
	}
	add(1)
	return func() { add(-1) }
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
	t.hurryLocked(id, f, t.waiting[id] > 0)
}

// hurryLocked tells a follower what it does not know; now, or when the time has
// come.
func (t *transport) hurryLocked(id hraft.ServerID, f *told, now bool) {
	if f.busy || min(f.wanted, f.match) <= f.commit || t.patient && !now {
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
		err := t.exchange(t.target(id, at), &message, &answer)

		t.toldMu.Lock()
		f.commit = news
		if (err != nil || !answer.Success) && t.told[id] == f {
			delete(t.told, id)
		}
		t.toldMu.Unlock()
	}
}
