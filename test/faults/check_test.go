// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"slices"
)

// check holds what clients were told against what has happened.
type check struct {
	history *history
	log     changes
	last    int64

	model  model
	bounds bounds
	writes map[int64][]*deed  // acknowledged, by revision
	reads  map[int64][]*deed  // likewise, those that have changed nothing
	writer map[string]*deed   // by a value that it may have written
	wiper  map[string][]*deed // by a key that they may have deleted
	taken  map[*deed][]step   // what has been carried out of each
	told   [][]event          // by revision, as watchers are told
	full   [][]event          // the same, with what was there before
	ended  map[int64]int64    // leases, and the revision of their end

	violations []violation
	found      int // writes of unknown outcome
}

// violation is a rule that was broken, and how.
type violation struct{ rule, text string }

// The rules.
const (
	ruleLost      = "what was acknowledged has happened, once, and nothing else"
	ruleStale     = "what begins after an answer knows as much"
	ruleContent   = "an answer is true at its revision"
	ruleWatch     = "a watcher gets all, once, in order"
	ruleLease     = "a lease ends when it must, and not before"
	ruleLock      = "the first in line holds the lock"
	rulePorcupine = "each key is linearizable"
	ruleAlike     = "all members hold the same"
)

func newCheck(h *history, log changes, last int64) *check {
	c := &check{
		history: h, log: log, last: last, model: model{},
		writes: map[int64][]*deed{}, reads: map[int64][]*deed{}, writer: map[string]*deed{},
		wiper: map[string][]*deed{}, taken: map[*deed][]step{}, ended: map[int64]int64{},
		told: make([][]event, last+1), full: make([][]event, last+1),
	}
	c.bounds = newBounds(h.sights)
	for _, d := range h.deeds {
		c.sort(d)
	}
	return c
}

// sort puts a deed where replay looks for it.
func (c *check) sort(d *deed) {
	switch {
	case d.outcome == acknowledged && d.answer.changed:
		c.writes[d.answer.revision] = append(c.writes[d.answer.revision], d)
	case d.outcome == acknowledged:
		c.reads[d.answer.revision] = append(c.reads[d.answer.revision], d)
	}
	if d.outcome != acknowledged && d.request.bare && d.request.then[0].verb == del {
		c.wiper[d.request.then[0].key] = append(c.wiper[d.request.then[0].key], d)
	}
	for _, s := range slices.Concat(d.request.then, d.request.otherwise) {
		if s.verb == put {
			c.writer[brief(s.value)] = d
		}
	}
}

func (c *check) fail(rule, format string, args ...any) {
	c.violations = append(c.violations, violation{rule, fmt.Sprintf(format, args...)})
}

// run checks everything.
func (c *check) run() []violation {
	for rev := int64(1); rev <= c.last; rev++ {
		c.replay(rev)
		for _, d := range c.reads[rev] {
			c.read(d)
		}
	}
	for rev, deeds := range c.writes {
		if rev > c.last {
			c.fail(ruleLost, "acknowledged at revision %d, but the history ends at %d: %s", rev, c.last, deeds[0])
		}
	}
	for rev, deeds := range c.reads {
		if rev > c.last {
			c.fail(ruleLost, "answered at revision %d, but the history ends at %d: %s", rev, c.last, deeds[0])
		}
	}
	c.locks()
	c.tenures()
	c.watchers()
	return c.violations
}

// replay compares a revision with whom it belongs to, and goes on to it.
func (c *check) replay(rev int64) {
	happened := c.log.events(rev)
	deeds := c.writes[rev]
	if len(deeds) > 1 {
		c.fail(ruleLost, "two writes were acknowledged at revision %d:\n    %s\n    %s", rev, deeds[0], deeds[1])
	}
	switch {
	case len(deeds) > 0:
		c.write(deeds[0], rev, happened)
	case rev > 1:
		c.unclaimed(rev, happened)
	}
	c.tell(rev)
}

// write compares an acknowledged write with what happened at its revision.
func (c *check) write(d *deed, rev int64, happened []event) {
	want, events, undo := c.model.carryOut(d.request, rev)
	undo()
	if !slices.Equal(events, happened) {
		c.fail(ruleLost, "revision %d is not what was acknowledged:\n    %s\n    nearby:%s", rev, d, c.log.near(rev))
		return
	}
	c.compare(d, want)
	if floor := c.bounds.before(d.call); rev <= floor {
		c.fail(ruleStale, "revision %d had been shown before this was asked:\n    %s", floor, d)
	}
}

func (r request) branch(succeeded bool) []step {
	if succeeded {
		return r.then
	}
	return r.otherwise
}

// compare keeps which branch a deed took, if it says the same.
func (c *check) compare(d *deed, want answer) {
	if d.answer.succeeded == want.succeeded {
		c.taken[d] = d.request.branch(want.succeeded)
	}
	if d.answer.succeeded != want.succeeded || !slices.Equal(d.answer.results, want.results) {
		c.fail(ruleContent, "the answer is not true:\n    %s\n    want succeeded %v, %v\n    nearby:%s",
			d, want.succeeded, want.results, c.log.near(d.answer.revision))
	}
}

// read compares an answer that has changed nothing with the state of its
// revision.
func (c *check) read(d *deed) {
	want, events, undo := c.model.carryOut(d.request, d.answer.revision)
	undo()
	c.compare(d, want)
	if len(events) > 0 {
		c.fail(ruleLost, "this has changed nothing, but must have:\n    %s", d)
	}
	if floor := c.bounds.before(d.call); d.answer.revision < floor && !d.request.serializable {
		c.fail(ruleStale, "revision %d had been shown before this was asked:\n    %s", floor, d)
	}
}

// tell keeps a revision as watchers must get it, and goes on to it.
func (c *check) tell(rev int64) {
	for _, one := range c.log[rev] {
		e := one.event()
		c.told[rev] = append(c.told[rev], e)
		e.text += over + words(c.model[e.key])
		c.full[rev] = append(c.full[rev], e)
	}
	for _, one := range c.log[rev] {
		if at, over := c.ended[one.kv.Lease]; over && !one.deleted {
			c.fail(ruleLease, "lease %x has ended at revision %d, but gets a key at %d", one.kv.Lease, at, rev)
		}
		if err := c.model.follow(one); err != nil {
			c.fail(ruleLost, "revision %d: %v", rev, err)
		}
	}
}
