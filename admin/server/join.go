// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
)

// Join has this member join another cluster.
func (s *Server) Join(ctx context.Context, r *admin.JoinRequest) (*admin.JoinResponse, error) {
	if s.config.Join == nil {
		return nil, status.Error(codes.Unimplemented, "this member cannot join a cluster")
	}
	reply, err := s.config.Join(ctx, r)
	if _, worded := status.FromError(err); worded {
		return reply, err
	}
	return nil, fault(s.log, "Join", err)
}
