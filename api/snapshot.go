// SPDX-License-Identifier: Apache-2.0

package api

import (
	"crypto/sha256"
	"errors"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Snapshot is a file that goes to a client.
type Snapshot interface {
	Size() int64
	io.ReaderAt
	io.Closer
}

// snapshotPiece is how much of a snapshot one message carries, as in etcd.
const snapshotPiece = 32 << 10

// snapshot sends all of this member's state as etcd's file, and its SHA-256
// behind it, by which the client's tools know that it is whole.
func (s *Server) snapshot(f *flow) (err error) {
	if err := f.receive(&pb.SnapshotRequest{}); err != nil {
		return err
	}
	if s.config.Snapshot == nil {
		return status.Error(codes.Unimplemented, "cleat: this member makes no snapshots")
	}
	began := time.Now()
	saved, err := s.config.Snapshot(f.ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, saved.Close()) }()
	made := time.Now()
	hash := sha256.New()
	piece := make([]byte, snapshotPiece)
	for at, size := int64(0), saved.Size(); at < size; {
		n := int(min(size-at, snapshotPiece))
		if _, err := saved.ReadAt(piece[:n], at); err != nil {
			return err
		}
		hash.Write(piece[:n])
		at += int64(n)
		if err := f.send(&pb.SnapshotResponse{RemainingBytes: uint64(size - at), Blob: piece[:n], Version: storageVersion}); err != nil {
			return err
		}
	}
	if err := f.send(&pb.SnapshotResponse{Blob: hash.Sum(nil), Version: storageVersion}); err != nil {
		return err
	}
	s.log.Info("snapshot sent", "bytes", saved.Size(),
		"making", made.Sub(began).Round(time.Millisecond), "sending", time.Since(made).Round(time.Millisecond))
	return nil
}
