// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"maps"
	"slices"
	"sync"
)

// The table tells a keeper what happened to its leases without calling it: it
// leaves changes in a feed, in order, and rings. The keeper takes them when it
// wakes, and before it answers anybody, so that a lease whose grant was
// answered is known to it.
type feed struct {
	ring chan struct{} // holds one token while there may be changes

	mu      sync.Mutex
	changes []change
}

type happening byte

const (
	granted happening = iota
	revoked
	checkpointed
	renewed // by a checkpoint of the whole TTL
)

type change struct {
	what  happening
	lease Lease
}

// follow returns the leases and a feed of all that happens to them later. The
// feed replaces that of a former keeper; unfollow ends it.
func (t *Table) follow() ([]Lease, *feed) {
	f := &feed{ring: make(chan struct{}, 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.feed = f
	return slices.Collect(maps.Values(t.leases)), f
}

func (t *Table) unfollow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.feed = nil
}

// add does nothing on a nil feed: without a keeper nobody takes the changes.
func (f *feed) add(c change) {
	if f == nil || c.what == checkpointed {
		return
	}
	f.mu.Lock()
	f.changes = append(f.changes, c)
	f.mu.Unlock()
	select {
	case f.ring <- struct{}{}:
	default:
	}
}

// take empties the feed.
func (f *feed) take() []change {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := f.changes
	f.changes = nil
	return taken
}
