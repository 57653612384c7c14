// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

var leases = flag.Int("leases", 1000, "how many leases a member holds and lets expire")

// crowd is many leases of one member, each with a key.
type crowd struct {
	*life
	ids []clientv3.LeaseID // of key i
}

func (c *crowd) key(i int) string { return fmt.Sprintf("leased/%06d", i) }

// kept says whether somebody renews a lease: every hundredth is.
func (c *crowd) kept(i int) bool { return i%100 == 0 }

// ttl is long enough for all to be granted before the first ends. Who is kept
// would be the first to go.
func (c *crowd) ttl(i int) int64 {
	if c.kept(i) {
		return 6
	}
	return int64(15 + len(c.ids)/500)
}

// grant makes the leases and their keys, from many clients at once. Who is to
// be kept is renewed from then on, until ctx ends.
func (c *crowd) grant(ctx context.Context) error {
	group, within := errgroup.WithContext(c.t.Context())
	group.SetLimit(64)
	for i := range c.ids {
		group.Go(func() error {
			granted, err := c.client.Grant(within, c.ttl(i))
			if err != nil {
				return err
			}
			c.ids[i] = granted.ID
			if _, err = c.client.Put(within, c.key(i), "", clientv3.WithLease(granted.ID)); err != nil || !c.kept(i) {
				return err
			}
			answers, err := c.client.KeepAlive(ctx, granted.ID)
			if err == nil {
				go func() {
					for range answers { // ends with ctx or the client
					}
				}()
			}
			return err
		})
	}
	return group.Wait()
}

// bury reads deletions until none but the kept are left, and tells how often
// each key was deleted.
func (c *crowd) bury(ctx context.Context, deleted clientv3.WatchChan, left int) (map[string]int, error) {
	times := make(map[string]int)
	for left > 0 {
		select {
		case <-ctx.Done():
			return times, fmt.Errorf("%d keys have not been deleted: %w", left, ctx.Err())
		case r, open := <-deleted:
			if err := r.Err(); err != nil || !open {
				return times, fmt.Errorf("the watcher ended with %d keys left: %w", left, err)
			}
			for _, e := range r.Events {
				times[string(e.Kv.Key)]++
			}
			left -= len(r.Events)
		}
	}
	return times, nil
}

// wantLeft checks that a member holds so many leases and keys, no more.
func (c *crowd) wantLeft(want int) {
	c.t.Helper()
	held, err := c.client.Leases(within(c.t))
	if err != nil || len(held.Leases) != want {
		c.t.Errorf("%d leases are left (%v), want %d", len(held.Leases), err, want)
	}
	keys, err := c.client.Get(within(c.t), "leased/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || keys.Count != int64(want) {
		c.t.Errorf("%d keys are left (%v), want %d", keys.Count, err, want)
	}
}

// A real member holds thousands of leases at once, and all but those that
// somebody renews run out: each key goes once, none stays behind.
func TestAMemberLetsThousandsOfLeasesExpire(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for leases of seconds")
	}
	c := &crowd{life: begin(t, options(t, t.TempDir())), ids: make([]clientv3.LeaseID, *leases)}
	renewing, stop := context.WithCancel(t.Context())
	defer stop()
	ending, cancel := context.WithTimeout(t.Context(), patience+time.Duration(*leases)*10*time.Millisecond)
	defer cancel()
	deleted := c.client.Watch(ending, "leased/", clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	seen(t, deleted)
	if err := c.grant(renewing); err != nil {
		t.Fatal(err)
	}
	c.wantLeft(len(c.ids))
	kept := (len(c.ids) + 99) / 100
	times, err := c.bury(ending, deleted, len(c.ids)-kept)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.ids {
		want := 1
		if c.kept(i) {
			want = 0
		}
		if got := times[c.key(i)]; got != want {
			t.Fatalf("key %d, renewed %v, was deleted %d times", i, c.kept(i), got)
		}
	}
	c.wantLeft(kept)
	stop()
	if times, err = c.bury(ending, deleted, kept); err != nil {
		t.Errorf("nobody renews any more: %v, %v", times, err)
	}
	c.wantLeft(0)
	if err := c.end(); err != nil {
		t.Error(err)
	}
}
