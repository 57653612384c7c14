// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// check compares what a member holds with what the writers were told, and
// tells the writers what became of their unknown deeds. Nobody writes
// meanwhile.
type check struct {
	history *history
	writers []*writer
	client  *clientv3.Client

	state       items // after the revisions replayed so far
	found, gone int   // unknown deeds
	events      int   // that the watch has shown
}

func (c *check) run(ctx context.Context, chance *rand.Rand) error {
	now, err := c.client.Get(ctx, "", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	current := now.Header.Revision
	if current < c.history.newest {
		return fmt.Errorf("the member is at revision %d, but has answered with %d", current, c.history.newest)
	}
	first, err := c.firstRevision(ctx)
	if err != nil {
		return err
	}
	past := first + chance.Int64N(current-first+1)
	then, err := c.replay(ctx, first, current, past)
	if err != nil {
		return err
	}
	if err := c.state.compare(now.Kvs); err != nil {
		return fmt.Errorf("at the current revision %d: %w", current, err)
	}
	old, err := c.client.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(past))
	if err != nil {
		return fmt.Errorf("read at revision %d: %w", past, err)
	}
	if err := then.compare(old.Kvs); err != nil {
		return fmt.Errorf("at revision %d of %d: %w", past, current, err)
	}
	if err := c.checkLeases(ctx); err != nil {
		return err
	}
	for _, w := range c.writers {
		if w.unknown != nil {
			c.gone++
			w.unknown = nil
		}
	}
	c.history.newest, c.history.checked = current, current
	return nil
}

// firstRevision is where the history of the member begins: at 1, or where a
// compaction that was acknowledged, or one that was under way, has cut it.
func (c *check) firstRevision(ctx context.Context) (int64, error) {
	var compacted int64
	_, err := c.client.Get(ctx, "w", clientv3.WithRev(1))
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		r := <-c.client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(1))
		compacted = r.CompactRevision
	case err != nil:
		return 0, err
	}
	known := compacted == c.history.compacted
	for _, w := range c.writers {
		if d := w.unknown; d != nil && d.verb == compact && !known && d.at == compacted {
			known = true
			c.history.compacted = compacted
			c.find(w, 0)
		}
	}
	if !known {
		return 0, fmt.Errorf("compacted at %d, want %d", compacted, c.history.compacted)
	}
	return max(compacted, 1), nil
}

// replay carries out all deeds on the model and compares the events of each
// revision from first on. It returns the state as it was at past.
func (c *check) replay(ctx context.Context, first, current, past int64) (then items, err error) {
	c.state = items{}
	for rev := int64(2); rev < first; rev++ {
		c.state.apply(c.history.deeds[rev], rev) // checked before it was compacted
	}
	if past == 1 {
		then = items{}
	}
	next := max(first, 2)
	err = c.follow(ctx, next, current, func(rev int64, events []*clientv3.Event) error {
		if rev != next {
			return fmt.Errorf("the watch goes on at revision %d, want %d", rev, next)
		}
		next++
		if err := c.replayOne(rev, events); err != nil {
			return fmt.Errorf("revision %d: %w", rev, err)
		}
		if rev == past {
			then = maps.Clone(c.state)
		}
		return nil
	})
	return then, err
}

func (c *check) replayOne(rev int64, events []*clientv3.Event) error {
	c.events += len(events)
	d := c.history.deeds[rev]
	if d == nil {
		w := c.owner(string(events[0].Kv.Key))
		if w == nil || w.unknown == nil {
			return fmt.Errorf("%s %s: nobody did this", events[0].Type, describe(events[0].Kv))
		}
		d = w.unknown
		c.history.deeds[rev] = d
		c.find(w, rev)
	}
	if err := sameEvents(events, c.state.apply(d, rev)); err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	return nil
}

// find notes that a writer's unknown deed has been carried out.
func (c *check) find(w *writer, rev int64) {
	w.learn(w.unknown, rev)
	w.unknown = nil
	c.found++
}

func (c *check) owner(key string) *writer {
	for _, w := range c.writers {
		if strings.HasPrefix(key, fmt.Sprintf("w%d/", w.id)) {
			return w
		}
	}
	return nil
}

// follow passes on the events of each revision from first to current.
func (c *check) follow(ctx context.Context, first, current int64, each func(int64, []*clientv3.Event) error) error {
	if first > current {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for r := range c.client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(first)) {
		if err := r.Err(); err != nil {
			return fmt.Errorf("watch from revision %d: %w", first, err)
		}
		for rest := r.Events; len(rest) > 0; {
			rev := rest[0].Kv.ModRevision
			n := slices.IndexFunc(rest, func(e *clientv3.Event) bool { return e.Kv.ModRevision != rev })
			if n < 0 {
				n = len(rest)
			}
			if err := each(rev, rest[:n]); err != nil {
				return err
			}
			if rest = rest[n:]; rev == current {
				return nil
			}
		}
	}
	return fmt.Errorf("the watch ended before revision %d: %w", current, ctx.Err())
}

// checkLeases compares the leases and what is attached to them. Grants, and
// revocations of leases without keys, leave no event: here they are found.
func (c *check) checkLeases(ctx context.Context) error {
	list, err := c.client.Leases(ctx)
	if err != nil {
		return err
	}
	have := map[int64]bool{}
	for _, l := range list.Leases {
		have[int64(l.ID)] = true
	}
	for _, w := range c.writers {
		if d := w.unknown; d != nil && (d.verb == grant && have[d.lease] || d.verb == revoke && len(d.keys) == 0 && !have[d.lease]) {
			c.find(w, 0)
		}
		for id := range w.leases {
			if err := c.checkLease(ctx, id); err != nil {
				return err
			}
			delete(have, id)
		}
	}
	for id := range have {
		return fmt.Errorf("lease %x: nobody holds it", id)
	}
	return nil
}

func (c *check) checkLease(ctx context.Context, id int64) error {
	r, err := c.client.TimeToLive(ctx, clientv3.LeaseID(id), clientv3.WithAttachedKeys())
	if err != nil {
		return fmt.Errorf("lease %x: %w", id, err)
	}
	var keys []string
	for _, k := range r.Keys {
		keys = append(keys, string(k))
	}
	slices.Sort(keys)
	if r.GrantedTTL != leaseTTL || r.TTL <= 0 || !slices.Equal(keys, c.state.attached(id)) {
		return fmt.Errorf("lease %x: life %d of %d s, keys %q, want %d s, keys %q",
			id, r.TTL, r.GrantedTTL, keys, leaseTTL, c.state.attached(id))
	}
	return nil
}
