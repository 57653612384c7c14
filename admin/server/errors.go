// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/pki"
	"github.com/cleatd/cleat/raft"
)

// errNoAddress refuses to invite to where nobody can come.
var errNoAddress = errors.New("this member has no peer door that others can reach: start it with --listen-peer and --advertise, then invite")

// errNoCADoor refuses to make a token that step could take nowhere.
var errNoCADoor = errors.New("this member has no ca door: start it with --listen-ca, or --advertise, then make the token")

// faults says with which code a caller is told. Unavailable is only for what
// did not happen, so that trying again is safe.
var faults = []struct {
	cause error
	code  codes.Code
}{
	{pki.ErrRequest, codes.InvalidArgument},
	{pki.ErrKey, codes.InvalidArgument},
	{pki.ErrName, codes.InvalidArgument},
	{pki.ErrTTL, codes.InvalidArgument},
	{pki.ErrProfile, codes.InvalidArgument},
	{pki.ErrClusterKey, codes.FailedPrecondition},
	{pki.ErrLocked, codes.FailedPrecondition},
	{pki.ErrOnlyKey, codes.FailedPrecondition},
	{pki.ErrKeyRotation, codes.FailedPrecondition},
	{pki.ErrSealed, codes.FailedPrecondition},
	{pki.ErrImport, codes.InvalidArgument},
	{pki.ErrStep, codes.InvalidArgument},
	{pki.ErrRotating, codes.FailedPrecondition},
	{pki.ErrRotation, codes.FailedPrecondition},
	{errRotateAct, codes.InvalidArgument},
	{pki.ErrInvitation, codes.InvalidArgument},
	{pki.ErrCertificateUnknown, codes.NotFound},
	{pki.ErrCertificateEnded, codes.FailedPrecondition},
	{pki.ErrReason, codes.InvalidArgument},
	{pki.ErrNoCRL, codes.Unavailable},
	{pki.ErrTokenFormat, codes.InvalidArgument},
	{pki.ErrTokenAmbiguous, codes.InvalidArgument},
	{pki.ErrTokenUnknown, codes.NotFound},
	{pki.ErrTokenKind, codes.PermissionDenied},
	{pki.ErrTokenExpired, codes.PermissionDenied},
	{pki.ErrTokenUsed, codes.PermissionDenied},
	{pki.ErrTokenRevoked, codes.PermissionDenied},
	{pki.ErrTokenDigest, codes.FailedPrecondition},
	{pki.ErrClock, codes.FailedPrecondition},
	{errNoAddress, codes.FailedPrecondition},
	{errNoCADoor, codes.FailedPrecondition},
	{raft.ErrNoLeader, codes.Unavailable},
	{raft.ErrStopped, codes.Unavailable},
	{raft.ErrUnknown, codes.Unknown},
	{raft.ErrTooLarge, codes.ResourceExhausted},
	{context.Canceled, codes.Canceled},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
}

// fault translates an error for the caller. What it does not know is a bug or a
// broken disk, and is logged.
func fault(log *slog.Logger, call string, err error) error {
	for _, f := range faults {
		if errors.Is(err, f.cause) {
			return status.Error(f.code, err.Error())
		}
	}
	log.Error("request met an unknown fault", "rpc", call, "err", err)
	return status.Error(codes.Internal, err.Error())
}
