// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestNothingUntrueIsToldUnderFaults lets the nemeses strike one after another
// while the clients go on, and checks what the clients were told.
func TestNothingUntrueIsToldUnderFaults(t *testing.T) {
	needRoot(t)
	c := startCluster(t, *size, program(t, ".build", "faults", "cleatd"))
	h := newHistory(c.id)
	c.history = h
	crew := startCrew(c)
	strikes := map[string]int{}
	s := newSchedule(*size)
	for n := 1; h.now() < *lasting && !t.Failed(); n++ {
		c.round(n, s.next(), strikes)
	}
	crew.rest()
	began := time.Now()
	check := c.check()
	result := check.porcupine()
	report(t, check)
	t.Logf("%v: %s", h.now().Round(time.Second), h.count())
	t.Logf("faults: %v", strikes)
	t.Logf("%d revisions, %d of them of unknown outcome to their clients; %d leases ended by themselves; checked in %v, porcupine: %s",
		check.last, check.found, check.expired(), time.Since(began).Round(time.Millisecond), result)
}

// round lets faults strike together, and waits until the cluster is well again.
func (c *cluster) round(n int, together []draw, strikes map[string]int) {
	c.t.Helper()
	began := c.history.now()
	before, _ := c.history.writes()
	var heals []func()
	stops := false
	var hold time.Duration
	for _, d := range together {
		heals = append(heals, d.nemesis.strike(c, d))
		strikes[d.nemesis.name]++
		stops, hold = stops || d.nemesis.stops, max(hold, d.hold)
	}
	<-time.After(hold - (c.history.now() - began))
	if !stops {
		c.writable(began)
	}
	for _, heal := range slices.Backward(heals) {
		heal()
	}
	leader := c.healthy()
	after, _ := c.history.writes()
	c.t.Logf("%3d at %.1f s: %q; well after %.1f s, led by member %d; %d writes, none for %.1f s", n, began.Seconds(), together,
		(c.history.now() - began).Seconds(), leader.place+1, after-before, c.history.silence(began).Seconds())
}

// writable waits until a write has been acknowledged that was asked for after
// a moment.
func (c *cluster) writable(since time.Duration) {
	c.t.Helper()
	late := time.After(patience)
	for !c.history.wroteSince(since) {
		_, more := c.history.writes()
		select {
		case <-more:
		case <-time.After(time.Second): // one came between the two questions
		case <-late:
			c.t.Errorf("a majority is there, but nobody can write; the members said:\n%s", c.said())
			return
		}
	}
}

// ballast writes what fills disks. Not all of it is acknowledged.
func (c *cluster) ballast(m *member, value string) error {
	_, err := c.history.do(c.t.Context(), m.client, -1-m.place, bare(step{verb: put, key: fmt.Sprint(fillKeys, m.place), value: value}))
	return err
}

// check reads what has happened at every member, and checks all against it.
func (c *cluster) check() *check {
	c.t.Helper()
	c.healthy()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*patience)
	defer cancel()
	var logs []changes
	var sums []uint32
	var last int64
	for _, m := range c.members {
		r, err := m.client.Get(ctx, "end")
		if err != nil {
			c.t.Fatal(err)
		}
		last = max(last, r.Header.Revision)
	}
	for _, m := range c.members {
		log, err := readChanges(ctx, m.client, last)
		if err != nil {
			c.t.Fatalf("member %d: %v", m.place+1, err)
		}
		sum, err := m.client.HashKV(ctx, m.client.Endpoints()[0], last)
		if err != nil {
			c.t.Fatal(err)
		}
		logs, sums = append(logs, log), append(sums, sum.Hash)
	}
	check := newCheck(c.history, logs[0], last)
	for i, log := range logs[1:] {
		if err := logs[0].differ(log); err != nil || sums[0] != sums[i+1] {
			check.fail(ruleAlike, "members 1 and %d: hashes %x and %x, %v", i+2, sums[0], sums[i+1], err)
		}
	}
	check.run()
	return check
}

// report fails the test if anything was untrue.
func report(t *testing.T, c *check) {
	t.Helper()
	counts := map[string]int{}
	for _, v := range c.violations {
		if counts[v.rule]++; counts[v.rule] <= 5 {
			t.Errorf("broken with -seed %d: %s: %s", *seed, v.rule, v.text)
		}
	}
	if len(counts) > 0 {
		t.Errorf("broken rules: %v", counts)
	}
}
