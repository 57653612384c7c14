// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"errors"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// watchers compares what each watcher was given with what has happened.
func (c *check) watchers() {
	for _, w := range c.history.watches {
		w.mu.Lock()
		c.watcher(w)
		w.mu.Unlock()
	}
}

func (c *check) watcher(w *watching) {
	if errors.Is(w.err, rpctypes.ErrCompacted) {
		c.fail(ruleWatch, "member %d told a watcher of a compaction: %v", w.member+1, w.err)
	}
	if len(w.events) == 0 {
		return
	}
	want := c.due(w)
	for i, e := range w.events {
		if i >= len(want) || e != want[i] {
			wanted := event{text: "nothing more"}
			if i < len(want) {
				wanted = want[i]
			}
			c.fail(ruleWatch, "event %d of a watcher at member %d from revision %d on %q is %d: %s\n    want %d: %s\n    nearby:%s",
				i, w.member+1, w.from, w.prefix, e.revision, e.text, wanted.revision, wanted.text, c.log.near(e.revision))
			return
		}
	}
	for _, n := range w.borders {
		if n < len(want) && want[n-1].revision == want[n].revision {
			c.fail(ruleWatch, "a watcher at member %d on %q got revision %d torn", w.member+1, w.prefix, want[n].revision)
		}
	}
	for _, n := range w.progress {
		if n.events < len(want) && want[n.events].revision <= n.revision {
			c.fail(ruleWatch, "a watcher at member %d on %q was told that it missed nothing up to %d, before revision %d",
				w.member+1, w.prefix, n.revision, want[n.events].revision)
		}
	}
}

// due is the history as the watcher must get it.
func (c *check) due(w *watching) (all []event) {
	told := c.told
	if w.prev {
		told = c.full
	}
	from := w.from
	if w.now && w.events[0].revision == from-1 {
		from-- // etcd's client asks so again when it loses a watch that had got nothing
	}
	for rev := from; rev <= c.last; rev++ {
		for _, e := range told[rev] {
			if strings.HasPrefix(e.key, w.prefix) {
				all = append(all, e)
			}
		}
	}
	return all
}

// tenures checks that no lease has ended early, and that all have ended.
func (c *check) tenures() {
	for lease, rev := range c.ended {
		t, at := c.history.leases[lease], c.bounds.shown(rev)
		if t == nil || at >= t.until || t.revoked != 0 && t.revoked < at {
			continue
		}
		c.fail(ruleLease, "lease %x was gone at %.6f, %v early (revision %d): it was %s",
			lease, at.Seconds(), (t.until - at).Round(time.Millisecond), rev, t.why)
	}
	for _, key := range c.model.under(leased) {
		c.fail(ruleLease, "%s is still there", words(c.model[key]))
	}
}

// expired is how many leases have ended that nobody asked to end.
func (c *check) expired() (n int) {
	for lease := range c.ended {
		if t := c.history.leases[lease]; t != nil && t.revoked == 0 {
			n++
		}
	}
	return n
}

// locks checks that whoever was told to hold a lock was the first in line.
func (c *check) locks() {
	byRevision := map[int64][]hold{}
	for _, h := range c.history.holds {
		byRevision[h.revision] = append(byRevision[h.revision], h)
	}
	line := model{}
	for rev := int64(1); rev <= c.last; rev++ {
		c.underLock(line, rev)
		for _, one := range c.log[rev] {
			if strings.HasPrefix(string(one.kv.Key), locks) {
				_ = line.follow(one) // replay has told of what is wrong with it
			}
		}
		for _, h := range byRevision[rev] {
			if first := line.first(h.prefix); first != h.key {
				c.fail(ruleLock, "at revision %d a client was told that it holds %s by %s, but the first is %q", rev, h.prefix, h.key, first)
			}
		}
	}
}

// underLock checks that a write under a lock was made by the first in line.
func (c *check) underLock(line model, rev int64) {
	for _, d := range c.writes[rev] {
		if len(d.request.ifs) == 0 || !strings.HasPrefix(d.request.ifs[0].key, locks) || !d.answer.succeeded {
			continue
		}
		key := d.request.ifs[0].key
		prefix := key[:strings.LastIndex(key, "/")+1]
		if first := line.first(prefix); first != key {
			c.fail(ruleLock, "at revision %d %s was the first in line, but this was done:\n    %s", rev, first, d)
		}
	}
}

// first is the key below a prefix that was created first.
func (m model) first(prefix string) (first string) {
	for _, key := range m.under(prefix) {
		if first == "" || m[key].CreateRevision < m[first].CreateRevision {
			first = key
		}
	}
	return first
}
