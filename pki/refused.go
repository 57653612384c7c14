// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// refusalsTold is how often it is told how many more were refused.
	refusalsTold = time.Minute
	// refusalsEach is how many of one door and reason have a line of their own in
	// the log within that time.
	refusalsEach = 10
)

// Denial is somebody whom a door did not let in, or did not give what was asked.
type Denial struct {
	Door   string // client, peer, ca, join
	Reason string // in one word, of a list that is short
	Remote string // address
	Token  string // the beginning of the id of the one that was shown
	What   string // the message of the line; "": connection refused
	Err    error
}

// refusals are those since it was told last. Strangers can make any number of
// them, and must fill neither the log nor the records: of each door and reason
// the first one is recorded and the first ten have a line; then they are counted.
type refusals struct {
	mu   sync.Mutex
	seen map[turn]int // under mu
}

type turn struct{ door, reason string }

// note returns how many there are with this one.
func (r *refusals) note(d Denial) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[turn]int{}
	}
	r.seen[turn{d.Door, d.Reason}]++
	return r.seen[turn{d.Door, d.Reason}]
}

func (r *refusals) take() map[turn]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.seen
	r.seen = nil
	return taken
}

// Refused tells of somebody who was refused, in the log and, if the reason is one
// of who asked and not of the network, as a record. How much strangers can add to
// either is bounded.
func (a *Authority) Refused(ctx context.Context, d Denial) {
	n := a.refusals.note(d)
	if n > refusalsEach {
		return
	}
	e := a.complete(Event{
		Act: ActRefuse, What: cmp.Or(d.What, "connection refused"),
		Door: d.Door, Reason: d.Reason, Remote: d.Remote, Token: d.Token, Detail: d.Err.Error(),
	})
	a.log.LogAttrs(ctx, slog.LevelWarn, e.What, e.attributes()...)
	if n == 1 && recordedReason(d.Reason) {
		a.chronicle.add(e)
	}
}

// recordedReason leaves out what says nothing about who came: plaintext, a
// handshake that broke off.
func recordedReason(reason string) bool {
	switch reason {
	case ReasonNoCertificate, ReasonUnknownAuthority, ReasonExpired, ReasonNotYetValid, ReasonWrongUsage,
		ReasonRevoked, ReasonBadCertificate, ReasonNotAdmitted, ReasonNotGiven:
		return true
	}
	return false
}

// tellRefusals tells how many more were refused, for as long as ctx lives.
func (a *Authority) tellRefusals(ctx context.Context) {
	tick := time.NewTicker(refusalsTold)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.sumRefusals(ctx)
		}
	}
}

func (a *Authority) sumRefusals(ctx context.Context) {
	seen := a.refusals.take()
	turns := slices.SortedFunc(maps.Keys(seen), func(x, y turn) int {
		return cmp.Or(cmp.Compare(x.door, y.door), cmp.Compare(x.reason, y.reason))
	})
	for _, t := range turns {
		e := a.complete(Event{Act: ActRefuse, What: "more were refused", Door: t.door, Reason: t.reason, Count: seen[t] - 1})
		if seen[t] > refusalsEach {
			a.log.LogAttrs(ctx, slog.LevelWarn, e.What, e.attributes()...)
		}
		if e.Count > 0 && recordedReason(t.reason) {
			a.chronicle.add(e)
		}
	}
}
