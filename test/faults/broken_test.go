// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The tests in this file run programs that each break one rule, and want the
// check to say so.

func TestTheCheckCatchesStaleReads(t *testing.T) {
	c := startBroken(t, "broken_reads")
	leader := c.healthy()
	follower := c.others(leader)[0]
	writer := newWorker(1, c.history, newClient(t, leader.door()))
	reader := newWorker(2, c.history, newClient(t, follower.door()))
	must(t, writer, bare(step{verb: put, key: registers, value: writer.value()}))
	heal := c.network.cut(c.network.around(follower.place)...)
	for range 5 {
		must(t, writer, bare(step{verb: put, key: registers, value: writer.value()}))
		must(t, reader, bare(step{verb: get, key: registers}))
	}
	heal()
	check := c.check()
	caught(t, check, ruleStale)
	if result := check.porcupine(); result != porcupine.Illegal {
		t.Errorf("porcupine says %s", result)
	}
}

func TestTheCheckCatchesLostWrites(t *testing.T) {
	c := startBroken(t, "broken_acks")
	for n := range 3 {
		leader := c.healthy()
		writer := newWorker(n, c.history, newClient(t, leader.door()))
		must(t, writer, bare(step{verb: put, key: registers, value: writer.value()}))
		killAll(c, draw{})()
	}
	caught(t, c.check(), ruleLost)
}

func TestTheCheckCatchesReorderedWatches(t *testing.T) {
	c := startBroken(t, "broken_watches")
	writer := newWorker(1, c.history, newClient(t, c.members[0].door()))
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{now: true}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx, c.history, newClient(t, c.members[1].door()))
	}()
	c.awaitWatcher(w, func() bool { return w.from > 0 })
	for n := range 5 {
		must(t, writer, request{then: []step{
			{verb: put, key: registers + "a", value: writer.value()},
			{verb: put, key: registers + "b", value: writer.value()},
		}})
		c.awaitWatcher(w, func() bool { return len(w.events) >= 2*n+2 })
	}
	cancel()
	<-ended
	caught(t, c.check(), ruleWatch)
}

func startBroken(t *testing.T, name string) *cluster {
	t.Helper()
	needRoot(t)
	c := startCluster(t, 3, program(t, ".build", "faults", name))
	c.history = newHistory(c.id)
	return c
}

// must asks until it is answered.
func must(t *testing.T, c *client, r request) {
	t.Helper()
	var err error
	for range 10 {
		if _, err = c.do(r); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// awaitWatcher waits until a watcher has got what is wanted.
func (c *cluster) awaitWatcher(w *watching, got func() bool) {
	c.t.Helper()
	c.eventually("a watcher gets what happens", func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !got() {
			return fmt.Errorf("it has %d events", len(w.events))
		}
		return nil
	})
}

// caught fails unless the check has found the rule broken.
func caught(t *testing.T, c *check, rule string) {
	t.Helper()
	if !slices.ContainsFunc(c.violations, func(v violation) bool { return v.rule == rule }) {
		t.Errorf("not noticed: %s; but %v", rule, c.violations)
		return
	}
	for _, v := range c.violations {
		t.Logf("noticed: %s: %s", v.rule, v.text)
	}
}
