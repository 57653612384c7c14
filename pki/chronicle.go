// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Records lie in rings: a member has three, each of so many places, and its
// newest event takes the place of its oldest. So there is a bound on what they
// take that needs no counting, members do not wait for one another, and what
// happens often, or strangers make happen, does not push out what is rare.
//
//	pki/audit:  <member> "/" <ring> "/" <sequence modulo the ring's size>  ->  Event, in JSON

const (
	auditBucket = bucketPrefix + "audit"
	auditFormat = 1
	// auditKept is how long a record is kept, if nothing takes its place.
	auditKept = 90 * 24 * time.Hour

	// recordsAtOnce is how many events are recorded in one commit, waitingMost how
	// many wait for one; the oldest beyond are in the log only.
	recordsAtOnce = 100
	waitingMost   = 2000
	lastRecords   = 500 * time.Millisecond // the time for those that wait when Run ends
)

// ring is one of the three.
type ring struct {
	name  string
	slots uint64
}

// Ring names the ring of an act: events of one member and ring are numbered one
// after the other.
func (act Act) Ring() string { return act.ring().name }

func (act Act) ring() ring {
	switch act {
	case ActIssue, ActRenew:
		return ring{"certificates", 4000}
	case ActRefuse:
		return ring{"refusals", 500}
	}
	return ring{"administration", 1000}
}

// auditRecord is an event as it lies in the ledger.
type auditRecord struct {
	Format int `json:"format"`
	Event
}

// chronicle records events in the order in which they were added.
type chronicle struct {
	ledger Ledger
	member uint64
	log    *slog.Logger
	added  chan struct{} // holds one: there is something to record

	mu      sync.Mutex
	waiting []Event // under mu
	lost    int     // under mu: pushed out by newer ones

	writing sync.Mutex        // held while events are recorded
	next    map[string]uint64 // under writing: the next sequence of each ring; nil: not known yet
}

func newChronicle(c Config) *chronicle {
	return &chronicle{ledger: c.Ledger, member: c.MemberID, log: c.Logger, added: make(chan struct{}, 1)}
}

func (c *chronicle) add(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) >= waitingMost {
		c.waiting = c.waiting[1:]
		c.lost++
	}
	c.waiting = append(c.waiting, e)
	select {
	case c.added <- struct{}{}:
	default: // it is known already
	}
}

// run records what is added for as long as ctx lives, and what waits then.
func (c *chronicle) run(ctx context.Context, pause func(time.Duration) bool) {
	for delay := firstRecord; ; {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRecords)
			defer cancel()
			_ = c.flush(last) // the log has them
			return
		case <-c.added:
		}
		err := c.flush(ctx)
		if err == nil {
			delay = firstRecord
			continue
		}
		c.again()
		if ctx.Err() == nil {
			c.log.Debug("events are not recorded yet; trying again", "cause", err, "retry_in", delay)
		}
		if pause(delay) {
			delay = min(2*delay, lastRecord)
		}
	}
}

func (c *chronicle) again() {
	select {
	case c.added <- struct{}{}:
	default: // more has come meanwhile
	}
}

// flush records all that waits. What an error leaves unknown is recorded again in
// the same place.
func (c *chronicle) flush(ctx context.Context) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		batch, lost := c.oldest()
		if len(batch) == 0 {
			return nil
		}
		if err := c.continueRings(ctx); err != nil {
			return err
		}
		ops := make([]Op, len(batch))
		next := map[string]uint64{}
		for i, e := range batch {
			r := e.Act.ring()
			e.Sequence = max(c.next[r.name], next[r.name])
			next[r.name] = e.Sequence + 1
			ops[i] = recordOp(e, r)
		}
		if _, err := c.ledger.Commit(ctx, ops); err != nil {
			return fmt.Errorf("record %d events: %w", len(batch), err)
		}
		for name, n := range next {
			c.next[name] = n
		}
		c.recorded(len(batch), lost)
	}
}

func recordOp(e Event, r ring) Op {
	raw, err := json.Marshal(auditRecord{auditFormat, e})
	if err != nil {
		panic(fmt.Sprintf("pki: encode an event: %v", err)) // it has no fields that JSON lacks
	}
	key := fmt.Sprintf("%s/%s/%04d", hexID(e.Member), r.name, e.Sequence%r.slots)
	return Op{Bucket: auditBucket, Key: []byte(key), Value: raw, Expires: e.Time.Add(auditKept)}
}

// oldest are those to be recorded next, and how many were lost before.
func (c *chronicle) oldest() ([]Event, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Event(nil), c.waiting[:min(len(c.waiting), recordsAtOnce)]...), c.lost
}

// recorded takes out those that are recorded; some may have been pushed out
// since oldest told of so many lost ones.
func (c *chronicle) recorded(n, lost int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = c.waiting[max(n-(c.lost-lost), 0):]
	if lost > 0 {
		c.log.Warn("events were not recorded: nothing could be for too long; the log has them", "count", lost)
		c.lost -= lost
	}
}

// continueRings finds out, once, where this member's rings go on.
func (c *chronicle) continueRings(ctx context.Context) error {
	if c.next != nil {
		return nil
	}
	items, err := c.ledger.List(ctx, auditBucket, []byte(hexID(c.member)+"/"))
	if err != nil {
		return fmt.Errorf("read this member's events: %w", err)
	}
	c.next = map[string]uint64{}
	for _, item := range items {
		e := decodeEvent(item.Value)
		name := e.Act.ring().name
		c.next[name] = max(c.next[name], e.Sequence+1)
	}
	return nil
}

// decodeEvent returns what it can of a record that a newer version wrote.
func decodeEvent(raw []byte) Event {
	var r auditRecord
	if err := json.Unmarshal(raw, &r); err != nil || r.Format != auditFormat {
		r.Detail = "written by another version of cleat, which shows all of it"
	}
	return r.Event
}
