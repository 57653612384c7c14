// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
)

// Reload has this member read its settings and its certificate again.
func (s *Server) Reload(ctx context.Context, _ *admin.ReloadRequest) (*admin.ReloadResponse, error) {
	if s.config.Reload == nil {
		return nil, status.Error(codes.Unimplemented, "this member cannot read its settings again")
	}
	return s.config.Reload(ctx)
}
