// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Exit codes, the same for every command. Only lock ends with that of the
// command it has run.
const (
	exitDone    = 0
	exitFailed  = 1
	exitMisused = 2
)

// usageError is a command line that makes no sense. Nothing was sent.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func misuse(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...)}
}

// report writes what went wrong, a line for each failure and each with what
// to try next, and returns the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	for _, each := range unjoin(err) {
		text := withoutCode(each.Error())
		if next := advice(each); next != "" {
			text += ": " + next
		}
		fmt.Fprintf(stderr, "cleatctl: %s\n", strings.TrimSpace(text))
	}
	if ended := (commandEnded{}); errors.As(err, &ended) {
		return ended.code()
	}
	if errors.As(err, new(usageError)) {
		return exitMisused
	}
	return exitFailed
}

// withoutCode leaves out gRPC's name of an error's kind, which says nothing to
// a person that its description does not.
func withoutCode(text string) string {
	before, after, found := strings.Cut(text, "rpc error: code = ")
	if _, description, ok := strings.Cut(after, " desc = "); found && ok {
		return before + plainly(description)
	}
	return text
}

// plainly leaves out the names of a member's packages, which its log is for.
func plainly(text string) string {
	return strings.NewReplacer("pki: ", "", "raft: ", "", "client: ", "").Replace(text)
}

// unjoin is the failures that errors.Join put together, at any depth.
func unjoin(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, each := range joined.Unwrap() {
		all = append(all, unjoin(each)...)
	}
	return all
}

// advices pairs what a member answers with what to try next.
var advices = []struct {
	err  error
	next string
}{
	{rpctypes.ErrCompacted, "history up to there is gone for good; cleatctl endpoint status -w fields shows the present revision"},
	{rpctypes.ErrFutureRev, "the store has not come that far; cleatctl endpoint status -w fields shows the present revision"},
	{rpctypes.ErrLeaseNotFound, "it has expired or was revoked; cleatctl lease list shows those that live"},
	{rpctypes.ErrLeaseExist, "grant another id, or none to have one chosen"},
	{rpctypes.ErrLeaseTTLTooLarge, "a lease lives at most 9000000000 seconds"},
	{rpctypes.ErrEmptyKey, "give a key that is not empty"},
	{rpctypes.ErrKeyNotFound, "--ignore-value and --ignore-lease need a key that exists; put it with a value first"},
	{rpctypes.ErrLeaseProvided, "leave out --lease or --ignore-lease"},
	{rpctypes.ErrNoSpace, "delete and compact, or give the member a larger disk or quota; reads and deletes still work"},
	{rpctypes.ErrTooManyOps, "split the transaction, or raise max-txn-ops on every member"},
	{rpctypes.ErrRequestTooLarge, "send less at once, or raise max-request-bytes on every member"},
	{rpctypes.ErrDuplicateKey, "a transaction may put a key once"},
	{rpctypes.ErrPermissionDenied, "ask an administrator to grant this user the key or range"},
	{rpctypes.ErrUserEmpty, "this member asks who you are: add --user NAME"},
	{rpctypes.ErrAuthFailed, "check --user and --password"},
	{rpctypes.ErrRootUserNotExist, "add it first: cleatctl user add root"},
	{rpctypes.ErrUserNotFound, "cleatctl user list shows the users"},
	{rpctypes.ErrUserAlreadyExist, "cleatctl user get shows it, cleatctl user passwd changes its password"},
	{rpctypes.ErrRoleNotFound, "cleatctl role list shows the roles"},
	{rpctypes.ErrRoleAlreadyExist, "cleatctl role get shows it"},
	{rpctypes.ErrRoleNotGranted, "cleatctl user get shows the user's roles"},
	{rpctypes.ErrPermissionNotGranted, "cleatctl role get shows the ranges as they were granted"},
	{rpctypes.ErrAuthNotEnabled, "leave out --user, or let users count with cleatctl auth enable"},
	{rpctypes.ErrInvalidAuthMgmt, "the user root and its role stay while users count, and a range ends behind its key"},
	{rpctypes.ErrNoLeader, "most members must be up and reach one another; try again, or look at cleatctl endpoint health --cluster"},
	{rpctypes.ErrMemberNotFound, "cleatctl member list shows the members and their IDs"},
	{rpctypes.ErrMemberBadURLs, "give a peer URL as https://10.0.0.2:2380"},
	{rpctypes.ErrPeerURLExist, "another member has it; cleatctl member list shows whose it is"},
	{rpctypes.ErrMemberNotLearner, "it votes already"},
	{rpctypes.ErrMemberLearnerNotReady, "it has not caught up with the leader; try again, or watch it with cleatctl endpoint status --cluster"},
	{rpctypes.ErrTooManyLearners, "promote or remove one first; cleatctl member list shows who is a learner"},
	{rpctypes.ErrMemberNotEnoughStarted, "too few of those left would be running to agree; start them, or remove one that is down"},
	{rpctypes.ErrUnhealthy, "too few members reach one another to do this safely; cleatctl endpoint health --cluster shows who is down"},
	{rpctypes.ErrNotLeader, "ask the leader; cleatctl endpoint status --cluster shows who leads"},
	{rpctypes.ErrBadLeaderTransferee, "leadership goes to a voting member that is up; cleatctl member list shows them"},
	{rpctypes.ErrWrongDowngradeVersionFormat, "write it as 3.6"},
	{rpctypes.ErrInvalidDowngradeTargetVersion, "of etcd it is one minor version below the present one; a cleat member has none to go back to"},
	{rpctypes.ErrNoInflightDowngrade, "there is nothing to cancel"},
	{rpctypes.ErrTimeout, "it may or may not have happened; look before you repeat it"},
	{context.DeadlineExceeded, "no answer in time, so a change may or may not have been made; check that the member runs (cleatctl status, systemctl status cleatd), or raise --command-timeout"},
}

// advice is what to try next, or nothing when the failure says it already.
func advice(err error) string {
	for _, known := range advices {
		if errors.Is(err, known.err) {
			return known.next
		}
	}
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		return advice(context.DeadlineExceeded)
	case codes.ResourceExhausted:
		return "send less at once, or raise --max-request-bytes here and max-request-bytes on every member"
	case codes.Unimplemented:
		return "this member does not know the call: is it an older version, or not a cleat member?"
	case codes.Unavailable:
		return "check the address and that the member runs; a cleat member's network door also asks for --cacert, --cert and --key"
	}
	return ""
}
