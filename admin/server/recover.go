// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
)

// Recover has this member go on alone.
func (s *Server) Recover(ctx context.Context, r *admin.RecoverRequest) (*admin.RecoverResponse, error) {
	if s.config.Recover == nil {
		return nil, status.Error(codes.Unimplemented, "this member cannot be recovered while it runs")
	}
	return s.config.Recover(ctx, r)
}
