// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	hraft "github.com/hashicorp/raft"
)

// applier stands between hraft and the machine. hraft calls ApplyBatch and
// Snapshot on one goroutine, and Persist on another.
type applier struct {
	machine  Machine
	line     *line
	failed   func() error // why the node has failed, or nil
	fail     func(error)
	progress *progress

	// held is what the machine held when it was opened, or was given: entries
	// at or below are not applied again.
	held atomic.Uint64
	// install makes the machine what another member has sent.
	install func() (*hraft.SnapshotMeta, error)

	settled   func(index uint64) error // waits for this member's own disk
	committed func(index uint64)       // if set, told before entries are applied

	mu            sync.Mutex // held while entries are applied; guards what follows
	last          position   // the newest entry that was applied
	configuration hraft.Configuration

	configured atomic.Uint64 // index of the newest configuration that is committed
	id         hraft.ServerID
	part       bool   // a configuration has had this member
	leave      func() // told when a later one has not

	// Buffers of one ApplyBatch, kept for the next.
	entries  []Entry
	commands [][]byte
	arrivals []arrival
}

// position is an entry's place in the log.
type position struct{ index, term uint64 }

// arrival is a local group whose entry is being applied: its commands are
// those from first on.
type arrival struct {
	group *group
	first int
	term  uint64
}

// ApplyBatch passes committed entries to the machine and answers the callers
// who wait for them. hraft's own answers carry nothing.
func (a *applier) ApplyBatch(logs []*hraft.Log) []any {
	answers := make([]any, len(logs))
	if a.settled(logs[len(logs)-1].Index) != nil || a.failed() != nil {
		return answers
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.collect(logs); err != nil {
		a.fail(err)
		return answers
	}
	if a.committed != nil {
		a.committed(logs[len(logs)-1].Index)
	}
	var results [][]byte
	if len(a.entries) > 0 {
		applying(a.entries, len(a.arrivals) > 0)
		results = a.machine.Apply(a.entries)
	}
	if len(results) != len(a.commands) {
		a.fail(fmt.Errorf("apply entries %d to %d: the machine answered %d of %d commands",
			logs[0].Index, logs[len(logs)-1].Index, len(results), len(a.commands)))
		return answers
	}
	if a.failed() != nil {
		return answers
	}
	newest := logs[len(logs)-1]
	a.last = position{newest.Index, newest.Term}
	a.progress.advance(newest.Index)
	for _, v := range a.arrivals {
		a.line.answer(v.group, results[v.first:], v.term)
	}
	return answers
}

// collect decodes entries that the machine does not hold yet.
func (a *applier) collect(logs []*hraft.Log) error {
	clear(a.entries)
	clear(a.commands)
	clear(a.arrivals)
	a.entries, a.commands, a.arrivals = a.entries[:0], a.commands[:0], a.arrivals[:0]
	for _, l := range logs {
		if l.Type == hraft.LogConfiguration {
			a.configure(hraft.DecodeConfiguration(l.Data), l.Index)
		}
		if l.Type != hraft.LogCommand || l.Index <= a.held.Load() {
			continue
		}
		first := len(a.commands)
		var err error
		if a.commands, err = appendGroup(a.commands, l.Data); err != nil {
			return fmt.Errorf("apply entry %d: %w", l.Index, err)
		}
		if g := a.line.arrive(l.Data); g != nil {
			g.index = l.Index
			a.arrivals = append(a.arrivals, arrival{g, first, l.Term})
		}
		if commands := a.commands[first:]; len(commands) > 0 {
			a.entries = append(a.entries, Entry{Index: l.Index, Term: l.Term, Commands: commands})
		}
	}
	return nil
}

// configure takes note of a committed configuration. A new member reads older
// ones, which do not have it yet.
func (a *applier) configure(c hraft.Configuration, index uint64) {
	a.configured.Store(index)
	a.configuration = c
	for _, s := range c.Servers {
		if s.ID == a.id {
			a.part = true
			return
		}
	}
	if a.part {
		a.leave()
	}
}

// Apply is what hraft would call if there were no ApplyBatch.
func (a *applier) Apply(l *hraft.Log) any { return a.ApplyBatch([]*hraft.Log{l})[0] }

// Snapshot captures nothing: the state is in the machine, and the label gets
// its index from hraft.
func (a *applier) Snapshot() (hraft.FSMSnapshot, error) { return (*snapshot)(a), a.failed() }

// Restore is called when another member's state is to take the place of this
// one's. It has come already; hraft knows only the token.
func (a *applier) Restore(token io.ReadCloser) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	meta, err := a.install()
	if err != nil {
		return errors.Join(err, token.Close())
	}
	a.held.Store(meta.Index)
	a.last = position{meta.Index, meta.Term}
	a.configure(meta.Configuration, meta.ConfigurationIndex)
	a.progress.advance(meta.Index)
	return token.Close()
}

type snapshot applier

// Persist makes the machine durable up to the label's index, and only then
// lets the label be seen.
func (s *snapshot) Persist(to hraft.SnapshotSink) error {
	label := to.(*sink)
	if err := s.machine.Persist(label.meta.Index); err != nil {
		err = fmt.Errorf("make the state durable up to entry %d: %w", label.meta.Index, err)
		s.fail(err)
		return err
	}
	label.durable = true
	return label.Close()
}

func (s *snapshot) Release() {}

// progress is how far entries have been applied. It counts what reached the
// machine's goroutine, barriers and configurations too; hraft's AppliedIndex
// counts what was queued for it.
type progress struct {
	applied atomic.Uint64
	waits   atomic.Int32 // waiters, so that advance takes no lock without any

	mu      sync.Mutex
	waiters []waiter
}

type waiter struct {
	index uint64
	done  chan struct{}
}

// advance is called by the machine's goroutine alone. Entries that the machine
// held at start come by again and move nothing.
func (p *progress) advance(index uint64) {
	if index <= p.applied.Load() {
		return
	}
	p.applied.Store(index)
	if p.waits.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.waiters[:0]
	for _, w := range p.waiters {
		if w.index > index {
			kept = append(kept, w)
			continue
		}
		close(w.done)
	}
	clear(p.waiters[len(kept):])
	p.waiters = kept
	p.waits.Store(int32(len(kept)))
}

// reached is closed when index has been applied. A waiter may stop listening.
func (p *progress) reached(index uint64) <-chan struct{} {
	w := waiter{index, make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waits.Store(int32(len(p.waiters) + 1))
	if p.applied.Load() >= index {
		p.waits.Store(int32(len(p.waiters)))
		close(w.done)
		return w.done
	}
	p.waiters = append(p.waiters, w)
	return w.done
}
