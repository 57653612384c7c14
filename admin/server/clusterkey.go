// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"time"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/pki"
)

// waitForKey is how long a rotation of the cluster key waits for all members when
// its caller does not say, and waitAtMost for how long it does.
const (
	waitForKey = 10 * time.Second
	waitAtMost = time.Hour
)

// LockCA has this member issue nothing.
func (s *Server) LockCA(ctx context.Context, r *admin.LockCARequest) (*admin.LockCAResponse, error) {
	if err := s.config.Authority.Lock(ctx, r.RemoveFile); err != nil {
		return nil, fault(s.log, "LockCA", err)
	}
	return new(admin.LockCAResponse), nil
}

// UnlockCA has this member issue again.
func (s *Server) UnlockCA(ctx context.Context, r *admin.UnlockCARequest) (*admin.UnlockCAResponse, error) {
	defer clear(r.Keys)
	if err := s.config.Authority.Unlock(ctx, r.Keys); err != nil {
		return nil, fault(s.log, "UnlockCA", err)
	}
	return &admin.UnlockCAResponse{Id: s.config.Authority.KeyStatus().Key}, nil
}

// RotateClusterKey puts another cluster key in the place of the one that is used.
func (s *Server) RotateClusterKey(ctx context.Context, r *admin.RotateClusterKeyRequest) (*admin.RotateClusterKeyResponse, error) {
	wait := cmp.Or(time.Duration(min(max(r.PatienceSeconds, 0), int64(waitAtMost/time.Second)))*time.Second, waitForKey)
	done, err := s.config.Authority.RotateKey(ctx, wait)
	if err != nil {
		return nil, fault(s.log, "RotateClusterKey", err)
	}
	return &admin.RotateClusterKeyResponse{Old: done.Old, New: done.New, Missing: done.Missing}, nil
}

// ExportClusterKey returns the cluster key.
func (s *Server) ExportClusterKey(ctx context.Context, _ *admin.ExportClusterKeyRequest) (*admin.ExportClusterKeyResponse, error) {
	keys, id, err := s.config.Authority.ExportKey(ctx)
	if err != nil {
		return nil, fault(s.log, "ExportClusterKey", err)
	}
	return &admin.ExportClusterKeyResponse{Keys: keys, Id: id}, nil
}

// ConfirmExport records that the key was stored safely.
func (s *Server) ConfirmExport(ctx context.Context, r *admin.ConfirmExportRequest) (*admin.ConfirmExportResponse, error) {
	if err := s.config.Authority.Exported(ctx, r.Id); err != nil {
		return nil, fault(s.log, "ConfirmExport", err)
	}
	return new(admin.ConfirmExportResponse), nil
}

func clusterKey(a *pki.Authority) *admin.ClusterKey {
	k := a.KeyStatus()
	told := &admin.ClusterKey{
		Id: k.Key, Credential: k.Credential, Plain: k.Plain, Stale: k.Stale, Exported: k.Exported,
		Next: k.Next, Previous: k.Previous, Waiting: k.Waiting,
	}
	if k.Locked != nil {
		told.Locked = k.Locked.Error()
	}
	return told
}
