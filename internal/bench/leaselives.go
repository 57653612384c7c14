// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// aged is what leases cost one contender over their lives, each with a key.
type aged struct {
	Contender string `json:"contender"`
	Leases    int    `json:"leases"`
	// Server CPU time a lease: to grant it; to renew it once; and from the last
	// renewal until its key has gone, which includes waiting for that.
	Grant         float64 `json:"grant_server_cpu_us"`
	KeepAlive     float64 `json:"keep_alive_server_cpu_us"`
	Expire        float64 `json:"expire_server_cpu_us"`
	GrantRate     float64 `json:"grants_per_s"`
	KeepAliveRate float64 `json:"keep_alives_per_s"`
	Late          float64 `json:"last_deletion_late_s"` // after all leases had run out
	Memory        int64   `json:"rss_bytes"`            // with all of them
	Others        float64 `json:"cpu_share_of_others"`  // the most of the three stretches
}

func (a aged) shared() float64 { return a.Others }

const leaseLivesName = "leases"

// leaseLives has leases granted, renewed and expired, by the thousand.
func (b bench) leaseLives(ctx context.Context, report *report) error {
	if !b.only.MatchString(leaseLivesName) {
		return nil
	}
	numbers := []int{1000, 10_000, 100_000}
	if b.quick {
		numbers = numbers[:2]
	}
	for _, n := range numbers {
		for _, c := range b.rivals() {
			a, err := quieter(b.quick, func() (aged, error) { return b.age(ctx, c, n) })
			if err != nil {
				return fmt.Errorf("%s: %d leases: %w", c.name, n, err)
			}
			report.Leases = append(report.Leases, a)
			fmt.Fprintf(b.log, "leases  %s  %+v\n", c.name, a)
		}
	}
	return nil
}

// age is the life of n leases in a fresh process. Their TTL leaves time to
// grant them all and to renew them before the first runs out.
func (b bench) age(ctx context.Context, c contender, n int) (a aged, err error) {
	all, err := launch(ctx, c, b.root, 1)
	if err != nil {
		return a, err
	}
	defer all.close()
	s, err := newStage(ctx, b.settings, all, connections)
	if err != nil {
		return a, err
	}
	defer s.close()
	ttl := 10*time.Second + time.Duration(n)*2*time.Millisecond
	a.Contender, a.Leases = c.name, n
	var granted []int64
	seen, err := s.metered(func() (err error) {
		granted, err = s.grant(ctx, n, int64(ttl/time.Second))
		return err
	})
	if err != nil {
		return a, fmt.Errorf("grant: %w", err)
	}
	a.Grant, a.GrantRate = perLease(seen, n)
	a.Others = seen.others
	if err := s.attach(ctx, granted); err != nil {
		return a, fmt.Errorf("attach: %w", err)
	}
	deleted := s.clients[0].Watch(ctx, rangePrefix, clientv3.WithPrefix(), clientv3.WithFilterPut())
	if seen, err = s.metered(func() error { return s.renewAll(ctx, granted) }); err != nil {
		return a, fmt.Errorf("keep alive: %w", err)
	}
	a.KeepAlive, a.KeepAliveRate = perLease(seen, n)
	a.Memory, a.Others = seen.memory, max(a.Others, seen.others)
	if seen, err = s.metered(func() error { return gone(ctx, deleted, n, 2*ttl+patience) }); err != nil {
		return a, fmt.Errorf("expire: %w", err)
	}
	a.Expire, _ = perLease(seen, n)
	a.Late, a.Others = (seen.elapsed - ttl).Seconds(), max(a.Others, seen.others)
	return a, nil
}

// metered is what the members use while something is done.
func (s *stage) metered(do func() error) (metered, error) {
	m, err := startMeter(s.cluster.pids()...)
	if err != nil {
		return metered{}, err
	}
	if err := do(); err != nil {
		return metered{}, err
	}
	return m.stop()
}

func perLease(seen metered, n int) (cpu, rate float64) {
	return float64(seen.cpu.Microseconds()) / float64(n), float64(n) / seen.elapsed.Seconds()
}

// attach puts a key for each lease, in transactions.
func (s *stage) attach(ctx context.Context, granted []int64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(len(s.clients))
	for first := 0; first < len(granted); first += txnPuts {
		group.Go(func() error {
			var puts []clientv3.Op
			for i := first; i < min(first+txnPuts, len(granted)); i++ {
				puts = append(puts, clientv3.OpPut(rangeKey(i), value(), clientv3.WithLease(clientv3.LeaseID(granted[i]))))
			}
			_, err := s.clientOf(first / txnPuts).Txn(ctx).Then(puts...).Commit()
			return err
		})
	}
	return group.Wait()
}

// renewAll renews each lease once.
func (s *stage) renewAll(ctx context.Context, granted []int64) error {
	group, ctx := errgroup.WithContext(ctx)
	each := (len(granted) + len(s.clients) - 1) / len(s.clients)
	for i := range s.clients {
		ids := granted[min(i*each, len(granted)):min((i+1)*each, len(granted))]
		group.Go(func() error { return s.renewOnce(ctx, i, ids) })
	}
	return group.Wait()
}

// gone returns when n keys have been deleted.
func gone(ctx context.Context, deleted clientv3.WatchChan, n int, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for n > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d keys are left: %w", n, ctx.Err())
		case r, open := <-deleted:
			if err := r.Err(); err != nil || !open {
				return fmt.Errorf("the watcher ended with %d keys left: %w", n, err)
			}
			n -= len(r.Events)
		}
	}
	return nil
}
