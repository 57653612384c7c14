// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
)

// Faults of a request that only the state can see.
var (
	// ErrKeyNotFound: ignore_value or ignore_lease names a key that is not there.
	ErrKeyNotFound = errors.New("state: key not found")
	// ErrLeaseProvided, ErrValueProvided: ignore_… together with what it ignores
	// are refused at the door; these are for commands that slip past it.
	ErrLeaseProvided = errors.New("state: lease is provided")
	ErrValueProvided = errors.New("state: value is provided")
	// ErrConflict: a ledger commit whose conditions did not all hold.
	ErrConflict = errors.New("state: condition does not hold")
	// ErrFormed: the state already belongs to a cluster.
	ErrFormed = errors.New("state: already formed")
)

// resultErrors maps the code byte of a result to its sentinel. The order is the
// code: a follower gets results from the leader, so it only grows.
var resultErrors = []error{
	nil,
	ErrCommand,
	kv.ErrCompacted,
	kv.ErrFuture,
	lease.ErrNotFound,
	lease.ErrExists,
	ErrKeyNotFound,
	ErrLeaseProvided,
	ErrValueProvided,
	ErrConflict,
	ErrFormed,
	lease.ErrTTLTooLarge,
	ErrMemberExists,
	ErrMemberName,
	ErrPeerURL,
	ErrMemberNotFound,
	ErrMemberRemoved,
	ErrFormat,
	ErrCorrupt,
	ErrTooManyLearners,
	ErrNoSpace,

	40: auth.ErrRootUserNotExist,
	auth.ErrRootRoleNotExist,
	auth.ErrUserExists,
	auth.ErrUserEmpty,
	auth.ErrUserNotFound,
	auth.ErrRoleExists,
	auth.ErrRoleNotFound,
	auth.ErrRoleEmpty,
	auth.ErrPermissionNotGiven,
	auth.ErrFailed,
	auth.ErrNoPassword,
	auth.ErrDenied,
	auth.ErrRoleNotGranted,
	auth.ErrPermissionNotGranted,
	auth.ErrNotEnabled,
	auth.ErrOldRevision,
	auth.ErrManagement,
}

// Reply is what a command answers.
type Reply struct {
	Revision int64  // the store's revision when the command was applied
	Payload  []byte // the response message in wire form, without its header (field 1)
}

// appendReply encodes a good result: code 0, revision, payload.
func appendReply(b []byte, r Reply) []byte {
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(r.Revision))
	return append(b, r.Payload...)
}

// refusal encodes a request's fault.
func refusal(err error) []byte {
	for code, sentinel := range resultErrors {
		if sentinel != nil && errors.Is(err, sentinel) {
			return append([]byte{byte(code)}, err.Error()...)
		}
	}
	panic(fmt.Sprintf("state: no result code for: %v", err))
}

// ParseResult undoes the encoding of a result of [Machine.Apply]. Its error is
// the request's fault: kv.ErrCompacted, kv.ErrFuture, lease.ErrNotFound,
// lease.ErrExists, one of auth's, or one of this package. The reply shares the result's memory.
func ParseResult(result []byte) (Reply, error) {
	if len(result) == 0 || int(result[0]) >= len(resultErrors) || (result[0] != 0 && resultErrors[result[0]] == nil) {
		return Reply{}, fmt.Errorf("state: malformed result of %d bytes", len(result))
	}
	if err := resultErrors[result[0]]; err != nil {
		return Reply{}, err
	}
	revision, n := binary.Uvarint(result[1:])
	if n <= 0 {
		return Reply{}, fmt.Errorf("state: result without a revision")
	}
	return Reply{Revision: int64(revision), Payload: result[1+n:]}, nil
}
