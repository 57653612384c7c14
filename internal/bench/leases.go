// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
)

const leases = 1000

// keepAlives renews each lease again as soon as it is answered: every
// connection has one stream with ten leases under way on it. The client's own
// keep-alive would renew at a third of the TTL, which is no load.
func keepAlives(ctx context.Context, s *stage) (phase, error) {
	granted, err := s.grant(ctx, leases, 600) // they outlive the measure
	if err != nil {
		return phase{}, err
	}
	each := leases / len(s.clients)
	return s.load(ctx, len(s.clients), func(ctx context.Context, worker int, r *recorder) error {
		return s.renew(ctx, worker, granted[worker*each:(worker+1)*each], r)
	})
}

// grant makes n leases.
func (s *stage) grant(ctx context.Context, n int, ttl int64) ([]int64, error) {
	granted := make([]int64, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(len(s.clients))
	for i := range granted {
		group.Go(func() error {
			r, err := s.clientOf(i).Grant(ctx, ttl)
			if err == nil {
				granted[i] = int64(r.ID)
			}
			return err
		})
	}
	return granted, group.Wait()
}

// renewOnce renews each of the leases once, ten under way at a time.
func (s *stage) renewOnce(ctx context.Context, worker int, ids []int64) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stream, err := pb.NewLeaseClient(s.clients[worker].ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	for sent, answered := 0, 0; answered < len(ids); {
		if sent < min(answered+10, len(ids)) {
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: ids[sent]}); err != nil {
				return err
			}
			sent++
			continue
		}
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		if answer.ID != ids[answered] || answer.TTL <= 0 {
			return errLost
		}
		answered++
	}
	return nil
}

var errLost = errors.New("a lease was lost or answered out of turn")

// renew relies on a stream's answers coming in the order of its requests.
func (s *stage) renew(ctx context.Context, worker int, ids []int64, r *recorder) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stream, err := pb.NewLeaseClient(s.clients[worker].ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	sent := make([]time.Time, len(ids))
	for i, id := range ids {
		sent[i] = time.Now()
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
			return err
		}
	}
	for i := 0; !r.over(); i = (i + 1) % len(ids) {
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		if answer.ID != ids[i] || answer.TTL <= 0 {
			return errLost
		}
		r.add(sent[i], time.Now())
		sent[i] = time.Now()
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: ids[i]}); err != nil {
			return err
		}
	}
	return nil
}
