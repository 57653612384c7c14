// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"fmt"
	"slices"
	"sync"
)

// How a command travels.
//
// At most one group of commands is on its way to the log's disk. A proposal
// that finds the way free is a group of its own and is handed to hraft by its
// caller's goroutine: alone, a command costs three hand-offs (caller → hraft's
// main loop → the machine's goroutine → caller) and one fsync. A proposal that
// finds the way taken waits in line.
//
// When a group has been written and committed it arrives at the machine's
// goroutine (arrive), and the way is free: the submitter makes one group of
// all who wait, up to maxGroupBytes. So while the disk is busy groups grow, and
// while one group is applied the next is written. The line moves at arrival
// and not when the write ends, because hraft's loop chooses at random between
// a new entry and a commit: a group handed to it earlier would often be
// written before its predecessor is applied. When applying is what takes long,
// maxGroups stops the line.
//
// The machine's goroutine answers the callers itself (answer). hraft's own
// answer matters only when it is an error; the collector waits for it, off the
// way that commands take. Whoever removes a group from outstanding answers it,
// so each is answered once.
const maxGroups = 3

// A proposal is one command and its caller. It is answered once, on done,
// which holds one outcome, so that nobody waits for a caller who left.
type proposal struct {
	command []byte
	barrier bool // carries no command: an entry of the leader's own term
	done    chan outcome
}

type outcome struct {
	result      []byte
	index, term uint64 // of the entry
	err         error
}

type group struct {
	proposals []*proposal
	data      []byte // as it is in the log; its first byte's address tells the group's own entry
	index     uint64 // of its entry; set by the machine's goroutine before it answers
	logging   bool   // under line.mu: has not arrived at the machine yet
}

// line is where proposals wait and groups are accounted for.
type line struct {
	more    chan struct{} // holds one: the submitter should look
	drained chan struct{} // closed once closed is set and nothing is under way

	mu          sync.Mutex // protects all below
	waiting     []*proposal
	logging     bool          // a group is between its submission and its arrival
	outstanding []*group      // submitted, not answered; oldest first
	closed      error         // why no proposal is taken any more
	settled     bool          // drained is closed
	held        bool          // proposals are sent back until release
	idle        chan struct{} // if set, closed when held and nothing is under way
}

func newLine() *line {
	return &line{more: make(chan struct{}, 1), drained: make(chan struct{})}
}

// join puts p in line. It returns a group if the way is free: the caller must
// submit it.
func (l *line) join(p *proposal) (*group, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.shutLocked(p.barrier); err != nil {
		return nil, err
	}
	if !l.freeLocked() || len(l.waiting) > 0 {
		l.waiting = append(l.waiting, p)
		return nil, nil
	}
	return l.openLocked([]*proposal{p}), nil
}

// joinAll is join for all of a group.
func (l *line) joinAll(ps []*proposal) (*group, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.shutLocked(false); err != nil {
		return nil, err
	}
	if !l.freeLocked() || len(l.waiting) > 0 {
		l.waiting = append(l.waiting, ps...)
		return nil, nil
	}
	return l.openLocked(slices.Clone(ps)), nil
}

var errHeld = fmt.Errorf("%w: leadership is being handed over", ErrNoLeader)

func (l *line) shutLocked(barrier bool) error {
	if l.closed == nil && l.held && !barrier {
		return errHeld
	}
	return l.closed
}

// hold sends new proposals back until release. What it returns is closed when
// those that were taken are answered.
func (l *line) hold() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.idle = true, make(chan struct{})
	idle := l.idle
	l.settleLocked()
	return idle
}

func (l *line) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.idle = false, nil
}

func (l *line) freeLocked() bool { return !l.logging && len(l.outstanding) < maxGroups }

func (l *line) openLocked(proposals []*proposal) *group {
	g := &group{proposals: proposals, logging: true}
	l.logging = true
	l.outstanding = append(l.outstanding, g)
	return g
}

