// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"fmt"
	"syscall"

	hraft "github.com/hashicorp/raft"
	bbolterrors "go.etcd.io/bbolt/errors"
)

var (
	// ErrNoLeader: the request was not carried out, because no leader is known.
	ErrNoLeader = errors.New("raft: no leader")
	// ErrUnknown: the command may have been carried out, or may still be. The
	// caller must find out by reading; repeating it may do it twice.
	ErrUnknown = errors.New("raft: outcome unknown")
	// ErrTooLarge: the command exceeds what the log takes. It was not carried out.
	ErrTooLarge = errors.New("raft: command too large")
	// ErrStopped: the node is stopping or has failed. The request was not
	// carried out.
	ErrStopped = errors.New("raft: stopped")
	// ErrMember: the directory is another member's, or the member that a
	// request names is not in the cluster, or is there already.
	ErrMember = errors.New("raft: wrong member")
	// ErrDamaged: a file of the directory is lost, or does not hold what was
	// written to it. The next open finds the same.
	ErrDamaged = errors.New("raft: damaged directory")
	// ErrNotReady: the learner lacks too much of the log to get a vote.
	ErrNotReady = errors.New("raft: learner not ready")
	// ErrLastQuorum: too few members that answer would be left to agree on
	// anything.
	ErrLastQuorum = errors.New("raft: quorum would be lost")
	// ErrUnreached is what a Network answers when a request certainly did not
	// arrive.
	ErrUnreached = errors.New("raft: member not reached")
)

// outcomeOf says what hraft's verdict on a proposed entry means to the caller.
// What hraft took and then lost sight of is unknown. What it refused before it
// wrote is not done. Any other error comes from the log's disk, where the
// entry may lie all the same: unknown too.
func outcomeOf(err error) error {
	switch {
	case errors.Is(err, hraft.ErrNotLeader),
		errors.Is(err, hraft.ErrLeadershipTransferInProgress),
		errors.Is(err, hraft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
}

// damage is an error whose text says what is damaged.
type damage struct{ error }

func (d damage) Unwrap() error { return d.error }

func (damage) Is(target error) bool { return target == ErrDamaged }

// damaged makes what opening the directory has found an ErrDamaged, unless a
// disk, another process or the wrong member is behind it.
func damaged(err error) error {
	var errno syscall.Errno
	disk := errors.As(err, &errno) && errno != syscall.ENOENT
	if err == nil || disk || errors.Is(err, bbolterrors.ErrTimeout) || errors.Is(err, ErrMember) {
		return err
	}
	return damage{err}
}
