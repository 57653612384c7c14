// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"google.golang.org/grpc"
)

const clusterService = "etcdserverpb.Cluster"

// Members are who belongs to the cluster, and the changes of that. Errors that
// are statuses reach the client as they are; etcd's texts are their own.
type Members interface {
	List() []*pb.Member
	Add(ctx context.Context, peerURLs []string, learner bool) (*pb.Member, error)
	Remove(ctx context.Context, id uint64) error
	Update(ctx context.Context, id uint64, peerURLs []string) error
	Promote(ctx context.Context, id uint64) error
	MoveLeader(ctx context.Context, to uint64) error
}

func (s *Server) cluster() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: clusterService,
		Methods: []grpc.MethodDesc{
			unary(s, clusterService, "MemberList", s.memberList),
			unary(s, clusterService, "MemberAdd", s.memberAdd),
			unary(s, clusterService, "MemberRemove", admins(s, s.memberRemove)),
			unary(s, clusterService, "MemberUpdate", admins(s, s.memberUpdate)),
			unary(s, clusterService, "MemberPromote", admins(s, s.memberPromote)),
		},
	}
}

// The answers of this service leave the header's revision out, as etcd does.

func (s *Server) memberList(ctx context.Context, c call, r *pb.MemberListRequest) (any, error) {
	if r.Linearizable {
		if err := s.sync(ctx, c.start); err != nil {
			return nil, err
		}
	}
	if _, err := s.named(ctx, c.caller); err != nil {
		return nil, err
	}
	return &pb.MemberListResponse{Header: s.header.message(0), Members: s.config.Members.List()}, nil
}

func (s *Server) memberAdd(ctx context.Context, c call, r *pb.MemberAddRequest) (any, error) {
	if _, err := types.NewURLs(r.PeerURLs); err != nil {
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	if _, err := s.admin(ctx, c.caller); err != nil {
		return nil, err
	}
	added, err := s.config.Members.Add(s.patience.bound(ctx, c.start), r.PeerURLs, r.IsLearner)
	if err != nil {
		return nil, s.patience.verdict(ctx, err)
	}
	return &pb.MemberAddResponse{Header: s.header.message(0), Member: added, Members: s.config.Members.List()}, nil
}

func (s *Server) memberRemove(ctx context.Context, c call, r *pb.MemberRemoveRequest) (any, error) {
	if err := s.config.Members.Remove(s.patience.bound(ctx, c.start), r.ID); err != nil {
		return nil, s.patience.verdict(ctx, err)
	}
	return &pb.MemberRemoveResponse{Header: s.header.message(0), Members: s.config.Members.List()}, nil
}

func (s *Server) memberUpdate(ctx context.Context, c call, r *pb.MemberUpdateRequest) (any, error) {
	if _, err := types.NewURLs(r.PeerURLs); err != nil {
		return nil, rpctypes.ErrGRPCMemberBadURLs
	}
	if err := s.config.Members.Update(s.patience.bound(ctx, c.start), r.ID, r.PeerURLs); err != nil {
		return nil, s.patience.verdict(ctx, err)
	}
	return &pb.MemberUpdateResponse{Header: s.header.message(0), Members: s.config.Members.List()}, nil
}

func (s *Server) memberPromote(ctx context.Context, c call, r *pb.MemberPromoteRequest) (any, error) {
	if err := s.config.Members.Promote(s.patience.bound(ctx, c.start), r.ID); err != nil {
		return nil, s.patience.ofLeader(ctx, err)
	}
	return &pb.MemberPromoteResponse{Header: s.header.message(0), Members: s.config.Members.List()}, nil
}

// moveLeader is answered by the leader alone.
func (s *Server) moveLeader(ctx context.Context, c call, r *pb.MoveLeaderRequest) (any, error) {
	leader := s.config.Node.Status().Leader
	switch {
	case leader != s.config.MemberID:
		return nil, rpctypes.ErrGRPCNotLeader
	case r.TargetID == leader:
		return &pb.MoveLeaderResponse{}, nil
	}
	if err := s.config.Members.MoveLeader(s.patience.bound(ctx, c.start), r.TargetID); err != nil {
		return nil, s.patience.verdict(ctx, err)
	}
	return &pb.MoveLeaderResponse{}, nil
}
