// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/cleatd/cleat/lease"
	"github.com/cleatd/cleat/state"
)

const leaseService = "etcdserverpb.Lease"

func (s *Server) lease() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: leaseService,
		Methods: []grpc.MethodDesc{
			unary(s, leaseService, "LeaseGrant", s.leaseGrant),
			unary(s, leaseService, "LeaseRevoke", s.leaseRevoke),
			unary(s, leaseService, "LeaseTimeToLive", s.leaseTimeToLive),
			unary(s, leaseService, "LeaseLeases", s.leaseLeases),
		},
		Streams: []grpc.StreamDesc{s.stream(leaseService, "LeaseKeepAlive", true, true, s.leaseKeepAlive)},
	}
}

// leaseGrant chooses the ID and raises the TTL here: the command that all
// members apply must leave nothing open.
func (s *Server) leaseGrant(ctx context.Context, c call, r *pb.LeaseGrantRequest) (any, error) {
	if err := s.roomFor(ctx, state.LeaseRoom); err != nil {
		return nil, err
	}
	id, err := s.named(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	for r.ID == 0 {
		r.ID = rand.Int64()
	}
	r.TTL = max(r.TTL, s.config.MinLeaseTTL)
	return s.write(ctx, c, state.LeaseGrantCommand(id, r))
}

func (s *Server) leaseRevoke(ctx context.Context, c call, r *pb.LeaseRevokeRequest) (any, error) {
	id, err := s.named(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	return s.write(ctx, c, state.LeaseRevokeCommand(id, r))
}

func (s *Server) leaseTimeToLive(ctx context.Context, c call, r *pb.LeaseTimeToLiveRequest) (any, error) {
	if err := s.syncUnder(ctx, c.start, s.patience.ofLeader); err != nil {
		return nil, err
	}
	id, err := s.named(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	reply, err := s.timeToLive(s.patience.bound(ctx, c.start), id, r)
	if errors.Is(err, lease.ErrNotFound) {
		reply, err = &pb.LeaseTimeToLiveResponse{ID: r.ID, TTL: -1}, nil
	}
	if err != nil {
		return nil, s.patience.ofLeader(ctx, err)
	}
	reply.Header = s.header.message(s.revision())
	return reply, nil
}

func (s *Server) timeToLive(ctx context.Context, id state.Identity, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	l, known := s.config.Machine.Leases().Lookup(r.ID)
	if !known {
		return nil, lease.ErrNotFound
	}
	remaining, err := s.remaining(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	reply := &pb.LeaseTimeToLiveResponse{ID: r.ID, TTL: int64(remaining / time.Second), GrantedTTL: l.TTL}
	if r.Keys {
		reply.Keys, err = s.config.Machine.LeaseKeys(id, r.ID)
	}
	return reply, err
}

func (s *Server) leaseLeases(ctx context.Context, c call, _ *pb.LeaseLeasesRequest) (any, error) {
	id, err := s.identify(ctx, c.caller)
	if err != nil {
		return nil, err
	}
	leases, err := s.config.Machine.ListLeases(id)
	if err != nil {
		return nil, err
	}
	reply := &pb.LeaseLeasesResponse{Header: s.header.message(s.revision())}
	for _, l := range leases {
		reply.Leases = append(reply.Leases, &pb.LeaseStatus{ID: l.ID})
	}
	return reply, nil
}

// leaseKeepAlive answers in a goroutine of its own, since nothing but the end
// of the handler wakes a receive when the server stops. The goroutine ends
// soon after the handler, and Stop waits for it.
func (s *Server) leaseKeepAlive(f *flow) error {
	ended := make(chan error, 1)
	s.group.Go(func() { ended <- s.keepAlive(f) })
	select {
	case err := <-ended:
		return err
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
}

func (s *Server) keepAlive(f *flow) error {
	var r pb.LeaseKeepAliveRequest
	for {
		if err := f.receive(&r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return s.broken(f, "receive", "lease-keepalive", err)
		}
		// The header is older than the renewal: a client must not take a
		// revision at which the lease was gone for one at which it lived.
		reply := &pb.LeaseKeepAliveResponse{Header: s.header.message(s.revision()), ID: r.ID}
		if err := s.mayRenew(f, r.ID); err != nil {
			return err
		}
		ttl, err := s.renew(s.patience.bound(f.ctx, time.Now()), r.ID)
		switch {
		case errors.Is(err, lease.ErrNotFound):
			ttl = 0
		case err != nil:
			return s.patience.ofLeader(f.ctx, err)
		}
		reply.TTL = ttl
		if err := f.send(reply); err != nil {
			return s.broken(f, "send", "lease-keepalive", err)
		}
	}
}

// mayRenew looks anew at each renewal: a stream lasts longer than rights do.
func (s *Server) mayRenew(f *flow, lease int64) error {
	id, err := s.identify(f.ctx, f.caller)
	if err != nil {
		return err
	}
	return s.config.Machine.MayRenew(id, lease)
}

// broken counts a stream that ended neither by its client nor by this server.
func (s *Server) broken(f *flow, act, stream string, err error) error {
	if f.ctx.Err() == nil {
		s.metrics.streamFailures.WithLabelValues(act, stream).Inc()
	}
	return err
}
