// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"sync/atomic"
	"time"
)

// What the disk's pace means for leadership.
//
// A write that hangs holds hraft's main loop, where a leader would notice that
// it reaches nobody, while its heartbeats go on beside it: it would lead for
// ever and get nothing done. So while a write takes longer than the election
// timeout this member sends the others nothing, and they elect another.
//
// A disk that is merely slow slows every write of the cluster while its member
// leads, but hardly any while it follows, when a majority is faster. So a leader
// whose writes are slow hands leadership to a voter whose writes are faster by
// far.

const (
	// slowPart of the election timeout is what a write may take in the mean
	// before the leader looks for somebody faster.
	slowPart = 5
	// fasterBy is how much faster another must be.
	fasterBy = 4
	// paceWrites is how many of the newest writes weigh most in the mean.
	paceWrites = 16
	// evadeEvery is the least time between two attempts, in election timeouts.
	evadeEvery = 20
)

// pace is the mean time of a write. The zero value has seen none.
type pace struct {
	mean  atomic.Int64 // nanoseconds
	count atomic.Int64
}

// note is called by the appender alone.
func (p *pace) note(took time.Duration) {
	n := min(p.count.Add(1), paceWrites)
	mean := p.mean.Load()
	p.mean.Store(mean + (int64(took)-mean)/n)
}

// recent is zero until enough writes were seen to say.
func (p *pace) recent() time.Duration {
	if p.count.Load() < paceWrites {
		return 0
	}
	return time.Duration(p.mean.Load())
}

// watchDisk runs until the node stops.
func (n *Node) watchDisk() {
	tick := time.NewTicker(n.config.ElectionTimeout / 10)
	defer tick.Stop()
	silent, evaded := false, time.Now()
	for {
		select {
		case <-tick.C:
		case <-n.stopping:
			return
		}
		age := n.disk.writeAge()
		switch hangs := age > n.config.ElectionTimeout; {
		case hangs && !silent:
			n.metrics.hung.Inc()
			n.config.Logger.Error("raft: a write of the log hangs: this member is silent until it ends, so that another can lead",
				"log", n.disk.files.path, "for", age.Round(time.Millisecond))
		case !hangs && silent:
			n.config.Logger.Info("raft: the log can be written again")
		}
		if silent = age > n.config.ElectionTimeout; silent {
			n.transport.silence()
			continue
		}
		n.transport.speak()
		if time.Since(evaded) > evadeEvery*n.config.ElectionTimeout && n.slow() {
			evaded = time.Now()
			n.evade()
		}
	}
}

// slow says that this member leads, and that its disk keeps others waiting.
func (n *Node) slow() bool {
	l, _ := n.reign.current()
	return l.isReady() && n.disk.pace.recent() > n.config.ElectionTimeout/slowPart
}

// evade hands leadership to a voter whose disk is faster by far, if there is
// one.
func (n *Node) evade() {
	ctx, cancel := context.WithTimeout(n.life, 4*n.config.ElectionTimeout)
	defer cancel()
	own := n.disk.pace.recent()
	for id := range n.reach(ctx) {
		if id == n.id {
			continue
		}
		theirs, err := n.callNumber(ctx, memberOf(id), kindPace, nil)
		if err != nil || theirs == 0 || time.Duration(theirs) > own/fasterBy {
			continue
		}
		n.metrics.evaded.Inc()
		n.config.Logger.Warn("raft: the log's disk is slow: leadership goes to a member with a faster one",
			"log", n.disk.files.path, "write", own.Round(time.Microsecond), "member", string(id), "its_write", time.Duration(theirs).Round(time.Microsecond))
		if err := n.transferHere(ctx, memberOf(id)); err != nil && n.life.Err() == nil {
			n.config.Logger.Warn("raft: leadership not handed over", "err", err)
		}
		return
	}
}
