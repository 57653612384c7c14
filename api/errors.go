// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"log/slog"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
	"github.com/cleatd/cleat/watch"
)

// errStopping is the cause with which Stop ends what is under way.
var errStopping = errors.New("api: the server is stopping")

// errNoLeaderForLong ends streams of clients that insist on a leader.
var errNoLeaderForLong = errors.New("api: no leader for a while")

// faults says what clients are told. Their text is etcd's, by which its
// clients know them. Unavailable is used only for what was not done or may not
// have been done: clients retry reads on it.
var faults = []struct{ cause, status error }{
	{kv.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{kv.ErrFuture, rpctypes.ErrGRPCFutureRev},
	{kv.ErrClosed, rpctypes.ErrGRPCStopped},
	{kv.ErrFailed, rpctypes.ErrGRPCStopped},
	{lease.ErrNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{lease.ErrExists, rpctypes.ErrGRPCLeaseExist},
	{lease.ErrTTLTooLarge, rpctypes.ErrGRPCLeaseTTLTooLarge},
	{lease.ErrNotLeading, rpctypes.ErrGRPCLeaderChanged},
	{state.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
	{state.ErrValueProvided, rpctypes.ErrGRPCValueProvided},
	{state.ErrLeaseProvided, rpctypes.ErrGRPCLeaseProvided},
	{state.ErrCorrupt, rpctypes.ErrGRPCCorrupt},
	{auth.ErrRootUserNotExist, rpctypes.ErrGRPCRootUserNotExist},
	{auth.ErrRootRoleNotExist, rpctypes.ErrGRPCRootRoleNotExist},
	{auth.ErrUserExists, rpctypes.ErrGRPCUserAlreadyExist},
	{auth.ErrUserEmpty, rpctypes.ErrGRPCUserEmpty},
	{auth.ErrUserNotFound, rpctypes.ErrGRPCUserNotFound},
	{auth.ErrRoleExists, rpctypes.ErrGRPCRoleAlreadyExist},
	{auth.ErrRoleNotFound, rpctypes.ErrGRPCRoleNotFound},
	{auth.ErrRoleEmpty, rpctypes.ErrGRPCRoleEmpty},
	{auth.ErrPermissionNotGiven, rpctypes.ErrGRPCPermissionNotGiven},
	{auth.ErrFailed, rpctypes.ErrGRPCAuthFailed},
	{auth.ErrNoPassword, status.Error(codes.Unknown, auth.ErrNoPassword.Error())},
	{auth.ErrDenied, rpctypes.ErrGRPCPermissionDenied},
	{auth.ErrRoleNotGranted, rpctypes.ErrGRPCRoleNotGranted},
	{auth.ErrPermissionNotGranted, rpctypes.ErrGRPCPermissionNotGranted},
	{auth.ErrNotEnabled, rpctypes.ErrGRPCAuthNotEnabled},
	{auth.ErrOldRevision, rpctypes.ErrGRPCAuthOldRevision},
	{auth.ErrToken, rpctypes.ErrGRPCInvalidAuthToken},
	{auth.ErrManagement, rpctypes.ErrGRPCInvalidAuthMgmt},
	{auth.ErrTooLong, status.Error(codes.Unknown, auth.ErrTooLong.Error())},
	{auth.ErrBusy, rpctypes.ErrGRPCRequestTooManyRequests},
	{auth.ErrVerifyOnly, status.Error(codes.Unknown, auth.ErrVerifyOnly.Error())},
	{state.ErrNoSpace, rpctypes.ErrGRPCNoSpace},
	{watch.ErrStopped, rpctypes.ErrGRPCStopped},
	{raft.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
	{raft.ErrUnknown, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{raft.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{raft.ErrStopped, rpctypes.ErrGRPCStopped},
	{errStopping, rpctypes.ErrGRPCStopped},
	{errNoLeaderForLong, rpctypes.ErrGRPCNoLeader},
	{context.Canceled, rpctypes.ErrGRPCCanceled},
	{context.DeadlineExceeded, rpctypes.ErrGRPCDeadlineExceeded},
}

// fault translates an error for a client. What it does not know is a bug or a
// broken disk: it is logged, since the client can do nothing about it.
func fault(log *slog.Logger, rpc string, err error) error {
	if err == nil {
		return nil
	}
	answer, known := answerTo(err)
	if !known {
		log.Error("request met an unknown fault", "rpc", rpc, "err", err)
	}
	return answer
}

// answerTo returns what clients are told of an error, and whether it is one that
// has an answer of its own.
func answerTo(err error) (answer error, known bool) {
	if told := (interface{ GRPCStatus() *status.Status })(nil); errors.As(err, &told) {
		return told.GRPCStatus().Err(), true
	}
	for _, f := range faults {
		if errors.Is(err, f.cause) {
			return f.status, true
		}
	}
	return status.Error(codes.Internal, err.Error()), false
}
