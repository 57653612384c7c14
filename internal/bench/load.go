// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// A stage is a cluster with clients connected to its members in turn, the
// first to the leader. Most know only one member.
type stage struct {
	settings
	cluster cluster
	member  *member // the first
	clients []*clientv3.Client
}

// newStage opens connections, all proven by an answer.
func newStage(ctx context.Context, s settings, all cluster, connections int) (*stage, error) {
	st := &stage{settings: s, cluster: all, member: all[0]}
	for i := range connections {
		c, err := all[i%len(all)].client(ctx)
		if err != nil {
			st.close()
			return nil, err
		}
		st.clients = append(st.clients, c)
	}
	if err := st.caughtUp(ctx); err != nil {
		st.close()
		return nil, err
	}
	return st, nil
}

// caughtUp returns when each member has all that was written, which a
// linearizable get waits for.
func (s *stage) caughtUp(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(10)
	for _, c := range s.clients {
		group.Go(func() error {
			_, err := c.Get(ctx, "ready")
			return err
		})
	}
	return group.Wait()
}

func (s *stage) close() {
	for _, c := range s.clients {
		_ = c.Close() // Nothing is under way any more that could be lost.
	}
}

// A recorder is one worker's view of the window: what ends inside counts.
type recorder struct {
	from, to time.Time
	taken    []time.Duration
}

func (r *recorder) over() bool { return time.Now().After(r.to) }

// add notes an operation that began and ended then.
func (r *recorder) add(began, ended time.Time) {
	if ended.After(r.from) && ended.Before(r.to) {
		r.taken = append(r.taken, ended.Sub(began))
	}
}

// load runs workers side by side, through the warm-up and the window, and
// reads the members' CPU time at the window's edges. A worker returns once its
// recorder is over; any error ends all.
func (s *stage) load(ctx context.Context, workers int, work func(ctx context.Context, worker int, r *recorder) error) (phase, error) {
	from := time.Now().Add(s.warm)
	to := from.Add(s.length)
	recorders := make([]recorder, workers)
	var seen phase
	group, ctx := errgroup.WithContext(ctx)
	for i := range workers {
		recorders[i] = recorder{from: from, to: to}
		group.Go(func() error { return work(ctx, i, &recorders[i]) })
	}
	group.Go(func() (err error) {
		seen, err = s.observe(ctx, from, to)
		return err
	})
	if err := group.Wait(); err != nil {
		return phase{}, err
	}
	for i := range recorders {
		seen.taken = append(seen.taken, recorders[i].taken...)
	}
	return seen, nil
}

// repeat makes a worker's life of one operation, done again and again.
func repeat(operation func(ctx context.Context, worker int) error) func(context.Context, int, *recorder) error {
	return func(ctx context.Context, worker int, r *recorder) error {
		for !r.over() {
			began := time.Now()
			if err := operation(ctx, worker); err != nil {
				return err
			}
			r.add(began, time.Now())
		}
		return nil
	}
}

func (s *stage) observe(ctx context.Context, from, to time.Time) (phase, error) {
	if err := until(ctx, from); err != nil {
		return phase{}, err
	}
	m, err := startMeter(s.cluster.pids()...)
	if err != nil {
		return phase{}, err
	}
	if err := until(ctx, to); err != nil {
		return phase{}, err
	}
	seen, err := m.stop()
	return phase{metered: seen}, err
}

// until waits for a moment.
func until(ctx context.Context, moment time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(moment)):
		return nil
	}
}
