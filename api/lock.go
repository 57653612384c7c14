// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/cleatd/cleat/api/recipe"
)

const lockService = "v3lockpb.Lock"

// errSessionExpired: the lease ended while its lock was waited for. The text is
// that of etcd's client library.
var errSessionExpired = unknown("mutex: session is expired")

func (s *Server) lock() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: lockService,
		Methods: []grpc.MethodDesc{
			unary(s, lockService, "Lock", s.takeLock),
			unary(s, lockService, "Unlock", s.giveLock),
		},
	}
}

func (s *Server) takeLock(ctx context.Context, c call, r *recipe.LockRequest) (any, error) {
	ctx, end := s.awaiting(ctx)
	defer end()
	reply, err := s.holdLock(ctx, c, r)
	if err != nil {
		return nil, s.recipeFault("Lock", err)
	}
	return reply, nil
}

func (s *Server) holdLock(ctx context.Context, c call, r *recipe.LockRequest) (*recipe.LockResponse, error) {
	own, err := s.claim(ctx, c, r.Name, r.Lease)
	if err != nil {
		return nil, err
	}
	first := asRange(oldest(own.name))
	answer, err := s.transact(ctx, c.again(), &pb.TxnRequest{
		Compare: []*pb.Compare{absent(own.key)},
		Success: []*pb.RequestOp{asPut(own, nil), first},
		Failure: []*pb.RequestOp{asRange(&pb.RangeRequest{Key: own.key}), first},
	})
	if err != nil {
		return nil, err
	}
	own.made = answer.Header.Revision
	if !answer.Succeeded {
		own.made = answer.Responses[0].GetResponseRange().Kvs[0].CreateRevision
	}
	reply := &recipe.LockResponse{Header: answer.Header, Key: own.key}
	if own.is(answer.Responses[1].GetResponseRange().Kvs[0]) {
		return reply, nil
	}
	revision, err := s.turn(ctx, c, own)
	switch {
	case errors.Is(err, errClaimGone):
		return nil, errSessionExpired
	case err != nil:
		s.withdraw(ctx, c, own)
		return nil, err
	}
	reply.Header = s.header.message(revision)
	return reply, nil
}

func (s *Server) giveLock(ctx context.Context, c call, r *recipe.UnlockRequest) (any, error) {
	answer, err := s.transact(ctx, c, &pb.TxnRequest{Success: []*pb.RequestOp{asDelete(r.Key)}})
	if err != nil {
		return nil, s.recipeFault("Unlock", err)
	}
	return &recipe.UnlockResponse{Header: answer.Header}, nil
}
