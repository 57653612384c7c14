// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// watched are watchers whose deliveries arrive as times on one channel.
type watched struct {
	seen  chan time.Time // never closed; one value an event and watcher
	group *errgroup.Group
	stop  context.CancelFunc
}

// watch opens n watchers spread over the connections, each on name(i). It
// returns when the member has confirmed all.
func (s *stage) watch(ctx context.Context, n int, name func(int) string) (*watched, error) {
	ctx, stop := context.WithCancel(ctx)
	readers, ctx := errgroup.WithContext(ctx)
	w := &watched{seen: make(chan time.Time, n), group: readers, stop: stop}
	opening := new(errgroup.Group)
	opening.SetLimit(4 * connections)
	for i := range n {
		opening.Go(func() error {
			// Watch returns once the watcher is created or ctx ends.
			events := s.clientOf(i).Watch(ctx, name(i))
			readers.Go(func() error { return w.read(ctx, events) })
			return ctx.Err()
		})
	}
	if err := opening.Wait(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// read passes on deliveries until ctx ends or the watcher is cancelled.
func (w *watched) read(ctx context.Context, events clientv3.WatchChan) error {
	for r := range events {
		now := time.Now()
		if err := r.Err(); err != nil && ctx.Err() == nil {
			return err
		}
		for range r.Events {
			w.seen <- now
		}
	}
	return nil
}

func (w *watched) close() error {
	w.stop()
	return w.group.Wait()
}

// wait takes n deliveries and tells each.
func (w *watched) wait(ctx context.Context, n int, tell func(time.Time)) error {
	for range n {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(patience):
			return fmt.Errorf("no event came within %v", patience)
		case at := <-w.seen:
			tell(at)
		}
	}
	return nil
}

// hundred are watchers of one key, one a connection. One client puts; the next
// put waits for all to have seen the last.
func (s *stage) hundred(ctx context.Context, note func(r *recorder, put time.Time, seen []time.Time)) (phase, error) {
	const watchers = 100
	w, err := s.watch(ctx, watchers, func(int) string { return key(0) })
	if err != nil {
		return phase{}, err
	}
	p, err := s.load(ctx, 1, func(ctx context.Context, _ int, r *recorder) error {
		for !r.over() {
			began, seen := time.Now(), make([]time.Time, 0, watchers)
			if _, err := s.clients[0].Put(ctx, key(0), value()); err != nil {
				return err
			}
			if err := w.wait(ctx, watchers, func(at time.Time) { seen = append(seen, at) }); err != nil {
				return err
			}
			note(r, began, seen)
		}
		return nil
	})
	return p, errors.Join(err, w.close())
}

// fanOutEach counts from the put's call to each of the hundred deliveries.
func fanOutEach(ctx context.Context, s *stage) (phase, error) {
	return s.hundred(ctx, func(r *recorder, put time.Time, seen []time.Time) {
		for _, at := range seen {
			r.add(put, at)
		}
	})
}

// fanOutLast counts from the put's call to the last of them.
func fanOutLast(ctx context.Context, s *stage) (phase, error) {
	return s.hundred(ctx, func(r *recorder, put time.Time, seen []time.Time) {
		last := put
		for _, at := range seen {
			if at.After(last) {
				last = at
			}
		}
		r.add(put, last)
	})
}

// manyWatchers puts keys at random that one of 10,000 watchers watches, and
// waits for that one to see it.
func manyWatchers(ctx context.Context, s *stage) (phase, error) {
	const watchers = 10_000
	w, err := s.watch(ctx, watchers, ordinal)
	if err != nil {
		return phase{}, err
	}
	p, err := s.load(ctx, 1, func(ctx context.Context, _ int, r *recorder) error {
		for !r.over() {
			began, k := time.Now(), ordinal(rand.IntN(watchers))
			if _, err := s.clients[0].Put(ctx, k, value()); err != nil {
				return err
			}
			if err := w.wait(ctx, 1, func(at time.Time) { r.add(began, at) }); err != nil {
				return err
			}
		}
		return nil
	})
	return p, errors.Join(err, w.close())
}