// next makes a group of the first in line: up to maxGroupBytes, or one command
// that is larger.
func (l *line) next() *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.freeLocked() || len(l.waiting) == 0 {
		return nil
	}
	n, bytes := 0, 0
	for n < len(l.waiting) {
		bytes += len(l.waiting[n].command)
		if n > 0 && bytes > maxGroupBytes {
			break
		}
		n++
	}
	first := slices.Clone(l.waiting[:n])
	rest := copy(l.waiting, l.waiting[n:])
	clear(l.waiting[rest:])
	l.waiting = l.waiting[:rest]
	return l.openLocked(first)
}

// leave is for a caller whose context ended.
func (l *line) leave(p *proposal, cause error) outcome {
	l.mu.Lock()
	if i := slices.Index(l.waiting, p); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		l.settleLocked()
		l.mu.Unlock()
		return outcome{err: fmt.Errorf("raft: propose: %w", cause)}
	}
	l.mu.Unlock()
	select {
	case out := <-p.done:
		return out
	default:
		return outcome{err: fmt.Errorf("%w: %w", ErrUnknown, cause)}
	}
}

// register notes by what bytes the machine's goroutine will know the group.
func (l *line) register(g *group, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g.data = data
}

// arrive is called when a committed entry reaches the machine. It frees the
// way and returns the entry's group, or nil if no one here waits for it.
func (l *line) arrive(data []byte) *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.outstanding {
		if g.logging && len(g.data) > 0 && &g.data[0] == &data[0] {
			g.logging, l.logging = false, false
			l.kickLocked()
			return g
		}
	}
	return nil
}

// answer gives the callers of an applied group their results, one a command.
func (l *line) answer(g *group, results [][]byte, term uint64) {
	if !l.remove(g) {
		return
	}
	for _, p := range g.proposals {
		if p.barrier {
			p.done <- outcome{index: g.index, term: term}
			continue
		}
		p.done <- outcome{result: results[0], index: g.index, term: term}
		results = results[1:]
	}
}

// refuse answers the callers of a group that hraft refused or lost.
func (l *line) refuse(g *group, err error) {
	if !l.remove(g) {
		return
	}
	for _, p := range g.proposals {
		p.done <- outcome{err: err}
	}
}

// remove decides who answers a group: the one to whom it returns true.
func (l *line) remove(g *group) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.outstanding, g)
	if i < 0 {
		return false
	}
	l.outstanding = slices.Delete(l.outstanding, i, i+1)
	if g.logging {
		g.logging, l.logging = false, false
	}
	l.kickLocked()
	l.settleLocked()
	return true
}

// close lets no more proposals in. The first reason stays.
func (l *line) close(reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed == nil {
		l.closed = reason
	}
	l.settleLocked()
}

// abandon closes the line and answers all who are left: who waits gets reason,
// who was handed over gets ErrUnknown with it.
func (l *line) abandon(reason error) {
	l.close(reason)
	l.mu.Lock()
	waiting, outstanding := l.waiting, slices.Clone(l.outstanding)
	l.waiting = nil
	l.settleLocked()
	l.mu.Unlock()
	for _, p := range waiting {
		p.done <- outcome{err: reason}
	}
	for _, g := range outstanding {
		l.refuse(g, fmt.Errorf("%w: %w", ErrUnknown, reason))
	}
}

// crowded says that proposals wait for the way to be free.
func (l *line) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting) > 0
}

// pending counts the proposals that have not been answered.
func (l *line) pending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.waiting)
	for _, g := range l.outstanding {
		n += len(g.proposals)
	}
	return n
}

func (l *line) kickLocked() {
	if len(l.waiting) == 0 || !l.freeLocked() {
		return
	}
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *line) settleLocked() {
	if len(l.waiting) > 0 || len(l.outstanding) > 0 {
		return
	}
	if l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
	if l.closed != nil && !l.settled {
		l.settled = true
		close(l.drained)
	}
}
