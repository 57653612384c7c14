// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	hraft "github.com/hashicorp/raft"
)

// How a leader's disk works beside the network.
//
// hraft has a leader write an entry, waits for its fsync, and only then sends
// it to the others, who write it too: two disks after one another. So here a
// leader's entries count as written as soon as they are in the tail, from where
// they are sent and, on another goroutine, written and fsynced meanwhile.
//
//	StoreLogs → tail ─┬→ hraft sends them → the others' fsync → committed ─┐
//	                  └→ writeTail → this member's fsync ──────────────────┴→ applied
//
// hraft takes such an entry for committed when a majority has it, this member
// counted. It is committed only when this member has fsynced it too, so until
// then nobody gets to see it: the machine waits (settledTo, in ApplyBatch), and
// the others are not told (unsettled, in limit). What is left is what was
// always so: a majority has fsynced whatever anybody has applied.
//
// Only a leader's commands go this way. Configurations and the entry that
// begins a term are written first, since hraft acts on them itself once they
// are committed. A member that leads no more first lets the tail be written
// (settle): what it says it has, another leader counts.
//
// The tail also keeps what was written last, since it is read soon: a leader
// sends it to the others, a follower applies it.
type tail struct {
	first atomic.Uint64 // index of the oldest entry that is not written; 0 if all are
	more  chan struct{} // holds one: writeTail should look

	mu      sync.Mutex
	entries []*hraft.Log  // sealed, the newest of the log, oldest first, without gaps
	gone    chan struct{} // if set, closed when entries were written, or never will be
}

// What is written is kept while it is among so many entries of so many bytes.
const (
	keepEntries = 64
	keepBytes   = 4 << 20
)

// add takes the entries that follow, which are written, or are to be.
func (t *tail) add(entries []*hraft.Log, written bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.entries); n > 0 && entries[0].Index != t.entries[n-1].Index+1 {
		t.entries = nil // behind a state that was installed
	}
	t.entries = append(t.entries, entries...)
	if !written && t.first.Load() == 0 {
		t.first.Store(entries[0].Index)
		select {
		case t.more <- struct{}{}:
		default:
		}
	}
	t.trimLocked()
}

// trimLocked lets go of the oldest entries.
func (t *tail) trimLocked() {
	first, bytes, from := t.first.Load(), 0, len(t.entries)
	for from > 0 {
		e := t.entries[from-1]
		bytes += len(e.Data)
		if waits := first != 0 && e.Index >= first; !waits && (len(t.entries)-from >= keepEntries || bytes > keepBytes) {
			break
		}
		from--
	}
	t.entries = slices.Delete(t.entries, 0, from)
}

// unwritten are the entries that the disk must still write.
func (t *tail) unwritten() []*hraft.Log {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.first.Load()
	if first == 0 {
		return nil
	}
	return slices.Clone(t.entries[first-t.entries[0].Index:])
}

// written says that entries up to index are.
func (t *tail) written(index uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := index + 1
	if newest := t.entries[len(t.entries)-1].Index; next > newest {
		next = 0
	}
	t.first.Store(next)
	t.trimLocked()
	t.wakeLocked()
}

// remove forgets entries that were removed from the log, which are written.
func (t *tail) remove(first, last uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = slices.DeleteFunc(t.entries, func(e *hraft.Log) bool { return first <= e.Index && e.Index <= last })
}

// lost wakes those who wait for entries that are not written any more.
func (t *tail) lost() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wakeLocked()
}

func (t *tail) wakeLocked() {
	if t.gone != nil {
		close(t.gone)
		t.gone = nil
	}
}

// shorter is closed when more has been written, or nothing more will be.
func (t *tail) shorter() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone == nil {
		t.gone = make(chan struct{})
	}
	return t.gone
}

// find copies an entry, if the tail has it.
func (t *tail) find(index uint64, to *hraft.Log) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.entries) == 0 || index < t.entries[0].Index || index-t.entries[0].Index >= uint64(len(t.entries)) {
		return false
	}
	*to = *t.entries[index-t.entries[0].Index]
	to.Extensions = nil
	return true
}

// last is the index of the newest entry; 0 if the tail has none.
func (t *tail) last() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.entries) == 0 {
		return 0
	}
	return t.entries[len(t.entries)-1].Index
}

// unsettled is the index of the oldest entry that this member has taken and not
// fsynced; the largest number if there is none.
func (d *disk) unsettled() uint64 {
	if first := d.tail.first.Load(); first != 0 {
		return first
	}
	return math.MaxUint64
}

// settledTo waits until entries up to index are fsynced. An error is that of
// the write that failed.
func (d *disk) settledTo(index uint64) error {
	for d.unsettled() <= index {
		shorter := d.tail.shorter()
		if err := d.broken.Load(); err != nil {
			return *err
		}
		if d.unsettled() <= index {
			<-shorter
		}
	}
	return nil
}

// settle waits until all entries are fsynced.
func (d *disk) settle() error { return d.settledTo(math.MaxUint64 - 1) }

// writeTail writes what is in the tail until stop is closed, and what is left
// then.
func (d *disk) writeTail(stop <-chan struct{}) {
	for {
		for entries := d.tail.unwritten(); len(entries) > 0; entries = d.tail.unwritten() {
			if d.write(entries) != nil { // the member has failed
				d.tail.lost()
				return
			}
			d.tail.written(entries[len(entries)-1].Index)
		}
		select {
		case <-d.tail.more:
		case <-stop:
			return
		}
	}
}

func onlyCommands(logs []*hraft.Log) bool {
	return !slices.ContainsFunc(logs, func(l *hraft.Log) bool { return l.Type != hraft.LogCommand })
}

// writesBeside says that this member leads others, so that its disk may work
// while they do. Alone there is nobody to send to meanwhile.
func (n *Node) writesBeside() bool {
	return n.beside.Load() && n.raft.State() == hraft.Leader && !n.alone()
}

// committed is the newest index that is. hraft's own may be ahead of this
// member's disk; all that was ever acknowledged lies at or below both.
func (n *Node) committed() uint64 { return min(n.raft.CommitIndex(), n.disk.unsettled()-1) }
