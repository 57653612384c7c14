// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestEachFailureIsALineWithWhatToTryNext(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		want string
	}{
		{nil, exitDone, ""},
		{misuse("give KEY"), exitMisused, "cleatctl: give KEY\n"},
		{fmt.Errorf("revoke: %w", rpctypes.ErrLeaseNotFound), exitFailed,
			"cleatctl: revoke: etcdserver: requested lease not found: it has expired or was revoked; cleatctl lease list shows those that live\n"},
		{errors.Join(errors.New("one"), errors.Join(nil, errors.New("two"))), exitFailed, "cleatctl: one\ncleatctl: two\n"},
		{errors.New("disk on fire"), exitFailed, "cleatctl: disk on fire\n"},
		{status.Error(codes.Internal, "odd"), exitFailed, "cleatctl: odd\n"},
	} {
		var stderr strings.Builder
		if code := report(&stderr, c.err); code != c.code || stderr.String() != c.want {
			t.Errorf("%v: exit code %d, %q; want %d, %q", c.err, code, &stderr, c.code, c.want)
		}
	}
}

func TestWhatMembersAnswerOftenHasAdvice(t *testing.T) {
	for _, err := range []error{
		context.DeadlineExceeded, status.Error(codes.DeadlineExceeded, "x"), status.Error(codes.Unavailable, "x"),
		status.Error(codes.Unimplemented, "x"), status.Error(codes.ResourceExhausted, "x"),
	} {
		if advice(err) == "" {
			t.Errorf("%v: no advice", err)
		}
	}
	for _, known := range advices {
		if got := advice(fmt.Errorf("put: %w", known.err)); got != known.next {
			t.Errorf("%v: got %q", known.err, got)
		}
	}
}
