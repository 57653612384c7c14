// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

const clusterService = "etcdserverpb.Cluster"

func (s *Server) cluster() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: clusterService,
		Methods: []grpc.MethodDesc{
			unary(s, clusterService, "MemberList", s.memberList),
			unary(s, clusterService, "MemberAdd", unimplemented[*pb.MemberAddRequest]("members join with cleatctl")),
			unary(s, clusterService, "MemberRemove", unimplemented[*pb.MemberRemoveRequest]("a cluster of one has no member to remove")),
			unary(s, clusterService, "MemberUpdate", unimplemented[*pb.MemberUpdateRequest]("addresses are set in the member's configuration")),
			unary(s, clusterService, "MemberPromote", unimplemented[*pb.MemberPromoteRequest]("a cluster of one has no learner")),
		},
	}
}

// memberList leaves the header's revision out, as etcd does.
func (s *Server) memberList(ctx context.Context, c call, r *pb.MemberListRequest) (any, error) {
	if r.Linearizable {
		if err := s.sync(ctx, c.start); err != nil {
			return nil, err
		}
	}
	self := &pb.Member{
		ID: s.config.MemberID, Name: s.config.Name,
		PeerURLs: s.config.PeerURLs(), ClientURLs: s.config.ClientURLs(),
		IsLearner: s.config.Node.Status().Learner,
	}
	return &pb.MemberListResponse{Header: s.header.message(0), Members: []*pb.Member{self}}, nil
}
