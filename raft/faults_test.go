// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"bytes"
	"errors"
	"runtime"
	"runtime/debug"
	"sync"

	hraft "github.com/hashicorp/raft"
)

// A faultyLog fails on demand, after doing nothing or everything.
type faultyLog struct {
	logStore
	before, after func() error
}

func (s *faultyLog) StoreLog(l *hraft.Log) error { return s.StoreLogs([]*hraft.Log{l}) }

func (s *faultyLog) StoreLogs(logs []*hraft.Log) error {
	return around(s.before, s.after, func() error { return s.logStore.StoreLogs(logs) })
}

func (s *faultyLog) DeleteRange(first, last uint64) error {
	return around(s.before, s.after, func() error { return s.logStore.DeleteRange(first, last) })
}

func (s *faultyLog) IsMonotonic() bool {
	m, ok := s.logStore.(hraft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

func around(before, after func() error, do func() error) error {
	if err := before(); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return after()
}

func fine() error { return nil }

// power is a member's life: it ends at a given step towards the disk. From
// then on nothing reaches the disk any more, and nothing is told back.
type power struct {
	ended func() // called when the life has ended, perhaps more than once

	mu    sync.Mutex
	steps int // left until the end
}

var errPower = errors.New("power failure")

func (p *power) step() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.steps <= 0 {
		if p.ended != nil {
			p.ended()
		}
		return errPower
	}
	p.steps--
	return nil
}

func (p *power) out() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps = 0
}

func (p *power) faults(c *Config) {
	c.faults.log = func(s logStore) logStore {
		return &faultyLog{logStore: s, before: p.step, after: p.step}
	}
	c.faults.stable = func(s stableStore) stableStore { return &powerVotes{s, p} }
	c.faults.put = func(path string, data []byte) error {
		return around(p.step, p.step, func() error { return writeDurably(path, data) })
	}
	c.faults.rename = func(from, to string) error {
		return around(p.step, p.step, func() error { return renameDurably(from, to) })
	}
	c.faults.remove = func(path string) error {
		return around(p.step, p.step, func() error { return removeDurably(path) })
	}
}

// powerVotes is a stable store in a process that may die. hraft's main loop
// panics when it cannot save its term, so it just ends there, as it would with
// the process.
type powerVotes struct {
	stableStore
	power *power
}

func (s *powerVotes) Set(key, value []byte) error {
	return s.die(around(s.power.step, s.power.step, func() error { return s.stableStore.Set(key, value) }))
}

func (s *powerVotes) SetUint64(key []byte, value uint64) error {
	return s.die(around(s.power.step, s.power.step, func() error { return s.stableStore.SetUint64(key, value) }))
}

func (s *powerVotes) die(err error) error {
	if err != nil && bytes.Contains(debug.Stack(), []byte("hashicorp/raft.(*Raft).run(")) {
		runtime.Goexit()
	}
	return err
}

func (p *power) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.steps
}
