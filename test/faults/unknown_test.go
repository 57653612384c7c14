// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"slices"
	"strings"
)

// unclaimed finds out to whom a revision belongs that was acknowledged to
// nobody: to a write of unknown outcome, to a lock, or to the end of a lease.
func (c *check) unclaimed(rev int64, happened []event) {
	d := c.candidate(rev, happened)
	if d == nil {
		if !c.lockChange(rev) && !c.leaseEnd(rev) {
			c.fail(ruleLost, "nobody did this:%s", c.log.near(rev))
		}
		return
	}
	want, events, undo := c.model.carryOut(d.request, rev)
	undo()
	switch {
	case c.taken[d] != nil:
		c.fail(ruleLost, "revision %d was done already:\n    %s", rev, d)
	case d.outcome != unknown:
		c.fail(ruleLost, "revision %d is of a write that was %s, there or at all:\n    %s\n    nearby:%s", rev, d.outcome, d, c.log.near(rev))
	case !slices.Equal(events, happened):
		c.fail(ruleLost, "revision %d is not all that was asked, or more:\n    %s\n    nearby:%s", rev, d, c.log.near(rev))
	}
	if floor := c.bounds.before(d.call); rev <= floor {
		c.fail(ruleStale, "revision %d had been shown before this was asked, which was done at %d:\n    %s", floor, rev, d)
	}
	c.taken[d] = d.request.branch(want.succeeded)
	c.found++
}

// candidate is who may have done what happened: the one who wrote a value, or
// one of those who deleted the key and do not know whether they did.
func (c *check) candidate(rev int64, happened []event) *deed {
	for _, one := range c.log[rev] {
		if d := c.writer[string(one.kv.Value)]; !one.deleted && d != nil {
			return d
		}
	}
	if len(happened) != 1 {
		return nil
	}
	waiting := c.wiper[happened[0].key]
	at := slices.IndexFunc(waiting, func(d *deed) bool { return d.outcome == unknown && rev > c.bounds.before(d.call) })
	if at < 0 {
		return nil
	}
	d := waiting[at]
	c.wiper[happened[0].key] = slices.Delete(waiting, at, at+1)
	return d
}

// lockChange says whether a revision is a lock's key that comes or goes: the
// recipe's own requests are not in the history.
func (c *check) lockChange(rev int64) bool {
	made := c.log[rev]
	return len(made) == 1 && strings.HasPrefix(string(made[0].kv.Key), locks)
}

// leaseEnd says whether a revision is the end of a lease: all its keys go at
// once, and nothing else does.
func (c *check) leaseEnd(rev int64) bool {
	var gone []string
	var lease int64
	for _, one := range c.log[rev] {
		kv := c.model[string(one.kv.Key)]
		if !one.deleted || kv == nil || kv.Lease == 0 || lease != 0 && kv.Lease != lease {
			return false
		}
		lease = kv.Lease
		gone = append(gone, string(kv.Key))
	}
	slices.Sort(gone)
	if !slices.Equal(gone, c.model.of(lease)) {
		return false
	}
	c.ended[lease] = rev
	return true
}
